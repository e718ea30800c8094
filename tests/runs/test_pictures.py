"""The pictures that training leaves."""

import pytest
import torch

from pyro_vae.runs.pictures import principal_plane
from pyro_vae.runs.writer import is_power_of_two


def test_the_map_shows_the_plane_in_which_codes_vary_most():
    """Codes on a rotated plane: distances stay, and the shares are those of the variances."""
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(500, 2, generator=generator, dtype=torch.float64) * torch.tensor([3.0, 1.0])
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64)).Q
    points, names = principal_plane(flat @ rotation[:2] + 7)
    assert torch.cdist(points, points).numpy() == pytest.approx(
        torch.cdist(flat, flat).numpy(),
        abs=1e-6,  # rounding: a root of a sum of squares
    )
    share = torch.linalg.eigvalsh(flat.T.cov())[1] / flat.T.cov().trace()
    assert names[0] == f"first principal component ({share:.0%})"


def test_codes_at_one_point_have_a_map():
    points, names = principal_plane(torch.ones(5, 3))
    assert torch.equal(points, torch.zeros(5, 2)) and names[1].endswith("(0%)")


def test_pictures_of_progress_are_drawn_at_powers_of_two():
    assert [n for n in range(1, 70) if is_power_of_two(n)] == [1, 2, 4, 8, 16, 32, 64]
