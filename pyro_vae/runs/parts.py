"""The parts of an evaluation: each takes a run with its data and gives figures and pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.data import DATASETS, Dataset, load_dataset
from pyro_vae.evaluation.aggregate import aggregate_against_prior, decompose_rate
from pyro_vae.evaluation.bounds import bits_per_dim, importance_bound
from pyro_vae.evaluation.disentanglement import disentanglement, linear_probe
from pyro_vae.evaluation.estimates import Estimate, estimate
from pyro_vae.evaluation.ladder import Ladder, climb
from pyro_vae.evaluation.latents import ACTIVE_VARIANCE
from pyro_vae.evaluation.limit import limiting_distribution
from pyro_vae.evaluation.measures import measure
from pyro_vae.evaluation.paths import PATHS, interpolate, traverse
from pyro_vae.evaluation.posteriors import (
    compare_moments,
    importance_diagnostics,
    nuts_reference,
    save_draws,
    simulation_based_calibration,
)
from pyro_vae.evaluation.samples import sample_quality
from pyro_vae.evaluation.sharpness import radial_power_spectrum, sharpness_ratio
from pyro_vae.evaluation.verdict import judge, variance_ratio
from pyro_vae.figures import one_run as figures
from pyro_vae.figures.videos import frames, write_video
from pyro_vae.models.elbo import chunks
from pyro_vae.models.vae import VAE
from pyro_vae.randomness import seeded
from pyro_vae.runs.classifiers import classifier_for
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.run import Run


@dataclass(frozen=True)
class Effort:
    """How much to spend."""

    images: int  # for the measures that need many
    few_images: int  # for those that run chains or fits on each
    bound_samples: int
    temperatures: int
    chains: int
    refit_steps: int
    nuts_images: int
    nuts_draws: int
    simulations: int
    walkers: int  # of the limiting distribution
    rows: int  # of codes with factors


@dataclass(frozen=True)
class Subject:
    """The run to be measured, with its data where the model is."""

    run: Run
    folder: RunFolder
    data: Dataset
    train: Tensor
    test: Tensor
    effort: Effort
    seed: int
    data_dir: str
    progress: Callable[[float], None]

    @property
    def model(self):
        return self.run.vae

    @property
    def scores_levels(self) -> bool:
        """Whether log P of the grey levels is defined."""
        known = self.data.levels is not None and isinstance(self.model, VAE)
        return known and self.model.likelihood.is_likelihood


Part = dict[str, Any]


def likelihood(subject: Subject) -> Part:
    """How likely the test images are: the ELBO and, on one measure, a ladder of bounds."""
    effort, model, seed = subject.effort, subject.model, subject.seed
    images = subject.test[: effort.images]
    levels = subject.data.levels
    found = measure(model, images, levels, effort.bound_samples, seed, subject.progress)
    if not subject.scores_levels:
        return found
    ladder = climb(
        model,
        images[: effort.few_images],
        effort.bound_samples,
        effort.temperatures,
        effort.chains,
        effort.refit_steps,
        seed,
        subject.progress,
    )
    rungs = {name: estimate(values) for name, values in ladder.rungs.items()}
    subject.folder.save_figure("ladder", figures.ladder(rungs))
    columns = {name: values.tolist() for name, values in ladder.rungs.items()}
    subject.folder.save_columns("likelihood", columns)
    return found | {"ladder": _ladder(ladder, rungs, model.image_shape, effort.bound_samples)}


def _ladder(
    ladder: Ladder, rungs: dict[str, Estimate], shape: tuple[int, int, int], num_samples: int
) -> Part:
    found = {
        "images": len(ladder.log_prob),
        "nats": rungs,
        "bits_per_dim": {n: estimate(bits_per_dim(v, shape)) for n, v in ladder.rungs.items()},
        "log_prob_nats": rungs[ladder.best],
        "log_prob_source": ladder.best,
        "log_prob_monte_carlo_error": ladder.monte_carlo_error,
        "approximation_gap_nats": estimate(ladder.approximation_gap),
        "amortization_gap_nats": estimate(ladder.amortization_gap),
        "bracket_gap_nats": estimate(ladder.bracket.gap),
        "acceptance": ladder.acceptance,
    }
    if ladder.missed:
        found["warning"] = (
            f"the importance bound with {num_samples} samples misses {ladder.missed:.1f} nats that"
            " annealing finds: bits per dimension by that bound are too large"
        )
    return found


def posterior(subject: Subject) -> Part:
    """Whether q(z|x) is p(z|x): importance weights, NUTS, calibration."""
    effort, model, seed = subject.effort, subject.model, subject.seed
    if not isinstance(model, VAE):
        return {}
    score = "levels" if subject.scores_levels else "density"
    fit = importance_diagnostics(model, subject.test[: effort.few_images], 1000, seed, score)
    chosen = subject.test[: effort.nuts_images]
    reference = nuts_reference(model, chosen, effort.nuts_draws, effort.nuts_draws, seed=seed)
    with torch.no_grad():
        q = model.encode(chosen)
        moments = compare_moments(q, reference.draws)
    save_draws(subject.folder.path / "posterior.nc", reference, q, seed)
    figure = figures.posterior_moments(_array(moments.shift), _array(moments.scale_ratio))
    subject.folder.save_figure("posterior_moments", figure)
    found = {
        "k_hat": estimate(fit.k_hat),
        "k_hat_images": len(fit.k_hat),
        "k_hat_over_0_7": fit.unreliable,
        "effective_sample_size": estimate(fit.effective_sample_size),
        "nuts_images": len(chosen),
        "nuts_r_hat": reference.r_hat.max().item(),
        "nuts_effective_sample_size": reference.effective_sample_size.min().item(),
        "largest_shift": moments.shift.abs().max().item(),
        "smallest_scale_ratio": moments.scale_ratio.min().item(),
        "largest_scale_ratio": moments.scale_ratio.max().item(),
    }
    if not model.likelihood.is_likelihood:
        return found
    calibration = simulation_based_calibration(model, effort.simulations, seed=seed)
    names = [f"z{n + 1}" for n in range(model.latent_dim)] + ["log p(x|z)"]
    figure = figures.rank_histograms(_array(calibration.ranks), calibration.num_draws, names)
    subject.folder.save_figure("calibration", figure)
    return found | {
        "calibration_simulations": effort.simulations,
        "calibration_p_values": calibration.p_values.tolist(),
        "calibration_p_value": calibration.p_value,
        "coverage": {str(c): share.tolist() for c, share in calibration.coverage.items()},
    }


def latents(subject: Subject) -> Part:
    """What the components carry, and the aggregate posterior against the prior."""
    model, seed = subject.model, subject.seed
    if not isinstance(model, VAE):
        return {}
    loc, scale = _codes(model, subject.test[: min(subject.effort.images, 5000)])
    parts = decompose_rate(loc, scale, seed=seed)
    against = aggregate_against_prior(loc, scale, seed=seed)
    inactive = loc.var(0, correction=0) <= ACTIVE_VARIANCE
    found = {
        "images": len(loc),
        "rate_nats": parts.rate,
        "mutual_information_nats": parts.mutual_information,
        "mutual_information_upper_nats": parts.mutual_information_upper,
        "total_correlation_nats": parts.total_correlation,
        "dimension_wise_kl_nats": parts.dimension_wise_kl,
        "log_images": parts.log_images,
        "mutual_information_identified": parts.identified,
        "largest_mean": against.moments.largest_mean,
        "smallest_variance": against.moments.smallest_variance,
        "largest_variance": against.moments.largest_variance,
        "largest_correlation": against.moments.largest_correlation,
        "marginal_distances": against.marginal_distances.tolist(),
        "mmd_squared": against.mmd.statistic,
        "mmd_p_value": against.mmd.p_value,
        "inactive_units": int(inactive.sum()),
        "nll_change_without_inactive_nats": None,
    }
    figure = figures.marginals(_array(loc), _array(scale))
    subject.folder.save_figure("aggregate_posterior", figure)
    if inactive.any() and subject.scores_levels:
        x = subject.test[: subject.effort.few_images]
        whole, without = (
            importance_bound(model, x, subject.effort.bound_samples, seed, removed=removed)
            for removed in (None, inactive)
        )
        found["nll_change_without_inactive_nats"] = estimate(whole - without)
    return found


def limit(subject: Subject) -> Part:
    """Where the chain decode - sample - encode - sample goes."""
    found = limiting_distribution(subject.model, subject.effort.walkers, seed=subject.seed)
    pictures = frames(_array(found.images), 8)
    for ending in ("mp4", "gif"):
        write_video(subject.folder.figures / f"limiting_distribution.{ending}", pictures)
    figure = figures.quantiles(_array(found.z))
    subject.folder.save_figure("limiting_distribution", figure)
    return {
        "chains": len(found.z),
        "steps": len(found.images) - 1,
        "distances": found.distances.tolist(),
        "p_values": found.p_values.tolist(),
        "p_value": found.p_value,
        "r_hat": found.r_hat.max().item(),
        "final_mean": found.z.mean(0).tolist(),
        "final_scale": found.z.std(0).tolist(),
    }


def samples(subject: Subject) -> Part:
    """How good samples and reconstructions are beside the data, and the verdict."""
    model, half = subject.model, min(len(subject.test) // 2, subject.effort.images)
    with seeded(subject.seed, subject.test.device):  # the published order may go by difficulty
        order = torch.randperm(len(subject.test), device=subject.test.device)
        real, other = subject.test[order[:half]], subject.test[order[half : 2 * half]]
        made = model.sample(half)
        again = torch.cat([model.reconstruct(x) for x in chunks(other)])
    spectra = {"data": real, "reconstructions": again, "samples": made}
    curves = {name: radial_power_spectrum(x) for name, x in spectra.items()}
    figure = figures.power_spectra({n: (_array(c[0]), _array(c[1])) for n, c in curves.items()})
    subject.folder.save_figure("power_spectra", figure)
    ratio, labelled = variance_ratio(model, real), _labelled(subject)
    if labelled is None:
        sharpness = {
            "sharpness_ratio_reconstructions": sharpness_ratio(again, real),
            "sharpness_ratio_samples": sharpness_ratio(made, real),
        }
        return sharpness | {"images": half, "variance_ratio": ratio, "verdict": judge(ratio)}
    net = classifier_for(labelled, Path(subject.data_dir)).to(real.device)
    quality = sample_quality(net, *(x.float() for x in (real, again, made, other)))
    spread = net.features(real.float()).var(0).sum().item()
    distances = [quality[f"frechet_distance_{n}"].mean for n in ("reconstructions", "samples")]
    return quality | {
        "classifier_accuracy": net.accuracy,
        "feature_spread": spread,
        "variance_ratio": ratio,
        "verdict": judge(ratio, *distances, spread),
    }


def _labelled(subject: Subject) -> Dataset | None:
    """The labelled set whose classifier serves the run's: its own, or MNIST's for Larochelle's."""
    name = "mnist" if subject.data.name == "binarized_mnist" else subject.run.config.dataset
    if subject.data.train.labels is None and name == subject.run.config.dataset:
        return None
    levels = None if name in DATASETS else subject.run.config.levels
    try:
        return load_dataset(name, subject.data_dir, levels=levels)
    except ValueError:
        return None


