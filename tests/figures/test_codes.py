"""Figures of codes: states of components, a map, and codes beside the prior."""

import numpy as np
import pytest

from pyro_vae.figures import one_run as figures
from tests.support.figures import labelled


def test_components_have_three_states():
    """Active, idle although it has a rate, and collapsed; both thresholds are drawn."""
    rates, variances = [2.0, 0.5, 0.001], [0.9, 0.001, 0.0]
    bars, plane = figures.component_panels(rates, variances)
    assert labelled(bars) and labelled(plane)
    assert [bar.get_height() for bar in bars.axes[0].patches] == rates
    names = [text.get_text() for text in plane.legends[0].get_texts()]
    assert names == ["1 active", "1 idle", "1 collapsed"]
    points = [line.get_xydata().tolist() for line in plane.axes[0].lines[:3]]
    assert points == [[[0.9, 2.0]], [[0.001, 0.5]], [[1e-5, 0.001]]]
    lines = plane.axes[0].lines[3:]
    assert lines[0].get_xdata()[0] == 0.01 == lines[1].get_ydata()[0]


def test_a_component_whose_mean_varies_is_active_whatever_its_rate():
    figure = figures.components([0.005], [0.011])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["1 active", "0 idle", "0 collapsed"] and labelled(figure)


def test_labels_stand_where_their_codes_are():
    points = np.array([[0, 0], [1, 0], [0, 1], [5, 5], [6, 6], [7, 7.0]])
    (axes,) = figures.latent_map(points, np.array([3, 3, 3, 8, 8, 8]), ("a", "b")).axes
    assert {t.get_text(): t.get_position() for t in axes.texts} == {"3": (0, 0), "8": (6, 6)}
    first, second = axes.collections
    assert first.get_offsets().tolist() == points[:3].tolist()
    assert first.get_facecolor().tolist() != second.get_facecolor().tolist()


@pytest.mark.parametrize("labels", [None, np.arange(30)])
def test_codes_without_few_labels_have_no_names(labels):
    (axes,) = figures.latent_map(np.random.default_rng(0).random((30, 2)), labels, ("a", "b")).axes
    assert len(axes.collections[0].get_offsets()) == 30 and not axes.texts
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a", "b")


def test_the_marginals_are_those_of_the_components_whose_means_vary_most():
    loc = np.linspace(-1, 1, 5)[:, None] * [0.1, 3.0, 1.0]
    few, all_of_them = (
        figures.marginals(x, np.ones_like(x), at_most=2).axes[0] for x in (loc, loc[:, 1:])
    )
    for line, other in zip(few.lines, all_of_them.lines, strict=True):
        assert np.array_equal(line.get_ydata(), other.get_ydata())


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
