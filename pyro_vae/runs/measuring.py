"""The functions that measure the parts of an evaluation.

For each part, one function measures and returns its figures, and another one draws and saves the
pictures and files that belong to them.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_vae.data import Dataset, load_dataset
from pyro_vae.evaluation.aggregate import aggregate_against_prior, decompose_rate
from pyro_vae.evaluation.ais import Annealing
from pyro_vae.evaluation.bounds import bits_per_dim, importance_bound
from pyro_vae.evaluation.disentanglement import disentanglement, linear_probe
from pyro_vae.evaluation.estimates import estimate
from pyro_vae.evaluation.features import FeatureNet
from pyro_vae.evaluation.ladder import ESTIMATE, Ladder, climb
from pyro_vae.evaluation.limit import Limit, limiting_distribution
from pyro_vae.evaluation.measures import measure
from pyro_vae.evaluation.paths import PATHS, interpolate, traverse
from pyro_vae.evaluation.posteriors import (
    Calibration,
    MomentComparison,
    Reference,
    compare_moments,
    draws_tree,
    importance_diagnostics,
    nuts_reference,
    simulation_based_calibration,
)
from pyro_vae.evaluation.samples import sample_quality
from pyro_vae.evaluation.sharpness import radial_power_spectrum, sharpness_ratio
from pyro_vae.evaluation.thresholds import ACTIVE_VARIANCE, FEW_CHAINS
from pyro_vae.evaluation.verdict import Distances, judge, variance_ratio
from pyro_vae.figures import one_run
from pyro_vae.figures.videos import encode_video, frames
from pyro_vae.models.elbo import chunks
from pyro_vae.names import DATASETS
from pyro_vae.randomness import seeded
from pyro_vae.runs.classifiers import classifier_for
from pyro_vae.runs.effort import CODES, IMPORTANCE_DRAWS, WATCHED_CHAINS
from pyro_vae.runs.folder import RunFolder, to_numpy
from pyro_vae.runs.subject import Subject

Figures = dict[str, Any]


# --- likelihood -----------------------------------------------------------------------------------


def measure_likelihood(subject: Subject) -> Figures:
    """Measure how likely the test images are, by the ELBO and a ladder of estimates of log P(x).

    The ladder is measured where log P of the grey levels is defined.
    """
    effort, model, seed = subject.effort, subject.model, subject.seed
    images, samples = subject.test[: effort.images], effort.bound_samples
    figures = measure(model, images, subject.data.levels, samples, seed, subject.progress)
    if not subject.scores_levels:
        return figures
    annealing = Annealing(effort.temperatures, effort.chains)
    few = images[: effort.few_images]
    ladder = climb(model, few, samples, annealing, effort.refit_steps, seed, subject.progress)
    _show_ladder(subject.folder, ladder)
    return figures | {"ladder": _ladder_figures(ladder, model.image_shape, samples)}


def _show_ladder(folder: RunFolder, ladder: Ladder) -> None:
    rungs = {name: estimate(values) for name, values in ladder.rungs.items()}
    folder.save_figure("ladder", one_run.ladder(rungs))
    columns = {name: values.tolist() for name, values in ladder.rungs.items()}
    folder.save_columns("likelihood", columns)


def _ladder_figures(ladder: Ladder, shape: tuple[int, int, int], num_samples: int) -> Figures:
    figures = {
        "images": len(ladder.log_prob),
        "nats": {name: estimate(values) for name, values in ladder.rungs.items()},
        "bits_per_dim": {n: estimate(bits_per_dim(v, shape)) for n, v in ladder.rungs.items()},
        "log_prob_nats": estimate(ladder.log_prob),
        "log_prob_source": ESTIMATE,
        "log_prob_monte_carlo_error": ladder.monte_carlo_error,
        "approximation_gap_nats": estimate(ladder.approximation_gap),
        "amortization_gap_nats": estimate(ladder.amortization_gap),
        "bracket_gap_nats": estimate(ladder.bracket.gap),
        "acceptance": ladder.acceptance,
        "ais_effective_sample_size": estimate(ladder.effective_sample_size),
        "ais_of_few_chains": ladder.of_few_chains,
    }
    if warnings := _ladder_warnings(ladder, num_samples):
        figures["warning"] = "; ".join(warnings)
    return figures


def _ladder_warnings(ladder: Ladder, num_samples: int) -> list[str]:
    warnings = []
    if ladder.missed:
        warnings.append(
            f"the importance bound with {num_samples} samples misses {ladder.missed:.1f} nats that"
            " annealing finds: bits per dimension by that bound are too large"
        )
    if ladder.of_few_chains:
        warnings.append(
            f"for {ladder.of_few_chains} of {len(ladder.log_prob)} images fewer than {FEW_CHAINS}"
            " annealed chains carry the weight: log P(x) is likely to be higher there"
        )
    return warnings


# --- posterior ------------------------------------------------------------------------------------


def measure_posterior(subject: Subject) -> Figures:
    """Measure how near q(z|x) is to p(z|x), by importance weights, NUTS and calibration."""
    effort, model, seed = subject.effort, subject.model, subject.seed
    if not model.has_rate:
        return {}
    score = "levels" if subject.scores_levels else "density"
    few, chosen = subject.test[: effort.few_images], subject.test[: effort.nuts_images]
    fit = importance_diagnostics(model, few, IMPORTANCE_DRAWS, seed, score)
    reference = nuts_reference(model, chosen, effort.nuts_draws, effort.nuts_draws, seed=seed)
    with torch.no_grad():
        q = model.encode(chosen)
        moments = compare_moments(q, reference.draws)
    subject.folder.save_netcdf("posterior", draws_tree(reference, q, seed))
    figure = one_run.posterior_moments(to_numpy(moments.shift), to_numpy(moments.scale_ratio))
    subject.folder.save_figure("posterior_moments", figure)
    figures = {
        "k_hat": estimate(fit.k_hat),
        "k_hat_images": len(fit.k_hat),
        "k_hat_over_0_7": fit.unreliable,
        "effective_sample_size": estimate(fit.effective_sample_size),
    } | _reference_figures(reference, moments)
    if not model.likelihood.is_likelihood:
        return figures
    for name, images in (("calibration", None), ("calibration_on_data", subject.test)):
        found = simulation_based_calibration(model, effort.simulations, seed=seed, images=images)
        _show_calibration(subject.folder, name, found)
        figures |= _calibration_figures(name, found)
    return figures


def _reference_figures(reference: Reference, moments: MomentComparison) -> Figures:
    return {
        "nuts_images": len(reference.r_hat),
        "nuts_r_hat": reference.r_hat.max().item(),
        "nuts_effective_sample_size": reference.effective_sample_size.min().item(),
        "largest_shift": moments.shift.abs().max().item(),
        "smallest_scale_ratio": moments.scale_ratio.min().item(),
        "largest_scale_ratio": moments.scale_ratio.max().item(),
    }


def _show_calibration(folder: RunFolder, name: str, calibration: Calibration) -> None:
    components = calibration.ranks.shape[1] - 1
    names = [f"z{n + 1}" for n in range(components)] + ["log p(x|z)"]
    ranks = to_numpy(calibration.ranks)
    folder.save_figure(name, one_run.rank_histograms(ranks, calibration.num_draws, names))


def _calibration_figures(name: str, calibration: Calibration) -> Figures:
    coverage = {str(c): share.tolist() for c, share in calibration.coverage.items()}
    return {
        f"{name}_simulations": len(calibration.ranks),
        f"{name}_p_values": calibration.p_values.tolist(),
        f"{name}_p_value": calibration.p_value,
        "coverage" if name == "calibration" else f"{name}_coverage": coverage,
    }


# --- latents --------------------------------------------------------------------------------------


def measure_latents(subject: Subject) -> Figures:
    """Measure what the latent components carry, and compare the aggregate posterior with the prior."""
    model, seed = subject.model, subject.seed
    if not model.has_rate:
        return {}
    loc, scale = subject.codes(subject.test[: min(subject.effort.images, CODES)])
    rate = decompose_rate(loc, scale, seed=seed)
    against = aggregate_against_prior(loc, scale, seed=seed)
    inactive = loc.var(0, correction=0) <= ACTIVE_VARIANCE
    figure = one_run.marginals(to_numpy(loc), to_numpy(scale))
    subject.folder.save_figure("aggregate_posterior", figure)
    return {
        "images": len(loc),
        "rate_nats": rate.rate,
        "mutual_information_nats": rate.mutual_information,
        "mutual_information_upper_nats": rate.mutual_information_upper,
        "total_correlation_nats": rate.total_correlation,
        "dimension_wise_kl_nats": rate.dimension_wise_kl,
        "log_images": rate.log_images,
        "mutual_information_identified": rate.identified,
        "largest_mean": against.moments.largest_mean,
        "smallest_variance": against.moments.smallest_variance,
        "largest_variance": against.moments.largest_variance,
        "largest_correlation": against.moments.largest_correlation,
        "marginal_distances": against.marginal_distances.tolist(),
        "mmd_squared": against.mmd.statistic,
        "mmd_p_value": against.mmd.p_value,
        "inactive_units": int(inactive.sum()),
        "nll_change_without_inactive_nats": _cost_of_removing(subject, inactive),
    }


def _cost_of_removing(subject: Subject, components: Tensor):
    """Return how much log P falls without these components, or None where that is not defined."""
    if not (components.any() and subject.scores_levels):
        return None
    x, samples = subject.test[: subject.effort.few_images], subject.effort.bound_samples
    whole = importance_bound(subject.model, x, samples, subject.seed)
    without = importance_bound(subject.model, x, samples, subject.seed, removed=components)
    return estimate(whole - without)


# --- limit ----------------------------------------------------------------------------------------


def measure_limit(subject: Subject) -> Figures:
    """Measure the limiting distribution of the chain decode - sample - encode - sample."""
    limit = limiting_distribution(
        subject.model, subject.effort.walkers, num_watched=WATCHED_CHAINS, seed=subject.seed
    )
    _show_limit(subject.folder, limit)
    return {
        "chains": len(limit.z),
        "steps": len(limit.images) - 1,
        "distances": limit.distances.tolist(),
        "p_values": limit.p_values.tolist(),
        "p_value": limit.p_value,
        "visible_shift": limit.visible_shift,
        "visible_scale": limit.visible_scale,
        "r_hat": limit.r_hat.max().item(),
        "final_mean": limit.z.mean(0).tolist(),
        "final_scale": limit.z.std(0).tolist(),
    }


def _show_limit(folder: RunFolder, limit: Limit) -> None:
    pictures = frames(to_numpy(limit.images), 8)
    for ending in (".mp4", ".gif"):
        folder.save_video("limiting_distribution", ending, encode_video(pictures, ending))
    folder.save_figure("limiting_distribution", one_run.quantiles(to_numpy(limit.z)))


# --- samples --------------------------------------------------------------------------------------


class ImageSets(NamedTuple):
    """Equally many images (N, C, H, W) of each kind."""

    real: Tensor  # half of the test images
    other: Tensor  # the other half
    reconstructions: Tensor  # of the other half
    samples: Tensor  # from the prior


def measure_samples(subject: Subject) -> Figures:
    """Measure the quality of samples and reconstructions against the data, with a verdict."""
    sets, labelled = _image_sets(subject), _labelled(subject)
    _show_spectra(subject.folder, sets)
    ratio = variance_ratio(subject.model, sets.real)
    if labelled is None:
        return _sharpness_figures(sets) | {"variance_ratio": ratio, "verdict": judge(ratio)}
    net = classifier_for(labelled, Path(subject.data_dir)).to(sets.real.device)
    figures = _feature_figures(net, ImageSets(*(images.float() for images in sets)))
    distances = Distances(
        reconstructions=figures["frechet_distance_reconstructions"].mean,
        samples=figures["frechet_distance_samples"].mean,
        spread=figures["feature_spread"],
    )
    return figures | {"variance_ratio": ratio, "verdict": judge(ratio, distances)}


def _image_sets(subject: Subject) -> ImageSets:
    model, half = subject.model, min(len(subject.test) // 2, subject.effort.images)
    with seeded(subject.seed, subject.test.device):  # the published order may be by difficulty
        order = torch.randperm(len(subject.test), device=subject.test.device)
        real, other = subject.test[order[:half]], subject.test[order[half : 2 * half]]
        samples = model.sample(half)
        reconstructions = torch.cat([model.reconstruct(x) for x in chunks(other)])
    return ImageSets(real, other, reconstructions, samples)


def _sharpness_figures(sets: ImageSets) -> Figures:
    return {
        "images": len(sets.real),
        "sharpness_ratio_reconstructions": sharpness_ratio(sets.reconstructions, sets.real),
        "sharpness_ratio_samples": sharpness_ratio(sets.samples, sets.real),
    }


def _feature_figures(net: FeatureNet, sets: ImageSets) -> Figures:
    quality = sample_quality(net, sets.real, sets.reconstructions, sets.samples, sets.other)
    spread = net.features(sets.real).var(0).sum().item()
    return quality | {"classifier_accuracy": net.accuracy, "feature_spread": spread}


def _show_spectra(folder: RunFolder, sets: ImageSets) -> None:
    shown = {"data": sets.real, "reconstructions": sets.reconstructions, "samples": sets.samples}
    curves = {}
    for name, images in shown.items():
        spectrum = radial_power_spectrum(images)
        curves[name] = to_numpy(spectrum.frequencies), to_numpy(spectrum.power)
    folder.save_figure("power_spectra", one_run.power_spectra(curves))


def _labelled(subject: Subject) -> Dataset | None:
    """Return the labelled data set whose classifier measures the run, or None without one.

    It is the run's own data set, or MNIST for Larochelle's binarized MNIST.
    """
    name = "mnist" if subject.data.name == "binarized_mnist" else subject.run.config.dataset
    if subject.data.train.labels is None and name == subject.run.config.dataset:
        return None
    levels = None if name in DATASETS else subject.run.config.levels
    try:
        return load_dataset(name, subject.data_dir, levels=levels)
    except ValueError:
        return None


# --- factors --------------------------------------------------------------------------------------


def measure_factors(subject: Subject) -> Figures:
    """Measure whether components have a meaning, by labels, true factors and paths between codes."""
    data, size = subject.data, subject.effort.rows
    spread = subject.codes(subject.test[:1000])[0].var(0)
    moving = spread.argsort(descending=True)[:10].tolist()
    _show_paths(subject, moving)
    figures: Figures = {"components_by_spread": moving}
    if data.train.labels is not None and len(data.train.labels.unique()) > 1:
        figures |= _probe_figures(subject)
    if data.train.factors is not None and data.factor_names:
        codes = subject.codes(subject.train[:size])[0].cpu()
        figures["factor_names"] = list(data.factor_names)
        figures |= disentanglement(codes, data.train.factors[:size], subject.seed)
    return figures


def _show_paths(subject: Subject, moving: list[int]) -> None:
    model, test, save = subject.model, subject.test, subject.folder.save_figure
    rows = traverse(model, test[0], moving).flatten(0, 1)
    title = "Each row moves one component from -3 to 3"
    save("traversals", one_run.image_grid(to_numpy(rows), 8, title))
    ways = [interpolate(model, test[:4], test[4:8], path=path) for path in PATHS]
    title = "Between two images each: linear (upper four), slerp (lower four)"
    pictures = to_numpy(torch.cat(ways).flatten(0, 1))
    save("interpolation", one_run.image_grid(pictures, 8, title))


def _probe_figures(subject: Subject) -> Figures:
    data, size = subject.data, subject.effort.rows
    train_codes = subject.codes(subject.train[:size])[0].cpu()
    test_codes = subject.codes(subject.test[:size])[0].cpu()
    train_labels, test_labels = data.train.labels[:size], data.test.labels[:size]
    counts = test_labels.unique(return_counts=True)[1]
    return {
        "label_accuracy": linear_probe(train_codes, train_labels, test_codes, test_labels),
        "label_chance": counts.max().item() / counts.sum().item(),
    }
