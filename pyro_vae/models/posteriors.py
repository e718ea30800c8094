"""Posteriors q(z|x): modules that map the encoder's outputs to a distribution of z.

Scales are bounded, as those of the likelihoods are: a log scale is the encoder's output between -9
and 9, and bends outside of them towards -10 and 10.
"""

from abc import ABC, abstractmethod

import pyro.distributions as dist
import torch
import zuko
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import register_kl
from torch.nn.functional import pad

from pyro_vae.likelihoods.distributions import Normal

LOG_SCALE_BOUND = 9.0  # where a log scale begins to bend; it stays within one more
MOMENT_DRAWS = 256  # fixed ones, from which the moments of a flow are estimated


def bounded_log_scale(raw: Tensor) -> Tensor:
    """Return log scales that equal `raw` where it is within -9 and 9, and stay within -10 and 10.

    The gradient is alive everywhere: outside of the bounds it falls as 1 / (1 + distance)^2.
    """
    inside = raw.clamp(-LOG_SCALE_BOUND, LOG_SCALE_BOUND)
    beyond = raw - inside
    return inside + beyond / (1 + beyond.abs())


class Posterior(nn.Module, ABC):
    """q(z|x) as a function of the encoder's outputs; `forward` takes (..., num_outputs).

    What it returns has the event shape (latent_dim,), and draws with gradients.

    Args:
        latent_dim: the number of components of z.
    """

    num_outputs: int  # of the encoder, per image

    def __init__(self, latent_dim: int):
        super().__init__()
        self.latent_dim = latent_dim

    @abstractmethod
    def forward(self, outputs: Tensor) -> TorchDistribution:
        """Return q(z|x), event shape (latent_dim,), for encoder outputs (..., num_outputs)."""


class NormalPosterior(Posterior):
    """A Normal with independent components: a mean and a log scale of each."""

    def __init__(self, latent_dim):
        super().__init__(latent_dim)
        self.num_outputs = 2 * latent_dim

    def forward(self, outputs):
        loc, log_scale = outputs.chunk(2, -1)
        return Normal(loc, bounded_log_scale(log_scale).exp()).to_event(1)


class FullNormalPosterior(Posterior):
    """A Normal with a covariance of its own for each image, by its Cholesky factor.

    The factor is the diagonal matrix of the scales times a unit triangle.
    """

    places: Tensor

    def __init__(self, latent_dim):
        super().__init__(latent_dim)
        rows, columns = torch.tril_indices(latent_dim, latent_dim, -1)
        self.num_outputs = 2 * latent_dim + len(rows)
        places = torch.full((latent_dim, latent_dim), len(rows))  # of the zero that is appended
        places[rows, columns] = torch.arange(len(rows))
        self.register_buffer("places", places, persistent=False)

    def forward(self, outputs):
        loc, log_scale, below = outputs.tensor_split((self.latent_dim, 2 * self.latent_dim), dim=-1)
        scale = bounded_log_scale(log_scale).exp()
        triangle = pad(below, (0, 1))[..., self.places]
        factor = torch.diag_embed(scale) + scale.unsqueeze(-1) * triangle
        return dist.MultivariateNormal(loc, scale_tril=factor)


class FlowPosterior(Posterior):
    """A neural spline flow of a Normal; both depend on the image.

    The encoder gives the Normal, and as many features again, on which the flow's networks depend.
    Couplings make draws and densities equally cheap.

    Source: Durkan, Bekasov, Murray and Papamakarios, "Neural spline flows", 2019,
    https://arxiv.org/abs/1906.04032; Rezende and Mohamed, "Variational inference with normalizing
    flows", 2015, https://arxiv.org/abs/1505.05770. The flow is zuko's.
    """

    def __init__(self, latent_dim):
        super().__init__(latent_dim)
        self.num_outputs = 4 * latent_dim
        with torch.device("cpu"):  # zuko needs numbers, which the device `meta` has not
            flow = zuko.flows.NSF(
                latent_dim, 2 * latent_dim, transforms=2, passes=2, hidden_features=(64,)
            )
        self.flow = flow.transform.to(torch.get_default_device())

    def forward(self, outputs):
        loc, log_scale, features = outputs.tensor_split(
            (self.latent_dim, 2 * self.latent_dim), dim=-1
        )
        base = Normal(loc, bounded_log_scale(log_scale).exp()).to_event(1)
        return Transformed(base, [self.flow(features)])


class Transformed(dist.TransformedDistribution):
    """A transformed distribution with moments, which are estimated from 256 fixed draws."""

    def _moments(self) -> Tensor:
        loc = self.base_dist.mean
        shape = (MOMENT_DRAWS // 2, *[1] * (loc.ndim - 1), loc.shape[-1])
        half = torch.randn(shape, generator=torch.Generator().manual_seed(0), device="cpu")
        noise = torch.cat([half, -half]).to(loc)
        z = loc + self.base_dist.stddev * noise
        for transform in self.transforms:
            z = transform(z)
        return z

    @property
    def mean(self) -> Tensor:
        return self._moments().mean(0)

    @property
    def variance(self) -> Tensor:
        return self._moments().var(0)


class PointPosterior(Posterior):
    """A point: the VAE becomes a deterministic autoencoder, whose loss has no KL."""

    def __init__(self, latent_dim):
        super().__init__(latent_dim)
        self.num_outputs = latent_dim

    def forward(self, outputs):
        return dist.Delta(outputs).to_event(1)


POSTERIORS: dict[str, type[Posterior]] = {
    "normal": NormalPosterior,
    "full_normal": FullNormalPosterior,
    "flow": FlowPosterior,
    "point": PointPosterior,
}


@register_kl(dist.MultivariateNormal, dist.Independent)
def _kl_to_independent(q: dist.MultivariateNormal, p: dist.Independent) -> Tensor:
    """Return KL(q || p), nats, of a Normal with any covariance to one of independent components."""
    if not isinstance(p.base_dist, torch.distributions.Normal):
        raise NotImplementedError
    variance = p.base_dist.variance
    apart = (q.variance + (q.loc - p.base_dist.loc).square()) / variance - 1
    log_volumes = q.scale_tril.diagonal(dim1=-2, dim2=-1).log() - variance.log() / 2
    return (apart / 2 - log_volumes).sum(-1)
