"""Probabilities of grey levels: references, totals and means, for every family."""

import mpmath as mp
import pytest
import torch

from tests.support.families import MASSES, PIXEL, build, grid, log_masses, outputs_for
from tests.support.references import REFERENCES


@pytest.mark.slow
@pytest.mark.parametrize("name, levels", MASSES)
def test_log_probability_of_a_level_agrees_with_the_reference(name, levels):
    """To 1e-6 nats, at random and extreme outputs; with 40 sigma tails: 50 / 0.25 is 200 sigma."""
    family = build(name, levels=levels)
    outputs = outputs_for(family, 5 if name == "beta" else 15)  # its reference takes a second
    values = log_masses(family, outputs)
    chosen = torch.randint(levels, (len(outputs), 2))
    for n, row in enumerate(outputs.flatten(1).tolist()):
        for level in {0, levels - 1, *chosen[n].tolist()}:
            exact = mp.log(REFERENCES[name](family, row, level))
            assert abs(values[level, n].item() - exact) < 1e-6, (row, level)


def test_levels_of_a_colour_mixture_sum_to_one():
    """Channels are dependent there, so the sum runs over all colours of a pixel."""
    family = build("discretized_logistic_mixture", (3, 1, 1), 2)
    colours = torch.cartesian_prod(*[grid(2)] * 3).view(8, 1, 3, 1, 1)
    total = family.mass(outputs_for(family)).log_prob(colours).logsumexp(0)
    assert total.abs().max() < 1e-10


@pytest.mark.parametrize("name, levels", MASSES)
def test_levels_sum_to_one_and_their_means_are_sums_over_the_levels(name, levels):
    family = build(name, levels=levels)
    outputs = outputs_for(family)
    masses = log_masses(family, outputs)
    assert masses.logsumexp(0).abs().max() < 1e-6  # what the levels themselves are held to
    expected = (masses.exp() * grid(levels).view(-1, 1)).sum(0)
    mean = family.mass(outputs).mean
    assert mean.shape == (len(outputs), *PIXEL)
    assert torch.allclose(mean.flatten(), expected, rtol=1e-9, atol=1e-9)
