"""One verdict in words, on models that deserve it."""

import pytest
import torch

from pyro_vae.evaluation.estimates import Estimate
from pyro_vae.evaluation.exact import optimal_linear_vae
from pyro_vae.evaluation.mmd import median_distance, squared_discrepancy
from pyro_vae.evaluation.verdict import explained_share, judge, structure
from pyro_vae.randomness import seeded
from tests.support.linear_gaussian import collapsed, drawn_images, linear_gaussian_vae


@pytest.mark.parametrize(
    "explained, mismatch, word, borderline",
    [
        (0.1, Estimate(0.0, 0.001), "over-regularised", False),
        (0.45, Estimate(0.0, 0.001), "over-regularised", True),
        (0.1, None, "over-regularised", False),
        (0.9, None, "not over-regularised", False),
        (0.9, Estimate(0.2, 0.01), "under-regularised", False),
        (0.9, Estimate(0.04, 0.01), "under-regularised", True),  # two errors from the border
        (0.9, Estimate(0.04, 0.002), "under-regularised", False),
        (0.9, Estimate(0.022, 0.0001), "well regularised", True),
        (0.9, Estimate(0.01, 0.002), "well regularised", False),
    ],
)
def test_the_verdict_on_two_shares(explained, mismatch, word, borderline):
    verdict = judge(explained, mismatch)
    assert verdict.word == word and f"explain {explained:.2f} of what" in verdict.reason
    assert verdict.borderline == borderline
    assert ("another seed could give another" in verdict.reason) == borderline
    assert ("larger beta" in verdict.reason) == (word == "under-regularised")


# --- the share that reconstructions explain -------------------------------------------------------


def test_structure_is_what_columns_have_in_common():
    """One factor in 8 of 20 columns: a component of variance 9, over 2 or more of shuffled ones."""
    torch.manual_seed(0)
    noise = torch.randn(4000, 20, dtype=torch.float64)
    assert structure(noise) < 0.1
    factor = torch.randn(4000, 1, dtype=torch.float64) * (torch.arange(20) < 8)
    assert 6.3 < structure(noise + factor) < 7


@pytest.mark.parametrize("sigma, count", [(0.1, 90), (0.5, 90), (0.5, 1000), (2.0, 1000)])
def test_an_exact_model_explains_all_structure_however_much_noise_there_is(sigma, count):
    """At sigma = 2, 95 % of the pixels' variance is noise, and reconstructions vary by 1 %."""
    vae, _ = linear_gaussian_vae(sigma=sigma)
    assert explained_share(vae, drawn_images(vae, count), seed=7) > 0.9


def test_reconstructions_that_ignore_their_image_explain_nothing():
    vae = collapsed(linear_gaussian_vae(sigma=0.5)[0])
    assert explained_share(vae, drawn_images(vae, 500), seed=7) == 0
    blank, _ = linear_gaussian_vae(sigma=0.5)
    x = drawn_images(blank, 500)
    with torch.no_grad():
        blank.decoder[0].weight.zero_()
    assert explained_share(blank, x, seed=7) < 0.01


@pytest.mark.parametrize("count", [60, 400])
def test_samples_of_an_exact_model_are_like_its_reconstructions_at_any_size(count):
    """The prior and the codes of images have one distribution; a spoilt encoder's have not."""
    exact, spoilt = linear_gaussian_vae(sigma=0.3)[0], linear_gaussian_vae(sigma=0.3, spoil=0.8)[0]
    x = drawn_images(exact, 2 * count)
    words = []
    for vae in (exact, spoilt):
        with seeded(5):
            sets = vae.sample(count), vae.reconstruct(x[count:])
        sets = [images.flatten(1) for images in sets]
        bandwidth = median_distance(x[:count].clamp(0, 1).flatten(1))
        mismatch = squared_discrepancy(*sets, bandwidth)
        words.append(judge(explained_share(vae, x[:count], 5), mismatch).word)
    assert words == ["well regularised", "under-regularised"]


def test_the_optimal_linear_model_explains_its_leading_components(digits):
    """The optimum leaves the other eigenvalues, and no more: shares of the same images agree."""
    x = digits.train.images
    vae = optimal_linear_vae(x, 3, digits.levels)
    with torch.no_grad():
        vae.encoder[-1].bias[3:] = -10  # draws of z are then their means
    centred = x.flatten(1).double() - x.flatten(1).double().mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    rest = centred - centred @ directions[:3].T @ directions[:3]
    with seeded(0):
        expected = 1 - structure(rest) / structure(centred)
    assert explained_share(vae, x) == pytest.approx(expected, abs=0.02)
