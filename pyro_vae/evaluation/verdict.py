"""A verdict in words on how strongly a VAE is regularised, with the figures behind it."""

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_vae.evaluation.thresholds import ALIKE_VARIANCE, SMALL_DISTANCE, WORSE_DISTANCE
from pyro_vae.models.elbo import chunks
from pyro_vae.models.vae import LatentImageModel


class Verdict(NamedTuple):
    """A verdict, such as `over-regularised` or `well regularised`, and the reason for it."""

    word: str
    reason: str


@torch.no_grad()
def variance_ratio(model: LatentImageModel, images: Tensor) -> float:
    """Return the variance of reconstructions over images, as a fraction of the data's.

    Variances are summed over pixels, and reconstructions are those of the mean codes. The ratio is
    0 if all reconstructions are alike, and near 1 if they differ as much as the images.
    """
    means = torch.cat([model.decode(model.encode(x).mean).mean for x in chunks(images)])
    variances = [x.flatten(1).var(0).sum().item() for x in (means, images)]
    return variances[0] / variances[1]


class Distances(NamedTuple):
    """Fréchet distances to the data in a classifier's features, and the spread of the data there."""

    reconstructions: float
    samples: float
    spread: float  # the trace of the data's covariance


def judge(variance_ratio: float, distances: Distances | None = None) -> Verdict:
    """Return a verdict on the regularisation.

    - Over-regularised: the reconstructions are alike, with under 0.3 of the data's variance.
    - Under-regularised: the reconstructions are good but the samples are bad. The samples are more
      than 3 times as far from the data as the reconstructions. They are also farther than a tenth
      of the data's spread in the features.
    - Well regularised: neither.
    - Not over-regularised: the verdict instead of the last two if there are no distances.

    Args:
        variance_ratio: that of the reconstructions, as the function of that name returns it.
        distances: those of reconstructions and samples, if there is a classifier.
    """
    if variance_ratio < ALIKE_VARIANCE:
        reason = (
            f"the reconstructions are alike: their variance is {variance_ratio:.2f} of the data's"
            f" (under {ALIKE_VARIANCE}); a smaller beta lets more through"
        )
        return Verdict("over-regularised", reason)
    kept = f"reconstructions keep {variance_ratio:.2f} of the data's variance"
    if distances is None:
        return Verdict("not over-regularised", f"{kept}; of the samples nothing is known")
    reconstructions, samples, spread = distances
    apart = f"samples are {samples:.3g} from the data, reconstructions {reconstructions:.3g}"
    if samples > WORSE_DISTANCE * reconstructions and samples > SMALL_DISTANCE * spread:
        holes = "the prior covers codes that no image has; a VAE of a larger beta has fewer"
        return Verdict("under-regularised", f"{kept}, but {apart}: {holes}")
    return Verdict("well regularised", f"{kept}, and {apart}")