def factors(subject: Subject) -> Part:
    """Whether components mean something: traversals, ways between images, labels and factors."""
    model, data, test = subject.model, subject.data, subject.test
    spread = _codes(model, test[:1000])[0].var(0)
    moving = spread.argsort(descending=True)[:10].tolist()
    rows = traverse(model, test[0], moving)
    title = "Each row moves one component from -3 to 3"
    subject.folder.save_figure(
        "traversals", figures.image_grid(_array(rows.flatten(0, 1)), 8, title)
    )
    ways = [interpolate(model, test[:4], test[4:8], path=path) for path in PATHS]
    title = "Between two images each: linear (upper four), slerp (lower four)"
    pictures = _array(torch.cat(ways).flatten(0, 1))
    subject.folder.save_figure("interpolation", figures.image_grid(pictures, 8, title))
    found: Part = {"components_by_spread": moving}
    size = subject.effort.rows
    if data.train.labels is not None and len(data.train.labels.unique()) > 1:
        splits = [(subject.train[:size], data.train.labels), (test[:size], data.test.labels)]
        pairs = [t for x, y in splits for t in (_codes(model, x)[0].cpu(), y[: len(x)])]
        found["label_accuracy"] = linear_probe(*pairs)
        counts = data.test.labels[:size].unique(return_counts=True)[1]
        found["label_chance"] = counts.max().item() / counts.sum().item()
    if data.train.factors is not None and data.factor_names:
        codes = _codes(model, subject.train[:size])[0].cpu()
        found["factor_names"] = list(data.factor_names)
        found |= disentanglement(codes, data.train.factors[:size], subject.seed)
    return found


@torch.no_grad()
def _codes(model, images: Tensor) -> tuple[Tensor, Tensor]:
    """Means and scales of q(z|x), (N, latent_dim)."""
    found = [model.encode(x) for x in chunks(images)]
    return torch.cat([q.mean for q in found]), torch.cat([q.variance.sqrt() for q in found])


def _array(x: Tensor) -> np.ndarray:
    return x.detach().cpu().double().numpy()


PARTS: dict[str, Callable[[Subject], Part]] = {
    "likelihood": likelihood,
    "posterior": posterior,
    "latents": latents,
    "limit": limit,
    "samples": samples,
    "factors": factors,
}
