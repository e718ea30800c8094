"""Curves from tables of known figures."""

import math

import pandas as pd
import pytest

from pyro_vae.comparison.plots import (
    MOST_LINES,
    curve_over,
    over,
    panels,
    plane,
    rate_distortion_curve,
    styles,
)
from pyro_vae.comparison.table import COMPARED, lines
from tests.support.made_up import group_of, make_up_run, make_up_study

TABLE = pd.DataFrame(
    {
        "beta": [4.0, 4.0, 0.5, 0.5, 8.0, 2.0],
        "bits": [1.0, 3.0, 5.0, 6.0, None, 0.5],
        "bits.standard_error": [0.1] * 6,
    }
)


def test_a_curve_has_the_means_over_seeds_in_order():
    curve = curve_over(TABLE, "beta", "bits", best="lowest")
    assert (curve.x, curve.y) == ([0.5, 2.0, 4.0], [5.5, 0.5, 2.0])
    assert curve.y_error == pytest.approx([0.5, math.nan, 1.0], rel=1e-12, nan_ok=True)
    assert curve.best == 1
    without = curve_over(TABLE[["beta", "bits"]], "beta", "bits")
    assert math.isnan(without.y_error[1]) and without.best is None


@pytest.mark.parametrize("best, place", [("highest", 2), ("lowest", 0), ("nearest 1", 1)])
def test_the_best_of_several_points_has_a_ring(best, place):
    table = pd.DataFrame({"beta": [0, 2, 4], "sharpness": [0.3, 1.2, 1.9]})
    assert curve_over(table, "beta", "sharpness", best).best == place
    assert curve_over(table[:1], "beta", "sharpness", best).best is None
    assert {measure.best for measure in COMPARED.values()} == {"", "highest", "lowest", "nearest 1"}


def test_the_plane_leads_from_the_smallest_beta_to_the_largest():
    figures = {"beta": [4.0, 1.0, 1.0, 2.0], "test.rate_nats": [3.0, 5.0, 7.0, None]}
    distortions = {"test.distortion_nats": [9.0, 2.0, 6.0, 1.0]}
    curve = rate_distortion_curve(pd.DataFrame(figures | distortions))
    assert (curve.x, curve.y) == ([6.0, 3.0], [4.0, 9.0]) and curve.ends == ("1", "4")
    assert curve.x_error[0] == pytest.approx(1.0) and curve.y_error[0] == pytest.approx(2.0)


@pytest.mark.usefixtures("elsewhere")
def test_families_have_dashes_and_other_settings_colours():
    make_up_study("x")
    make_up_run("x/large", latent_dim=9)
    group = group_of("x")
    assert group.scales == ["density", "levels"]
    assert styles(group.table, ["likelihood"]) == {
        "gaussian_shared_sigma": (0, 0),
        "discretized_logistic": (1, 1),
    }
    assert styles(group.table, ["likelihood", "latent_dim"]) == {
        "gaussian_shared_sigma, latent dim 3": (0, 0),
        "gaussian_shared_sigma, latent dim 9": (1, 0),
        "discretized_logistic, latent dim 3": (0, 1),
    }


@pytest.mark.usefixtures("elsewhere")
def test_of_very_many_lines_those_with_the_best_runs_are_drawn():
    for size in range(MOST_LINES + 6):
        make_up_run(f"x/{size}", bits=float(size), latent_dim=size + 1)
    (panel,) = panels(group_of("x"), ["latent_dim"], own_scale=False)
    names = [f"latent dim {size + 1}" for size in range(MOST_LINES)]
    assert [name for name, _ in panel.lines] == names
    assert panel.words == " Of 30 lines, the 24 with the best runs are drawn."


@pytest.mark.usefixtures("elsewhere")
def test_runs_have_their_folders_names_where_these_differ():
    for seed, folder in enumerate(("x/a", "y/a", "x/b")):
        make_up_run(folder, seed=seed)
    assert group_of("x", "y").table["run"].tolist() == ["x/a", "b", "y/a"]


@pytest.mark.usefixtures("elsewhere")
def test_an_autoencoder_stands_at_no_beta():
    """It has a setting of that name, which scales nothing, and is left out of what runs over it."""
    for beta in (1.0, 4.0):
        make_up_run(f"x/{beta:g}", beta=beta)
    make_up_run("x/alone", model="autoencoder", bits=None, elbo=None, rate=None)
    group = group_of("x")
    assert group.table["beta"].tolist() == [1.0, 4.0, None]
    names = [name for name, _ in lines(group.table, ["model", "beta"])]
    assert names == ["autoencoder", "vae, beta 1", "vae, beta 4"]
    assert list(group.that_have("beta").runs) == ["x/1", "x/4"]
    assert len(plane(group)) == 1 and len(over(group, "beta")) > 1
    assert plane(group_of("x/alone")) == over(group_of("x/alone"), "beta") == []
