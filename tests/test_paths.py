"""Ways through the latent space, components taken out, and moving pictures."""

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.evaluation.exact import LinearGaussian
from pyro_vae.evaluation.paths import interpolate, linear, slerp, traverse
from pyro_vae.figures.videos import frames, write_video
from tests.conftest import drawn_images, linear_gaussian_vae

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


def test_interpolation_and_traversal_of_a_linear_decoder():
    """Its images are linear in the code: so are the ways, where nothing is clamped."""
    vae, _ = linear_gaussian_vae()
    with torch.no_grad():
        vae.decoder[0].weight.mul_(0.02)
    exact = LinearGaussian.of(vae)
    x = drawn_images(vae, 4).clamp(0.3, 0.7)
    way = interpolate(vae, x[:2], x[2:], num_steps=3)
    first, last = (vae.decode(vae.encode(e).mean).mean.clamp(0, 1) for e in (x[:2], x[2:]))
    assert torch.allclose(way[:, 0], first) and torch.allclose(way[:, 2], last)
    rows = traverse(vae, x[0], [2, 0], reach=2.0, num_steps=3)
    code = vae.encode(x[:1]).mean[0]
    for row, component in zip(rows, (2, 0)):
        moved = code.repeat(3, 1)
        moved[:, component] = torch.tensor([-2.0, 0.0, 2.0])
        expected = (moved @ exact.weight.T + exact.bias).clamp(0, 1).view(3, 1, 4, 4)
        assert torch.allclose(row, expected)


def test_an_unknown_path_is_refused():
    vae, _ = linear_gaussian_vae()
    x = drawn_images(vae, 2)
    with pytest.raises(ValueError, match="path: unknown name 'slurp'; did you mean 'slerp'"):
        interpolate(vae, x, x, path="slurp")


# --- components taken out ---------------------------------------------------------------------------


def test_taking_components_out_costs_what_the_closed_form_says():
    """A component without a column costs nothing; one with a column leaves a smaller Gaussian."""
    vae, exact = linear_gaussian_vae(latent_dim=3)
    x = drawn_images(vae, 20)
    for component in range(3):
        removed = torch.arange(3) == component
        weight = exact.weight.clone()
        weight[:, component] = 0
        truth = exact._replace(weight=weight).log_prob(x)
        bound = importance_bound(vae, x, 3, score="density", removed=removed)
        assert (bound - truth).abs().max() < 1e-6
        assert (exact.log_prob(x) - truth).mean() > 0.1  # it was of use
    idle, _ = linear_gaussian_vae(latent_dim=3)
    (decoder,) = (m for m in idle.decoder.modules() if isinstance(m, torch.nn.Linear))
    (encoder,) = (m for m in idle.encoder.modules() if isinstance(m, torch.nn.Linear))
    with torch.no_grad():
        decoder.weight[:, 1] = 0
        encoder.weight[[1, 4]] = 0
        encoder.bias[[1, 4]] = 0
    whole = importance_bound(idle, x, 3, score="density")
    without = importance_bound(idle, x, 3, score="density", removed=torch.arange(3) == 1)
    assert (whole - without).abs().max() < 1e-6


# --- moving pictures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["mp4", "gif"])
def test_a_video_shows_its_frames(tmp_path, ending):
    """Black, grey, white: the codec may be off by a few grey levels."""
    shades = np.linspace(0, 1, 5)
    images = np.broadcast_to(shades[:, None, None, None, None], (5, 4, 1, 8, 8))
    pictures = frames(images, 2, side=64)
    assert pictures.shape == (5, 68, 68, 3)
    write_video(tmp_path / f"a.{ending}", pictures)
    seen = imageio.imread(tmp_path / f"a.{ending}")
    assert seen.shape == pictures.shape
    assert np.abs(seen.astype(int) - pictures).max() <= 6


def test_frames_have_even_sides_and_square_pixels():
    images = np.zeros((2, 6, 3, 5, 7))
    images[1, :, 0, 2, 3] = 1
    pictures = frames(images, 3, side=100)
    assert pictures.shape == (2, 44, 92, 3)  # pixels of 4x4, white lines between the images
    assert (pictures[0] == 0).all(-1).sum() == 6 * 5 * 7 * 16
    assert (pictures[1, :20, :28, 0] == 255).sum() == 16


def test_another_kind_of_video_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"path: file type: unknown name '\.avi'"):
        write_video(tmp_path / "a.avi", np.zeros((1, 4, 4, 3), np.uint8))
