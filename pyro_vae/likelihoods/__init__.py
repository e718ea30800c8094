"""Likelihood families: modules that turn the decoder's outputs into p(x | z)."""

from pyro_vae.likelihoods.base import Likelihood
from pyro_vae.likelihoods.families import LIKELIHOODS

__all__ = ["LIKELIHOODS", "Likelihood"]
