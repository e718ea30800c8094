"""The functions that measure the parts of an evaluation, a file for each part.

The first function of a file measures and returns the figures of the part; others draw and save the
pictures and files that belong to them.
"""
