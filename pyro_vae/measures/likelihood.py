"""How likely the test images are: the ELBO, a ladder of bounds, and the gaps between them."""

from dataclasses import replace

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vae.evaluation.ais import Annealed, Annealing, annealed_importance_sampling
from pyro_vae.evaluation.bounds import bits_per_dim, importance_bound
from pyro_vae.evaluation.estimates import FEW_CHAINS, SPREAD_NATS, estimate
from pyro_vae.evaluation.ladder import ESTIMATE, Ladder, climb
from pyro_vae.evaluation.terms import means, per_image
from pyro_vae.figures import one_run
from pyro_vae.measures.part import Figures, Measured, Part, Subject
from pyro_vae.pages.wording import NATS, Compared, Row, figure_text, under

RUNGS = {  # as the figure names them, the loosest first
    "elbo": "ELBO of the encoder",
    "elbo_refitted": "of the best diagonal Normal",
    "elbo_full_covariance": "of the best Normal",
    "elbo_flow": "of a flow",
    "importance_bound": "importance bound",
    "ais_from_prior": "AIS from the prior",
}


def measure_likelihood(subject: Subject) -> Measured:
    """Measure how likely the test images are, by the ELBO and a ladder of estimates of log P(x).

    The ladder is measured where log P of the grey levels is defined.
    """
    effort, model, seed = subject.effort, subject.model, subject.seed
    split, samples = subject.data.test[: effort.bound_images], effort.bound_samples
    images, levels = split.images, subject.data.levels
    columns = per_image(subject.model_of(split), images, levels, samples, seed, subject.progress)
    found = Measured(means(subject.model_of(subject.data.test), subject.test, columns, samples))
    if model.embedding is not None:
        found.figures["not_scored"] = "annealing and fits to single images, which take no labels"
    if model.embedding is not None or not subject.scores_levels:
        return found
    annealing = Annealing(effort.temperatures, effort.chains)
    few = images[: effort.few_images]
    ladder = climb(model, few, samples, annealing, effort.refit_steps, seed, subject.progress)
    found.figures["ladder"] = _ladder_figures(ladder, model.image_shape, samples)
    found.drawings["ladder"] = _ladder_drawn(ladder)
    found.columns["likelihood"] = ladder.rungs | _of_chains(ladder.annealed)
    _add_fitted_priors(found, subject, few, ladder)
    if subject.data.validation is not None:  # images that were held out to choose by
        few = subject.data.validation.images[: effort.few_images]
        annealing = replace(annealing, start="posterior")
        annealed = annealed_importance_sampling(model, few, annealing, seed, subject.progress)
        found.figures["validation_images"] = len(few)
        found.figures["validation_log_prob_nats"] = estimate(annealed.log_prob)
        found.figures["validation_ais_bias_nats"] = estimate(annealed.bias)
        column = {ESTIMATE: annealed.log_prob}
        found.columns["validation_likelihood"] = column | _of_chains(annealed)
    return found


def _add_fitted_priors(found: Measured, subject: Subject, images: Tensor, ladder: Ladder) -> None:
    """Add the importance bounds with densities of codes as the prior, and what is gained by each.

    They take the draws of z that the bound with the prior takes.
    """
    with_prior, size = ladder.rungs["importance_bound"], ladder.bound_effective_sample_size
    for kind, model in subject.with_fitted_priors().items():
        bound = importance_bound(model, images, subject.effort.bound_samples, subject.seed)
        found.columns["likelihood"][f"importance_bound_{kind}"] = bound.log_prob
        fewest = torch.minimum(size, bound.effective_sample_size)
        found.figures[f"gain_of_{kind}_nats"] = estimate(bound.log_prob - with_prior)
        found.figures[f"gain_of_{kind}_effective_samples"] = estimate(fewest)


def _of_chains(annealed: Annealed) -> dict[str, Tensor]:
    """Return what the estimates of single images rest on, for their table."""
    names = ("standard_error", "bias", "deviation", "effective_sample_size")
    return {f"{ESTIMATE}_{name}": getattr(annealed, name) for name in names}


def _ladder_drawn(ladder: Ladder) -> Figure:
    gaps = {name: estimate(ladder.log_prob - ladder.rungs[rung]) for rung, name in RUNGS.items()}
    text = f"{figure_text(dict(estimate(ladder.log_prob)._asdict()))} nats"
    return one_run.ladder(gaps, text)


