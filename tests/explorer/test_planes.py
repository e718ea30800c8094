"""The planes of the map: orthonormal, the most telling first."""

import math

import pytest
import torch

from pyro_vae.explorer.planes import MOST_PAIRS, planes


def codes_of(deviations):
    """Codes with these standard deviations along their components."""
    return torch.randn(400, len(deviations)) * torch.tensor(deviations)


@pytest.mark.parametrize("latent_dim", [2, 3, 4, 40])
def test_axes_are_orthonormal(latent_dim):
    for plane in planes(codes_of([1.0] * latent_dim), torch.arange(latent_dim)):
        product = plane.axes.double() @ plane.axes.double().T
        assert (product - torch.eye(2)).abs().max() < 1e-12  # float64


def test_the_first_plane_has_the_largest_variance():
    """Codes along (3, 4) and (-4, 3), with variances 9, 4 and 1 in the third direction."""
    axes = torch.tensor([[0.6, 0.8, 0.0], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    signs = torch.tensor([[a, b, c] for a in (1.0, -1) for b in (1.0, -1) for c in (1.0, -1)])
    codes = (signs.double() * torch.tensor([3.0, 2.0, 1.0])) @ axes + 5
    plane = planes(codes, torch.tensor([1.0, 2.0, 3.0]))[0]
    expected = torch.stack([axes[0], -axes[1]])  # the largest number of an axis is positive
    assert (plane.axes - expected).abs().max() < 1e-12  # float64
    assert plane.name == "principal components"
    assert plane.words.endswith(f"have {13 / 14:.0%} of the variance of the codes.")


def test_pairs_of_components_go_by_importance():
    names = [plane.name for plane in planes(codes_of([1.0] * 5), torch.tensor([0, 4, 1, 3, 2]))]
    assert names[1:] == ["components 2 and 4", "components 3 and 5"]


def test_a_pair_shows_its_components():
    plane = planes(codes_of([1.0] * 3), torch.tensor([3.0, 1.0, 2.0]))[1]
    assert plane.axes.tolist() == [[1, 0, 0], [0, 0, 1]]


def test_two_components_have_one_plane():
    (plane,) = planes(codes_of([1.0, 1.0]), torch.tensor([1.0, 2.0]))
    assert plane.name == "components 1 and 2" and plane.axes.tolist() == [[1, 0], [0, 1]]


def test_one_component_has_an_axis_and_nothing_across():
    (plane,) = planes(codes_of([1.0]), torch.tensor([1.0]))
    assert plane.name == "component 1" and plane.axes.tolist() == [[1], [0]]


def test_there_are_only_so_many_pairs():
    assert len(planes(codes_of([1.0] * 40), torch.ones(40))) == 1 + MOST_PAIRS


def test_codes_that_are_all_alike_have_a_plane():
    """As those of a model that ignores its images."""
    plane = planes(torch.zeros(9, 3), torch.zeros(3))[0]
    assert plane.axes.isfinite().all() and math.isclose(plane.axes.norm().item(), math.sqrt(2))
    assert "have 0% of the variance" in plane.words
