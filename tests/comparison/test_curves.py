"""Curves and points from tables of known figures."""

import math

import pandas as pd
import pytest
import torch

from pyro_vae.comparison.curves import (
    curves_of,
    curves_over,
    marks_of,
    rate_distortion_curve,
    relative_spectrum,
)

TABLE = pd.DataFrame(
    {
        "likelihood": ["laplace"] * 4 + ["beta"] * 2,
        "beta": [4.0, 4.0, 0.5, 0.5, 0.5, 4.0],
        "bits": [1.0, 3.0, 5.0, 6.0, 7.0, None],
    }
)


def test_a_curve_has_the_means_over_seeds_in_order():
    one, other = curves_over(TABLE, "beta", "bits", by="likelihood", best="lowest")
    assert (one.label, one.x, one.y) == ("laplace", [0.5, 4.0], [5.5, 2.0])
    assert one.y_error == pytest.approx([0.5, 1.0], rel=1e-12) and one.best == 1
    assert (other.label, other.x, other.y, other.best) == ("beta", [0.5], [7.0], 0)
    assert (one.colour, other.colour) == (0, 1)


def test_without_a_setting_there_is_one_curve_without_a_ring():
    (curve,) = curves_over(TABLE, "beta", "bits")
    assert curve.label == "" and curve.best is None and curve.x == [0.5, 4.0]


def test_points_stand_in_the_order_of_their_names():
    marks = marks_of(TABLE, "bits", "likelihood", ["beta", "laplace", "student_t"], "levels")
    assert marks.label == "levels"
    assert marks.x[:2] == [7.0, 3.75] and math.isnan(marks.x[2])


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="by: column: unknown name 'family'"):
        curves_over(TABLE, "beta", "bits", by="family")
    with pytest.raises(ValueError, match="best: unknown name 'top'"):
        curves_over(TABLE, "beta", "bits", best="top")


def test_measures_side_by_side_have_their_own_colours():
    table = TABLE.assign(other=[0.0] * 6)
    one, other = curves_of(table, "beta", ["bits", "other"])
    assert (one.label, one.colour, one.y) == ("bits", 0, pytest.approx([6.0, 2.0], rel=1e-12))
    assert (other.label, other.colour, other.y) == ("other", 1, [0.0, 0.0])


def test_the_plane_leads_from_the_smallest_beta_to_the_largest():
    figures = {"beta": [4.0, 1.0, 1.0], "test.rate_nats": [3.0, 5.0, 7.0]}
    curve = rate_distortion_curve(pd.DataFrame(figures | {"test.distortion_nats": [9.0, 2.0, 6.0]}))
    assert (curve.x, curve.y) == ([6.0, 3.0], [4.0, 9.0]) and curve.ends == ("beta 1", "beta 4")
    assert curve.x_error[0] == pytest.approx(1.0) and curve.y_error[0] == pytest.approx(2.0)


def test_the_spectrum_of_images_of_half_the_contrast_is_a_quarter():
    reference = torch.rand(6, 1, 8, 8)
    curve = relative_spectrum(reference / 2, reference, "half", 2)
    assert curve.label == "half" and curve.x == [1, 2, 3, 4] and curve.colour == 2
    assert curve.y == pytest.approx([0.25] * 4, rel=1e-6)  # float32
