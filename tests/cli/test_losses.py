"""A loss of another VAE and its ELBO have the same gradient up to a factor, in each line of the table."""

import re

import pytest
import torch
from torch.distributions import Bernoulli, Laplace, Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss, mse_loss

import pyro_vae as pv
from pyro_vae.cli.losses import PLAIN, REDUCTIONS, beta_of, kl_weight_of
from pyro_vae.cli.main import main
from tests.support.house import ROOT

PAGE = (ROOT / "docs" / "losses.md").read_text()
TABLE = re.findall(r"^\| (\w+) \| (\w+) \| `(.+)` \|$", PAGE, re.M)
PIXELS, COUNT = 16, 5
ERRORS = {"mse": mse_loss, "l1": l1_loss, "bce": binary_cross_entropy_with_logits}
DENSITIES = {"mse": Normal, "l1": Laplace, "bce": lambda out, scale: Bernoulli(logits=out)}


def terms():
    """Weights, binary images, the decoder's outputs for drawn codes, and the KL of each image."""
    torch.manual_seed(0)
    vae = pv.VAE((1, 4, 4), 3, "bernoulli", hidden=(7,), levels=2).double()
    x = torch.rand(COUNT, 1, 4, 4, dtype=torch.float64).round()
    q = vae.encode(x)
    kl = kl_divergence(q, vae.prior)
    return list(vae.parameters()), x, vae.outputs(q.rsample()), kl


def gradient(loss, weights):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])


def of_loss(loss, reduction, kl_weight):
    """The gradient of a loss as it is written by hand."""
    weights, x, out, kl = terms()
    if reduction == "mean":
        return gradient(ERRORS[loss](out, x) + kl_weight * kl.mean(), weights)
    total = ERRORS[loss](out, x, reduction="sum") + kl_weight * kl.sum()
    return gradient(total / (COUNT if reduction == "batchmean" else 1), weights)


def of_elbo(loss, scale, beta):
    """The gradient of distortion + beta * rate."""
    weights, x, out, kl = terms()
    log_prob = DENSITIES[loss](out, scale).log_prob(x).sum((1, 2, 3))
    return gradient((beta * kl - log_prob).mean(), weights)


def angle(one, other):
    return 1 - torch.cosine_similarity(one, other, dim=0).item()


@pytest.mark.parametrize("loss, reduction, formula", TABLE)
def test_a_loss_has_the_direction_of_the_elbo_that_the_table_names(loss, reduction, formula):
    kl_weight = 0.3
    hand = of_loss(loss, reduction, kl_weight)
    for sigma in (0.1, 0.7, 3.0):
        beta = eval(formula, {"kl_weight": kl_weight, "pixels": PIXELS, "sigma": sigma})
        assert angle(hand, of_elbo(loss, sigma, beta)) < 1e-12  # rounding
        assert angle(hand, of_elbo(loss, sigma, 1.2 * beta)) > 1e-9
        assert beta_of(loss, reduction, kl_weight, PIXELS, sigma) == pytest.approx(beta, rel=1e-12)
        again = kl_weight_of(loss, reduction, beta, PIXELS, sigma)
        assert again == pytest.approx(kl_weight, rel=1e-12)


def test_the_table_has_every_line():
    assert [line[:2] for line in TABLE] == [(loss, r) for loss in PLAIN for r in REDUCTIONS]


@pytest.mark.parametrize("loss", PLAIN)
def test_the_plain_scale_is_that_whose_density_is_the_summed_error(loss):
    hand, ours = of_loss(loss, "batchmean", 2.0), of_elbo(loss, PLAIN[loss], 2.0)
    assert (hand - ours).abs().max() < 1e-12


def test_the_page_shows_what_is_printed_and_where_the_same_model_is(capsys):
    command = re.search(r"```sh\npyro-vae (explain-loss .*)\n", PAGE)[1]
    assert main(command.split()) == 0
    printed = capsys.readouterr().out
    assert f"```text\n{printed}```" in PAGE
    scale = float(re.search(r"beta 1, sigma (\S+):", printed)[1])
    assert beta_of("mse", "mean", 0.00025, 12288, scale) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("loss", PLAIN)
def test_the_weight_of_a_beta_is_told(capsys, loss):
    options = ["--loss", loss, "--pixels", "784", "--reduction", "mean", "--beta", "4"]
    assert main(["explain-loss", *options, *(["--sigma", "0.1"] if loss != "bce" else [])]) == 0
    weight = {"mse": "0.000102041", "l1": "0.000510204", "bce": "0.00510204"}[loss]
    said = capsys.readouterr().out
    assert f"+ {weight} KL" in said and "  beta 4" in said
    assert max(map(len, said.splitlines())) < 80


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "explain-loss: give --kl-weight, or --beta to be told the weight"),
        (["--beta", "1", "--kl-weight", "1"], "explain-loss: give --kl-weight, or --beta"),
        (["--beta", "1", "--loss", "bce", "--sigma", "1"], "sigma: bce has none"),
        (["--beta", "0"], "argument --beta: expected a number over 0, got '0'"),
        (["--kl-weight", "inf"], "argument --kl-weight: expected a number over 0, got 'inf'"),
        (["--loss", "mae"], "argument --loss: unknown name 'mae'"),
    ],
)
def test_what_cannot_be_explained(capsys, options, message):
    assert main(["explain-loss", "--pixels", "9", *options]) == 2
    assert message in capsys.readouterr().err
