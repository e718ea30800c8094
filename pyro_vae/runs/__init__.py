"""Runs: everything that reads or writes a run folder."""
