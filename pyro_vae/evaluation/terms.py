"""The terms of the ELBO and the use of the latent space: images one by one, and means with errors."""

from typing import Any

import torch
from torch import Tensor

from pyro_vae.evaluation.bounds import bits_per_dim, importance_bound
from pyro_vae.evaluation.estimates import ACTIVE_VARIANCE, COLLAPSED_RATE, estimate
from pyro_vae.models.elbo import chunks, component_rates, each_given, elbo_terms
from pyro_vae.models.vae import VAE
from pyro_vae.notices import Progress, no_progress


def per_image(
    model: VAE,
    images: Tensor,
    levels: int | None,
    num_samples: int,
    seed: int = 0,
    progress: Progress = no_progress,
) -> dict[str, Tensor]:
    """Measure each image: the ELBO with its parts, and the log probability of the grey levels.

    The columns `elbo_nats`, `rate_nats` and `distortion_nats` are at beta = 1, with one draw of z,
    scored as in training. `log_prob_nats` is an importance bound, and `effective_sample_size` that of
    its draws. One that is not defined is left out: the log probability if the family is no likelihood
    or `levels` is None, ELBO and rate if q is a point.

    Args:
        model: a model in `eval` mode, on the images' device; a conditional one with their labels.
        images: (N, C, H, W).
        levels: the number of grey levels in the images, or None.
        num_samples: the number of draws of z per image for the importance bound.
        seed: the seed of the draws.
        progress: a function that receives how many of what are done.

    Returns:
        The columns by name, (N,) each.
    """
    terms = elbo_terms(model, images, seed=seed)
    columns = {"distortion_nats": terms.distortion}
    if model.has_rate:
        columns |= {"elbo_nats": terms.elbo, "rate_nats": terms.rate}
    if model.has_rate and model.likelihood.is_likelihood and levels is not None:
        bound = importance_bound(model, images, num_samples, seed, progress=progress)
        columns["log_prob_nats"] = bound.log_prob
        columns["effective_sample_size"] = bound.effective_sample_size
    return columns


def means(
    model: VAE, images: Tensor, columns: dict[str, Tensor], num_samples: int
) -> dict[str, Any]:
    """Return the means over images of what `per_image` returned, and the use of the latent space.

    Bits per dimension are those of the grey levels. A measure that is not defined is None.

    Args:
        model, num_samples: those that the columns were measured with.
        images: those that components are judged by: the measured ones, or more of the same split.
        columns: what `per_image` returned.
    """
    measures: dict[str, Any] = {"images": len(columns["distortion_nats"])}
    for name in ("elbo_nats", "rate_nats", "distortion_nats"):
        measures[name] = estimate(columns[name]) if name in columns else None
    bound = ("bits_per_dim", "bits_per_dim_samples", "bits_per_dim_effective_samples")
    measures |= dict.fromkeys(bound)
    if "log_prob_nats" in columns:
        bits = bits_per_dim(columns["log_prob_nats"], model.image_shape)
        size = estimate(columns["effective_sample_size"])
        measures |= dict(zip(bound, (estimate(bits), num_samples, size)))
    variances = mean_variance_per_component(model, images)
    measures |= {"active_units": active_units(variances), "collapsed_units": None}
    measures["rate_per_component_nats"] = None
    measures["mean_variance_per_component"] = variances.tolist()
    rates = rate_per_component(model, images)
    if rates is not None:
        measures["collapsed_units"] = collapsed_units(rates)
        measures["rate_per_component_nats"] = rates.mean(0).tolist()
    return measures


@torch.no_grad()
def rate_per_component(model: VAE, images: Tensor) -> Tensor | None:
    """Return KL(q(z_i|x) || p(z_i)) in closed form, nats, (N, latent_dim).

    It is None where components have no rate of their own: see `component_rates`.
    """
    parts = [
        component_rates(vae.encode(x), vae.prior) for vae, x in each_given(model, chunks(images))
    ]
    known = [part for part in parts if part is not None]
    return torch.cat(known) if known else None


def collapsed_units(rates: Tensor) -> int:
    """Return the number of components whose mean rate is less than 0.01 nats.

    Args:
        rates: (N, latent_dim), nats.
    """
    return int((rates.mean(0) < COLLAPSED_RATE).sum())


@torch.no_grad()
def mean_variance_per_component(model: VAE, images: Tensor) -> Tensor:
    """Return Var_x(E_q[z_i]), the variance of each component's mean over images, (latent_dim,)."""
    means = torch.cat([vae.encode(x).mean for vae, x in each_given(model, chunks(images))])
    return means.var(0, correction=0)


def is_active(variances: Tensor) -> Tensor:
    """Return which components are active: those with Var_x(E_q[z_i]) > 0.01, given these variances.

    Reports, evaluations and the explorer all count the components of all test images by this.

    Source: Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2015,
    https://arxiv.org/abs/1509.00519.
    """
    return variances > ACTIVE_VARIANCE


def active_units(variances: Tensor) -> int:
    """Return the number of active components, given Var_x(E_q[z_i]), (latent_dim,)."""
    return int(is_active(variances).sum())
