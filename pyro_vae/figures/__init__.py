"""Figures: arrays become a matplotlib `Figure` or the frames of a video."""
