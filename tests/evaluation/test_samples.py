"""Fréchet distance, precision and recall, sharpness, and all measures of samples together."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy import stats

from pyro_vae.evaluation import samples
from pyro_vae.evaluation.samples import (
    frechet_distance,
    precision_recall,
    radial_power_spectrum,
    sample_quality,
    sharpness_ratio,
)
from tests.support.blurs import blurred


def closed_form(a, b):
    """The distance from sample moments, with scipy's root of a matrix that is not symmetric."""
    a, b = np.asarray(a), np.asarray(b)
    s, t = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    root = scipy.linalg.sqrtm(s @ t).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s + t - 2 * root)


def with_moments(mean, covariance, count=40):
    """Rows whose sample mean and covariance are exactly these."""
    x = torch.randn(count, len(mean), dtype=torch.float64)
    x = torch.linalg.qr(x - x.mean(0))[0] * math.sqrt(count - 1)
    return mean + x @ torch.linalg.cholesky(covariance).T


def random_covariance(size):
    x = torch.randn(size, size, dtype=torch.float64)
    return x @ x.T + 0.1 * torch.eye(size)


# --- Fréchet distance -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_the_distance_of_exact_moments_is_the_closed_form(size):
    a = with_moments(torch.randn(size).double(), random_covariance(size))
    b = with_moments(torch.randn(size).double(), random_covariance(size), 60)
    there, back = frechet_distance(a, b), frechet_distance(b, a)
    assert there.mean == pytest.approx(closed_form(a, b), abs=1e-8)
    assert back == pytest.approx(there, rel=1e-9)


def test_the_standard_error_is_made_of_the_rows_influences():
    """Each influence as a difference quotient of the closed form with one row weighted up.

    To 1e-5: the quotient's own error is of the order of the squared step.
    """
    a, b = torch.randn(12, 3).double(), 2 * torch.randn(15, 3).double() + 1

    def distance(weights, moving, fixed):
        w = weights / weights.sum()
        mean = w @ moving
        spread = np.cov(moving.T, aweights=weights, ddof=0) - np.cov(moving.T, ddof=0)
        s, t = np.cov(moving.T) + spread, np.cov(fixed.T)
        root = scipy.linalg.sqrtm(s @ t).real
        return ((mean - fixed.mean(0)) ** 2).sum() + np.trace(s + t - 2 * root)

    def variance(moving, fixed):
        n, step = len(moving), 1e-4
        weights = step * np.eye(n)
        slope = [distance(1 + w, moving, fixed) - distance(1 - w, moving, fixed) for w in weights]
        return (np.array(slope) * n / (2 * step)).var(ddof=1) / n

    exact = math.sqrt(variance(a.numpy(), b.numpy()) + variance(b.numpy(), a.numpy()))
    assert frechet_distance(a, b).standard_error == pytest.approx(exact, rel=1e-5)


@pytest.mark.slow
def test_the_standard_error_is_the_spread_of_repeated_samples():
    """400 repeats: a standard deviation is known to 1 / sqrt(800), five of which are 18%."""
    scale = torch.tensor([1.0, 2.0, 0.3])
    pairs = [(torch.randn(500, 3) * scale + 0.5, torch.randn(400, 3)) for _ in range(400)]
    found = torch.tensor([frechet_distance(a, b) for a, b in pairs])
    assert found[:, 1].mean().item() == pytest.approx(found[:, 0].std().item(), rel=0.18)


@pytest.mark.slow
def test_between_samples_of_one_distribution_the_standard_error_is_too_large_by_root_two():
    """A quadratic form of Normals m'm varies by 2 tr S^2; its influences, 2m, say 4 tr S^2.

    400 repeats of a form of 14 squares, whose kurtosis makes five standard errors 21%, and a
    little for the standard error's own: both together less than what separates it from 1.
    """
    pairs = [(torch.randn(300, 4), torch.randn(300, 4)) for _ in range(400)]
    found = torch.tensor([frechet_distance(a, b) for a, b in pairs])
    rms = found[:, 1].square().mean().sqrt() / found[:, 0].std()
    assert rms.item() == pytest.approx(math.sqrt(2), rel=0.25)


