"""Runs with an untrained model and a made-up summary, and the page that explores them."""

import torch

import pyro_vae as pv
from pyro_vae.runs.run import build_model


def made_up(data, rates=None, variances=None, **settings):
    """A finished run that was never trained.

    Args:
        rates: the mean KL of each component, nats (default: 1, 2, 3 and so on).
        variances: of the mean of each component over test images (default: none are known).
    """
    config = pv.RunConfig(**settings)
    model = build_model(config, data.image_shape, data.levels).eval()
    if rates is None and model.has_rate:
        rates = [1.0 + k for k in range(config.latent_dim)]
    of_means = {"mean_variance_per_component": variances}
    summary = {"test": {"rate_per_component_nats": rates} | of_means}
    run = pv.Run("made_up", config)
    run.vae, run.summary = model, summary
    return run


def some_data(shape, count=12, levels=256, labels=True):
    """Random images of a shape, with the labels 0 and 1."""
    images = torch.randint(levels, (count, *shape)) / (levels - 1)
    split = pv.Split(images, torch.arange(count) % 2 if labels else None)
    return pv.Dataset("made up", split, split, levels)
