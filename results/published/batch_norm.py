"""The network of BB-ANS: batch normalisation before each activation, and of what the encoder gives.

Source: bits-back/bits-back, `torch_vae/tvae_beta_binomial.py`.
"""

import math

from torch import nn


def networks(image_shape, num_outputs, latent_dim, output_shape):
    """Return the encoder 784-200-100 and the decoder 50-200-1568."""
    pixels, outputs = math.prod(image_shape), math.prod(output_shape)
    encoder = nn.Sequential(
        nn.Flatten(), *hidden(pixels, 200), nn.Linear(200, num_outputs), nn.BatchNorm1d(num_outputs)
    )
    decoder = nn.Sequential(
        *hidden(latent_dim, 200), nn.Linear(200, outputs), nn.Unflatten(1, output_shape)
    )
    return encoder, decoder


def hidden(inputs, size):
    return nn.Linear(inputs, size), nn.BatchNorm1d(size), nn.ReLU()
