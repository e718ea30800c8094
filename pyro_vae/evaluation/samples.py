"""Are the samples good: distances in a classifier's features, precision and recall, sharpness."""

import contextlib
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from pyro_vae.checkpoints import load_checkpoint, save_checkpoint
from pyro_vae.data import Dataset, check_unit_interval
from pyro_vae.evaluation.latents import chunks
from pyro_vae.evaluation.measures import Estimate, estimate
from pyro_vae.networks import Shape
from pyro_vae.randomness import seeded

_BATCH_SIZE = 64
_DISTANCES_AT_ONCE = 2**24  # 0.13 GB
_NO_POWER = 1e-20  # squared grey values; rounding leaves far less of a constant image


def frechet_distance(a: Tensor, b: Tensor) -> Estimate:
    """The squared Fréchet distance of two Normals with the means and covariances of two samples.

    `|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))`. Its bias is upward and falls as 1 / N: so
    compare equal numbers of rows, and see what two sets of real images get. The standard error is
    the infinitesimal jackknife's; between samples of one distribution, where the rows' influences
    vanish to first order, it is too large by about sqrt(2).

    Args:
        a, b: features (N, F) and (M, F), rows independent.

    Raises:
        ValueError: not two finite sets of one width, or fewer than two rows.

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
    """The root of a positive semidefinite matrix, and its pseudoinverse."""
    values, vectors = torch.linalg.eigh(symmetric)
    # The root of what rounding makes of a zero would be far larger than rounding.
    there = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
    roots = torch.where(there, values, 0).sqrt()
    return (vectors * roots) @ vectors.T, (vectors * torch.where(there, 1 / roots, 0)) @ vectors.T


def _overlap_and_influence(
    rows: Tensor, gap: Tensor, root: Tensor, inverse: Tensor, other: Tensor
) -> tuple[Tensor, Tensor]:
    """tr((S S')^(1/2)), and how far the distance moves per weight given to each of the rows.

    The derivative of twice the trace is the map that transports one Normal onto the other,
    `S^(-1/2) (S^(1/2) S' S^(1/2))^(1/2) S^(-1/2)`.
    """
    middle, _ = _root_and_inverse(root @ other @ other @ root)
    centred = rows - rows.mean(0)
    moved = centred @ (inverse @ middle @ inverse)
    return middle.trace(), (centred * (centred - moved + 2 * gap)).sum(1)


def precision_recall(
    real: Tensor, generated: Tensor, neighbours: int = 3
) -> tuple[Estimate, Estimate]:
    """How much of what is generated looks real, and how much of what is real is generated.

    Precision, the first, is the share of generated rows inside the ball around some real row that
    reaches to its `neighbours`-th nearest real row; recall the same with the sets exchanged. Both
    depend on the numbers of rows. The standard errors hold the balls fixed.

    Args:
        real, generated: features (N, F) and (M, F), rows independent.

    Raises:
        ValueError: not two finite sets of one width, or no more rows than neighbours.

    Source: Kynkäänniemi et al., "Improved precision and recall metric for assessing generative
    models", 2019, https://arxiv.org/abs/1904.06991.
    """
    if neighbours < 1:
        raise ValueError(f"neighbours: expected 1 or more, got {neighbours}")
    real, generated = _checked_features(real, generated, least=neighbours + 1)
    precise, recalled = _inside(generated, real, neighbours), _inside(real, generated, neighbours)
    return estimate(precise), estimate(recalled)


def _inside(rows: Tensor, others: Tensor, neighbours: int) -> Tensor:
    """Which rows lie in a ball around any of the others, whose nearest row is each itself."""
    radii = torch.cat([d.kthvalue(neighbours + 1).values for d in _distances(others, others)])
    return torch.cat([(d <= radii).any(1) for d in _distances(rows, others)])


def _distances(rows: Tensor, others: Tensor) -> Iterator[Tensor]:
    for part in rows.split(max(1, _DISTANCES_AT_ONCE // len(others))):
        # Through products of matrices, equal rows would lie 1e-8 apart, outside each other.
        yield torch.cdist(part, others, compute_mode="donot_use_mm_for_euclid_dist")


def _checked_features(a: Tensor, b: Tensor, least: int) -> tuple[Tensor, Tensor]:
    shaped = a.dim() == b.dim() == 2 and a.shape[1] == b.shape[1] and min(len(a), len(b)) >= least
    if not (shaped and a.isfinite().all() and b.isfinite().all()):
        got = "NaN or infinite ones" if shaped else f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"features: expected finite (N, F), (M, F) of {least} rows up, got {got}")
    return a.double(), b.double()


class FeatureNet(nn.Module):
    """A small convolutional classifier whose last layer but one gives an image's features.

    `accuracy` is that on labelled images which it was not trained on.
    """

    def __init__(self, image_shape: Shape, num_features: int, num_classes: int):
        super().__init__()
        channels, height, width = image_shape
        if min(height, width) < 4:
            raise ValueError(f"images: expected at least 4x4 pixels, got {height}x{width}")
        self.sizes = (image_shape, num_features, num_classes)
        self.accuracy = Estimate(math.nan, math.nan)
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            nn.Linear(64 * (height // 4) * (width // 4), num_features),
            nn.SiLU(),  # with rectifiers some features die, and are constant
        )
        self.head = nn.Linear(num_features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Features (N, num_features) of images (N, C, H, W); a ValueError for another shape."""
        if tuple(images.shape[1:]) != self.sizes[0]:
            raise ValueError(f"images: expected (N, *{self.sizes[0]}), got {tuple(images.shape)}")
        return torch.cat([self.body(x) for x in chunks(images)])


def feature_count(num_images: int) -> int:
    """64, halved until the covariance has no more entries, F (F + 1) / 2, than there are images."""
    return next(f for f in (64, 32, 16, 8, 4, 2, 1) if f * (f + 1) // 2 <= num_images)


def train_features(
    images: Tensor, labels: Tensor | None, num_features: int, seed: int = 0, num_steps: int = 1200
) -> FeatureNet:
    """A classifier of the images, trained on nine tenths of them, at random, and tested on the rest.

    Args:
        images: (N, C, H, W) in [0, 1].
        labels: (N,), of two classes or more.
        num_features: `feature_count(N)` is a good one.
        seed: of everything; the same weights come from the same seed, device and threads.
        num_steps: how many minibatches, whatever N.

    Raises:
        ValueError: pixels out of range, too few of them, or labels that do not name the classes.
    """
    check_unit_interval(images)
    if labels is None or labels.shape != images.shape[:1] or len(labels.unique()) < 2:
        got = "none" if labels is None else f"{labels.unique().tolist()[:9]} for {len(labels)}"
        raise ValueError(f"labels: expected two or more for {len(images)} images, got {got}")
    classes, labels = labels.unique(return_inverse=True)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)
    held_out, rows = order.tensor_split([max(1, len(images) // 10)])
    with seeded(seed):
        net = FeatureNet(tuple(images.shape[1:]), num_features, len(classes)).to(images.device)
    passes = range(math.ceil(num_steps * _BATCH_SIZE / len(rows)))
    order = torch.cat([rows[torch.randperm(len(rows), generator=generator)] for _ in passes])
    _descend(net, images, labels, order.split(_BATCH_SIZE)[:num_steps])
    with torch.no_grad():
        predicted = torch.cat([net(x).argmax(1) for x in chunks(images[held_out])])
    net.accuracy = estimate(predicted == labels[held_out])
    return net.eval()


@torch.enable_grad()
def _descend(net: FeatureNet, images: Tensor, labels: Tensor, batches: tuple[Tensor, ...]) -> None:
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    for rows in batches:
        optimizer.zero_grad()
        cross_entropy(net(images[rows]), labels[rows]).backward()
        optimizer.step()
        schedule.step()


def save_features(path: str | Path, net: FeatureNet) -> None:
    """Write a classifier and its accuracy as a checkpoint; an OSError where that is impossible."""
    content = {"sizes": net.sizes, "accuracy": tuple(net.accuracy), "weights": net.state_dict()}
    save_checkpoint(path, content)


def load_features(path: str | Path, device: torch.device | str = "cpu") -> FeatureNet:
    """Read what `save_features` wrote.

    Raises:
        OSError: no such file.
        ValueError: not a classifier's checkpoint.
    """
    content = load_checkpoint(path, device)
    try:
        with seeded(0):  # draws first weights, which are then replaced
            net = FeatureNet(*content["sizes"])
        net.load_state_dict(content["weights"])
        net.accuracy = Estimate(*content["accuracy"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"features: {path} holds no classifier: {error!r}") from error
    return net.to(device).eval()


def classifier_for(data: Dataset, folder: str | Path, seed: int = 0) -> FeatureNet:
    """The classifier of a labelled data set: read from `folder/features`, or trained and kept there.

    The file is named by the set's name, number, content and seed; one that cannot be read is
    replaced, and a folder that cannot be written to is left alone.

    Args:
        data: only its training images are used. For binary pixels drawn from grey values give the
            grey set, so that all versions of it are measured alike.
        folder: the data folder.
        seed: of the training.

    Raises:
        ValueError: as `train_features`.
    """
    images, labels = data.train.images, data.train.labels
    content = zlib.crc32(images.cpu().contiguous().numpy())  # users' own sets may share a name
    path = Path(folder) / "features" / f"{data.name}-{len(images)}-{content:08x}-{seed}.pt"
    with contextlib.suppress(OSError, ValueError):
        return load_features(path, images.device)
    net = train_features(images, labels, feature_count(len(images)), seed)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_features(path, net)
    return net


class RadialSpectrum(NamedTuple):
    """Squared grey values by frequency, in rings of whole cycles per shorter side."""

    frequencies: Tensor  # (R,), 1 ... R, the Nyquist frequency
    power: Tensor  # (R,), the mean over images, channels and the ring
    standard_error: Tensor  # (R,), of the power
    counts: Tensor  # (R,), how many waves make up each ring
    corners: float  # what all waves beyond the last ring add to the variance


def radial_power_spectrum(images: Tensor) -> RadialSpectrum:
    """The power of an image's waves by their frequency: |FFT|^2 / (H W)^2 without the mean.

    Parseval's equation holds: `(counts * power).sum() + corners` is the variance of the pixels
    around the mean of their image and channel. White noise is flat, at its variance / (H W).

    Args:
        images: (N, C, H, W), of at least 2x2 pixels.

    Raises:
        ValueError: other shapes.
    """
    variances, counts = _ring_variances(images)
    power = [estimate(v) for v in (variances / counts).T[:-1]]
    value, error = torch.tensor(power, dtype=torch.float64, device=images.device).T
    frequencies = torch.arange(1, len(counts), device=images.device)
    return RadialSpectrum(frequencies, value, error, counts[:-1], variances[:, -1].mean().item())


def _ring_variances(images: Tensor) -> tuple[Tensor, Tensor]:
    """Each image's variance by ring, the corners last (N, R + 1), and the rings' numbers of waves."""
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
    """The power in the upper half of the frequencies over that of a reference.

    One for equal sharpness, less for blur, more for noise; over the rings above half of Nyquist's
    frequency. The standard error takes the two sets as independent.

    Args:
        images, reference: (N, C, H, W) and (M, C, H, W).

    Raises:
        ValueError: images of different shapes, or a reference without upper frequencies.
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


def sample_quality(
    net: FeatureNet, real: Tensor, reconstructions: Tensor, samples: Tensor, real_reference: Tensor
) -> dict[str, Estimate | int]:
    """Reconstructions, samples and other real images against real ones: four measures of each.

    Keys are `images`, the number taken of each set, and `frechet_distance_`, `precision_`,
    `recall_` and `sharpness_ratio_` with `real`, `reconstructions` or `samples`. What real images
    get against real ones is the best to expect at this number, and depends on it as much as on the
    images: name it beside the others, and compare only at one number.

    Args:
        real, real_reference: (N, C, H, W), two halves of real images, in random order and disjoint.
        reconstructions: of `real_reference`, so that perfect ones get just what it gets; those of
            `real` itself would beat it.
        samples: from the prior. The first rows of each set are taken, as many as all have.
    """
    sets = {"real": real_reference, "reconstructions": reconstructions, "samples": samples}
    count = min(len(real), *map(len, sets.values()))
    target, quality = net.features(real[:count]), {"images": count}
    for name, images in sets.items():
        features = net.features(images[:count])
        precision, recall = precision_recall(target, features)
        quality[f"frechet_distance_{name}"] = frechet_distance(features, target)
        quality[f"precision_{name}"], quality[f"recall_{name}"] = precision, recall
        quality[f"sharpness_ratio_{name}"] = sharpness_ratio(images[:count], real[:count])
    return quality
