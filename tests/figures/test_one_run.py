"""Figures of one run from arrays: what is drawn is what was given."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from pyro_vae.figures import one_run as figures

rng = np.random.default_rng(0)


def test_tile_puts_every_image_in_its_place():
    images = rng.random((5, 1, 3, 2))
    picture = figures.tile(images, 2)
    assert picture.shape == (3 * 4 - 1, 2 * 3 - 1, 3)
    assert np.array_equal(picture[4:7, 3:5, 1], images[3, 0])
    assert (picture[8:11, 3:5] == 1).all()  # no sixth image: white
    colour = rng.random((1, 3, 3, 2))
    assert np.array_equal(figures.tile(colour, 1), colour[0].transpose(1, 2, 0))


def test_originals_stand_over_their_reconstructions():
    originals, reconstructions = rng.random((2, 16, 1, 4, 4))
    axes = figures.reconstruction_grid(originals, reconstructions).axes[0]
    shown = axes.images[0].get_array()
    assert np.array_equal(shown[0:4, 0:4, 0], originals[0, 0])
    assert np.array_equal(shown[5:9, 0:4, 0], reconstructions[0, 0])
    assert np.array_equal(shown[10:14, 0:4, 0], originals[8, 0])


def test_named_rows_stand_beside_their_names():
    above, below = rng.random((2, 3, 1, 4, 5))
    axes = figures.named_rows({"above": above, "below": below}, "title").axes[0]
    shown = axes.images[0].get_array()
    assert np.array_equal(shown[0:4, 6:11, 0], above[1, 0])
    assert np.array_equal(shown[5:9, 6:11, 0], below[1, 0])
    places = dict(zip([t.get_text() for t in axes.get_yticklabels()], axes.get_yticks()))
    assert places == {"above": 1.5, "below": 6.5}  # the middle rows of pixels


def labelled(figure):
    assert isinstance(figure, Figure)
    return all(a.get_xlabel() and a.get_ylabel() for a in figure.axes if a.axison)


def test_learning_curves():
    metrics = {"epoch": [1, 2, 3]}
    for term in ("elbo", "rate", "distortion"):
        metrics[f"train_{term}"], metrics[f"test_{term}"] = [1.0, 2, 3], [None, 2.0, 3.0]
    figure = figures.learning_curves(metrics)
    assert labelled(figure)
    assert [len(a.lines) for a in figure.axes] == [2, 2, 2]
    assert list(figure.axes[1].lines[0].get_ydata()) == [1, 2, 3]


def test_learning_curves_of_a_point_posterior_say_so():
    metrics = {"epoch": [1], "train_distortion": [1.0], "test_distortion": [2.0]}
    metrics |= {f"{s}_{t}": [float("nan")] for s in ("train", "test") for t in ("elbo", "rate")}
    figure = figures.learning_curves(metrics)
    assert [len(a.lines) for a in figure.axes] == [0, 0, 2]
    assert "point posterior" in figure.axes[0].texts[0].get_text()


@pytest.mark.parametrize("mean, collapsed", [([2.0, 0.001, 1.0], 1), ([0.0, 0.0], 2)])
def test_kl_histogram_counts_the_collapsed(mean, collapsed):
    figure = figures.kl_histogram(np.tile(mean, (256, 1)))
    assert labelled(figure)
    assert f"{collapsed} of {len(mean)} components collapsed" in figure.get_suptitle()
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == pytest.approx(sorted(mean, reverse=True))
    assert sum(bar.get_height() for bar in figure.axes[1].patches) >= len(mean)


def test_progress_shows_both():
    figure = figures.progress(rng.random((16, 3, 4, 4)), rng.random((16, 3, 4, 4)),
                              rng.random((32, 3, 4, 4)), 7)  # fmt: skip
    assert "epoch 7" in figure.get_suptitle()
    assert len(figure.axes) == 2


def test_a_ladder_shows_each_rung_with_its_error():
    rungs = {"elbo": (-3.0, 0.5), "importance_bound": (-2.0, math.nan)}
    (axes,) = figures.ladder(rungs).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["elbo", "importance bound"]
    assert axes.lines[0].get_xdata().tolist() == [-3, -2]
    (bars,) = axes.collections
    assert [s[:, 0].tolist() for s in bars.get_segments()] == [[-3.5, -2.5], [-2, -2]]


def test_rank_histograms_show_the_first_and_the_last():
    ranks = np.arange(1000).reshape(-1, 1).repeat(12, 1) % 100
    names = [f"z{n}" for n in range(11)] + ["log p(x|z)"]
    figure = figures.rank_histograms(ranks, 99, names)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [*names[:8], "log p(x|z)"]
    for axes in figure.axes:
        assert [patch.get_height() for patch in axes.patches[1:]] == [50] * 20  # after the band


def test_the_marginals_of_a_prior_like_q_are_the_prior():
    """One posterior per component at 0 with scale 1: every line is the dashed one."""
    (axes,) = figures.marginals(np.zeros((5, 3)), np.ones((5, 3))).axes
    lines = [line.get_ydata() for line in axes.lines if len(line.get_ydata())]
    assert len(lines) == 4 and all(np.allclose(line, lines[-1]) for line in lines)


def test_the_quantiles_of_normals_lie_on_the_diagonal():
    z = np.random.default_rng(0).normal(size=(100_000, 2)) * [1, 2]
    (axes,) = figures.quantiles(z).axes
    narrow, wide, normal = (line.get_ydata() for line in axes.lines[:3])
    assert np.abs(narrow - normal).max() < 0.05 and np.abs(wide - 2 * normal).max() < 0.1


def test_moments_and_spectra_are_drawn_as_given():
    shift = np.arange(6.0).reshape(2, 3)
    (axes,) = figures.posterior_moments(shift, shift + 1).axes
    points = [line for line in axes.lines if line.get_marker() in "o^"]
    assert [line.get_xdata().tolist() for line in points] == shift.tolist()
    assert [line.get_ydata().tolist() for line in points] == (shift + 1).tolist()
    curve = (np.arange(1, 4), np.array([1.0, 0.1, 0.01]))
    (axes,) = figures.power_spectra({"data": curve, "samples": curve}).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["data", "samples"]
    assert axes.lines[1].get_ydata().tolist() == curve[1].tolist()
