"""Small models and images that many tests train, and programs as a user may write them."""

import pyro
import pyro.distributions as dist
import torch

import pyro_vae as pv

SHAPE = (1, 4, 4)


def model(likelihood="bernoulli", kind=pv.VAE, seed=0, **options):
    """Two latent components, eight hidden units; the seed is that of the weights."""
    torch.manual_seed(seed)
    return kind(SHAPE, 2, likelihood, **({"hidden": (8,), "levels": 2} | options))


def images(count=40):
    """Black and white noise, the same at every call."""
    return torch.randint(2, (count, *SHAPE), generator=torch.Generator().manual_seed(5)).float()


class Counting(pv.VAE):
    """Changes a buffer."""

    def encode(self, x):
        self.prior_module._ones.add_(1)
        return super().encode(x)


class Dropping(pv.VAE):
    """Draws what is no standard noise."""

    def encode(self, x):
        return super().encode(x * torch.bernoulli(torch.full_like(x, 0.5)))


class Branching(pv.VAE):
    """Does one thing or another, as the images are."""

    def encode(self, x):
        return super().encode(x if x.mean() > 0.5 else -x)


class Choosy(pv.VAE):
    """Draws what is not reparameterised, in both programs."""

    def model(self, x, beta=1.0):
        with pyro.plate("more", len(x)):
            pyro.sample("k", dist.Bernoulli(x.new_tensor(0.5)))
        return super().model(x, beta)

    def guide(self, x, beta=1.0):
        with pyro.plate("more", len(x)):
            pyro.sample("k", dist.Bernoulli(x.flatten(1).mean(1)))
        return super().guide(x, beta)


class Pausing(pv.VAE):
    """Weighs codes by a number without gradient, made of a tensor that has one outside."""

    def decode(self, z):
        with torch.no_grad():
            one, other = torch.broadcast_tensors(z, z.square().mean())
            weight = (one + other).tanh()
        return super().decode(z * (2 + weight))


class Weighing(pv.VAE):
    """Weighs codes by numbers that are written in the program."""

    def decode(self, z):
        return super().decode(z * torch.tensor([1.0, 2.0]).to(z))


class Straying(pv.VAE):
    """Has a parameter outside the module."""

    def guide(self, x, beta=1.0):
        return super().guide(x * pyro.param("mine", x.new_ones(())), beta)


class Warping(pv.VAE):
    """Sound: one more latent site, which all images share."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.shift = torch.nn.Parameter(torch.zeros(2))

    def model(self, x, beta=1.0):
        pyro.sample("offset", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
        return super().model(x, beta)

    def guide(self, x, beta=1.0):
        pyro.sample("offset", dist.Normal(self.shift, 0.5).to_event(1))
        return super().guide(x, beta)
