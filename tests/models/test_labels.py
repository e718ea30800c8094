"""Conditional VAEs: what they compute given labels, against closed forms."""

import re

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO

import pyro_vae as pv
from pyro_vae.evaluation import bounds
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.terms import rate_per_component
from pyro_vae.models import elbo
from pyro_vae.models.elbo import elbo_terms
from pyro_vae.models.fitted import fit_prior
from pyro_vae.randomness import seeded
from tests.support.linear_gaussian import drawn_images, linear_gaussian_vae, linear_layers
from tests.support.programs import SHAPE, images, model

LABELS = torch.arange(40) % 3


def conditional_linear(shifts):
    """A linear VAE that decodes z and y as W z + b + U_y, with the exact posterior; and that of U = 0.

    Args:
        shifts: U, (16, classes).
    """
    plain, exact = linear_gaussian_vae()
    vae = pv.VAE(
        SHAPE, 3, "gaussian_fixed_sigma", "linear", sigma=0.5, conditional=shifts.shape[1]
    ).double()
    vae.eval()
    (encoder, decoder), (of_plain, decoder_of_plain) = linear_layers(vae), linear_layers(plain)
    with torch.no_grad():
        decoder.weight.copy_(torch.cat([decoder_of_plain.weight, shifts], 1))
        decoder.bias.copy_(decoder_of_plain.bias)
        encoder.weight.copy_(torch.cat([of_plain.weight, -of_plain.weight @ shifts], 1))
        encoder.bias.copy_(of_plain.bias)
    return vae, plain, exact


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_log_p_given_labels_is_the_closed_form(monkeypatch, scale):
    """x - U_y is distributed as without labels. The weights of all draws are alike, since q is exact.

    In batches of a few images, each of which needs the labels of its own. With U = 0 the labels say
    nothing, and log p(x | y) is log p(x).
    """
    monkeypatch.setattr(bounds, "_NUMBERS_AT_ONCE", 2**10)
    monkeypatch.setattr(elbo, "_PIXELS_AT_ONCE", 16 * 7)
    shifts = scale * torch.randn(16, 3, generator=torch.Generator().manual_seed(0)).double()
    vae, plain, exact = conditional_linear(shifts)
    x = drawn_images(plain, 40)
    apart = shifts[:, LABELS].T.view(x.shape)
    given = vae.given(LABELS)
    found = importance_bound(given, x + apart, 7, score="density")
    expected = exact.log_prob(x)
    assert torch.allclose(found.log_prob, expected, rtol=0, atol=1e-9)
    rates = rate_per_component(plain, x)
    assert torch.allclose(rate_per_component(given, x + apart), rates, rtol=0, atol=1e-9)
    terms, of_plain = elbo_terms(given, x + apart, 3), elbo_terms(plain, x, 3)
    assert torch.allclose(terms.elbo, of_plain.elbo, rtol=0, atol=1e-9)
    wrong = importance_bound(vae.given(LABELS.flip(0)), x + apart, 7, score="density").log_prob
    assert (wrong - expected).abs().max() < 1e-9 if scale == 0 else wrong.mean() < expected.mean()


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_encoder_and_decoder_see_the_labels(network):
    """One label for all images is as many of it; another gives another code and another image."""
    vae, x = model(network=network, hidden=(4,), conditional=3).eval(), images(5)
    one, many, other = (
        vae.given(torch.tensor(labels)) for labels in ([1], [1] * 5, [1, 1, 1, 1, 2])
    )
    z = torch.ones(2, 5, 2)
    for of in (lambda vae: vae.encode(x).mean, lambda vae: vae.decode(z).mean[1]):
        assert torch.equal(of(one), of(many))
        assert torch.allclose(of(other)[:4], of(one)[:4], atol=1e-6)
        assert (of(other)[4] - of(one)[4]).abs().max() > 1e-4
    assert one.name == vae.name and one.state_dict().keys() == vae.state_dict().keys()


def test_stock_svi_trains_it_and_an_embedding_of_ones_own():
    vae = model(conditional=torch.nn.Embedding(3, 2))
    before = vae.embedding.weight.clone()
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    losses = [svi.step(images(), beta=0.5, labels=LABELS) for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10])
    assert (vae.embedding.weight - before).abs().min() > 0


def test_the_programs_of_a_model_with_labels_are_those_with_the_argument():
    vae, x = model(conditional=3), images()
    losses = []
    for programs, options in ((vae, {"labels": LABELS}), (vae.given(LABELS), {})):
        with seeded(0):
            losses.append(Trace_ELBO().loss(programs.model, programs.guide, x, 2.0, **options))
    assert losses[0] == losses[1]


def test_samples_of_a_class_and_codes_for_all_classes():
    """A density of codes belongs to all classes, as the prior does."""
    vae = model(conditional=3).eval()
    fitted = fit_prior(vae.given(LABELS), images(), "gaussian")
    assert fitted.given(torch.tensor([2])).sample(7).shape == (7, *SHAPE)
    assert vae.given(LABELS).reconstruct(images()).shape == (40, *SHAPE)


def test_labels_that_are_missing_or_too_many_are_refused():
    vae, x = model(conditional=3), images(5)
    refused = {
        r"labels: the model is conditional; give them, as in vae.given": lambda: vae.encode(x),
        r"labels: expected one for each of 5 images, got 4": lambda: vae.given(LABELS[:4]).encode(
            x
        ),
        r"labels: expected 5, one for each image, got 40": lambda: elbo_terms(vae.given(LABELS), x),
        r"labels: the model takes none; make it with conditional=": lambda: model().given(LABELS),
        r"conditional: expected at least 1 class, got 0": lambda: model(conditional=0),
        r"conditional: expected features \(N, F\)": lambda: model(conditional=torch.nn.Identity()),
        r"conditional: 0 to 0 cannot be embedded": lambda: model(conditional=torch.nn.Linear(1, 1)),
        r"prior: fails on .*: labels: the model is conditional": lambda: model(
            conditional=3, prior="vamp"
        ),
    }
    for message, refusing in refused.items():
        with pytest.raises(ValueError, match=re.compile(message)):
            refusing()
