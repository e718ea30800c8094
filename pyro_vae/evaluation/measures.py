"""The measures of a run's summary: means over images, with their standard errors."""

from torch import Tensor

from pyro_vae.evaluation.bounds import Progress, bits_per_dim, importance_bound, no_progress
from pyro_vae.evaluation.estimates import Estimate, estimate
from pyro_vae.evaluation.latents import active_units, collapsed_units, rate_per_component
from pyro_vae.models.elbo import elbo_terms
from pyro_vae.models.vae import LatentImageModel


def measure(
    model: LatentImageModel,
    images: Tensor,
    levels: int | None,
    num_samples: int,
    seed: int = 0,
    progress: Progress = no_progress,
) -> dict[str, Estimate | list[float] | int | None]:
    """Measure the ELBO with its parts, bits per dimension, and the use of the latent space.

    The ELBO and its parts are in nats per image at beta = 1, with one draw of z. Images are scored
    as in training. Bits per dimension are those of the grey levels, by the importance bound. A
    measure that is not defined is None. Bits are not defined if the family is no likelihood or
    `levels` is None. ELBO and rates are not defined if q is a point.

    Args:
        model: a model in `eval` mode, on the images' device.
        images: (N, C, H, W).
        levels: the number of grey levels in the images, or None.
        num_samples: the number of draws of z per image for the importance bound.
        seed: the seed of the draws.
        progress: a function that receives the fraction done.
    """
    terms = elbo_terms(model, images, seed=seed)
    measures = {
        "images": len(images),
        "elbo_nats": estimate(terms.elbo),
        "rate_nats": estimate(terms.rate),
        "distortion_nats": estimate(terms.distortion),
        "bits_per_dim": None,
        "bits_per_dim_samples": None,
        "active_units": active_units(model, images),
        "collapsed_units": None,
        "rate_per_component_nats": None,
    }
    if not model.has_rate:
        return measures | {"elbo_nats": None, "rate_nats": None}
    rates = rate_per_component(model, images)
    measures["collapsed_units"] = collapsed_units(rates)
    measures["rate_per_component_nats"] = rates.mean(0).tolist()
    if model.likelihood.is_likelihood and levels is not None:
        bound = importance_bound(model, images, num_samples, seed, progress=progress)
        measures["bits_per_dim"] = estimate(bits_per_dim(bound, model.image_shape))
        measures["bits_per_dim_samples"] = num_samples
    return measures
