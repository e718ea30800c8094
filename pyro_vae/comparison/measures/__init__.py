"""Measures of a run for `measure`: each takes a run, its data set and settings, and gives figures."""
