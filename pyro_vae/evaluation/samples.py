"""The quality of samples: distances in a classifier's features, precision and recall, sharpness."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pyro_vae.evaluation.estimates import Estimate, estimate, mean_and_error
from pyro_vae.evaluation.features import FeatureNet
from pyro_vae.evaluation.mmd import MOST_POINTS, median_distance, squared_discrepancy
from pyro_vae.models.elbo import chunks

NEIGHBOURS = 3  # the third nearest row sets the radius of a ball
_DISTANCES_AT_ONCE = 2**24  # 0.13 GB
_NO_POWER = 1e-20  # squared grey values; rounding leaves far less in a constant image


def frechet_distance(a: Tensor, b: Tensor) -> Estimate:
    """Return the squared Fréchet distance of two Normals fitted to two samples.

    `|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))`

    The Normals have the means and covariances of the samples. The bias is upward and falls as
    1 / N, so compare equal numbers of rows, and measure two sets of real images as a baseline. The
    standard error is that of the infinitesimal jackknife. Between samples of one distribution it is
    too large by about sqrt(2), because the rows' influences vanish there to first order.

    Args:
        a, b: features (N, F) and (M, F), with independent rows.

    Raises:
        ValueError: if the sets are not finite or differ in width, or if one has fewer than two
            rows.

    Source: Dowson and Landau, "The Fréchet distance between multivariate normal distributions",
    1982; Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash
    equilibrium", 2017, https://arxiv.org/abs/1706.08500; Efron, "The jackknife", 1982.
    """
    a, b = _checked_features(a, b, least=2)
    gap = a.mean(0) - b.mean(0)
    root_a, root_b = (_root_and_inverse(x.T.cov().view(x.shape[1], -1)) for x in (a, b))
    overlap, influence_a = _overlap_and_influence(a, gap, *root_a, root_b[0])
    _, influence_b = _overlap_and_influence(b, -gap, *root_b, root_a[0])
    value = gap.square().sum() + a.var(0).sum() + b.var(0).sum() - 2 * overlap
    variance = influence_a.var() / len(a) + influence_b.var() / len(b)
    return Estimate(max(value.item(), 0.0), variance.sqrt().item())


def _root_and_inverse(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """Return the root of a positive semidefinite matrix, and the pseudoinverse of the root."""
    values, vectors = torch.linalg.eigh(symmetric)
    # Rounding turns a zero into a small value, whose root would be far larger than rounding.
    there = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
    roots = torch.where(there, values, 0).sqrt()
    return (vectors * roots) @ vectors.T, (vectors * torch.where(there, 1 / roots, 0)) @ vectors.T


def _overlap_and_influence(
    rows: Tensor, gap: Tensor, root: Tensor, inverse: Tensor, other: Tensor
) -> tuple[Tensor, Tensor]:
    """Return tr((S S')^(1/2)), and the derivative of the distance by the weight of each row.

    The derivative of twice the trace is the map that transports one Normal onto the other,
    `S^(-1/2) (S^(1/2) S' S^(1/2))^(1/2) S^(-1/2)`.
    """
    middle, _ = _root_and_inverse(root @ other @ other @ root)
    centred = rows - rows.mean(0)
    moved = centred @ (inverse @ middle @ inverse)
    return middle.trace(), (centred * (centred - moved + 2 * gap)).sum(1)


def precision_recall(real: Tensor, generated: Tensor) -> tuple[Estimate, Estimate]:
    """Return the share of generated rows that look real, and of real rows that are generated.

    Precision, the first, is the share of generated rows inside the ball around some real row. This
    ball reaches to the third nearest real row. Recall, the second, exchanges the two
    sets. Both depend on the numbers of rows. The standard errors hold the balls fixed.

    Args:
        real, generated: features (N, F) and (M, F), with independent rows.

    Raises:
        ValueError: if the sets are not finite or differ in width, or have fewer than four rows.

    Source: Kynkäänniemi et al., "Improved precision and recall metric for assessing generative
    models", 2019, https://arxiv.org/abs/1904.06991.
    """
    real, generated = _checked_features(real, generated, least=NEIGHBOURS + 1)
    return estimate(_inside(generated, real)), estimate(_inside(real, generated))


def _inside(rows: Tensor, others: Tensor) -> Tensor:
    """Return which rows lie in a ball around any of the others.

    The nearest row to each of the others is itself, and does not count as a neighbour.
    """
    radii = torch.cat([d.kthvalue(NEIGHBOURS + 1).values for d in _distances(others, others)])
    return torch.cat([(d <= radii).any(1) for d in _distances(rows, others)])


def _distances(rows: Tensor, others: Tensor) -> Iterator[Tensor]:
    for part in rows.split(max(1, _DISTANCES_AT_ONCE // len(others))):
        # With matrix products, equal rows would lie 1e-8 apart and outside of each other's balls.
        yield torch.cdist(part, others, compute_mode="donot_use_mm_for_euclid_dist")


def _checked_features(a: Tensor, b: Tensor, least: int) -> tuple[Tensor, Tensor]:
    shaped = a.dim() == b.dim() == 2 and a.shape[1] == b.shape[1] and min(len(a), len(b)) >= least
    if not (shaped and a.isfinite().all() and b.isfinite().all()):
        got = "NaN or infinite ones" if shaped else f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"features: expected finite (N, F), (M, F) of {least} rows up, got {got}")
    return a.double(), b.double()


def sample_quality(
    net: FeatureNet, real: Tensor, sets: dict[str, Tensor]
) -> dict[str, Estimate | int]:
    """Compare sets of images with real images by five measures in a classifier's features.

    The keys are `images`, the number of images from each set, and `frechet_distance_`,
    `mmd_squared_`, `precision_`, `recall_` and `sharpness_ratio_` followed by the name of a set.
    All but the second depend on the number of images as much as on the images: have other real
    images among the sets, whose values are the best to expect, and compare only at one number. The
    squared MMD is unbiased, 0 for images of the same distribution. Its bandwidth is the median
    distance of the real images; it is measured on 2,000 images at most.

    Args:
        net: the classifier that gives the features.
        real: (N, C, H, W), in random order.
        sets: images (M, C, H, W) by name. Other real images, and reconstructions of these: those of
            `real` itself would get better values. The first rows of each set are used, as many as
            the smallest set has.
    """
    count = min(len(real), *map(len, sets.values()))
    target = net.features(real[:count])
    quality: dict[str, Estimate | int] = {"images": count}
    bandwidth = median_distance(target)
    for name, images in sets.items():
        features = net.features(images[:count])
        precision, recall = precision_recall(target, features)
        quality[f"frechet_distance_{name}"] = frechet_distance(features, target)
        quality[f"mmd_squared_{name}"] = squared_discrepancy(
            features[:MOST_POINTS], target[:MOST_POINTS], bandwidth
        )
        quality[f"precision_{name}"], quality[f"recall_{name}"] = precision, recall
        quality[f"sharpness_ratio_{name}"] = sharpness_ratio(images[:count], real[:count])
    return quality


# --- sharpness ------------------------------------------------------------------------------------


class RadialSpectrum(NamedTuple):
    """Squared grey values by frequency, in rings of whole cycles per shorter side."""

    frequencies: Tensor  # (R,), 1 ... R, the Nyquist frequency
    power: Tensor  # (R,), the mean over images, channels and the ring
    standard_error: Tensor  # (R,), of the power
    counts: Tensor  # (R,), the number of waves in each ring
    corners: float  # the variance of all waves beyond the last ring


def radial_power_spectrum(images: Tensor) -> RadialSpectrum:
    """Return the power of an image's waves by frequency: `|FFT|^2 / (H W)^2` without the mean.

    Parseval's equation holds: `(counts * power).sum() + corners` is the variance of the pixels
    around the mean of their image and channel. The spectrum of white noise is flat, at its
    variance / (H W).

    Args:
        images: (N, C, H, W), of at least 2x2 pixels.

    Raises:
        ValueError: if the images have another shape.
    """
    variances, counts = _ring_variances(images)
    power, error = mean_and_error(variances[:, :-1] / counts[:-1])
    frequencies = torch.arange(1, len(counts), device=images.device)
    return RadialSpectrum(frequencies, power, error, counts[:-1], variances[:, -1].mean().item())


def _ring_variances(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return each image's variance by ring (N, R + 1), corners last, and the number of waves per ring."""
    if images.dim() != 4 or not len(images) or min(images.shape[2:]) < 2:
        raise ValueError(f"images: expected (N, C, H, W) from 2x2 up, got {tuple(images.shape)}")
    height, width = images.shape[2:]
    shorter = min(height, width)
    y, x = (torch.fft.fftfreq(n, 1 / shorter, dtype=torch.float64) for n in (height, width))
    radius = torch.hypot(y.unsqueeze(1), x).flatten()[1:].to(images.device)  # the mean comes first
    rings = one_hot(radius.round().clamp(1, shorter // 2 + 1).long() - 1, shorter // 2 + 1).double()
    waves = (torch.fft.fft2(x.double(), norm="forward").abs().square() for x in chunks(images))
    return torch.cat([w.mean(1).flatten(1)[:, 1:] @ rings for w in waves]), rings.sum(0)


def sharpness_ratio(images: Tensor, reference: Tensor) -> Estimate:
    """Return the power in the upper half of the frequencies, relative to a reference.

    The ratio is 1 for equal sharpness, smaller for blur and larger for noise. The upper half
    consists of the rings above half the Nyquist frequency. The standard error treats the two sets
    as independent.

    Args:
        images, reference: (N, C, H, W) and (M, C, H, W).

    Raises:
        ValueError: if the images differ in shape, or the reference has no power in these
            frequencies.
    """
    if images.shape[1:] != reference.shape[1:]:
        expected, got = tuple(reference.shape[1:]), tuple(images.shape[1:])
        raise ValueError(f"images: expected those of the reference, {expected}, got {got}")
    upper, upper_error = _upper_power(images)
    base, base_error = _upper_power(reference)
    if base < _NO_POWER:
        raise ValueError(f"reference: expected power in the upper frequencies, got {base:.2g}")
    return Estimate(upper / base, math.hypot(upper_error, upper / base * base_error) / base)


def _upper_power(images: Tensor) -> Estimate:
    variances, _ = _ring_variances(images)
    return estimate(variances[:, (variances.shape[1] - 1) // 2 : -1].sum(1))
