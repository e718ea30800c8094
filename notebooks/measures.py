"""Measures of a run for `pv.measure`: each takes a subject and settings, and returns figures by name."""

import numpy as np
import pandas as pd
import torch
from arviz_base import from_dict
from torch import Tensor
from xarray import DataTree

import pyro_vae as pv
from decoding import decoded_sets
from pyro_vae.evaluation import disentanglement, posteriors
from pyro_vae.evaluation.ais import Annealing, annealed_importance_sampling
from pyro_vae.evaluation.bounds import bits_per_dim, importance_bound
from pyro_vae.evaluation.estimates import UNRELIABLE_K_HAT as UNRELIABLE_K_HAT
from pyro_vae.evaluation.estimates import Estimate
from pyro_vae.evaluation.estimates import estimate as estimate
from pyro_vae.evaluation.ladder import climb
from pyro_vae.evaluation.limit import limiting_distribution
from pyro_vae.evaluation.paths import PATHS, interpolate
from pyro_vae.evaluation.samples import frechet_distance, sharpness_ratio
from pyro_vae.evaluation.verdict import explained_share, judge, mismatch
from pyro_vae.measures.baselines import not_beaten as not_beaten
from pyro_vae.measures.part import Subject
from pyro_vae.measures.samples import classifier_for
from pyro_vae.models.elbo import elbo_terms
from pyro_vae.randomness import seeded
from refitting import refit_sigma

FAR = 100.0  # standard deviations of the prior, beyond which a chain counts as run away

# --- log P(x), on grey levels: nats and bits per dimension of each image, (N,) ----------------------


def importance(subject: Subject, images: int, draws: int) -> dict[str, Tensor]:
    """Return the importance bound of the first test images: `importance_nats`, `importance_bits`."""
    nats = importance_bound(subject.model, subject.test[:images], draws).log_prob
    bits = bits_per_dim(nats, subject.data.image_shape)
    return {"importance_nats": nats, "importance_bits": bits}


def annealed(
    subject: Subject, images: int, temperatures: int, chains: int, split: str = "test"
) -> dict[str, Tensor]:
    """Return log P of the first images of a split by AIS from q(z|x).

    The columns are `annealed_nats` and `annealed_bits`, with `annealed_error`, `annealed_bias` (both
    nats) and `annealed_chains`, the effective number, of each image. An importance bound is looser
    where a small beta has made q narrow, and so prefers larger betas. Annealed importance sampling
    starts from q and moves to the posterior, which compares betas fairly.
    """
    x = getattr(subject.data, split).images[:images]
    annealing = Annealing(temperatures, chains, start="posterior")
    found = annealed_importance_sampling(subject.model, x, annealing)
    return {
        "annealed_nats": found.log_prob,
        "annealed_bits": bits_per_dim(found.log_prob, subject.data.image_shape),
        "annealed_error": found.standard_error,
        "annealed_bias": found.bias,
        "annealed_chains": found.effective_sample_size,
    }


def looseness(
    subject: Subject, images: int, draws: int, temperatures: int, chains: int
) -> dict[str, Tensor]:
    """Return `looseness` of the importance bound of the first test images, by AIS from q(z|x)."""
    tight = annealed(subject, images, temperatures, chains)["annealed_nats"]
    return {"looseness": tight - importance(subject, images, draws)["importance_nats"]}


def with_refitted_sigma(subject: Subject, draws: int) -> dict[str, Tensor]:
    """Return bits of all test images with the model's sigma and with the best one, by importance.

    The columns are `given_bits` and `refitted_bits`. The best sigma maximises the probability of the
    training images' levels.
    """
    refitted = refit_sigma(subject.model, subject.train, score="levels")
    bits = {}
    for name, vae in {"given_bits": subject.model, "refitted_bits": refitted}.items():
        nats = importance_bound(vae, subject.test, draws).log_prob
        bits[name] = bits_per_dim(nats, subject.data.image_shape)
    return bits


# --- images ---------------------------------------------------------------------------------------


