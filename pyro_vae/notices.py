"""Notices: warnings of this package, which its command line prints whatever the filters say."""

import warnings


class Notice(UserWarning):
    """A message that the user of a run should know of, and that stops nothing."""


def notice(message: str) -> None:
    """Give a notice as a Python warning."""
    warnings.warn(message, Notice, stacklevel=3)