def _ladder_figures(ladder: Ladder, shape: tuple[int, int, int], num_samples: int) -> Figures:
    figures = {
        "images": len(ladder.log_prob),
        "nats": {name: estimate(values) for name, values in ladder.rungs.items()},
        "bits_per_dim": {n: estimate(bits_per_dim(v, shape)) for n, v in ladder.rungs.items()},
        "log_prob_nats": estimate(ladder.log_prob),
        "log_prob_monte_carlo_error": ladder.monte_carlo_error,
        **{f"{name}_nats": estimate(gap) for name, gap in ladder.gaps.items()},
        "failed_fits": ladder.failed_fits,
        "fits_missing_modes": int(ladder.missed_modes.sum()),
        "fits_checked": len(ladder.missed_modes),
        "bracket_gap_nats": estimate(ladder.bracket.gap),
        "bound_effective_sample_size": estimate(ladder.bound_effective_sample_size),
        "ais_effective_sample_size": estimate(ladder.annealed.effective_sample_size),
        "ais_of_few_chains": int(ladder.annealed.of_few_chains.sum()),
        "ais_deviation_nats": estimate(ladder.annealed.deviation),
        "ais_bias_nats": estimate(ladder.annealed.bias),
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
    if missed := int(ladder.missed_modes.sum()):
        warnings.append(
            f"for {missed} of {len(ladder.missed_modes)} images that the model drew, fits to single"
            " images missed a mode that a fit from the true code finds: what is closed by fits is"
            " larger than shown"
        )
    if unsure := int(ladder.annealed.unsure.sum()):
        warnings.append(
            f"for {unsure} of {len(ladder.log_prob)} images the annealed log weights deviate by more"
            f" than {SPREAD_NATS:g} nat, or fewer than {FEW_CHAINS} chains carry the weight: log P(x)"
            " is likely to be higher there, in the mean over all images by about"
            f" {ladder.bias:.2g} nats"
        )
    return warnings


LIKELIHOOD = Part(
    title="How likely are the data?",
    measure=measure_likelihood,
    takes_labels=True,
    needs=2,
    spends="{bound_samples:,} draws of each of up to {bound_images:,} images; {few_images} by fits of"
    " {refit_steps} steps and {chains} chains of {temperatures:,} temperatures",
    look="Lower bounds on log P(x), at beta = 1. The estimate of log P(x) is AIS from q(z|x), whichever"
    " bound is largest. Look at how far the ELBO lies under it. The amortization gap is the price of an"
    " encoder that has to guess q; the approximation gap is the price of a diagonal Normal, in two"
    " parts: what a full covariance closes, and the shape that no Normal has. A"
    " bracket gap of more than a nat or two means that the chains are too short, even for images that"
    " the model drew itself; for real data it is only indicative.",
    terms={
        "AIS": "annealed importance sampling: chains that lead from a start to the posterior in"
        " many small steps. Their weights give log P(x).",
        "effective draws, chains": "how many equally weighted ones the weighted ones are worth."
        " Near 1, a single one has all the weight, and the bound is loose.",
        "bias of AIS": "how far the log of the mean weight lies under log P(x), if log weights are"
        " Normal. More images do not make it smaller; more temperatures do.",
        "amortization gap": "what the encoder loses against the best diagonal Normal that was"
        " found for each image, so at least this much.",
        "approximation gap": "what the best diagonal Normal loses against the posterior.",
        "bracket gap": "for images that the model drew, the distance of a lower and an upper bound"
        " on log P(x) by the same chains.",
    },
    rows=(
        *under(
            "As trained, by the run's own score",
            Row("images", "test images"),
            Row("elbo_nats", "ELBO", NATS),
            Row("rate_nats", "rate", NATS),
            Row("distortion_nats", "distortion", NATS),
            Row("active_units", "active components"),
            Row("collapsed_units", "collapsed components"),
        ),
        *under(
            "Probabilities of the grey levels",
            Row("bits_per_dim", "bits per dimension", "importance bound", kind="main"),
            Row("ladder.images", "test images of the ladder, all below"),
            Row("ladder.nats.elbo", "ELBO", NATS),
            Row("ladder.nats.importance_bound", "importance bound", NATS),
            Row("ladder.bound_effective_sample_size", "its effective draws"),
            Row("ladder.nats.ais_from_prior", "AIS from the prior", NATS),
            Row("ladder.nats.ais_from_posterior", "AIS from q(z|x)", NATS),
            Row(
                "ladder.log_prob_nats",
                "log P(x): AIS from q",
                NATS,
                kind="main",
                in_table="result",
                compared=Compared(
                    "log P(x), by AIS from q(z|x)",
                    NATS,
                    "Higher is better. Chains lead from q to the posterior, so a poor encoder costs"
                    " little here.",
                    best="highest",
                ),
            ),
            Row("ladder.log_prob_monte_carlo_error", "its Monte Carlo error", NATS),
            Row("ladder.ais_bias_nats", "its bias, estimated", NATS),
            Row(
                "ladder.ais_deviation_nats",
                "deviation of log weights",
                f"over {SPREAD_NATS:g}: biased",
            ),
            Row("ladder.ais_effective_sample_size", "effective chains", "of AIS from q(z|x)"),
            Row("ladder.ais_of_few_chains", "images of few chains", f"under {FEW_CHAINS}"),
            Row("validation_log_prob_nats", "log P(x), validation", NATS),
            Row("validation_ais_bias_nats", "bias of AIS, validation", NATS),
            Row("validation_images", "images of that, validation"),
        ),
        *under(
            "Gaps under log P(x), paired over images",
            Row("ladder.amortization_gap_nats", "amortization gap, at least", NATS, kind="main"),
            Row("ladder.approximation_gap_nats", "approximation gap, at most", NATS, kind="main"),
            Row("ladder.correlation_gap_nats", "of it, correlation", NATS),
            Row("ladder.shape_gap_nats", "of it, shape", NATS),
            Row("ladder.closed_by_flow_nats", "closed by a flow, at least", NATS),
            Row("ladder.failed_fits", "failed fits", "images"),
            Row("ladder.fits_missing_modes", "fits that missed a known mode", "simulated images"),
            Row("ladder.fits_checked", "simulated images of that"),
            Row("ladder.bracket_gap_nats", "bracket gap, on as many simulated", NATS, kind="main"),
        ),
        *under(
            "With a density of codes as the prior, the importance bound gains",
            Row("gain_of_gaussian_nats", "by one Normal", NATS),
            Row("gain_of_gaussian_effective_samples", "effective draws of that"),
            Row("gain_of_mixture_nats", "by a mixture of ten", NATS),
            Row("gain_of_mixture_effective_samples", "effective draws of that"),
        ),
        Row("ladder.warning", "warning", kind="words"),
    ),
    pictures={
        "ladder": "How far each bound lies under log P(x) on the same images, with standard errors"
        " of these paired differences. An importance bound far from 0 is not to be trusted.",
    },
)