def halves(data: pv.Dataset, images: int) -> tuple[Tensor, Tensor]:
    """Return every other test image twice: a reference, and what is reconstructed."""
    test = data.test.images
    return test[::2][:images], test[1::2][:images]


def distance_of_real_images(data: pv.Dataset, images: int) -> Estimate:
    """Return the squared Fréchet distance of the two `halves`, which is the least to expect."""
    net, (reference, others) = classifier_for(data), halves(data, images)
    return frechet_distance(net.features(reference), net.features(others))


def decoded_quality(subject: Subject, images: int) -> dict[str, float | str]:
    """Return how sharp and how real the four sets of `decoded_sets` are, and a verdict.

    The figures are `error, SET`, the squared error summed over pixels; `sharpness, SET`, 1 for real
    images; and `Fréchet, SET`, the squared distance in a classifier's features; `explained`, the
    share of the structure of images that reconstructions account for; and `verdict`.
    """
    data, model = subject.data, subject.model
    net, (reference, others) = classifier_for(data), halves(data, images)
    sets, target = decoded_sets(model, others, subject.train, subject.seed), net.features(reference)
    figures: dict[str, float | str] = {}
    for name, made in sets.items():
        figures[f"error, {name}"] = (made - others).square().sum((1, 2, 3)).mean().item()
        figures[f"sharpness, {name}"] = sharpness_ratio(made, others).mean
        figures[f"Fréchet, {name}"] = frechet_distance(target, net.features(made)).mean
    explained = explained_share(model, others)
    verdict = judge(explained, mismatch(net, others, sets["prior"], sets["drawn"]))
    return figures | {"explained": explained, "verdict": verdict.word}


def chain(subject: Subject, chains: int, steps: int) -> dict[str, float]:
    """Return where chains of decoding and encoding end, which begin in the prior.

    The figures are `drift`, the Kolmogorov distance between the prior and the component that is
    farthest from it, 0 to 1; `run away`, the share of chains that end more than 100 standard
    deviations out; and `p-value`, the smallest for codes that stay standard Normal, adjusted for the
    number of components.
    """
    limit = limiting_distribution(subject.model, chains, steps, 1, subject.seed)
    away = (limit.z.abs() > FAR).any(1).double().mean().item()
    return {"drift": float(limit.distances.max()), "run away": away, "p-value": limit.p_value}


# --- the posterior ----------------------------------------------------------------------------------


def k_hat(subject: Subject, images: int, draws: int) -> dict[str, Tensor]:
    """Return `k-hat` of the first test images, (N,): the tail of their importance weights."""
    x = subject.test[:images]
    return {"k-hat": posteriors.importance_diagnostics(subject.model, x, draws).k_hat}


def calibration(subject: Subject, simulations: int) -> dict[str, float]:
    """Return `p-value of SBC`, the smallest for q being the posterior of images that it draws."""
    found = posteriors.simulation_based_calibration(subject.model, simulations)
    return {"p-value of SBC": found.p_value}


def nuts(subject: Subject, images: int, draws: int) -> dict[str, float | Tensor]:
    """Return draws of the posterior of the first test images by NUTS, beside moments of q.

    The figures are `draws`, (2, draws, N, latent_dim), of two chains; `largest R-hat of NUTS`, near 1
    where the chains agree; `largest shift of a mean`, in standard deviations of the posterior; and
    `smallest scale ratio` and `largest scale ratio`, of the scale of q over that of the posterior.
    """
    x = subject.test[:images]
    reference = posteriors.nuts_reference(subject.model, x, draws, draws)
    moments = posteriors.compare_moments(subject.model.encode(x), reference.draws)
    return {
        "draws": reference.draws,
        "largest R-hat of NUTS": reference.r_hat.max().item(),
        "largest shift of a mean": moments.shift.abs().max().item(),
        "smallest scale ratio": moments.scale_ratio.min().item(),
        "largest scale ratio": moments.scale_ratio.max().item(),
    }


