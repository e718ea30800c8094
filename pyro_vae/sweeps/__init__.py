"""Sweeps: every combination of settings, each in a run folder of its own."""
