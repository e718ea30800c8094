"""Priors p(z): modules that return a distribution of z."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_vae.likelihoods.distributions import Normal
from pyro_vae.models.posteriors import bounded_log_scale


class Prior(nn.Module, ABC):
    """p(z); `forward` takes nothing, and returns a distribution of event shape (latent_dim,).

    Args:
        latent_dim: the number of components of z.
    """

    def __init__(self, latent_dim: int):
        super().__init__()
        self.latent_dim = latent_dim

    @abstractmethod
    def forward(self) -> TorchDistribution:
        """Return p(z), event shape (latent_dim,)."""

    def bind(
        self, encode: Callable[[Tensor], TorchDistribution], image_shape: tuple[int, int, int]
    ) -> None:
        """Take what the prior needs of its model: the function from images to q(z|x)."""


class NormalPrior(Prior):
    """The standard Normal."""

    _zeros: Tensor
    _ones: Tensor

    def __init__(self, latent_dim):
        super().__init__(latent_dim)
        self.register_buffer("_zeros", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("_ones", torch.ones(latent_dim), persistent=False)

    def forward(self):
        return Normal(self._zeros, self._ones).to_event(1)


class MixturePrior(Prior):
    """A mixture of diagonal Normals with learned weights, means and scales."""

    def __init__(self, latent_dim: int, components: int = 10):
        super().__init__(latent_dim)
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, latent_dim))
        self.raw_log_scale = nn.Parameter(torch.zeros(components, latent_dim))

    def forward(self):
        scale = bounded_log_scale(self.raw_log_scale).exp()
        components = Normal(self.loc, scale).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), components)


class VampPrior(Prior):
    """The mean of the posteriors of pseudo-inputs, images that are learned.

    Pixels of pseudo-inputs lie between 0 and 1. All have the same weight.

    Source: Tomczak and Welling, "VAE with a VampPrior", 2018, https://arxiv.org/abs/1705.07120.
    """

    def __init__(self, latent_dim: int, pseudo_inputs: int = 100):
        super().__init__(latent_dim)
        self.num_pseudo_inputs = pseudo_inputs

    def bind(self, encode, image_shape):
        self.raw = nn.Parameter(torch.randn(self.num_pseudo_inputs, *image_shape))
        self.encode = encode

    def forward(self):
        equal = torch.zeros(len(self.raw), dtype=self.raw.dtype, device=self.raw.device)
        components = self.encode(self.raw.sigmoid())
        return dist.MixtureSameFamily(dist.Categorical(logits=equal), components)


PRIORS: dict[str, type[Prior]] = {
    "normal": NormalPrior,
    "mixture": MixturePrior,
    "vamp": VampPrior,
}
