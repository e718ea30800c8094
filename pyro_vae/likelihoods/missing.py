"""The distribution of images of which some pixels are missing, which NaN marks."""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Independent


class MissingPixels(TorchDistribution):
    """A distribution of images that scores those with missing pixels by the pixels that are there.

    Given z, pixels are independent, so the probability of those that are there is the product of
    their own ones. It is a sum over observed pixels by `mask` of Pyro's distributions, which is
    `poutine.mask` for pixels in place of images. Channels of a pixel can be missing one by one.

    Args:
        images: the distribution of whole images, event shape (C, H, W). One whose pixels are not
            Pyro's `Independent` has a method `masked`, which takes the pixels that are there
            (..., C, H, W) as booleans.

    Raises:
        ValueError: a distribution that does not say how pixels are left out.

    Source: Mattei and Frellsen, "MIWAE: deep generative modelling and imputation of incomplete data
    sets", 2019, https://arxiv.org/abs/1812.02633.
    """

    arg_constraints = {}

    def __init__(self, images: TorchDistribution):
        if not (_of_pixels(images) or hasattr(images, "masked")):
            kind = type(images).__name__
            raise ValueError(
                "likelihood: pixels can be missing where they are independent given z, got"
                f" {kind} without a method masked"
            )
        self.images = images
        super().__init__(images.batch_shape, images.event_shape, validate_args=False)

    @property
    def support(self):
        return self.images.support

    def expand(self, batch_shape, _instance=None):
        return MissingPixels(self.images.expand(batch_shape))

    @property
    def mean(self) -> Tensor:
        return self.images.mean

    def sample(self, sample_shape=torch.Size()) -> Tensor:
        return self.images.sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log probability of the pixels that are not NaN, nats, (...)."""
        there = ~value.isnan()
        if _of_pixels(self.images):
            left = self.images.base_dist.mask(there).to_event(3)
        else:
            left = self.images.masked(there)
        return left.log_prob(value.nan_to_num())  # by a number that every family can score


def _of_pixels(images: TorchDistribution) -> bool:
    return isinstance(images, Independent) and images.reinterpreted_batch_ndims == 3