def beside_q(vae: pv.VAE, image: Tensor, draws: np.ndarray) -> dict[str, DataTree]:
    """Return the first chain of NUTS and as many draws of q, for the first image, as ArviZ reads them.

    Args:
        image: (1, C, H, W), the first one that `nuts` measured.
        draws: what `nuts` gave, (chains, draws, N, latent_dim).
    """
    first = draws[:1, :, 0]
    with seeded(0), torch.no_grad():
        own = vae.encode(image).sample((1, first.shape[1]))[:, :, 0]
    return {
        name: from_dict({"posterior": {"z": z}}, dims={"z": ["latent"]})
        for name, z in {"NUTS": np.asarray(first), "q": own.numpy()}.items()
    }


def gaps(
    subject: Subject, images: int, draws: int, temperatures: int, chains: int, refit_steps: int
) -> dict[str, Tensor]:
    """Return the parts of the gap between log P and the ELBO of the first test images, nats (N,).

    log P is estimated by AIS that starts from q. The columns are named by `Ladder`'s gaps, beside
    `AIS above the importance bound` and `bracket of BDMC`, which is that of simulated images.
    """
    x = subject.test[:images]
    found = climb(subject.model, x, draws, Annealing(temperatures, chains), refit_steps)
    parts = found.gaps
    return {
        "AIS above the importance bound": found.log_prob - found.rungs["importance_bound"],
        "bracket of BDMC": found.bracket.gap,
        "amortization gap": parts["amortization_gap"],
        "correlation gap": parts["correlation_gap"],
        "shape gap": parts["shape_gap"],
        "closed by a flow": parts["closed_by_flow"],
    }


# --- latents --------------------------------------------------------------------------------------


def mutual_information_gap(subject: Subject) -> dict[str, float]:
    """Return `MIG`, the mutual information gap of the mean codes of the training images, 0 to 1."""
    codes, _ = subject.codes(subject.train)
    return {"MIG": disentanglement.mutual_information_gap(codes, subject.data.train.factors).gap}


def latent_use(runs: pv.Runs, carrying: float) -> pd.DataFrame:
    """Return how evaluated runs use their components, a row for each, from their part `latents`.

    The columns are `carrying`, the number of components whose rate is over a threshold, nats per
    image; `change of NLL`, what the model loses without its inactive components, nats per image (0
    where all are active); and `marginals`, the largest Kolmogorov distance between a component of
    the aggregate posterior and the prior, 0 to 1.
    """
    rows = {}
    for run in runs:
        found = pv.Run(run.folder).evaluation["latents"]
        change = found["nll_change_without_inactive_nats"] or {"mean": 0.0}
        rates = run.summary["test"]["rate_per_component_nats"]
        rows[str(run.folder)] = {
            "carrying": sum(rate > carrying for rate in rates),
            "change of NLL": change["mean"],
            "marginals": max(found["marginal_distances"]),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def midpoints(subject: Subject, pairs: int, draws: int = 8) -> dict[str, Tensor]:
    """Return how possible images half-way between two are, minus the mean of both ends, (N,).

    The first test images are one end, the next ones the other. The columns are the paths between
    codes, `linear` and `slerp`, and `blend`, the mean of both images pixel by pixel. The model
    judges by its ELBO, nats; pixels are probabilities, of which binary images are drawn at the ends
    and in the middle in the same way. In the columns `linear, certain` and so on, a classifier of
    real images judges, by the probability of the class that it holds for the most probable.
    """
    vae, classifier = subject.model, classifier_for(subject.data)
    start, end = subject.test[: 2 * pairs].chunk(2)
    paths = {name: interpolate(vae, start, end, 3, name) for name in PATHS}
    middles = {name: path[:, 1] for name, path in paths.items()} | {"blend": (start + end) / 2}
    ends = paths["linear"][:, 0], paths["linear"][:, 2]
    judges = {
        "": lambda x: elbo_terms(vae, x.bernoulli(), draws).elbo,
        ", certain": lambda x: classifier(x).softmax(1).amax(1),
    }
    found = {}
    with seeded(0), torch.no_grad():
        for judge, score in judges.items():
            of_ends = sum(map(score, ends)) / 2
            found |= {f"{name}{judge}": score(x) - of_ends for name, x in middles.items()}
    return found
