"""The frame of every HTML page, and the wording of measured figures."""
