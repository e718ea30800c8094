"""How likely the test images are: the ELBO, a ladder of bounds, and the gaps between them."""

from dataclasses import replace

from pyro_vae.evaluation.ais import Annealing, annealed_importance_sampling
from pyro_vae.evaluation.bounds import bits_per_dim
from pyro_vae.evaluation.estimates import estimate
from pyro_vae.evaluation.ladder import ESTIMATE, Ladder, climb
from pyro_vae.evaluation.terms import means, per_image
from pyro_vae.evaluation.thresholds import FEW_CHAINS
from pyro_vae.figures import one_run
from pyro_vae.pages.wording import figure_text
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.subject import Figures, Subject

RUNGS = {  # as the figure names them, the loosest first
    "elbo": "ELBO of the encoder",
    "elbo_refitted": "of the best diagonal Normal",
    "elbo_full_covariance": "of the best Normal",
    "elbo_flow": "of a flow",
    "importance_bound": "importance bound",
    "ais_from_prior": "AIS from the prior",
}


def measure_likelihood(subject: Subject) -> Figures:
    """Measure how likely the test images are, by the ELBO and a ladder of estimates of log P(x).

    The ladder is measured where log P of the grey levels is defined.
    """
    effort, model, seed = subject.effort, subject.model, subject.seed
    images, samples = subject.test[: effort.images], effort.bound_samples
    columns = per_image(model, images, subject.data.levels, samples, seed, subject.progress)
    figures = means(model, images, columns, samples)
    if not subject.scores_levels:
        return figures
    annealing = Annealing(effort.temperatures, effort.chains)
    few = images[: effort.few_images]
    ladder = climb(model, few, samples, annealing, effort.refit_steps, seed, subject.progress)
    _show_ladder(subject.folder, ladder)
    figures |= {"ladder": _ladder_figures(ladder, model.image_shape, samples)}
    return figures | _validation_figures(subject, annealing)


def _validation_figures(subject: Subject, annealing: Annealing) -> Figures:
    """Measure log P(x) of validation images as well, where some are held out to choose by."""
    if subject.validation is None:
        return {}
    few = subject.validation[: subject.effort.few_images]
    annealing = replace(annealing, start="posterior")
    found = annealed_importance_sampling(subject.model, few, annealing, subject.seed)
    subject.folder.save_columns("validation_likelihood", {ESTIMATE: found.log_prob.tolist()})
    return {"validation_log_prob_nats": estimate(found.log_prob)}


def _show_ladder(folder: RunFolder, ladder: Ladder) -> None:
    gaps = {name: estimate(ladder.log_prob - ladder.rungs[rung]) for rung, name in RUNGS.items()}
    text = f"{figure_text(dict(estimate(ladder.log_prob)._asdict()))} nats"
    folder.save_figure("ladder", one_run.ladder(gaps, text))
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
        "correlation_gap_nats": estimate(ladder.correlation_gap),
        "shape_gap_nats": estimate(ladder.shape_gap),
        "closed_by_flow_nats": estimate(ladder.closed_by_flow),
        "amortization_gap_nats": estimate(ladder.amortization_gap),
        "failed_fits": ladder.failed_fits,
        "bracket_gap_nats": estimate(ladder.bracket.gap),
        "acceptance": ladder.acceptance,
        "bound_effective_sample_size": estimate(ladder.bound_effective_sample_size),
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
