"""Arrays in, a matplotlib `Figure` or the frames of a video out."""
