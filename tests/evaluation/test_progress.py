"""The progress of works that follow each other."""

import pytest

from pyro_vae.evaluation.progress import in_shares, no_progress


def test_works_take_their_shares_of_the_whole():
    seen = []
    works = in_shares(seen.append, [1, 0, 2, 1])
    for work in works:
        for done in (0.0, 0.5, 1.0):
            work(done)
    halves = [0, 0.125, 0.25, 0.25, 0.25, 0.25, 0.25, 0.5, 0.75, 0.75, 0.875, 1]
    assert seen == pytest.approx(halves)  # exact but for the rounding of quarters


def test_nobody_has_to_look():
    assert [work(1.0) for work in in_shares(no_progress, [3, 4])] == [None, None]
