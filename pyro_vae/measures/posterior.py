"""How near q(z|x) is to p(z|x): importance weights, NUTS, calibration."""

import torch
from matplotlib.figure import Figure

from pyro_vae.evaluation.estimates import MIXED_R_HAT, UNRELIABLE_K_HAT, estimate
from pyro_vae.evaluation.posteriors import (
    Calibration,
    MomentComparison,
    ParetoFit,
    Reference,
    compare_moments,
    draws_tree,
    importance_diagnostics,
    nuts_reference,
    simulation_based_calibration,
)
from pyro_vae.figures import one_run
from pyro_vae.measures.part import Figures, Measured, Part, Subject, to_numpy
from pyro_vae.pages.wording import Row

IMPORTANCE_DRAWS = 1000  # per image, for k-hat and the effective sample size


def measure_posterior(subject: Subject) -> Measured:
    """Measure how near q(z|x) is to p(z|x), by importance weights, NUTS and calibration."""
    effort, model, seed = subject.effort, subject.model, subject.seed
    if not model.has_rate:
        return Measured()
    score = "levels" if subject.scores_levels else "density"
    few, chosen = subject.test[: effort.few_images], subject.test[: effort.nuts_images]
    fit = importance_diagnostics(model, few, IMPORTANCE_DRAWS, seed, score)
    draws = effort.nuts_draws
    reference = nuts_reference(model, chosen, draws, draws, seed=seed, progress=subject.progress)
    with torch.no_grad():
        q = model.encode(chosen)
        moments = compare_moments(q, reference.draws)
    drawn = one_run.posterior_moments(to_numpy(moments.shift), to_numpy(moments.scale_ratio))
    found = Measured(
        _weight_figures(fit) | _reference_figures(reference, moments),
        drawings={"posterior_moments": drawn},
        draws={"posterior": draws_tree(reference, q, seed)},
    )
    if not model.likelihood.is_likelihood:
        return found
    for name, images in (("calibration", None), ("calibration_on_data", subject.test)):
        ranks = simulation_based_calibration(model, effort.simulations, seed=seed, images=images)
        found.drawings[name] = _ranks_drawn(ranks)
        found.figures.update(_calibration_figures(name, ranks))
    return found


def _weight_figures(fit: ParetoFit) -> Figures:
    return {
        "k_hat": estimate(fit.k_hat),
        "k_hat_images": len(fit.k_hat),
        "k_hat_over_0_7": fit.unreliable,
        "effective_sample_size": estimate(fit.effective_sample_size),
    }


def _reference_figures(reference: Reference, moments: MomentComparison) -> Figures:
    return {
        "nuts_images": len(reference.r_hat),
        "nuts_r_hat": reference.r_hat.max().item(),
        "nuts_effective_sample_size": reference.effective_sample_size.min().item(),
        "largest_shift": moments.shift.abs().max().item(),
        "smallest_scale_ratio": moments.scale_ratio.min().item(),
        "largest_scale_ratio": moments.scale_ratio.max().item(),
    }


def _ranks_drawn(calibration: Calibration) -> Figure:
    components = calibration.ranks.shape[1] - 1
    names = [f"z{n + 1}" for n in range(components)] + ["log p(x|z)"]
    return one_run.rank_histograms(to_numpy(calibration.ranks), calibration.num_draws, names)


def _calibration_figures(name: str, calibration: Calibration) -> Figures:
    coverage = {str(c): share.tolist() for c, share in calibration.coverage.items()}
    return {
        f"{name}_simulations": len(calibration.ranks),
        f"{name}_p_values": calibration.p_values.tolist(),
        f"{name}_p_value": calibration.p_value,
        "coverage" if name == "calibration" else f"{name}_coverage": coverage,
    }


POSTERIOR = Part(
    title="Is the posterior right?",
    measure=measure_posterior,
    needs=2,
    spends="NUTS on {nuts_images} images, {nuts_draws} draws each; weights of {few_images};"
    " {simulations:,} simulations",
    look=f"A k-hat over {UNRELIABLE_K_HAT} means that q misses a part of the posterior's tails, and"
    " that the importance weights of that image mean little. Calibration ranks true codes among draws"
    " of q. A p-value near 0 means that q is wrong for some images, as in most models. The images are"
    " drawn from codes of the prior, on which no encoder was trained, and from codes of test images.",
    terms={
        "k-hat": "the shape of the tail of importance weights. Over 0.7 their mean is unreliable.",
        "NUTS": "the No-U-Turn sampler: draws from the posterior itself, from which q is judged.",
        "R-hat": "how far several chains disagree; 1 where they have mixed.",
        "calibration": "ranks of true codes among draws of q, which are uniform if q is the"
        " posterior.",
        "p-value": "the smallest of several tests, raised by Holm's rule so that one under 0.05 means"
        " something.",
    },
    rows=(
        Row("k_hat_images", "test images of k-hat"),
        Row("k_hat", "k-hat"),
        Row("k_hat_over_0_7", f"k-hat over {UNRELIABLE_K_HAT}", "images", kind="main"),
        Row("effective_sample_size", "effective sample size", f"of {IMPORTANCE_DRAWS:,} draws"),
        Row("nuts_images", "test images of NUTS"),
        Row("nuts_r_hat", "largest R-hat of NUTS", f"trust it under {MIXED_R_HAT}"),
        Row("largest_shift", "largest shift of q's mean", "posterior deviations", kind="main"),
        Row("smallest_scale_ratio", "smallest scale ratio", "of q to posterior", kind="main"),
        Row("largest_scale_ratio", "largest scale ratio", "of q to posterior"),
        Row("calibration_simulations", "images of calibration", "simulated"),
        Row("calibration_p_value", "calibration, p-value", "codes of the prior", kind="main"),
        Row("calibration_on_data_simulations", "images of calibration", "on data"),
        Row(
            "calibration_on_data_p_value",
            "on data, p-value",
            "codes of test images",
            kind="main",
        ),
    ),
    pictures={
        "posterior_moments": "Points belong where the lines cross. Those below are components of"
        " which q is too sure; those far to a side are components that q puts in the wrong place.",
        "calibration": "Bars belong in the grey band: a valley means that q is too narrow, a hill"
        " that it is too wide, a slope that it is biased. The last panel also sees a q that is the"
        " prior.",
        "calibration_on_data": "The same for images drawn from codes of the test images, not of"
        " the prior: where this one is flat and the one above is not, the encoder is right only"
        " near the data.",
    },
)
