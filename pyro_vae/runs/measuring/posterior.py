"""How near q(z|x) is to p(z|x): importance weights, NUTS, calibration."""

import torch

from pyro_vae.evaluation.estimates import estimate
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
from pyro_vae.figures import one_run
from pyro_vae.runs.effort import IMPORTANCE_DRAWS
from pyro_vae.runs.folder import RunFolder, to_numpy
from pyro_vae.runs.subject import Figures, Subject


def measure_posterior(subject: Subject) -> Figures:
    """Measure how near q(z|x) is to p(z|x), by importance weights, NUTS and calibration."""
    effort, model, seed = subject.effort, subject.model, subject.seed
    if not model.has_rate:
        return {}
    score = "levels" if subject.scores_levels else "density"
    few, chosen = subject.test[: effort.few_images], subject.test[: effort.nuts_images]
    fit = importance_diagnostics(model, few, IMPORTANCE_DRAWS, seed, score)
    draws = effort.nuts_draws
    reference = nuts_reference(model, chosen, draws, draws, seed=seed, progress=subject.progress)
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
