"""The chain decode - sample - encode - sample, from right and from wrong posteriors."""

import math

import pytest
import torch
from scipy import stats

from pyro_vae.evaluation.limit import FARTHEST, limiting_distribution
from tests.support.linear_gaussian import (
    ACCEPTED,
    EXACT,
    REJECTED,
    WRONG,
    linear_gaussian_vae,
    linear_layers,
)


def test_the_chain_of_an_exact_posterior_stays_at_the_prior():
    found = limiting_distribution(EXACT, 4096, 100)
    assert found.p_value > ACCEPTED
    assert found.images.shape == (101, 64, 1, 4, 4)
    expected = EXACT.decode(found.z[:64]).mean.clamp(0, 1)
    assert torch.allclose(found.images[-1], expected.detach().to(found.images), atol=1e-5)
    assert found.r_hat.max() < 1.2


@pytest.mark.slow
def test_the_chains_test_keeps_its_level():
    p = [limiting_distribution(EXACT, 128, 5, 2, seed=s).p_value for s in range(200)]
    rejected = sum(v < 0.05 for v in p)
    assert stats.binomtest(rejected, 200, 0.05).pvalue > 1e-3


def test_the_chain_finds_a_posterior_that_is_a_tenth_too_narrow():
    """The last codes alone do not show it: the distance to the prior is too small."""
    vae = linear_gaussian_vae()[0]
    with torch.no_grad():
        linear_layers(vae)[0].bias[vae.latent_dim :] += math.log(0.9)
    found = limiting_distribution(vae, 512, 100)
    assert found.p_values[0].min() > ACCEPTED and found.p_value < REJECTED


def test_more_chains_would_see_less():
    few, many = (limiting_distribution(EXACT, n, 20, 2) for n in (256, 4096))
    assert few.visible_shift / many.visible_shift == pytest.approx(4, rel=0.3)
    assert 0.01 < many.visible_scale < many.visible_shift < 0.1


def test_the_chain_finds_a_wrong_posterior_but_not_one_that_is_the_prior():
    """Nor can it: the codes are then drawn from the prior again at every step."""
    assert limiting_distribution(WRONG["biased"], 4096, 20).p_value < REJECTED
    assert limiting_distribution(WRONG["overconfident"], 4096, 20).p_value < REJECTED
    assert limiting_distribution(WRONG["the prior"], 4096, 5).p_value > ACCEPTED


def test_chains_that_run_away_are_held():
    """An encoder that answers a bright image with a wide q, whose scale soon overflows."""
    vae = linear_gaussian_vae()[0]
    with torch.no_grad():
        linear_layers(vae)[0].weight[3:] += 1
    found = limiting_distribution(vae, 256, 20, 8)
    assert found.z.abs().max() == FARTHEST
    assert found.images.isfinite().all()
    assert found.distances.max() > 0.3
    assert found.p_value < REJECTED


def test_more_watched_chains_than_there_are():
    with pytest.raises(ValueError, match="num_watched: expected 1 to 10 chains, got 64"):
        limiting_distribution(EXACT, 10)
