"""The planes of the map: the most telling first."""

import torch

from pyro_vae.evaluation.paths import principal_plane
from pyro_vae.explorer.planes import MOST_PAIRS, planes


def names_of(latent_dim, importance=None):
    """The names of the planes of random codes."""
    importance = torch.ones(latent_dim) if importance is None else torch.tensor(importance)
    return [plane["name"] for plane in planes(torch.randn(40, latent_dim), importance)]


def test_pairs_of_components_go_by_importance():
    names = names_of(5, [0, 4, 1, 3, 2])
    assert names == ["principal components", "components 2 and 4", "components 3 and 5"]
    assert len(names_of(40)) == 1 + MOST_PAIRS


def test_a_pair_shows_its_components_and_the_first_plane_the_largest_variance():
    codes = torch.randn(40, 3)
    first, pair = planes(codes, torch.tensor([3.0, 1.0, 2.0]))
    assert pair["axes"] == [[1, 0, 0], [0, 0, 1]]
    axes, shares = principal_plane(codes)
    assert first["axes"] == axes.tolist()
    assert first["words"].endswith(f"have {shares.sum():.0%} of the variance of the codes.")


def test_few_components_have_one_plane():
    assert names_of(2) == ["components 1 and 2"] and names_of(1) == ["component 1"]
    (plane,) = planes(torch.randn(9, 1), torch.ones(1))
    assert plane["axes"] == [[1], [0]]
