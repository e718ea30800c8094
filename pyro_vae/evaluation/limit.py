"""The chain decode - sample - encode - sample, and its limiting distribution."""

from typing import NamedTuple

import numpy as np
import pyro
import torch
from torch import Tensor

from pyro_vae.evaluation.bounds import decoded_at_once
from pyro_vae.evaluation.significance import detectable, holm, mean_tests, normal_tests
from pyro_vae.models.vae import VAE
from pyro_vae.randomness import seeded

FARTHEST = 1e4  # standard deviations of the prior


class Limit(NamedTuple):
    """The codes at the end of the chains, and their comparison with the prior."""

    z: Tensor  # (num_chains, latent_dim), after the last step
    distances: np.ndarray  # (latent_dim,), Kolmogorov's distance of z to the prior, from 0 to 1
    p_values: np.ndarray  # (3, latent_dim): of distances, means and squares, adjusted together
    visible_shift: float  # the mean that the test sees with a probability of 0.8
    visible_scale: float  # the deviation from scale 1 that it sees so
    r_hat: Tensor  # (latent_dim,), of the watched chains: shows how they mix, not where
    images: Tensor  # (num_steps + 1, num_watched, C, H, W): the watched chains' expected images

    @property
    def p_value(self) -> float:
        """Return the smallest p-value for the codes staying standard Normal in every component."""
        return float(self.p_values.min())


@torch.no_grad()
def limiting_distribution(
    model: VAE,
    num_chains: int = 4096,
    num_steps: int = 100,
    num_watched: int = 64,
    seed: int = 0,
) -> Limit:
    """Run independent chains from codes of the prior: z -> x ~ p(x | z) -> z ~ q(z | x) -> ...

    With an exact posterior this is a Gibbs sampler of p(x, z), and z stays standard Normal at every
    step. The distribution to which z drifts shows the errors of the encoder. Three tests for each
    component look for a drift: the distance of the last codes to the prior, and the mean of z and
    of z^2 along the second half of each chain, which see far smaller ones. Drawn pixels are not
    clipped. The encoder was never trained on images far from the data, so chains can diverge there.
    Every component is therefore held within `FARTHEST`.

    Args:
        model: a model in `eval` mode.
        num_chains: the number of chains. They are independent, so that the tests keep their level.
        num_steps: the number of steps of each chain.
        num_watched: the number of chains whose images and mixing are kept.
        seed: the seed of all draws.

    Raises:
        ValueError: if num_watched is not between 1 and num_chains.
    """
    from arviz_stats.base import array_stats  # seconds, most of them for xarray

    if not 1 <= num_watched <= num_chains:
        raise ValueError(f"num_watched: expected 1 to {num_chains} chains, got {num_watched}")
    path = torch.empty(num_steps + 1, num_watched, model.latent_dim)
    at_once = 8 * decoded_at_once(model)
    with seeded(seed, model.device), pyro.validation_enabled(False):
        z = model.prior.sample((num_chains,))
        path[0] = z[:num_watched]
        sums = torch.zeros(2, *z.shape, dtype=torch.float64, device=z.device)
        for step in range(num_steps):
            z = torch.cat([_step(model, part) for part in z.split(at_once)])
            path[step + 1] = z[:num_watched]
            if step >= num_steps // 2:
                sums += torch.stack([z, z.square()]) / (num_steps - num_steps // 2)
        images = torch.stack([model.decode(codes.to(z)).mean.clamp(0, 1) for codes in path])
    distances, of_distances = normal_tests(z.double().cpu().numpy())
    errors, of_means = mean_tests(sums[0].cpu().numpy(), 0)
    square_errors, of_squares = mean_tests(sums[1].cpu().numpy(), 1)
    p_values = np.stack([of_distances, of_means, of_squares])
    r_hat = array_stats.rhat(path.double().numpy(), chain_axis=1, draw_axis=0)
    return Limit(
        z,
        distances,
        holm(p_values.ravel()).reshape(p_values.shape),
        detectable(errors, p_values.size).max().item(),
        detectable(square_errors, p_values.size).max().item() / 2,  # z^2 moves by twice as much
        torch.as_tensor(r_hat),
        images,
    )


def _step(model: VAE, z: Tensor) -> Tensor:
    # `sample` refuses a scale that overflowed, but `rsample` accepts it.
    z = model.encode(model.decode(z).sample()).rsample()
    return z.nan_to_num(nan=FARTHEST).clamp(-FARTHEST, FARTHEST)
