"""Attacks on runs and sweeps: `python -m tests.campaign --help`."""
