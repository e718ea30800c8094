"""Images that a model decodes along paths through the latent space."""

import pytest
import torch

from pyro_vae.evaluation.exact import LinearGaussian
from pyro_vae.evaluation.paths import interpolate, linear, principal_plane, slerp, traverse
from tests.support.linear_gaussian import drawn_images, linear_gaussian_vae, linear_layers

T = torch.linspace(0, 1, 5, dtype=torch.float64)


def test_a_line_and_an_arc_go_from_start_to_end():
    start, end = torch.randn(2, 7, 4, dtype=torch.float64)
    for path in (linear, slerp):
        way = path(start, end, T)
        assert way.shape == (7, 5, 4)
        assert torch.allclose(way[:, 0], start) and torch.allclose(way[:, -1], end)
    assert torch.allclose(linear(start, end, T)[:, 2], (start + end) / 2)


def test_an_arc_keeps_its_length_and_its_pace():
    start = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    way = slerp(start, torch.tensor([[0.0, 1.0]], dtype=torch.float64), T)[0]
    angle = T * torch.pi / 2
    assert torch.allclose(way, torch.stack([angle.cos(), angle.sin()], 1))
    longer = slerp(start, torch.tensor([[0.0, 3.0]], dtype=torch.float64), T)[0]
    assert torch.allclose(longer.norm(dim=-1), 1 + 2 * T)


def test_an_arc_between_codes_of_one_direction_or_none_is_a_line():
    start = torch.tensor([[1.0, 2.0], [0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    end = torch.tensor([[2.0, 4.0], [1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    way = slerp(start, end, T)
    assert way.isfinite().all()
    assert torch.allclose(way[0], linear(start, end, T)[0], atol=1e-6)


@pytest.fixture
def vae():
    """A linear decoder whose images lie between 0 and 1, so that nothing is clamped."""
    vae, _ = linear_gaussian_vae()
    _, decoder = linear_layers(vae)
    with torch.no_grad():
        decoder.weight.mul_(0.02)
        decoder.bias.fill_(0.5)
    return vae


def test_a_linear_decoder_makes_a_line_of_images(vae):
    x = drawn_images(vae, 4)
    way = interpolate(vae, x[:2], x[2:], num_steps=3)
    first, last = (vae.decode(vae.encode(ends).mean).mean for ends in (x[:2], x[2:]))
    assert way.min() > 0 and way.max() < 1
    assert torch.allclose(way[:, 0], first) and torch.allclose(way[:, 2], last)
    assert torch.allclose(way[:, 1], (first + last) / 2)
    assert (first - last).abs().max() > 1e-3
    with pytest.raises(ValueError, match="path: unknown name 'slurp'; did you mean 'slerp'"):
        interpolate(vae, x, x, path="slurp")


def test_a_traversal_moves_one_component_of_a_linear_decoder(vae):
    exact, x = LinearGaussian.of(vae), drawn_images(vae, 1)
    rows = traverse(vae, x[0], [2, 0], reach=2.0, num_steps=3)
    assert rows.min() > 0 and rows.max() < 1
    code = vae.encode(x).mean[0]
    for row, component in zip(rows, (2, 0), strict=True):
        moved = code.repeat(3, 1)
        moved[:, component] = torch.tensor([-2.0, 0.0, 2.0])
        expected = (moved @ exact.weight.T + exact.bias).view(3, 1, 4, 4)
        assert torch.allclose(row, expected)
        assert (row[0] - row[2]).abs().max() > 1e-3


def test_the_principal_plane_has_the_largest_variance():
    """Codes along (3, 4) and (-4, 3), with variances 9, 4 and 1 in the third direction."""
    axes = torch.tensor([[0.6, 0.8, 0.0], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    signs = torch.tensor([[a, b, c] for a in (1.0, -1) for b in (1.0, -1) for c in (1.0, -1)])
    found, shares = principal_plane((signs.double() * torch.tensor([3.0, 2.0, 1.0])) @ axes + 5)
    expected = torch.stack([axes[0], -axes[1]])  # the largest number of an axis is positive
    assert (found - expected).abs().max() < 1e-12  # float64
    assert shares.tolist() == pytest.approx([9 / 14, 4 / 14])


def test_codes_that_are_all_alike_have_a_plane():
    """As those of a model that ignores its images."""
    axes, shares = principal_plane(torch.zeros(9, 3))
    assert (axes @ axes.T - torch.eye(2)).abs().max() < 1e-12 and shares.tolist() == [0, 0]
