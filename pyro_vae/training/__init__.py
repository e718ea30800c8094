"""Training: objectives, engines, and the loop that yields a record per epoch."""
