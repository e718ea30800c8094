"""What log p(x) - ELBO consists of: the encoder, correlation, and the shape of the posterior.

The amortization gap is due to the encoder, which has to predict q from the image. The approximation
gap is due to the family of q: a diagonal Normal knows neither correlation nor any other shape. Both
are measured by distributions that are fitted to single images.

Source: Cremer, Li and Duvenaud, "Inference suboptimality in variational autoencoders", 2018,
https://arxiv.org/abs/1801.03558.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pyro
import torch
from torch import Tensor

from pyro_vae.evaluation.bounds import DECODERS, decoded_at_once, log_likelihood
from pyro_vae.evaluation.estimates import mean_and_error
from pyro_vae.evaluation.single_posteriors import (
    DiagonalNormal,
    Drawn,
    Flow,
    FullNormal,
    Parameters,
)
from pyro_vae.models.vae import VAE
from pyro_vae.names import check_name
from pyro_vae.notices import Progress, no_progress
from pyro_vae.randomness import seeded

SAMPLES_PER_STEP = 8
SAMPLES_TO_CHOOSE_BY = 600  # between fits to an image
EARLY_SHARE = 1 / 4  # of the steps, after which the best of the starts near the posterior goes on
PRIOR_DRAWS = 512  # per image, of which the likely ones are starts of fits
LIKELY_STARTS = 5
MISSED_MODE_NATS = 0.1  # a fit from the true code that is better by more has found another mode
CLEARLY_LOWER = 5  # standard errors by which a failed fit lies under the encoder
FIT_NATS = 0.02  # what a fit that ends within its noise may lose
LEARNING_RATE = 0.1
WEIGHTS_LEARNING_RATE = 0.01  # of the networks in a flow


class Refit(NamedTuple):
    """Distributions fitted to each image, compared with the encoder's: nats per image, (N,) each.

    The keys are `elbo` of the encoder's, and `elbo_refitted`, `elbo_full_covariance` and `elbo_flow`
    of the best diagonal Normal, the best Normal and the best flow. Each of the latter contains the one
    before it.
    """

    elbos: dict[str, Tensor]
    errors: dict[str, Tensor]  # Monte Carlo standard errors
    failed: (
        Tensor  # (N,), where every diagonal fit ended clearly below its start at the encoder's q
    )
    own: str | None  # the key of the encoder's own family; None where it is no Normal


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
    diagonal fit starts at the encoder's q, at the prior, at five of its draws that are chosen by
    p(x|z), and at a Normal with the moments that p(x|z) gives these draws; each richer one at the best
    of the family before it, at the prior and at this Normal. Of the
    starts that lie at q and at draws, only the best one after a quarter of the steps goes on. The
    diagonal fit starts once more where
    the full one has ended, so that a mode which one of them finds is not taken for correlation. The
    best is kept, or what was known before where all fits end below it. These choices are made on other
    draws than the ELBOs, which all share theirs. Fits can still miss a mode: ELBOs are those of the
    best at least (see `missed_modes`). All this holds for any prior and any posterior with moments.

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
    elbos, errors, failed, own = zip(*parts)
    return Refit(_joined(elbos), _joined(errors), torch.cat(failed), own[0])


def missed_modes(
    vae: VAE,
    num_images: int,
    num_steps: int = 500,
    seed: int = 0,
    score: str = "levels",
    progress: Progress = no_progress,
) -> Tensor:
    """Return for which images a diagonal fit misses a mode that is known, (num_images,).

    The images are drawn from the model, so that a code of each is known. A fit that starts there is
    compared with those of `refit_posterior`, which do not know it. A mode was missed where the former
    is better by more than 0.1 nats and 5 standard errors.

    Args:
        vae, num_steps, seed, score, progress: as in `refit_posterior`.

    Raises:
        ValueError: if the score is unknown, or the family is not a likelihood of such data.
    """
    with seeded(seed, vae.device), pyro.validation_enabled(False):
        with torch.no_grad():
            z = vae.prior.sample((num_images,))
            x = DECODERS[check_name("score", score, DECODERS)](vae, z).sample()
        fitting, normal = _Fitting(vae, x, num_steps, 2, score, progress), DiagonalNormal()
        starts = fitting.starts()
        known = fitting.best_fit(normal, [starts[0] | {"loc": z}])
        gain, error = fitting.gain(normal, fitting.diagonal_fit(starts), known)
    return gain > torch.clamp(CLEARLY_LOWER * error, min=MISSED_MODE_NATS)


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
        q, starts = self.vae.encode(self.x), self.starts()
        encoder, prior, covering = starts[:3]
        normal, full_normal = DiagonalNormal(), FullNormal()
        flow = Flow(self.vae.latent_dim, self.x.device)
        own: str | None = None
        encoding: tuple[DiagonalNormal, Parameters] = Drawn(q), encoder
        if isinstance(getattr(q, "base_dist", None), torch.distributions.Normal):
            own, encoding = "elbo_refitted", (normal, encoder)
        fitted = self.diagonal_fit(starts)
        gain, error = self.gain(normal, encoder, fitted)
        failed = gain < -torch.clamp(CLEARLY_LOWER * error, min=FIT_NATS)
        diagonal = self.best(normal, [encoder, fitted])
        full = self.improved(full_normal, [diagonal, prior, covering])
        if isinstance(q, torch.distributions.MultivariateNormal):
            own, encoding = "elbo_full_covariance", (full_normal, full_normal.of(q))
            full = self.best(full_normal, [full, encoding[1]])
        again = self.best_fit(normal, [{name: full[name] for name in prior}])
        diagonal = self.best(normal, [diagonal, again])
        full = self.best(full_normal, [full, full_normal.containing(diagonal)])
        others = [full_normal.containing(start) for start in (prior, covering)]
        flowing = self.improved(flow, [full, *others])
        alone = self.vae.latent_dim == 1  # then there is nothing to be correlated with
        elbos, errors = self.measure(
            elbo=encoding,
            elbo_refitted=(normal, diagonal),
            elbo_full_covariance=(normal, diagonal) if alone else (full_normal, full),
            elbo_flow=(flow, flowing),
        )
        return Refit(elbos, errors, failed, own)

    @torch.no_grad()
    def starts(self) -> list[Parameters]:
        """Return diagonal Normals to start from.

        They have the moments of the encoder's q, of the prior, and of the posterior by importance
        weights of draws of the prior, or lie at such draws.
        """
        q, z = self.vae.encode(self.x), self.vae.prior.sample((PRIOR_DRAWS, len(self.x)))
        encoder = {"loc": q.mean, "log_scale": q.stddev.log()}
        prior = {"loc": z.mean(0), "log_scale": z.std(0).log()}
        weights = self.log_likelihoods(z).softmax(0)
        loc = torch.einsum("sn,snd->nd", weights, z)
        scale = torch.einsum("sn,snd->nd", weights, (z - loc).square()).sqrt()
        covering = {"loc": loc, "log_scale": torch.maximum(scale, q.stddev).log()}
        rows = weights.T.multinomial(LIKELY_STARTS, replacement=True)
        likely = z.transpose(0, 1)[torch.arange(len(rows), device=rows.device).unsqueeze(1), rows]
        return [encoder, prior, covering, *(encoder | {"loc": z} for z in likely.unbind(1))]

    def diagonal_fit(self, starts: list[Parameters]) -> Parameters:
        """Return the best diagonal Normal that is found from what `starts` returned."""
        normal, (encoder, prior, covering, *likely) = DiagonalNormal(), starts
        early = math.ceil(EARLY_SHARE * self.num_steps)
        near = self.best(normal, self.fits(normal, [encoder, *likely], early))
        return self.best_fit(normal, [near, prior, covering])

    def improved(self, family: FullNormal, starts: list[Parameters]) -> Parameters:
        """Return the best of the first distribution, and of fits from there and from others."""
        starts = [family.containing(start) for start in starts]
        return self.best(family, [starts[0], self.best_fit(family, starts)])

    def best_fit(self, family: DiagonalNormal, starts: list[Parameters]) -> Parameters:
        """Return for each image the best of the fits from several starts."""
        return self.best(family, self.fits(family, starts, self.num_steps))

    def fits(
        self, family: DiagonalNormal, starts: list[Parameters], num_steps: int
    ) -> list[Parameters]:
        """Return the fits from several starts, which run side by side."""
        together = {name: torch.cat([start[name] for start in starts]) for name in starts[0]}
        fitted = self.fit(family, together, num_steps)
        parts = {name: values.chunk(len(starts)) for name, values in fitted.items()}
        return [dict(zip(parts, values)) for values in zip(*parts.values())]

    @torch.no_grad()
    def best(self, family: DiagonalNormal, candidates: list[Parameters]) -> Parameters:
        """Return for each image the parameters with the highest ELBO, on the same draws."""
        if len(candidates) == 1:
            return candidates[0]
        noise = self.noise(SAMPLES_TO_CHOOSE_BY, len(self.x))
        elbos = [self.terms(family, candidate, noise).mean(0) for candidate in candidates]
        rows = torch.stack(elbos).argmax(0), torch.arange(len(self.x), device=noise.device)
        return {name: torch.stack([c[name] for c in candidates])[rows] for name in candidates[0]}

    def fit(self, family: DiagonalNormal, start: Parameters, num_steps: int) -> Parameters:
        """Return the parameters after steps of Adam from a start."""
        values = {name: value.clone().requires_grad_() for name, value in start.items()}
        adam = torch.optim.Adam([{"params": [v], "lr": _rate(n)} for n, v in values.items()])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, num_steps)
        for step in range(num_steps):
            noise = self.noise(SAMPLES_PER_STEP, len(start["loc"]))
            loss = -self.terms(family, values, noise).mean(0).sum()
            gradients = torch.autograd.grad(loss, list(values.values()))
            for value, gradient in zip(values.values(), gradients):
                value.grad = gradient  # the weights of the VAE get no gradient
            adam.step()
            schedule.step()
            self.progress(step + 1, num_steps, "steps of a fit")
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
        """Return log p(x, z) - log q(z) at each draw, (num_samples, N).

        With parameters of several fits per image, N counts them all.
        """
        prior, parts = self.vae.prior, []
        for some in noise.split(self.draws_at_once(noise.shape[1])):
            z, log_q = family.draw(parameters, some)
            parts.append(self.log_likelihoods(z) + prior.log_prob(z) - log_q)
        return torch.cat(parts)

    def log_likelihoods(self, z: Tensor) -> Tensor:
        """Return log p(x | z), (num_samples, N), in batches of a few draws."""
        x = self.x.repeat(z.shape[1] // len(self.x), 1, 1, 1)
        parts = z.split(self.draws_at_once(len(x)))
        return torch.cat([log_likelihood(self.vae, x, part, self.score) for part in parts])

    def draws_at_once(self, count: int) -> int:
        """Return how many draws of so many codes are decoded in one batch."""
        return max(1, 8 * decoded_at_once(self.vae) // count)

    def noise(self, num_samples: int, count: int) -> Tensor:
        """Return standard Normal draws in pairs of opposite sign, (num_samples, N, latent_dim)."""
        half = self.x.new_empty((num_samples + 1) // 2, count, self.vae.latent_dim).normal_()
        return torch.cat([half, -half])


def _rate(name: str) -> float:
    """Return the learning rate of a parameter: the weights of a flow's networks take small steps."""
    return WEIGHTS_LEARNING_RATE if name.startswith("spline") else LEARNING_RATE


def _of_pairs(terms: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean over independent pairs of opposite draws, and its standard error."""
    half = len(terms) // 2
    return mean_and_error((terms[:half] + terms[half:]) / 2)
