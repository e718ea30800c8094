"""How far q(z|x) of a run is from the posterior of its model."""

import numpy as np
import torch
from arviz_base import from_dict
from torch import Tensor
from xarray import DataTree

from pyro_vae.data import Dataset
from pyro_vae.evaluation import ladder, posteriors
from pyro_vae.evaluation.ais import Annealing
from pyro_vae.randomness import seeded
from pyro_vae.runs.run import Run


def k_hat(run: Run, data: Dataset, images: int, draws: int) -> dict[str, Tensor]:
    """Return `k-hat` of each of the first test images, (N,): the tail of its importance weights.

    Args:
        images: N.
        draws: the number of draws of z per image.
    """
    x = data.test.images[:images]
    return {"k-hat": posteriors.importance_diagnostics(run.vae, x, draws).k_hat}


def calibration(run: Run, data: Dataset, simulations: int) -> dict[str, float]:
    """Return `p-value of SBC`, the smallest for q being the posterior of images that it draws.

    Args:
        simulations: the number of images that the model draws.
    """
    found = posteriors.simulation_based_calibration(run.vae, simulations)
    return {"p-value of SBC": found.p_value}


def nuts(run: Run, data: Dataset, images: int, draws: int) -> dict[str, float | Tensor]:
    """Return draws of the posterior of the first test images by NUTS, beside moments of q.

    The figures are `draws`, (2, draws, N, latent_dim), of two chains; `largest R-hat of NUTS`, near 1
    where the chains agree; `largest shift of a mean`, in standard deviations of the posterior; and
    `smallest scale ratio` and `largest scale ratio`, of the scale of q over that of the posterior.

    Args:
        images: N, a few, since the codes of all images move together.
        draws: the number of draws of each chain, and of the steps before them.
    """
    x = data.test.images[:images]
    reference = posteriors.nuts_reference(run.vae, x, draws, draws)
    moments = posteriors.compare_moments(run.vae.encode(x), reference.draws)
    return {
        "draws": reference.draws,
        "largest R-hat of NUTS": reference.r_hat.max().item(),
        "largest shift of a mean": moments.shift.abs().max().item(),
        "smallest scale ratio": moments.scale_ratio.min().item(),
        "largest scale ratio": moments.scale_ratio.max().item(),
    }


def beside_q(run: Run, data: Dataset, draws: np.ndarray, seed: int = 0) -> dict[str, DataTree]:
    """Return the first chain of NUTS and as many draws of q, for the first image, as ArviZ reads them.

    Args:
        draws: what `nuts` gave, (chains, draws, N, latent_dim).
        seed: the seed of the draws of q.
    """
    chain = draws[:1, :, 0]
    with seeded(seed), torch.no_grad():
        own = run.vae.encode(data.test.images[:1]).sample((1, chain.shape[1]))[:, :, 0]
    return {
        name: from_dict({"posterior": {"z": z}}, dims={"z": ["latent"]})
        for name, z in {"NUTS": np.asarray(chain), "q": own.numpy()}.items()
    }


def gaps(
    run: Run,
    data: Dataset,
    images: int,
    draws: int,
    temperatures: int,
    chains: int,
    refit_steps: int,
) -> dict[str, Tensor]:
    """Return the parts of the gap between log P and the ELBO, of each image, nats (N,).

    log P is estimated by AIS that starts from q. The columns are named by `Ladder`'s gaps, beside
    `AIS above the importance bound` and `bracket of BDMC`, which is that of simulated images.

    Args:
        images: N, the first test images.
        draws: the number of draws of the importance bound.
        temperatures, chains: the settings of the annealing.
        refit_steps: the number of steps that fit each family of distributions to each image.
    """
    x = data.test.images[:images]
    found = ladder.climb(run.vae, x, draws, Annealing(temperatures, chains), refit_steps)
    return {
        "AIS above the importance bound": found.log_prob - found.rungs["importance_bound"],
        "bracket of BDMC": found.bracket.gap,
        "amortization gap": found.amortization_gap,
        "correlation gap": found.correlation_gap,
        "shape gap": found.shape_gap,
        "closed by a flow": found.closed_by_flow,
    }
