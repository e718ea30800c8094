"""The approximation gap and the amortization gap, where both are known."""

import pytest
import torch

from pyro_vae.evaluation.gaps import refit_posterior
from tests.support.linear_gaussian import (
    OBLIQUE,
    ORTHOGONAL,
    assert_within,
    drawn_images,
    linear_gaussian_vae,
)


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [0.0, 0.3])
@pytest.mark.parametrize("oblique", [ORTHOGONAL, OBLIQUE])
def test_both_gaps_are_the_closed_forms(oblique, spoil):
    vae, exact = linear_gaussian_vae(oblique, spoil)
    x = drawn_images(vae, 10)
    fit = refit_posterior(vae, x, num_steps=300, num_samples=20_000, score="density")
    truth = exact.log_prob(x)
    approximation = truth - fit.elbo
    # The refit is at its optimum to 0.01 nats: that is what Adam leaves after 300 steps.
    error = torch.clamp(fit.elbo_error, min=0.002)
    assert_within(approximation, torch.full_like(truth, exact.approximation_gap), error)
    known = exact.gap(vae.encode(x).base_dist, x) - exact.approximation_gap
    both = torch.clamp(fit.elbo_error + fit.encoder_elbo_error, min=0.002)
    assert_within(fit.amortization_gap, known, both)
    assert (known.mean() > 0.2) if spoil else (known.abs().max() < 1e-9)
    assert torch.allclose(fit.q.loc, exact.posterior(x).loc, rtol=0, atol=0.02)


def test_refitting_leaves_the_weights_alone():
    vae, _ = linear_gaussian_vae()
    before = {k: v.clone() for k, v in vae.state_dict().items()}
    refit_posterior(vae, drawn_images(vae, 2), num_steps=3, num_samples=4, score="density")
    assert all(torch.equal(v, before[k]) for k, v in vae.state_dict().items())
    assert all(p.grad is None for p in vae.parameters())
