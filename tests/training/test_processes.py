"""What the processes of a training tell one another."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pyro_vae.training.processes import ALONE, RankLost, Ranks
from tests.support.processes import start_ranks, statuses


def disagree():
    """The second of two ranks has an error."""
    ranks = Ranks.launched()
    with ranks.joined(torch.device("cpu")):
        try:
            ranks.agree(ValueError("no compiler") if ranks.number else None)
        except (RuntimeError, ValueError) as error:
            os.write(1, f"{type(error).__name__}: {error}\n".encode())  # a line at once


@pytest.mark.slow
def test_an_error_of_one_rank_is_everybodys(elsewhere):
    assert statuses(start_ranks(disagree)) == [0, 0]
    said = sorted(Path("printed").read_text().splitlines())
    assert said == ["RuntimeError: rank 1: no compiler", "ValueError: no compiler"]


def test_a_process_alone_agrees_with_itself():
    assert ALONE.gather("me") == ["me"] and ALONE.first
    with pytest.raises(ValueError, match="no compiler"):
        ALONE.agree(ValueError("no compiler"))


def test_a_step_that_outlasts_a_signal_tells_of_a_lost_rank(monkeypatch):
    """What waiting for NCCL comes to when a rank was killed."""
    ranks, looks = Ranks(0, 2), iter([False, False, True])
    ranks.agreed(lambda: True)
    ranks.wait(SimpleNamespace(reached=lambda: next(looks), wished=torch.ones(())))
    monkeypatch.setattr("pyro_vae.training.processes.GRACE", -1)
    with pytest.raises(RankLost, match="one of 2 processes was lost"):
        ranks.wait(SimpleNamespace(reached=lambda: False))
