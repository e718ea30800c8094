"""log p(x, z) and its gradient by the codes z, of which annealing asks for millions."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from pyro_vae.compiling.compiler import compile_step, missing_compiler
from pyro_vae.compiling.products import Products, choose, products_of_layer
from pyro_vae.data import has_missing
from pyro_vae.evaluation.bounds import log_likelihood, work_per_draw
from pyro_vae.models.vae import VAE
from pyro_vae.notices import notice
from pyro_vae.own_parts import reason_of

PAYS = 2e12  # multiply-adds, by `work_per_draw`, from which on compiling saves its own time


class Joint:
    """log p(x, z) of a VAE in `eval` mode whose weights are fixed.

    Args:
        score: `levels` or `density`, the measure by which images are scored.
    """

    def __init__(self, vae: VAE, score: str):
        self.vae, self.score = vae, score
        with torch.no_grad():
            self.prior = vae.prior  # once: a VampPrior encodes images for it

    def __call__(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(x, z), nats (chains, N), and its gradient by z (chains, N, latent_dim).

        Args:
            x: images (N, C, H, W).
        """
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            value = self.log_prob(x, z)
            (gradient,) = torch.autograd.grad(value.sum(), z)
        return value.detach(), gradient

    def log_prob(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x, z), nats (chains, N)."""
        return log_likelihood(self.vae, x, z, self.score) + self.prior.log_prob(z)


class CompiledJoint(Joint):
    """The same, in blocks of one size that inductor compiles at the first.

    Args:
        block: numbers of chains, of which those that are scored are a multiple, and of images, which
            are filled up.
    """

    def __init__(self, vae: VAE, score: str, block: tuple[int, int]):
        super().__init__(vae, score)
        self.block = block

        def with_gradient(x, z):
            def total(z):
                value = self.log_prob(x, z)
                return value.sum(), value

            gradient, (_, value) = torch.func.grad_and_value(total, has_aux=True)(z)
            return torch.cat([value.unsqueeze(-1), gradient], -1)

        libraries = choose(_products(vae, math.prod(block)), {})
        self.compiled = compile_step(with_gradient, vae.device, libraries)

    def __call__(self, x, z):
        images, (chains, most) = len(x), self.block
        x, z = x.contiguous(), z.detach().contiguous()
        if images < most:
            x, z = pad(x, (0, 0, 0, 0, 0, 0, 0, most - images)), pad(z, (0, 0, 0, most - images))
        parts = [self.compiled(x, part) for part in z.split(chains)]
        found = (parts[0] if len(parts) == 1 else torch.cat(parts))[:, :images]
        return found[..., 0], found[..., 1:].contiguous()


def _products(vae: VAE, rows: int) -> Products:
    """Return the products of a decoder's linear layers for so many codes; its weights stay fixed."""
    found: Products = {}
    for layer in vae.decoder.modules():
        if isinstance(layer, nn.Linear) and layer.weight.dtype == torch.float32:
            forward, by_input, _ = products_of_layer(rows, *layer.weight.shape[::-1]).items()
            found |= [forward, by_input]
    return found


def joint_of(vae: VAE, images: Tensor, score: str, block: tuple[int, int], codes: int) -> Joint:
    """Return log p(x, z), compiled where that saves time; a program that inductor refuses is not.

    Args:
        images: all images (N, C, H, W) that will be scored.
        block: numbers of chains and of images that are scored at once.
        codes: how many codes will be scored.
    """
    plain = Joint(vae, score)
    compilable = vae.device.type == "cpu" and vae.likelihood.compiled_per_pixel > 0
    if not compilable or vae.labels is not None or has_missing(images) or missing_compiler():
        return plain
    if codes * work_per_draw(vae) < PAYS:
        return plain
    try:
        compiled, x = CompiledJoint(vae, score, block), images[: block[1]]
        compiled(x, next(vae.parameters()).new_zeros(block[0], len(x), vae.latent_dim))
    except Exception as error:  # torch raises many kinds of errors here
        notice(f"annealing: not compiled, since {reason_of(error)}")
        return plain
    return compiled
