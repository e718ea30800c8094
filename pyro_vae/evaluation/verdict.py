"""A verdict in words on how strongly a VAE is regularised, with the figures behind it.

Two shares decide, whose expectation hardly depends on the number of images. The first asks whether
the reconstructions leave out what images have in common, the second whether codes of the prior give
the same pictures as codes of images.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.evaluation.estimates import ALIKE_SHARE, BORDER, STRANGE_SAMPLES, Estimate
from pyro_vae.evaluation.features import FeatureNet
from pyro_vae.evaluation.mmd import MOST_POINTS, median_distance, squared_discrepancy
from pyro_vae.models.elbo import chunks
from pyro_vae.models.vae import VAE
from pyro_vae.randomness import seeded

MOST_IMAGES = 2000  # whose residuals are decomposed
SHUFFLES = 9


class Verdict(NamedTuple):
    """A verdict, such as `over-regularised` or `well regularised`, and the reason for it."""

    word: str
    reason: str
    borderline: bool  # whether another seed could give another word


@torch.no_grad()
def explained_share(model: VAE, images: Tensor, seed: int = 0) -> float:
    """Return which share of the structure of images their reconstructions explain, 0 to 1.

    `1 - structure(x - E[x | z]) / structure(x)`, z ~ q(z | x)

    Given its code, the model says, the pixels of an image are independent. What pixels of the
    residuals have in common is therefore left unexplained, and all the rest is noise. An exact
    model has a share of 1, however much noise its images have; so has any model of images that are
    noise alone. The share is 0 if all reconstructions are alike, or have nothing to do with their
    images.

    Args:
        images: (N, C, H, W), of which the first 2,000 are used.
    """
    x = images[:MOST_IMAGES]
    with seeded(seed, x.device):
        expected = torch.cat([model.decode(model.encode(part).sample()).mean for part in chunks(x)])
        total, left = structure(x.flatten(1)), structure((x - expected).flatten(1))
    return max(0.0, 1 - left / total) if total > 0 else 1.0


def structure(rows: Tensor) -> float:
    """Return the variance that the columns of rows (N, D) have in common, by parallel analysis.

    It is that of the leading principal components, as far as it exceeds that of rows whose columns
    are shuffled independently. Components lead as long as they exceed all of nine shuffles.

    Source: Horn, "A rationale and test for the number of factors in factor analysis", 1965.
    """
    rows = rows.double()
    shuffles = torch.stack(
        [
            _principal_variances(rows.gather(0, torch.rand_like(rows).argsort(0)))
            for _ in range(SHUFFLES)
        ]
    )
    found = _principal_variances(rows)
    leading = (found > shuffles.amax(0)).long().cumprod(0)
    return (leading * (found - shuffles.mean(0))).sum().item()


def _principal_variances(rows: Tensor) -> Tensor:
    """Return the variances of rows (N, D) along their principal components, falling."""
    centred = rows - rows.mean(0)
    product = centred @ centred.T if len(rows) < rows.shape[1] else centred.T @ centred
    return torch.linalg.eigvalsh(product).flip(0) / (len(rows) - 1)


def mismatch(net: FeatureNet, real: Tensor, samples: Tensor, reconstructions: Tensor) -> Estimate:
    """Return the squared MMD between samples and reconstructions in a classifier's features.

    It is unbiased, and 0 where codes of the prior give the same images as codes of images. The
    bandwidth is the median distance of real images. The first 2,000 of each are used.

    Args:
        net: the classifier that gives the features.
        real: (N, C, H, W), for the bandwidth.
        samples, reconstructions: (M, C, H, W), expected images.
    """
    bandwidth = median_distance(net.features(real[:MOST_POINTS]))
    drawn = net.features(samples[:MOST_POINTS])
    decoded = net.features(reconstructions[:MOST_POINTS])
    return squared_discrepancy(drawn, decoded, bandwidth)


def judge(explained: float, apart: Estimate | None = None) -> Verdict:
    """Return a verdict on the regularisation.

    - Over-regularised: the reconstructions leave out more than half of what images have in common.
    - Under-regularised: samples differ from reconstructions, so the prior covers codes that no image
      has.
    - Well regularised: neither.
    - Not over-regularised: the verdict instead of the last two if nothing is known of samples.

    Args:
        explained: the share that `explained_share` returns.
        apart: what `mismatch` returns, if there is a classifier.
    """
    reason = f"reconstructions explain {explained:.2f} of what images have in common"
    near = abs(explained - ALIKE_SHARE) < BORDER * ALIKE_SHARE
    if explained < ALIKE_SHARE:
        return _verdict("over-regularised", f"{reason}; a smaller beta lets more through", near)
    if apart is None:
        return _verdict("not over-regularised", f"{reason}; of samples nothing is known", near)
    value, error = apart
    reason = f"{reason}, and samples differ from them by {value:.3f} (squared MMD)"
    near = near or abs(value - STRANGE_SAMPLES) < 2 * error + BORDER * STRANGE_SAMPLES
    if value > STRANGE_SAMPLES:
        holes = "the prior covers codes that no image has; a larger beta leaves fewer"
        return _verdict("under-regularised", f"{reason}: {holes}", near)
    return _verdict("well regularised", reason, near)


def _verdict(word: str, reason: str, near: bool) -> Verdict:
    close = "; this is near the border, and another seed could give another verdict" * near
    return Verdict(word, reason + close, near)
