"""The true factors of the drawn shapes, and codes made of them."""

import torch

import pyro_vae as pv


def factors_of_sprites():
    """The factors of all 6,144 sprites, in a random order."""
    data = pv.load_dataset("sprites")
    factors = torch.cat([data.train.factors, data.test.factors])
    return factors[torch.randperm(len(factors), generator=torch.Generator().manual_seed(0))]


def standardized(factors):
    """The factors with mean 0 and standard deviation 1."""
    codes = factors.double()
    return (codes - codes.mean(0)) / codes.std(0)


def near(estimate, truth):
    """Within 5 standard errors; one that may be 0 must be exact."""
    return abs(estimate.mean - truth) <= 5 * estimate.standard_error
