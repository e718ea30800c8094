"""Figures of one run from arrays: what is drawn is what was given."""

import math

import numpy as np

from pyro_vae.figures import one_run as figures
from tests.support.figures import labelled

rng = np.random.default_rng(0)


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


def test_a_ladder_shows_each_gap_with_its_error():
    gaps = {"ELBO": (3.0, 0.5), "importance bound": (0.25, math.nan)}
    (axes,) = figures.ladder(gaps, "-90.1 ± 2.1 nats").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ELBO", "importance bound"]
    assert [bar.get_width() for bar in axes.patches] == [3, 0.25]
    (bars,) = axes.collections
    assert [b[:, 0].tolist() for b in bars.get_segments()] == [[2.5, 3.5], [0.25, 0.25]]
    assert "-90.1" in axes.get_title() and axes.get_ylim()[0] > axes.get_ylim()[1]  # first on top


def test_rank_histograms_show_the_first_and_the_last():
    ranks = np.arange(1000).reshape(-1, 1).repeat(12, 1) % 100
    names = [f"z{n}" for n in range(11)] + ["log p(x|z)"]
    figure = figures.rank_histograms(ranks, 99, names)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [*names[:8], "log p(x|z)"]
    for axes in figure.axes:
        assert [patch.get_height() for patch in axes.patches[1:]] == [50] * 20  # after the band


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
