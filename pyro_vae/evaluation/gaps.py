"""What log p(x) - ELBO consists of: the encoder, correlation, and the shape of the posterior.

The amortization gap is due to the encoder, which has to predict q from the image. The approximation
gap is due to the family of q: a diagonal Normal knows neither correlation nor any other shape. Both
are measured by distributions that are fitted to single images.

Source: Cremer, Li and Duvenaud, "Inference suboptimality in variational autoencoders", 2018,
https://arxiv.org/abs/1801.03558.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pyro
import torch
import zuko
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from pyro_vae.evaluation.bounds import decoded_at_once, log_likelihood
from pyro_vae.evaluation.estimates import mean_and_error
from pyro_vae.evaluation.progress import Progress, no_progress
from pyro_vae.likelihoods.distributions import Normal
from pyro_vae.models.elbo import component_rates
from pyro_vae.models.vae import VAE
from pyro_vae.randomness import seeded

SAMPLES_PER_STEP = 8
SAMPLES_TO_CHOOSE_BY = 1000  # between two fits to an image
CLEARLY_LOWER = 5  # standard errors by which a failed fit lies under the encoder
FIT_NATS = 0.02  # what a fit that ends within its noise may lose
LEARNING_RATE = 0.1
WEIGHTS_LEARNING_RATE = 0.01  # of the networks in a flow

Parameters = dict[str, Tensor]  # by name; their first dimension counts images

# --- families of distributions of a single image --------------------------------------------------


class Draws(NamedTuple):
    """Draws of z, and what they cost: log q(z) - log p(z), nats, or its mean, KL(q || p)."""

    z: Tensor  # (num_samples, N, latent_dim)
    rate: Tensor  # (num_samples, N), or (N,) if it is the mean


class DiagonalNormal:
    """A Normal with independent components: what the encoder predicts."""

    def draw(self, parameters: Parameters, noise: Tensor) -> Draws:
        """Return draws of z with KL(q || p)."""
        q = Normal(parameters["loc"], parameters["log_scale"].exp())
        return Draws(q.loc + q.scale * noise, component_rates(q.to_event(1)).sum(-1))


class FullNormal(DiagonalNormal):
    """A Normal with any covariance: its Cholesky factor is scales times a unit triangle."""

    def draw(self, parameters: Parameters, noise: Tensor) -> Draws:
        """Return draws of z with log q(z) - log p(z) of each.

        The gradient of log q is that through z alone: without noise where q is the posterior.

        Source: Roeder, Wu and Duvenaud, "Sticking the landing", 2017,
        https://arxiv.org/abs/1703.09194.
        """
        factor = _factor(parameters)
        z = parameters["loc"] + _times(factor, noise)
        away = z - parameters["loc"].detach()
        back = torch.linalg.solve_triangular(factor.detach(), away.unsqueeze(-1), upper=False)
        standard = noise + (back.squeeze(-1) - back.squeeze(-1).detach())
        log_volume = parameters["log_scale"].detach().sum(-1)
        return Draws(z, (z.square() - standard.square()).sum(-1) / 2 - log_volume)

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
        """Return draws of z with log q(z) - log p(z) of each."""
        weights = {name: parameters[name] for name in dict(self.spline.named_parameters())}
        moved, log_slope = vmap(self._move, in_dims=(0, 1), out_dims=1)(weights, noise)
        z = parameters["loc"] + _times(_factor(parameters), moved)
        log_volume = log_slope + parameters["log_scale"].sum(-1)
        return Draws(z, (z.square() - noise.square()).sum(-1) / 2 - log_volume)

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


# --- fits to single images ------------------------------------------------------------------------


class Refit(NamedTuple):
    """Distributions fitted to each image, compared with the encoder's: nats per image, (N,) each.

    The keys are `elbo` of the encoder's, and `elbo_refitted`, `elbo_full_covariance` and `elbo_flow`
    of the best diagonal Normal, the best Normal and the best flow. Each contains the one before it.
    """

    elbos: dict[str, Tensor]
    errors: dict[str, Tensor]  # Monte Carlo standard errors
    failed: Tensor  # (N,), where every diagonal fit ended clearly below the encoder


def refit_posterior(
    vae: VAE,
    images: Tensor,
    num_steps: int = 500,
    num_samples: int = 1000,
    seed: int = 0,
    score: str = "levels",
    progress: Progress = no_progress,
) -> Refit:
    """Fit three families of distributions to each image separately, and return their ELBOs.

    The families are a diagonal Normal, a Normal with full covariance and a normalizing flow. A
    diagonal fit starts at the encoder's q, at the prior, and at a random code; each richer one at
    the best of the family before it, and at the prior. The best is kept, or what was known before
    where all fits end below it. These choices are made on other draws than the ELBOs, which all
    share theirs.

    Args:
        vae: a VAE in `eval` mode; its weights do not change.
        images: (N, C, H, W).
        num_steps: the number of steps of Adam, whose learning rate falls to 0 along half a cosine.
        num_samples: the number of draws of z per image for the final ELBOs; an odd one gets one more.
        seed: the seed of the draws.
        score: `levels` or `density`, the measure by which images are scored.
        progress: a function that receives how many of what are done.

    Raises:
        ValueError: if the score is unknown, or the family is not a likelihood of such data.
    """
    at_once = max(1, 8 * decoded_at_once(vae) // SAMPLES_PER_STEP)
    parts = []
    with seeded(seed, images.device), pyro.validation_enabled(False):
        for x in images.split(at_once):
            parts.append(_Fitting(vae, x, num_steps, num_samples, score, progress).refit())
    elbos, errors, failed = zip(*parts)
    return Refit(_joined(elbos), _joined(errors), torch.cat(failed))


def _joined(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


class _Fitting(NamedTuple):
    """The fits to the images of one batch."""

    vae: VAE
    x: Tensor
    num_steps: int
    num_samples: int
    score: str
    progress: Progress

    def refit(self) -> Refit:
        """Fit each family, from the best of the one before, and measure all on the same draws."""
        with torch.no_grad():
            q = self.vae.encode(self.x).base_dist
        encoder = {"loc": q.loc, "log_scale": q.scale.log()}
        prior = {name: torch.zeros_like(q.loc) for name in encoder}
        elsewhere = encoder | {"loc": torch.randn_like(q.loc)}
        normal, full_normal = DiagonalNormal(), FullNormal()
        flow = Flow(self.vae.latent_dim, self.x.device)
        fitted = self.best_fit(normal, [encoder, prior, elsewhere])
        gain, error = self.gain(normal, encoder, fitted)
        failed = gain < -torch.clamp(CLEARLY_LOWER * error, min=FIT_NATS)
        diagonal = _chosen(gain > 0, fitted, encoder)
        full = self.improved(full_normal, diagonal, prior)
        flowing = self.improved(flow, full, full_normal.containing(prior))
        elbos, errors = self.measure(
            elbo=(normal, encoder),
            elbo_refitted=(normal, diagonal),
            elbo_full_covariance=(full_normal, full),
            elbo_flow=(flow, flowing),
        )
        return Refit(elbos, errors, failed)

    def improved(self, family: FullNormal, known: Parameters, other: Parameters) -> Parameters:
        """Return the best of the known distribution, a fit from there and one from another start."""
        starts = [family.containing(start) for start in (known, other)]
        return self.better(family, starts[0], self.best_fit(family, starts))

    def best_fit(self, family: DiagonalNormal, starts: list[Parameters]) -> Parameters:
        """Return for each image the best of the fits from several starts, which run side by side."""
        together = {name: torch.cat([start[name] for start in starts]) for name in starts[0]}
        fitted = self.fit(family, together)
        fits = {name: v.chunk(len(starts)) for name, v in fitted.items()}
        best, *others = (dict(zip(fits, values)) for values in zip(*fits.values()))
        for other in others:
            best = self.better(family, best, other)
        return best

    def better(self, family: DiagonalNormal, first: Parameters, second: Parameters) -> Parameters:
        """Return for each image the parameters with the higher ELBO."""
        gain, _ = self.gain(family, first, second)
        return _chosen(gain > 0, second, first)

    def fit(self, family: DiagonalNormal, start: Parameters) -> Parameters:
        """Return the parameters after `num_steps` steps of Adam from a start."""
        values = {name: value.clone().requires_grad_() for name, value in start.items()}
        adam = torch.optim.Adam([{"params": [v], "lr": _rate(n)} for n, v in values.items()])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.num_steps)
        for step in range(self.num_steps):
            noise = self.noise(SAMPLES_PER_STEP, len(start["loc"]))
            loss = -self.terms(family, values, noise).mean(0).sum()
            gradients = torch.autograd.grad(loss, list(values.values()))
            for value, gradient in zip(values.values(), gradients):
                value.grad = gradient  # the weights of the VAE get no gradient
            adam.step()
            schedule.step()
            self.progress(step + 1, self.num_steps, "steps of a fit")
        return {name: value.detach() for name, value in values.items()}

    @torch.no_grad()
    def gain(
        self, family: DiagonalNormal, first: Parameters, second: Parameters
    ) -> tuple[Tensor, Tensor]:
        """Return the ELBO of the second less that of the first, (N,), and its standard error."""
        noise = self.noise(SAMPLES_TO_CHOOSE_BY, len(self.x))
        apart = self.terms(family, second, noise) - self.terms(family, first, noise)
        return _of_pairs(apart)

    @torch.no_grad()
    def measure(
        self, **fits: tuple[DiagonalNormal, Parameters]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the ELBOs of fits, (N,) each, and their standard errors, on the same noise."""
        noise = self.noise(self.num_samples, len(self.x))
        found = {name: _of_pairs(self.terms(*fit, noise)) for name, fit in fits.items()}
        return {n: mean for n, (mean, _) in found.items()}, {n: e for n, (_, e) in found.items()}

    def terms(self, family: DiagonalNormal, parameters: Parameters, noise: Tensor) -> Tensor:
        """Return log p(x | z) - rate at each draw, (num_samples, N), in batches of a few draws.

        With parameters of several fits per image, N counts them all.
        """
        x = self.x.repeat(noise.shape[1] // len(self.x), 1, 1, 1)
        parts = []
        for some in noise.split(max(1, 8 * decoded_at_once(self.vae) // len(x))):
            z, rate = family.draw(parameters, some)
            parts.append(log_likelihood(self.vae, x, z, self.score) - rate)
        return torch.cat(parts)

    def noise(self, num_samples: int, count: int) -> Tensor:
        """Return standard Normal draws in pairs of opposite sign, (num_samples, N, latent_dim)."""
        half = self.x.new_empty((num_samples + 1) // 2, count, self.vae.latent_dim).normal_()
        return torch.cat([half, -half])


def _rate(name: str) -> float:
    """Return the learning rate of a parameter: the weights of a flow's networks take small steps."""
    return WEIGHTS_LEARNING_RATE if name.startswith("spline") else LEARNING_RATE


def _chosen(wins: Tensor, first: Parameters, second: Parameters) -> Parameters:
    """Return the first parameters of images where they win, (N,), else the second."""
    return {
        name: torch.where(wins.view(-1, *[1] * (value.ndim - 1)), value, second[name])
        for name, value in first.items()
    }


def _of_pairs(terms: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean over independent pairs of opposite draws, and its standard error."""
    half = len(terms) // 2
    return mean_and_error((terms[:half] + terms[half:]) / 2)
