"""A model as the page's JavaScript reads it: two networks, and the likelihood's expected image."""

from itertools import chain

from pyro_vae.explorer.layers import layers_of
from pyro_vae.explorer.weights import float16_text
from pyro_vae.likelihoods import LIKELIHOODS, Likelihood
from pyro_vae.models.vae import LatentImageModel

EXPECTED_IMAGES = {  # the function in `likelihoods.js` that gives a family's expected image
    "bernoulli": "bernoulli",
    "continuous_bernoulli": "continuousBernoulli",
    "gaussian_fixed_sigma": "normalOfGivenSigma",
    "gaussian_shared_sigma": "normalOfSharedScale",
    "gaussian_image_sigma": "normalOfImageScale",
    "gaussian_pixel_sigma": "normalOfPixelScale",
    "gaussian_optimal_sigma": "normalOfGivenSigma",
    "laplace": "laplace",
    "student_t": "studentT",
    "beta": "beta",
    "categorical": "categorical",
    "discretized_logistic": "discretizedLogistic",
    "discretized_logistic_mixture": "discretizedLogisticMixture",
}


def describe(model: LatentImageModel) -> dict[str, object]:
    """Return a model as a table for JSON, with its weights as base64 of float16.

    Raises:
        ValueError: if a network has a layer that the page cannot run.
    """
    return {
        "image_shape": list(model.image_shape),
        "latent_dim": model.latent_dim,
        "encoder": layers_of(model.encoder),
        "decoder": layers_of(model.decoder),
        "likelihood": describe_likelihood(model.likelihood),
    }


def describe_likelihood(likelihood: Likelihood) -> dict[str, object]:
    """Return how expected images follow from the decoder's outputs.

    `by_levels` says whether they are means over grey levels, and not means of the density.
    """
    numbers = chain(likelihood.named_parameters(), likelihood.named_buffers())
    (name,) = (name for name, family in LIKELIHOODS.items() if family is type(likelihood))
    return {
        "expected": EXPECTED_IMAGES[name],
        "levels": likelihood.levels,
        "by_levels": likelihood.score == "levels",
        "numbers": {key: float16_text(values) for key, values in numbers},
    }
