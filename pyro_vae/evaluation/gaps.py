"""The two parts of log p(x) - ELBO: the approximation gap and the amortization gap.

The approximation gap is due to the family of q. The amortization gap is due to the encoder, which
has to predict q from the image.

Source: Cremer, Li and Duvenaud, "Inference suboptimality in variational autoencoders", 2018,
https://arxiv.org/abs/1801.03558.
"""

from typing import NamedTuple

import pyro
import torch
from torch import Tensor

from pyro_vae.evaluation.bounds import Progress, decoded_at_once, log_likelihood, no_progress
from pyro_vae.likelihoods.distributions import Normal
from pyro_vae.models.elbo import component_rates
from pyro_vae.models.vae import VAE
from pyro_vae.randomness import seeded

LEARNING_RATE = 0.1
SAMPLES_PER_STEP = 8


class Refit(NamedTuple):
    """Diagonal Normals fitted to each image, compared with the encoder's: nats per image, (N,) each."""

    elbo: Tensor
    elbo_error: Tensor  # Monte Carlo standard error
    encoder_elbo: Tensor
    encoder_elbo_error: Tensor
    q: Normal  # the fitted Normals, (N, latent_dim)

    @property
    def amortization_gap(self) -> Tensor:
        """Return the loss of the encoder against the best diagonal Normal, nats (N,)."""
        return self.elbo - self.encoder_elbo


def refit_posterior(
    vae: VAE,
    images: Tensor,
    num_steps: int = 500,
    num_samples: int = 1000,
    seed: int = 0,
    score: str = "levels",
    progress: Progress = no_progress,
) -> Refit:
    """Fit the best diagonal Normal q to each image separately, and return its ELBO.

    The fit starts at the encoder's q. The approximation gap is log p(x) minus this ELBO. The
    amortization gap is this ELBO minus the encoder's. Both ELBOs are measured on the same noise.

    Args:
        vae: a VAE in `eval` mode; its weights do not change.
        images: (N, C, H, W).
        num_steps: the number of steps of Adam, whose learning rate falls to 0 along half a cosine.
        num_samples: the number of draws of z per image for the final ELBOs.
        seed: the seed of the draws.
        score: `levels` or `density`, the measure by which images are scored.
        progress: a function that receives the fraction done.

    Raises:
        ValueError: if the score is unknown, or the family is not a likelihood of such data.
    """
    at_once = max(1, 8 * decoded_at_once(vae) // SAMPLES_PER_STEP)
    parts = []
    with seeded(seed, images.device), pyro.validation_enabled(False):
        for x in images.split(at_once):
            parts.append(_refit(vae, x, num_steps, num_samples, score))
            progress(sum(len(part[0]) for part in parts) / len(images))
    elbo, error, encoder_elbo, encoder_error, loc, scale = map(torch.cat, zip(*parts))
    return Refit(elbo, error, encoder_elbo, encoder_error, Normal(loc, scale))


def _refit(vae: VAE, x: Tensor, num_steps: int, num_samples: int, score: str) -> tuple[Tensor, ...]:
    with torch.no_grad():
        encoder = vae.encode(x).base_dist
    loc, log_scale = encoder.loc.clone(), encoder.scale.log()
    values = [loc.requires_grad_(), log_scale.requires_grad_()]
    adam = torch.optim.Adam(values, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, num_steps)
    for _ in range(num_steps):
        q = Normal(loc, log_scale.exp())
        loss = -_elbo_terms(vae, x, q, _noise(q, SAMPLES_PER_STEP), score).mean(0).sum()
        for value, gradient in zip(values, torch.autograd.grad(loss, values)):
            value.grad = gradient  # the weights get no gradient
        adam.step()
        schedule.step()
    with torch.no_grad():
        q = Normal(loc.detach(), log_scale.detach().exp())
        noise = _noise(q, num_samples)
        elbo, error = _mean_and_error(_elbo_terms(vae, x, q, noise, score))
        encoder_elbo, encoder_error = _mean_and_error(_elbo_terms(vae, x, encoder, noise, score))
    return elbo, error, encoder_elbo, encoder_error, q.loc, q.scale


def _noise(q: Normal, num_samples: int) -> Tensor:
    """Return standard Normal draws in pairs of opposite sign, (num_samples, N, latent_dim)."""
    half = torch.randn(num_samples // 2, *q.loc.shape).to(q.loc)
    return torch.cat([half, -half])


def _elbo_terms(vae: VAE, x: Tensor, q: Normal, noise: Tensor, score: str) -> Tensor:
    """Return log p(x | z) - KL(q || p) at each draw, (num_samples, N), in batches of a few draws."""
    at_once = max(1, 8 * decoded_at_once(vae) // len(x))
    likelihoods = [
        log_likelihood(vae, x, q.loc + q.scale * part, score) for part in noise.split(at_once)
    ]
    return torch.cat(likelihoods) - component_rates(q.to_event(1)).sum(-1)


def _mean_and_error(terms: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean over independent pairs of opposite draws, and its standard error."""
    pairs = (terms[: len(terms) // 2] + terms[len(terms) // 2 :]) / 2
    return pairs.mean(0), pairs.std(0) / len(pairs) ** 0.5
