"""The page that runs a model in the browser: its weights, its codes, and how it is written."""
