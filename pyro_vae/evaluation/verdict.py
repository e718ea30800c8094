"""One verdict in words on how strongly a VAE is regularised, with the figures that led to it."""

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.models.elbo import chunks
from pyro_vae.models.vae import LatentImageModel

ALIKE = 0.3  # of the data's variance
WORSE = 3.0  # times the reconstructions' distance
ROOM = 0.1  # of the data's own spread, below which a distance is no reason


class Verdict(NamedTuple):
    """`over-regularised`, `under-regularised` or `well regularised`, and why."""

    word: str
    reason: str


@torch.no_grad()
def variance_ratio(model: LatentImageModel, images: Tensor) -> float:
    """Variance over images of the mean codes' reconstructions, summed over pixels, over the data's.

    0 where all reconstructions are alike, near 1 where they differ as the images do.
    """
    means = torch.cat([model.decode(model.encode(x).mean).mean for x in chunks(images)])
    variances = [x.flatten(1).var(0).sum().item() for x in (means, images)]
    return variances[0] / variances[1]


def judge(
    variance_ratio: float,
    reconstructions: float | None = None,
    samples: float | None = None,
    spread: float | None = None,
) -> Verdict:
    """What the figures say.

    Over-regularised: reconstructions alike, under 0.3 of the data's variance. Under-regularised:
    reconstructions good and samples bad, more than 3 times as far from the data, and far by
    themselves (a tenth of the data's spread in the features). Well regularised: neither.

    Args:
        variance_ratio: of reconstructions, as the function of that name gives it.
        reconstructions, samples: their Fréchet distances to the data, if known.
        spread: trace of the data's covariance in the features, to measure these by.
    """
    if variance_ratio < ALIKE:
        reason = (
            f"the reconstructions are alike: their variance is {variance_ratio:.2f} of the data's"
            f" (under {ALIKE}); a smaller beta lets more through"
        )
        return Verdict("over-regularised", reason)
    kept = f"reconstructions keep {variance_ratio:.2f} of the data's variance"
    if reconstructions is None or samples is None or spread is None:
        return Verdict("not over-regularised", f"{kept}; of the samples nothing is known")
    apart = f"samples are {samples:.3g} from the data, reconstructions {reconstructions:.3g}"
    if samples > WORSE * reconstructions and samples > ROOM * spread:
        holes = "the prior covers codes that no image has; a VAE of a larger beta has fewer"
        reason = f"{kept}, but {apart}: {holes}"
        return Verdict("under-regularised", reason)
    return Verdict("well regularised", f"{kept}, and {apart}")
