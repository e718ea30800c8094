"""The frame of every HTML page, and the wording of what is measured."""
