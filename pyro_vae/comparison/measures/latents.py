"""The latent space of a run: its factors, and what lies between two codes."""

from torch import Tensor

from pyro_vae.data import Dataset
from pyro_vae.evaluation import disentanglement
from pyro_vae.evaluation.decoded import PATHS, interpolate
from pyro_vae.models.elbo import elbo_terms
from pyro_vae.randomness import seeded
from pyro_vae.runs.evaluation import load_evaluation
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.run import Run


def mutual_information_gap(run: Run, data: Dataset) -> dict[str, float]:
    """Return `MIG`, the mutual information gap of the mean codes of the training images, 0 to 1.

    Raises:
        ValueError: data without true factors.
    """
    if data.train.factors is None:
        raise ValueError(f"data: expected true factors, which {data.name} does not have")
    codes = run.vae.encode(data.train.images).mean.detach()
    return {"MIG": disentanglement.mutual_information_gap(codes, data.train.factors).gap}


def latent_use(run: Run, data: Dataset, carrying: float) -> dict[str, float]:
    """Return how an evaluated run uses its components, from its summary and its part `latents`.

    The figures are `carrying`, the number of components whose rate is over a threshold; `change of
    NLL`, what the model loses without its inactive components, nats per image (0 where all are
    active); and `marginals`, the largest Kolmogorov distance between a component of the aggregate
    posterior and the prior, 0 to 1.

    Args:
        carrying: the threshold of the rate, nats per image.

    Raises:
        ValueError: a run whose latents were not evaluated.
    """
    found = load_evaluation(RunFolder(run.folder).evaluation).get("latents")
    if not found:
        raise ValueError(f"run: expected an evaluation of latents in {run.folder}, got none")
    rates = run.summary["test"]["rate_per_component_nats"]
    change = found["nll_change_without_inactive_nats"] if found["inactive_units"] else {"mean": 0.0}
    return {
        "carrying": sum(rate > carrying for rate in rates),
        "change of NLL": change["mean"],
        "marginals": max(found["marginal_distances"]),
    }


def midpoints(run: Run, data: Dataset, pairs: int, draws: int = 8) -> dict[str, Tensor]:
    """Return the ELBO of images half-way between two, minus the mean ELBO of both ends, nats (N,).

    The first test images are one end, the next ones the other. The columns are the paths between
    codes, `linear` and `slerp`, and `blend`, the mean of both images pixel by pixel. Pixels are
    probabilities: binary images are drawn at the ends and in the middle in the same way.

    Args:
        pairs: N, at most half of the test images.
        draws: the number of draws of z of the ELBO.
    """
    start, end = data.test.images[: 2 * pairs].chunk(2)
    paths = {name: interpolate(run.vae, start, end, 3, name) for name in PATHS}
    middles = {name: path[:, 1] for name, path in paths.items()} | {"blend": (start + end) / 2}
    first, last = paths["linear"][:, 0], paths["linear"][:, 2]
    with seeded(0):
        of_ends = sum(elbo_terms(run.vae, x.bernoulli(), draws).elbo for x in (first, last)) / 2
        elbos = {
            name: elbo_terms(run.vae, x.bernoulli(), draws).elbo for name, x in middles.items()
        }
    return {name: elbo - of_ends for name, elbo in elbos.items()}