def test_equal_sets_are_at_zero_whatever_their_rank():
    full = torch.randn(50, 6).double()
    flat = full[:, :2] @ torch.randn(2, 6).double() * 100  # rank 2
    for x in (full, flat, full[:3], torch.full((5, 6), 0.3)):
        assert frechet_distance(x, x).mean == pytest.approx(0, abs=1e-9 * (1 + x.var().item()))
        assert frechet_distance(x, x).standard_error == pytest.approx(0, abs=1e-6)
        assert frechet_distance(x, x + 1).mean == pytest.approx(6, rel=1e-6)


def test_singular_covariances():
    """On two lines at right angles nothing overlaps: the distance is that of the means and traces."""
    t, u = torch.randn(30, 1).double(), torch.randn(40, 1).double()
    a, b = t * torch.tensor([1.0, 0, 0]), u * torch.tensor([0, 3.0, 4.0]) + 1
    exact = (a.mean(0) - b.mean(0)).square().sum() + t.var() + 25 * u.var()
    assert frechet_distance(a, b).mean == pytest.approx(exact.item(), rel=1e-9)
    point = torch.ones(7, 3)
    exact = (a.mean(0) - 1).square().sum() + t.var()
    assert frechet_distance(a, point).mean == pytest.approx(exact.item(), rel=1e-9)
    assert math.isfinite(frechet_distance(point, a).standard_error)


@pytest.mark.parametrize("measure", [frechet_distance, precision_recall])
def test_features_are_checked(measure):
    x = torch.randn(9, 3)
    for other in (torch.randn(9, 2), torch.randn(9), torch.randn(1, 3)):
        with pytest.raises(ValueError, match=r"features: expected finite .* got \(9, 3\) and"):
            measure(x, other)
    with pytest.raises(ValueError, match=r"features: expected finite .* got NaN or infinite"):
        measure(x, x / 0)


# --- precision and recall -------------------------------------------------------------------------


def counted(real, generated, k=3):
    """Precision and recall by the definition, one distance at a time."""

    def share(rows, others):
        between = np.linalg.norm(rows[:, None] - others[None], axis=-1)
        radii = np.sort(np.linalg.norm(others[:, None] - others[None], axis=-1), axis=1)[:, k]
        return (between <= radii[None]).any(1).mean()

    return share(generated, real), share(real, generated)


def test_precision_and_recall_as_counted(monkeypatch):
    far = 1e7  # from the origin, where products of matrices would lose the distances
    real = far + torch.randn(60, 4).double()
    generated = far + 0.7 * torch.randn(45, 4).double() + 0.5
    exact = counted(real.numpy(), generated.numpy())
    for at_once in (samples._DISTANCES_AT_ONCE, 130, 1):
        monkeypatch.setattr(samples, "_DISTANCES_AT_ONCE", at_once)
        found = precision_recall(real, generated)
        assert [f.mean for f in found] == pytest.approx(exact, abs=1e-12)
    assert 0 < exact[0] < 1 and 0 < exact[1] < 1
    p = exact[0]  # the standard error of a share
    assert found[0].standard_error == pytest.approx(math.sqrt(p * (1 - p) / 44), rel=1e-9)


def test_equal_sets_are_precise_and_recalled_and_distant_ones_are_neither():
    x = torch.rand(40, 32)
    x = torch.cat([x, x[:9], x[:9], x[:9], x[:9]])  # some with balls of radius zero
    assert [p.mean for p in precision_recall(x, x.clone())] == [1, 1]
    assert [p.mean for p in precision_recall(x, x + 100)] == [0, 0]


def test_four_rows_are_the_least():
    x = torch.randn(4, 2)
    with pytest.raises(ValueError, match="of 4 rows up"):
        precision_recall(x[:3], x[:3])
    assert precision_recall(x, x)[0].mean == 1


