"""Probabilities of grey levels: references, totals and means, for every family."""

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import stats
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_vae.likelihoods.distributions import Logistic
from pyro_vae.likelihoods.levels import BetaBinomialLevels, Quantized, log_prob_of_levels
from tests.support.families import MASSES, PIXEL, build, grid, log_masses, outputs_for
from tests.support.linear_gaussian import ACCEPTED
from tests.support.references import REFERENCES


@pytest.mark.slow
@pytest.mark.parametrize("name, levels", MASSES)
def test_log_probability_of_a_level_agrees_with_the_reference(name, levels):
    """To 1e-6 nats, at random and extreme outputs; with 40 sigma tails: 50 / 0.25 is 200 sigma."""
    family = build(name, levels=levels)
    outputs = outputs_for(family, 15)
    if name == "beta":  # whose reference takes long; `test_special` has its bins at all extremes
        outputs = outputs[::5]
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


@pytest.mark.slow
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


def test_the_mean_of_many_levels_takes_few_operations():
    """An exported decoder has as many nodes; with one level at a time there were 6,000."""
    mean = lambda loc: Quantized(Logistic(loc, torch.tensor(0.1)), 256).mean  # noqa: E731
    assert len(make_fx(mean)(torch.rand(2, 3)).graph.nodes) < 1000


@pytest.mark.parametrize("a, b", [(0.01, 0.01), (0.3, 7.0), (30.0, 2.0), (1e4, 0.01), (1e4, 1e4)])
def test_beta_binomial_levels_are_scipys_and_so_are_their_draws(a, b):
    """Over all that the bounds of the parameters allow; draws by a chi-square, in float32."""
    levels, count = 256, 50_000
    p = BetaBinomialLevels(torch.tensor(a), torch.tensor(b), levels)
    reference = stats.betabinom(levels - 1, p.a.item(), p.b.item())
    log_prob = p.log_prob(grid(levels, torch.float32)).numpy()
    assert np.allclose(log_prob, reference.logpmf(range(levels)), rtol=1e-6, atol=1e-6)  # float32
    v = p.sample((count,)) * (levels - 1)
    assert torch.allclose(v, v.round(), atol=1e-4)
    seen = torch.bincount(v.round().long(), minlength=levels).numpy()
    expected = count * reference.pmf(range(levels))
    common = expected > 5
    rest = seen[~common].sum(), expected[~common].sum()
    if rest[1] > 5:
        seen, expected = np.append(seen[common], rest[0]), np.append(expected[common], rest[1])
    else:
        assert rest[0] < 20  # of Poisson's 5: once in 10^6
        seen, expected = seen[common], expected[common]
    chi_square = ((seen - expected) ** 2 / expected).sum()
    assert stats.chi2.sf(chi_square, len(seen)) > ACCEPTED


def test_a_categorical_in_pieces_equals_the_whole():
    """Values and gradients, of one model and of an ensemble, equal those of all logits at once."""
    torch.manual_seed(0)
    features, weight = torch.randn(2, 700, 8).double(), torch.randn(2, 256, 8).double()
    bias, level = torch.randn(2, 256).double(), torch.randint(256, (2, 700))
    factor = torch.randn(700, dtype=torch.float64)  # 700 rows make two pieces

    def whole(*learned_and_level):
        *learned, level = learned_and_level
        logits = torch.nn.functional.linear(*learned)
        return factor @ logits.log_softmax(-1).gather(-1, level[:, None]).squeeze(-1)

    def in_pieces(*args):
        return factor @ log_prob_of_levels(*args)

    given = features, weight, bias, level
    results = [
        torch.func.vmap(torch.func.grad_and_value(function, (0, 1, 2)))(*given)
        for function in (whole, in_pieces)
    ]
    learned = [t[0].clone().requires_grad_() for t in given[:3]]
    backward = torch.autograd.grad(in_pieces(*learned, level[0]), learned)
    for a, b, c in zip(results[0][0], results[1][0], backward):
        assert torch.allclose(a, b, rtol=0, atol=1e-12) and torch.allclose(b[0], c, rtol=1e-13)
    assert torch.allclose(results[0][1], results[1][1], rtol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["gaussian_shared_sigma", "gaussian_image_sigma", "laplace"])
def test_bins_by_kind_are_the_bins(name, dtype):
    """Without gradients of the scale, end bins and others are computed apart; far tails too.

    Without any gradients they are as well.
    """
    family = build(name, (1, 2, 2), dtype=dtype)
    torch.manual_seed(0)
    outputs = 3 * torch.randn(5, 3, family.channels, 2, 2, dtype=dtype)
    outputs[0, 0, 0] = 40.0
    x = torch.randint(-300, 556, (3, 1, 2, 2)).clamp(0, 255).to(dtype) / 255
    found = []
    for fixed in (False, True):
        given = outputs.clone().requires_grad_()
        value = family.requires_grad_(not fixed).mass(given).log_prob(x)
        found.append((value.detach(), *torch.autograd.grad(value.sum(), given)))
    rtol = 1e-5 if dtype == torch.float32 else 1e-12
    with torch.no_grad():
        assert torch.allclose(family.mass(outputs).log_prob(x), found[0][0], rtol=rtol)
    for plain, by_kind in zip(*found):
        assert torch.allclose(plain, by_kind, rtol=rtol)


@pytest.mark.parametrize("transform", [lambda f: f, torch.func.grad])
def test_levels_of_many_images_are_scored_under_vmap(transform):
    x = torch.randint(17, (3, 1, 2, 2)).double() / 16
    for name in (name for name, levels in MASSES if levels == 17):
        family = build(name, (1, 2, 2), levels=17).requires_grad_(False)
        outputs = torch.randn(3, family.channels, 2, 2, dtype=torch.float64)

        def score(outputs, x, family=family):
            return family.mass(outputs).log_prob(x)

        found = torch.func.vmap(transform(score))(outputs, x)
        one_by_one = torch.stack([transform(score)(*pair) for pair in zip(outputs, x)])
        assert torch.allclose(found, one_by_one, rtol=1e-9, atol=1e-9), name


class Exponentials(TorchDispatchMode):
    """Counts the exponentials that are computed."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if function.overloadpacket in (torch.ops.aten.exp, torch.ops.aten.exp_):
            self.count += found.numel()
        return found


def test_what_a_shared_sigma_needs_is_computed_once():
    """Of a bin inside two exponentials are left, of an end bin one."""
    family = build("gaussian_fixed_sigma", (1, 28, 28))
    outputs, x = torch.rand(8, 3, 1, 28, 28, requires_grad=True), torch.rand(3, 1, 28, 28)
    x = (255 * (3 * x - 1).clamp(0, 1)).round() / 255
    with Exponentials() as counted:
        family.mass(outputs).log_prob(x)
    ends = ((x == 0) | (x == 1)).sum().item()
    assert 0 < counted.count - 8 * (2 * (x.numel() - ends) + ends) < 50
