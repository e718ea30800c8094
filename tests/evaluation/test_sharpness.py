"""Sharpness: power spectra by loops, gratings, and blurs of known transfer."""

import math

import numpy as np
import pytest
import torch

from pyro_vae.evaluation.samples import radial_power_spectrum, sharpness_ratio
from tests.support.blurs import blurred


def ring_by_ring(images):
    """Rings, their mean power and what lies beyond, by loops over numpy's transform."""
    height, width = images.shape[2:]
    shorter = min(height, width)
    power, counts, corners = np.zeros(shorter // 2), np.zeros(shorter // 2), 0.0
    transform = np.abs(np.fft.fft2(images.double().numpy())) ** 2 / (height * width) ** 2
    for u in range(height):
        for v in range(width):
            y, x = min(u, height - u) / height, min(v, width - v) / width
            ring = max(1, round(shorter * math.hypot(y, x)))
            if (u, v) != (0, 0) and ring <= shorter // 2:
                power[ring - 1] += transform[..., u, v].mean()
                counts[ring - 1] += 1
            elif (u, v) != (0, 0):
                corners += transform[..., u, v].mean()
    return power / counts, counts, corners


@pytest.mark.parametrize("shape", [(8, 8), (7, 9), (28, 28), (6, 17), (2, 2), (3, 40)])
def test_the_spectrum_as_counted_and_parseval(shape):
    """Rounding; the variance is around the mean of each image and channel."""
    images = torch.rand(3, 2, *shape)
    found = radial_power_spectrum(images)
    power, counts, corners = ring_by_ring(images)
    assert found.power.numpy() == pytest.approx(power, rel=1e-9)
    assert found.counts.tolist() == counts.tolist()
    assert found.frequencies.tolist() == list(range(1, min(shape) // 2 + 1))
    assert found.corners == pytest.approx(corners, rel=1e-9)
    variance = images.double().var((2, 3), correction=0).mean().item()
    total = (found.counts * found.power).sum().item() + found.corners
    assert total == pytest.approx(variance, rel=1e-12)


@pytest.mark.parametrize("waves, ring", [((0, 1), 1), ((5, 0), 5), ((3, 4), 5), ((0, 14), 14)])
def test_a_grating_has_its_power_in_its_ring(waves, ring):
    """Rounding: a cosine of amplitude 0.3 has variance 0.045, at the Nyquist frequency 0.09."""
    y, x = torch.meshgrid(*[torch.arange(28).double() / 28] * 2, indexing="ij")
    image = 0.5 + 0.3 * torch.cos(2 * math.pi * (waves[0] * y + waves[1] * x))
    found = radial_power_spectrum(image.expand(4, 1, 28, 28))
    power = found.counts * found.power
    assert power[ring - 1].item() == pytest.approx(0.09 if ring == 14 else 0.045, rel=1e-12)
    assert power.sum() - power[ring - 1] + found.corners < 1e-25


def test_white_noise_is_flat_and_blurred_noise_is_not():
    """All 14 rings within 5 standard errors of variance / pixels; a blur shows from the fourth on."""
    noise = 0.2 * torch.randn(300, 1, 28, 28)
    found = radial_power_spectrum(noise)
    assert ((found.power - 0.04 / 784).abs() < 5 * found.standard_error).all()
    assert (found.standard_error < 0.03 * found.power).all()
    found = radial_power_spectrum(blurred(noise, 0.5)[0])
    assert ((found.power - 0.04 / 784).abs() > 5 * found.standard_error)[3:].all()


@pytest.mark.parametrize("side", [8, 28, 9])
def test_a_blur_of_known_transfer_has_its_sharpness(side):
    """A single bright pixel has equal power everywhere: the ratio is the mean squared transfer."""
    image = torch.zeros(1, 3, side, side)
    image[..., side // 2, 1] = 1
    soft, transfer = blurred(image, 0.6)
    waves = torch.fft.fftfreq(side, 1 / side)
    ring = torch.hypot(waves[:, None], waves).round()
    upper = (ring > side // 2 / 2) & (ring <= side // 2)
    exact = transfer[upper].square().mean().item()
    assert sharpness_ratio(soft, image).mean == pytest.approx(exact, rel=1e-9)
    assert sharpness_ratio(image, soft).mean == pytest.approx(1 / exact, rel=1e-9)
    assert sharpness_ratio(image, image).mean == pytest.approx(1, rel=1e-12)
    assert 0.01 < exact < 0.6


def test_the_standard_error_of_sharpness_is_the_spread_of_repeated_samples():
    """400 repeats, 18% as above; images of random contrast, so that they differ in power."""

    def draw(count):
        return torch.rand(count, 1, 1, 1) * torch.randn(count, 1, 8, 8)

    found = torch.tensor([sharpness_ratio(draw(60), 2 * draw(90)) for _ in range(400)])
    assert found[:, 1].mean().item() == pytest.approx(found[:, 0].std().item(), rel=0.18)
    error = found[:, 0].std().item() / 20
    assert found[:, 0].mean().item() == pytest.approx(0.25, abs=5 * error + 0.005)  # bias of 1 / N


def test_images_without_fine_detail_have_no_sharpness_and_are_no_reference():
    x, flat = torch.rand(5, 1, 8, 8), torch.full((5, 1, 8, 8), 0.3)
    assert sharpness_ratio(flat, x).mean == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="reference: expected power in the upper frequencies"):
        sharpness_ratio(x, flat)


def test_images_are_checked():
    for shape in ((5, 8, 8), (0, 1, 8, 8), (5, 1, 1, 8)):
        with pytest.raises(ValueError, match=r"images: expected \(N, C, H, W\) from 2x2 up, got"):
            radial_power_spectrum(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"reference, \(1, 9, 9\), got \(1, 8, 8\)"):
        sharpness_ratio(torch.rand(2, 1, 8, 8), torch.rand(2, 1, 9, 9))