# --- sharpness ------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("shape", [(8, 8), (7, 9), (6, 17), (2, 2), (3, 40)])
def test_the_spectrum_as_counted_and_parseval(shape):
    """Rounding; the variance is around the mean of each image and channel."""
    images = torch.rand(3, 2, *shape)
    found = radial_power_spectrum(images)
    power, counts, corners = ring_by_ring(images)
    assert found.power.numpy() == pytest.approx(power, rel=1e-9)
    assert found.counts.tolist() == counts.tolist()
    alone = np.stack([ring_by_ring(image)[0] for image in images.split(1)])
    assert found.standard_error.numpy() == pytest.approx(stats.sem(alone), rel=1e-9)
    assert found.frequencies.tolist() == list(range(1, min(shape) // 2 + 1))
    assert found.corners == pytest.approx(corners, rel=1e-9)
    variance = images.double().var((2, 3), correction=0).mean().item()
    total = (found.counts * found.power).sum().item() + found.corners
    assert total == pytest.approx(variance, rel=1e-12)


@pytest.mark.parametrize("waves, ring", [((0, 1), 1), ((3, 4), 5), ((0, 14), 14)])
def test_a_grating_has_its_power_in_its_ring(waves, ring):
    """Rounding: a cosine of amplitude 0.3 has variance 0.045, at the Nyquist frequency 0.09."""
    y, x = torch.meshgrid(*[torch.arange(28).double() / 28] * 2, indexing="ij")
    image = 0.5 + 0.3 * torch.cos(2 * math.pi * (waves[0] * y + waves[1] * x))
    found = radial_power_spectrum(image.expand(4, 1, 28, 28))
    power = found.counts * found.power
    assert power[ring - 1].item() == pytest.approx(0.09 if ring == 14 else 0.045, rel=1e-12)
    assert power.sum() - power[ring - 1] + found.corners < 1e-25


@pytest.mark.parametrize("side", [8, 9])
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


@pytest.mark.slow
def test_the_standard_error_of_sharpness_is_the_spread_of_repeated_samples():
    """400 repeats, 18% as above; images of random contrast, so that they differ in power."""

    def draw(count):
        return torch.rand(count, 1, 1, 1) * torch.randn(count, 1, 8, 8)

    found = torch.tensor([sharpness_ratio(draw(60), 2 * draw(90)) for _ in range(400)])
    assert found[:, 1].mean().item() == pytest.approx(found[:, 0].std().item(), rel=0.18)
    error = found[:, 0].std().item() / 20
    assert found[:, 0].mean().item() == pytest.approx(0.25, abs=5 * error + 0.005)  # bias of 1 / N


def test_images_are_checked_and_those_without_fine_detail_are_no_reference():
    x, flat = torch.rand(5, 1, 8, 8), torch.full((5, 1, 8, 8), 0.3)
    assert sharpness_ratio(flat, x).mean == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="reference: expected power in the upper frequencies"):
        sharpness_ratio(x, flat)
    for shape in ((5, 8, 8), (0, 1, 8, 8), (5, 1, 1, 8)):
        with pytest.raises(ValueError, match=r"images: expected \(N, C, H, W\) from 2x2 up, got"):
            radial_power_spectrum(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"reference, \(1, 9, 9\), got \(1, 8, 8\)"):
        sharpness_ratio(torch.rand(2, 1, 8, 8), torch.rand(2, 1, 9, 9))


# --- all together ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_blur_noise_and_constant_images_are_told_from_real_ones(classifier, digits):
    x = digits.test.images[torch.randperm(360)]
    real, other = x[:180], x[180:]
    soft = blurred(other, 1.0)[0].float()
    flat = digits.train.images.mean(0).expand(180, 1, 8, 8)
    quality = sample_quality(classifier, real, {"real": other, "soft": soft, "flat": flat})
    for measure in ("frechet_distance", "mmd_squared"):
        floor, blur, mean = (quality[f"{measure}_{name}"] for name in ("real", "soft", "flat"))
        assert blur.mean - floor.mean > 5 * math.hypot(blur.standard_error, floor.standard_error)
        assert mean.mean - floor.mean > 5 * math.hypot(mean.standard_error, floor.standard_error)
    floor = quality["mmd_squared_real"]
    assert abs(floor.mean) < 5 * floor.standard_error
    assert quality["images"] == 180 and len(quality) == 16
    features = classifier.features(other), classifier.features(real)
    assert quality["frechet_distance_real"] == frechet_distance(*features)
    assert quality["sharpness_ratio_soft"] == sharpness_ratio(soft, real)
    assert quality["recall_flat"].mean < 0.1 < 0.5 < quality["recall_real"].mean
    assert quality["precision_real"].mean > 0.5
    sharp = quality["sharpness_ratio_real"]
    assert abs(sharp.mean - 1) < 5 * sharp.standard_error
    blunt = quality["sharpness_ratio_soft"]
    assert blunt.mean < 1 - 5 * blunt.standard_error
    less = sample_quality(classifier, real, {"real": other, "few": flat[:100]})
    assert less["images"] == 100
