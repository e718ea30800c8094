"""Likelihood families: what a decoder says of an image."""

from pyro_vae.likelihoods.base import Likelihood
from pyro_vae.likelihoods.families import LIKELIHOODS

__all__ = ["LIKELIHOODS", "Likelihood"]
