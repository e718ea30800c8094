"""Named points: where they stand, their bars, and the labels of their axes."""

import math

import numpy as np
import pytest

from pyro_vae.figures.side_by_side import APART, Marks, Panels, named_points


def rows():
    bits = [Marks("levels", [1.0, 2.0], [0.1, math.nan]), Marks("density", [3.0, math.nan], [0, 0])]
    looseness = [Marks("levels", [5.0, 6.0], [1.0, 2.0])]
    panels = {"bits per dimension": bits, "looseness (nats)": looseness}
    return [Panels("mnist $", ["beta", "laplace"], panels)]


def test_points_stand_beside_their_names():
    left, right = named_points(rows()).axes
    assert [t.get_text() for t in left.get_yticklabels()] == ["beta", "laplace"]
    assert left.get_xlabel() == "bits per dimension" and right.get_xlabel() == "looseness (nats)"
    assert left.get_title(loc="left") == r"mnist \$"
    levels, density = left.containers
    assert list(levels.lines[0].get_xdata()) == [1.0, 2.0]
    assert np.allclose(levels.lines[0].get_ydata(), [-APART / 2, 1 - APART / 2])
    assert np.allclose(density.lines[0].get_ydata(), [APART / 2, 1 + APART / 2])
    bars = levels.lines[2][0].get_segments()
    assert np.allclose(bars[0][:, 0], [0.9, 1.1]) and np.allclose(bars[1][:, 0], [2.0, 2.0])
    (alone,) = right.containers
    assert list(alone.lines[0].get_ydata()) == [0.0, 1.0]
    assert alone.lines[0].get_color() == levels.lines[0].get_color()
    assert density.lines[0].get_color() != levels.lines[0].get_color()
    low, high = left.get_ylim()
    assert low > high, "the first name is at the top"


def test_the_legend_names_the_kinds_once():
    (legend,) = named_points(rows()).legends
    assert [t.get_text() for t in legend.get_texts()] == ["levels", "density"]
    unnamed = Panels("", ["a"], {"x (nats)": [Marks("", [1.0], [0.0])]})
    assert named_points([unnamed]).legends == []


def test_rows_of_panels_share_their_names():
    figure = named_points(rows() * 2)
    assert len(figure.axes) == 4


def test_uneven_rows_are_refused():
    uneven = [*rows(), Panels("", ["a"], {})]
    with pytest.raises(ValueError, match=r"rows: expected some with the same number.*\{0, 2\}"):
        named_points(uneven)
    with pytest.raises(ValueError, match="rows: expected some"):
        named_points([])
