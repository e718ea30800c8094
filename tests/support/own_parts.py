"""A file of a user's own parts, and the import paths of them."""

FILE = """
import math
import pyro.distributions as dist
import torch
from torch import nn
from pyro_vae import Likelihood
from pyro_vae.likelihoods.levels import CategoricalLevels
from pyro_vae.training.importance import Estimator


def Renyi():
    return Estimator(lambda log_w: 2 * ((log_w / 2).logsumexp(0) - math.log(len(log_w))))


def Net(image_shape, num_outputs, latent_dim, output_shape):
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image_shape), num_outputs))
    sizes = math.prod(output_shape)
    decoder = nn.Sequential(nn.Linear(latent_dim, sizes), nn.Unflatten(1, output_shape))
    return encoder, decoder


class Binary(Likelihood):
    def density(self, outputs):
        return dist.Bernoulli(logits=outputs, validate_args=False).to_event(3)

    mass = density


class Poisson(Likelihood):
    scores_grey = False

    def mass(self, outputs):
        count = torch.arange(self.levels, dtype=outputs.dtype, device=outputs.device)
        weight, bias = count.unsqueeze(-1), -torch.lgamma(count + 1)
        return CategoricalLevels(outputs.unsqueeze(-1), weight, bias).to_event(3)

    density = mass


class Wide(nn.Module):
    def __init__(self, latent_dim):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(latent_dim))

    def forward(self):
        return dist.Normal(self.loc, 2.0).to_event(1)


class Narrow(nn.Module):
    def __init__(self, latent_dim):
        super().__init__()
        self.num_outputs = latent_dim

    def forward(self, outputs):
        return dist.Normal(outputs, 0.1).to_event(1)


def Crooked(image_shape, num_outputs, latent_dim, output_shape):
    encoder, decoder = Net(image_shape, num_outputs + 1, latent_dim, output_shape)
    return encoder, decoder


number = 3
"""


def paths(file):
    names = {"network": "Net", "likelihood": "Binary", "prior": "Wide", "posterior": "Narrow"}
    return {part: f"{file}:{name}" for part, name in names.items()}
