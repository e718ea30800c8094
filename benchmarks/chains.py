"""Hamiltonian chains of codes on one decoder, three times: ours, hand-written, and NumPyro's.

All have the density p(x, z) of grey levels under a Normal with one sigma, the same codes to begin
with, and the same number of leapfrog steps, each with one gradient. A peer makes transitions of all
chains of all images at once.
"""

import math
from dataclasses import dataclass

import numpy as np
import pyro
import torch
from torch import Tensor

import pyro_vae as pv
from pyro_vae.compiling.products import LIBRARIES, fastest, product_name
from pyro_vae.evaluation.joint import CompiledJoint
from pyro_vae.evaluation.tempering import PILOT_CHAINS, Annealing, TemperedPath

SIGMA, STEP = 0.25, 0.01


@dataclass(frozen=True)
class Problem:
    """A model, images, and codes of several chains.

    Args:
        shape: of an image.
        hidden, latent_dim: the decoder's sizes.
        images, chains: how many of each.
        leapfrogs: of a transition.
    """

    shape: tuple[int, int, int]
    levels: int
    hidden: int
    latent_dim: int
    images: int
    chains: int = 8
    leapfrogs: int = 1

    def build(self) -> tuple[pv.VAE, Tensor, Tensor]:
        """Return the model, dark images (N, C, H, W), mostly black, and codes (chains, N, D).

        Where pixels were bright, the differences of the peers would cancel.
        """
        torch.manual_seed(0)
        sizes = {"hidden": (self.hidden,), "latent_dim": self.latent_dim, "levels": self.levels}
        vae = pv.VAE(self.shape, likelihood="gaussian_fixed_sigma", sigma=SIGMA, **sizes).eval()
        images = torch.randint(self.levels // 4, (self.images, *self.shape)) / (self.levels - 1)
        images *= torch.rand_like(images) < 0.2
        return (
            vae.requires_grad_(False),
            images,
            torch.randn(self.chains, self.images, self.latent_dim),
        )

    def arrays(self) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
        """Return the decoder's weights, the ends of the bins (N, pixels), and codes, for the peers."""
        vae, images, codes = self.build()
        half, x = 0.5 / (self.levels - 1), images.flatten(1)
        low, high = x - half, x + half
        low[x < half], high[x > 1 - half] = -math.inf, math.inf
        weights = [weight.numpy() for weight in vae.decoder.parameters()]
        return weights, low.numpy(), high.numpy(), codes.numpy()


class Ours:
    """The transitions of annealed importance sampling, at temperature 1."""

    def __init__(self, problem: Problem):
        vae, images, codes = problem.build()
        block = math.gcd(PILOT_CHAINS, problem.chains), problem.images
        joint = CompiledJoint(vae, "levels", block)
        self.path = TemperedPath(joint, images, Annealing(num_leapfrog=problem.leapfrogs))
        with pyro.validation_enabled(False):  # as annealing does
            self.chains = self.path.chains(codes)
        self.step_size = torch.full((problem.images,), STEP)

    def log_joint(self) -> np.ndarray:
        """Return log p(x, z) where the chains are, (chains, N)."""
        return (self.chains.at.start + self.chains.at.ratio).numpy()

    def move(self, transitions: int) -> None:
        """Make so many transitions."""
        with pyro.validation_enabled(False):  # as annealing does
            for _ in range(transitions):
                self.chains, _ = self.path.move(self.chains, 1.0, self.step_size)


class Handwritten:
    """Plain PyTorch: the difference of the Normal's cumulative probabilities, and autograd."""

    def __init__(self, problem: Problem):
        weights, low, high, codes = problem.arrays()
        self.weights, self.leapfrogs = [torch.tensor(w) for w in weights], problem.leapfrogs
        self.low, self.high, self.z = map(torch.tensor, (low, high, codes))
        self.value, self.gradient = self.score(self.z)

    def log_joint(self) -> np.ndarray:
        return self.value.numpy()

    def score(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x, z) and its gradient."""
        first, first_bias, second, second_bias = self.weights
        z = z.requires_grad_()
        hidden = torch.relu(z @ first.T + first_bias)
        loc = hidden @ second.T + second_bias
        ndtr = torch.special.ndtr
        mass = ndtr((self.high - loc) / SIGMA) - ndtr((self.low - loc) / SIGMA)
        prior = -(z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi)) / 2
        value = mass.clamp_min(1e-30).log().sum(-1) + prior
        (gradient,) = torch.autograd.grad(value.sum(), z)
        return value.detach(), gradient

    def move(self, transitions: int) -> None:
        for _ in range(transitions):
            start = momentum = torch.randn_like(self.z)
            z, value, gradient = self.z.detach(), self.value, self.gradient
            for _ in range(self.leapfrogs):
                momentum = momentum + STEP / 2 * gradient
                z = z.detach() + STEP * momentum
                value, gradient = self.score(z)
                momentum = momentum + STEP / 2 * gradient
            kinetic = (start.square() - momentum.square()).sum(-1) / 2
            taken = torch.rand_like(value) < (value - self.value + kinetic).exp()
            self.value = torch.where(taken, value, self.value)
            taken = taken.unsqueeze(-1)
            self.z = torch.where(taken, z.detach(), self.z.detach())
            self.gradient = torch.where(taken, gradient, self.gradient)


class NumPyro:
    """NumPyro's HMC on the sum over all chains, its transitions in one compiled loop."""

    def __init__(self, problem: Problem):
        import jax
        import jax.numpy as jnp
        from jax.scipy.special import ndtr
        from numpyro.infer import HMC

        (first, first_bias, second, second_bias), low, high, z = problem.arrays()

        def log_joint(z):
            loc = jax.nn.relu(z @ first.T + first_bias) @ second.T + second_bias
            mass = ndtr((high - loc) / SIGMA) - ndtr((low - loc) / SIGMA)
            prior = -((z**2).sum(-1) + z.shape[-1] * math.log(2 * math.pi)) / 2
            return jnp.log(jnp.maximum(mass, 1e-30)).sum(-1) + prior

        kernel = HMC(
            potential_fn=lambda z: -log_joint(z).sum(),
            step_size=STEP,
            num_steps=problem.leapfrogs,
            adapt_step_size=False,
            adapt_mass_matrix=False,
        )
        self.state = kernel.init(jax.random.PRNGKey(0), 0, jnp.asarray(z), (), {})
        self.loop = jax.jit(
            lambda count, state: jax.lax.fori_loop(
                0, count, lambda _, s: kernel.sample(s, (), {}), state
            )
        )
        self.joint = jax.jit(log_joint)

    def log_joint(self) -> np.ndarray:
        return np.asarray(self.joint(self.state.z))

    def move(self, transitions: int) -> None:
        self.state = self.loop(transitions, self.state)
        self.state.z.block_until_ready()


class Products:
    """What cannot be avoided: the products of the decoder and of its gradient, by the faster library."""

    def __init__(self, problem: Problem):
        weights, _, _, codes = problem.arrays()
        self.first, _, self.second, _ = map(torch.tensor, weights)
        self.z, self.leapfrogs = torch.tensor(codes).flatten(0, 1), problem.leapfrogs
        self.libraries: dict[str, str] = {}

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        name = product_name(a, b)
        if name not in self.libraries:
            self.libraries[name] = fastest(a, b)
        return LIBRARIES[self.libraries[name]](a, b)

    def move(self, transitions: int) -> None:
        for _ in range(transitions * self.leapfrogs):
            outputs = self.product(self.product(self.z, self.first.T), self.second.T)
            self.product(self.product(outputs, self.second), self.first)


PEERS = {peer.__name__.lower(): peer for peer in (Ours, Handwritten, NumPyro, Products)}
