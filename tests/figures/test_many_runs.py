"""Figures of many runs from curves."""

import pytest

from pyro_vae.figures.many_runs import (
    Curve,
    elbo_over_epochs,
    over_setting,
    rate_distortion,
)


def test_a_measure_is_drawn_where_it_was_measured():
    curve = Curve("a", 0, 0, [0, 0.5, 1, 2], [1, 2, 3, 4.0], [0.1] * 4, best=3)
    figure = over_setting([curve], "t", "beta", "bits", level=1.5, level_label="floor")
    (axes,) = figure.axes
    line, between = axes.lines[0], axes.lines[-1]
    (ring,) = (line for line in axes.lines if line.get_label() == "_best")
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "beta"
    assert list(line.get_ydata()) == [1, 2, 3, 4] and list(line.get_xdata()[1:]) == [0.5, 1, 2]
    assert 0 < line.get_xdata()[0] < between.get_xdata()[0] < 0.5
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0", "0.5", "1", "2"]
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (2, 4)
    (bars,) = axes.collections
    assert bars.get_segments()[3][:, 1] == pytest.approx([3.9, 4.1])
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a", "floor"]


def test_components_that_are_all_in_use_lie_on_the_dotted_line():
    curves = [Curve("a", 0, 0, [2, 8], [2, 5]), Curve("b", 1, 0, [2, 32], [2, 8])]
    (axes,) = over_setting(curves, "t", "size", "active", diagonal_label="all").axes
    (every,) = (line for line in axes.lines if line.get_label() == "all")
    assert list(every.get_xdata()) == list(every.get_ydata()) == [2, 8, 32]
    low, high = axes.get_xlim()
    assert 1 < low < 2 and 32 < high < 64  # nothing but the data
    drawn = [(c.get_color(), c.get_linestyle(), c.get_marker()) for c in axes.lines[:2]]
    assert drawn[0][0] != drawn[1][0] and drawn[0][2] != drawn[1][2]


def test_a_count_that_stays_the_same_has_a_whole_number_at_its_tick():
    (axes,) = over_setting([Curve("a", 0, 0, [0.25, 4], [8, 8])], "t", "beta", "active").axes
    low, high = axes.get_ylim()
    assert [tick for tick in axes.get_yticks() if low <= tick <= high] == [8]


def test_the_plane_names_the_ends_of_a_line():
    curve = Curve("a", 0, 0, [5, 3], [1, 2.0], ends=("0.5", "4"))
    (axes,) = rate_distortion([curve], "t").axes
    assert list(axes.lines[0].get_xdata()) == [5, 3] and list(axes.lines[0].get_ydata()) == [1, 2]
    assert [(t.get_text(), t.xy) for t in axes.texts] == [("0.5", (5, 1)), ("4", (3, 2))]


def test_the_start_of_training_does_not_squeeze_its_end():
    curve = Curve("a", 0, 0, range(1, 21), [-1e6, -1e3, *range(-18, 0)])
    (axes,) = elbo_over_epochs([curve], "t").axes
    low, high = axes.get_ylim()
    assert -20 < low < -18 and -1 < high < 0


def test_a_level_that_was_not_measured_is_not_drawn():
    curve = Curve("", 0, 0, [1, 2], [1, 2.0])
    figure = over_setting([curve], "t", "beta", "bits", float("nan"), "floor")
    assert len(figure.axes[0].lines) == 1 and figure.legends == []


@pytest.mark.parametrize("label", ["hidden=64x64x64, learning_rate=0.004, " * 3, "long" * 40])
def test_long_names_are_not_cut_at_the_edge(label):
    curves = [Curve(f"{label}beta={n}", n, 0, [1, 2], [n, n]) for n in range(3)]
    figure = elbo_over_epochs(curves, "runs")
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box, page = legend.get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0
    assert figure.axes[0].get_window_extent().height > 100
