"""What the notebooks draw: curves of tables of known figures, and named points."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from drawing import (
    APART,
    Marks,
    Panels,
    curves_of,
    curves_over,
    marks_of,
    mean_curve,
    named_points,
    relative_spectrum,
)


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


# --- curves ---------------------------------------------------------------------------------------

TABLE = pd.DataFrame(
    {
        "likelihood": ["laplace"] * 4 + ["beta"] * 2,
        "beta": [4.0, 4.0, 0.5, 0.5, 0.5, 4.0],
        "bits": [1.0, 3.0, 5.0, 6.0, 7.0, None],
    }
)


def test_each_value_of_a_setting_has_a_curve():
    one, other = curves_over(TABLE, "beta", "bits", by="likelihood", best="lowest")
    assert (one.label, one.x, one.y, one.best) == ("laplace", [0.5, 4.0], [5.5, 2.0], 1)
    assert (other.label, other.x, other.y, other.best) == ("beta", [0.5], [7.0], None)
    assert (one.colour, other.colour) == (0, 1)
    (curve,) = curves_over(TABLE, "beta", "bits")
    assert curve.label == "" and curve.x == [0.5, 4.0]
    with pytest.raises(ValueError, match="by: column: unknown name 'family'"):
        curves_over(TABLE, "beta", "bits", by="family")


def test_measures_side_by_side_have_their_own_colours():
    one, other = curves_of(TABLE.assign(other=[0.0] * 6), "beta", ["bits", "other"])
    assert (one.label, one.colour, one.y) == ("bits", 0, pytest.approx([6.0, 2.0], rel=1e-12))
    assert (other.label, other.colour, other.y) == ("other", 1, [0.0, 0.0])


def test_points_stand_in_the_order_of_their_names():
    marks = marks_of(TABLE, "bits", "likelihood", ["beta", "laplace", "student_t"], "levels")
    assert marks.label == "levels"
    assert marks.x[:2] == [7.0, 3.75] and math.isnan(marks.x[2])


def test_the_spectrum_of_images_of_half_the_contrast_is_a_quarter():
    reference = torch.rand(6, 1, 8, 8)
    curve = relative_spectrum(reference / 2, reference, "half", 2)
    assert curve.label == "half" and curve.x == [1, 2, 3, 4] and curve.colour == 2
    assert curve.y == pytest.approx([0.25] * 4, rel=1e-6)  # float32


def test_a_curve_of_seeds_has_their_mean_and_standard_error():
    curve = mean_curve("a", 2, [1, 2], [[1.0, 5.0], [3.0, 5.0]])
    assert list(curve.y) == [2.0, 5.0] and (curve.colour, curve.dash) == (2, 2)
    assert curve.y_error == pytest.approx([1.0, 0.0], abs=1e-12)  # half the distance of two values
    assert mean_curve("a", 0, [1, 2], [[1.0, 5.0]]).y_error is None
