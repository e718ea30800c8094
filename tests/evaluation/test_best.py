"""The confidence set of the best setting, on simulated measures whose best setting is known."""

import numpy as np
import pytest
from scipy import stats

from pyro_vae.evaluation.significance import confidence_set, paired_difference

REPEATS = 400


def simulate(rng, means, seeds=3, images=40):
    """Nats (seeds, images) of settings: common images, noise of seeds and noise of single values."""
    common = 5 * rng.normal(size=images)
    settings = []
    for mean in means:
        of_seeds = 0.3 * rng.normal(size=(seeds, 1))
        noise = rng.normal(size=(seeds, images))
        settings.append(common + mean + of_seeds + noise)
    return settings


def coverage(draw, best, **options):
    """The share of repeats in which the set contains the setting that is best by construction."""
    rng = np.random.default_rng(0)
    inside = [confidence_set(draw(rng), **options)[best] for _ in range(REPEATS)]
    return np.mean(inside)


def test_the_truly_best_setting_is_in_the_set_as_often_as_stated():
    """All settings but the best are just worse, which is where errors are most frequent.

    The level is a lower bound, so the test is against it less 5 standard errors of the share.
    """
    slack = 5 * np.sqrt(0.9 * 0.1 / REPEATS)
    paired = coverage(lambda rng: simulate(rng, [0, 0.001, 0]), best=1, level=0.9)
    assert paired >= 0.9 - slack
    of_seeds = coverage(lambda rng: rng.normal(size=(5, 2)), best=0, level=0.9)
    assert of_seeds >= 0.9 - slack
    assert of_seeds < 1, "a set that never leaves anything out covers always"


def test_a_planted_difference_is_found():
    """The gap is ten times the error of a difference, which is about 0.3."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        assert confidence_set(simulate(rng, [0, 3.0, 0, -3.0])) == [False, True, False, False]
    assert confidence_set([[1, 1.1], [5, 5.1], [9, 9.1]], "lowest") == [True, False, False]


def test_pairing_finds_what_images_hide():
    """Images differ by 5 nats, the settings by 1: without pairing 40 images would not tell."""
    rng = np.random.default_rng(2)
    settings = simulate(rng, [0, 1.0], seeds=4)
    assert confidence_set(settings) == [False, True]
    unpaired = stats.ttest_ind(settings[0].mean(0), settings[1].mean(0)).pvalue
    assert unpaired > 0.1


def test_the_limit_is_that_of_the_tests():
    """The level at which a setting falls out, against the p-values in closed form."""
    rng = np.random.default_rng(3)
    settings = simulate(rng, [0.0, 0.4, 0.2])
    one_sided = []
    for other in (settings[1], settings[2]):
        found = paired_difference(other, settings[0])
        one_sided.append(stats.t.sf(found.mean / found.standard_error, found.degrees))
    falls_out = 1 - 2 * min(one_sided)  # two other settings
    assert not confidence_set(settings, level=falls_out - 1e-9)[0]
    assert confidence_set(settings, level=falls_out + 1e-9)[0]


def test_the_limit_over_seeds_is_that_of_a_pooled_t():
    one, other = np.array([1.0, 2.0]), np.array([4.0, 6.0])
    p_value = stats.ttest_ind(other, one, alternative="greater").pvalue  # pools the variances
    assert not confidence_set([one, other], level=1 - p_value - 1e-9)[0]
    assert confidence_set([one, other], level=1 - p_value + 1e-9)[0]


def test_settings_without_any_spread():
    assert confidence_set([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]) == [True, True, False]


@pytest.mark.parametrize(
    "settings, options, message",
    [
        ([[1, 2], [1, 2]], {"best": "nearest"}, "best: unknown name 'nearest'"),
        ([[1, 2], [1, 2]], {"level": 1}, "level: expected a probability between 0 and 1, got 1"),
        ([[1, 2]], {}, r"settings: expected two or more.*got \[\(2,\)\]"),
        ([[1], [2]], {}, r"of two seeds or more, got \[\(1,\), \(1,\)\]"),
        ([[1, 2], [[1, 2], [1, 2]]], {}, "all .S, N. or all .S,."),
        ([[1, 2], [1, float("nan")]], {}, "settings: expected finite values, got NaN"),
    ],
)
def test_what_cannot_be_compared_is_refused(settings, options, message):
    with pytest.raises(ValueError, match=message):
        confidence_set(settings, **options)
