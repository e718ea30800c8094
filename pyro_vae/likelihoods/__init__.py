"""Likelihood families: what a decoder says of an image."""

from pyro_vae.likelihoods.families import LIKELIHOODS, Likelihood

__all__ = ["LIKELIHOODS", "Likelihood"]
