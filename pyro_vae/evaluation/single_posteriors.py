"""Families of distributions of a single image's code, which are fitted to the posterior."""

import math
from typing import NamedTuple

import torch
import zuko
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

Parameters = dict[str, Tensor]  # by name; their first dimension counts images


class Draws(NamedTuple):
    """Draws of z, and log q(z) of each, nats."""

    z: Tensor  # (num_samples, N, latent_dim)
    log_q: Tensor  # (num_samples, N)


class DiagonalNormal:
    """A Normal with independent components."""

    def draw(self, parameters: Parameters, noise: Tensor) -> Draws:
        """Return draws of z from standard Normal ones, (num_samples, N, latent_dim)."""
        z = parameters["loc"] + parameters["log_scale"].exp() * noise
        return Draws(z, _log_density(noise, parameters["log_scale"].sum(-1)))


def _log_density(standard: Tensor, log_volume: Tensor) -> Tensor:
    """Return log q of what standard Normal numbers (..., latent_dim) become, (...)."""
    squares = standard.square() + math.log(2 * math.pi)
    return -squares.sum(-1) / 2 - log_volume


class Drawn(DiagonalNormal):
    """A distribution that is not fitted, such as the encoder's: it draws by itself."""

    def __init__(self, q: TorchDistribution) -> None:
        self.q = q

    def draw(self, parameters: Parameters, noise: Tensor) -> Draws:
        z = self.q.sample(noise.shape[:1])
        return Draws(z, self.q.log_prob(z))


class FullNormal(DiagonalNormal):
    """A Normal with any covariance: its Cholesky factor is scales times a unit triangle."""

    def draw(self, parameters: Parameters, noise: Tensor) -> Draws:
        """Return draws of z from standard Normal ones, (num_samples, N, latent_dim).

        The gradient of log q is that through z alone: without noise where q is the posterior.

        Source: Roeder, Wu and Duvenaud, "Sticking the landing", 2017,
        https://arxiv.org/abs/1703.09194.
        """
        factor = _factor(parameters)
        z = parameters["loc"] + _times(factor, noise)
        away = (z - parameters["loc"].detach()).unsqueeze(-1)
        back = torch.linalg.solve_triangular(factor.detach(), away, upper=False).squeeze(-1)
        standard = noise + (back - back.detach())  # its value without the solver's rounding
        return Draws(z, _log_density(standard, parameters["log_scale"].detach().sum(-1)))

    def of(self, q: torch.distributions.MultivariateNormal) -> Parameters:
        """Return the parameters of such a distribution in this family."""
        scale = q.scale_tril.diagonal(dim1=-2, dim2=-1)
        below = q.scale_tril / scale.unsqueeze(-1)
        return {"loc": q.loc, "log_scale": scale.log(), "below": below}

    def containing(self, diagonal: Parameters) -> Parameters:
        """Return the parameters of a diagonal Normal in this family."""
        loc = diagonal["loc"]
        return diagonal | {"below": loc.new_zeros(*loc.shape, loc.shape[-1])}


def _factor(parameters: Parameters) -> Tensor:
    """Return the Cholesky factors of the covariances, (N, latent_dim, latent_dim)."""
    scale = parameters["log_scale"].exp().unsqueeze(-1)
    return scale * parameters["below"].tril(-1) + torch.diag_embed(scale.squeeze(-1))


def _times(factor: Tensor, noise: Tensor) -> Tensor:
    """Return the products of (N, D, D) and (num_samples, N, D)."""
    return torch.einsum("nij,snj->sni", factor, noise)


class Flow(FullNormal):
    """A neural spline flow per image, followed by the map of a Normal with any covariance.

    Source: Durkan, Bekasov, Murray and Papamakarios, "Neural spline flows", 2019,
    https://arxiv.org/abs/1906.04032. The flow is zuko's.
    """

    def __init__(self, latent_dim: int, device: torch.device | str = "cpu") -> None:
        self.latent_dim = latent_dim
        self.spline = _Spline(latent_dim).to(device)  # for its masks: the weights are parameters

    def draw(self, parameters: Parameters, noise: Tensor) -> Draws:
        weights = {name: parameters[name] for name in dict(self.spline.named_parameters())}
        moved, log_slope = vmap(self._move, in_dims=(0, 1), out_dims=1)(weights, noise)
        z = parameters["loc"] + _times(_factor(parameters), moved)
        return Draws(z, _log_density(noise, log_slope + parameters["log_scale"].sum(-1)))

    def containing(self, full: Parameters) -> Parameters:
        """Return the parameters of a Normal with any covariance in this family."""
        splines = [_Spline(self.latent_dim) for _ in full["loc"]]
        weights, _ = stack_module_state(splines)
        return full | {name: weight.detach().to(full["loc"]) for name, weight in weights.items()}

    def _move(self, weights: Parameters, noise: Tensor) -> tuple[Tensor, Tensor]:
        return functional_call(self.spline, weights, (noise,))


class _Spline(nn.Module):
    """A neural spline flow of zuko, called on noise; a new one changes nothing."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.spline = zuko.flows.NSF(latent_dim, transforms=2, hidden_features=(32, 32)).transform
        for transform in self.spline.transforms:
            last = transform.hyper[-1] if latent_dim > 1 else transform.phi
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        return self.spline().call_and_ladj(noise)
