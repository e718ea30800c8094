"""Whether numbers are finite."""

import math

import pytest
import torch

from pyro_vae.training.epochs import SMALL, all_finite


def numbers():
    """Small and large tensors of several types, with the largest numbers of theirs."""
    most = torch.finfo(torch.float32).max
    large = torch.full((SMALL,), most)
    return [
        torch.ones(3, 4),
        large,
        torch.tensor(7),
        torch.full((5,), -most),
        torch.zeros(2).double(),
    ]


def test_large_numbers_are_finite():
    assert all_finite(numbers()) and all_finite([])


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 3, 4])
def test_one_number_that_is_not_is_seen(place, wrong):
    tensors = numbers()
    tensors[place].view(-1)[-1] = wrong
    assert not all_finite(tensors)
    if math.isinf(wrong):
        tensors[3][0] = -wrong  # the other infinity does not hide it
        assert not all_finite(tensors)
