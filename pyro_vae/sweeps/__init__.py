"""Sweeps: every combination of settings, each in its own run folder."""
