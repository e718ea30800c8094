"""What a report answers first: a question about the run, a mark, and one sentence."""

from typing import Any, NamedTuple

from pyro_vae.evaluation.estimates import (
    ACTIVE_VARIANCE,
    COLLAPSED_RATE,
    MISCALIBRATED,
    OVERFIT_BITS,
    UNRELIABLE_K_HAT,
)
from pyro_vae.measures.baselines import NAMES, not_beaten, worse_than
from pyro_vae.pages.wording import lookup

YES, LOOK, NO, NOT_MEASURED = "yes", "look", "no", "not measured"
ANY_SHIFT = " That is over-fitting, and any way in which test images differ from training images."
EASIER = " A gap of this sign is no over-fitting: test images are easier, or it is chance."
SHIFTS = {  # data sets whose test images are known to differ
    "digits": " The test images are by other writers than most training images, which alone moves the"
    " ELBO by some nats either way.",
}
PAST = "past its best"  # such a curve has turned down; some runs keep the weights of its best epoch
Table = dict[str, Any]


class Judgement(NamedTuple):
    """A question, a mark (yes, look, no, not measured), and the answer as a sentence.

    Each question is put so that `yes` is good news. `look` asks the reader to look closer.
    """

    question: str
    mark: str
    answer: str


def judgements(summary: Table, evaluation: Table) -> list[Judgement]:
    """Return the questions that a finished run can be asked, with their answers.

    Args:
        summary: of the run.
        evaluation: the parts that were measured, by name.
    """
    found = [
        _converged(summary),
        _generalises(summary),
        _better_than_trivial(summary),
        _components(summary),
        _posterior(summary, evaluation),
        _samples(evaluation),
        _decoder(summary, evaluation),
    ]
    return [judgement for judgement in found if judgement is not None]


def _converged(summary: Table) -> Judgement | None:
    convergence = summary.get("convergence")
    if not convergence:
        return None
    kept = convergence["word"] == PAST and summary.get("best_epoch") is not None
    good = convergence["word"] == "converged" or kept
    mark = YES if good else LOOK
    answer = f"{convergence['word'].capitalize()}: {convergence['reason']}."
    return Judgement("Has training converged?", mark, answer)


def _generalises(summary: Table) -> Judgement | None:
    gap = summary.get("generalisation")
    nats, bits = lookup(gap or {}, "gap_nats"), lookup(gap or {}, "gap_bits_per_dim")
    if nats is None or bits is None:
        return None
    error = gap.get("gap_error") or 0.0
    measure = "distortion of" if summary["test"]["elbo_nats"] is None else "ELBO of"
    answer = (
        f"The {measure} training images is {better_by(nats)} ± {error:.2f} nats per image"
        f" ({abs(bits):.3f} bits per dimension)."
    )
    drawn, drawn_bits = (gap.get(f"drawn_gap_{unit}") for unit in ("nats", "bits_per_dim"))
    if drawn is not None and drawn_bits is not None:
        nats, bits, error = drawn, drawn_bits, gap.get("drawn_gap_error") or 0.0
        answer += (
            " That includes how test images differ from training images. Beside validation images"
            f" drawn at random from the same source it is {better_by(nats)} ± {error:.2f} nats, which"
            f" is {'over-fitting alone' if nats > 0 else 'no over-fitting'}."
        )
    else:
        answer += ANY_SHIFT if nats > 0 else EASIER
        answer += SHIFTS.get(summary.get("dataset", ""), "")
    over = bits > OVERFIT_BITS and nats > 2 * error
    past = lookup(summary, "convergence.word") == PAST and summary.get("best_epoch") is None
    if past:
        answer += " The test curve has turned down: stop earlier, as --patience does."
    elif over:
        answer += " More images, fewer parameters or a larger beta make it smaller."
    return Judgement("Does it generalise?", _mark(wrong=past, look=over), answer)


def better_by(nats: float) -> str:
    """Return a difference in words, as in `better by 0.25` and `worse by 0.25`."""
    return f"{'worse' if nats < 0 else 'better'} by {abs(nats):.2f}"


def _better_than_trivial(summary: Table) -> Judgement | None:
    baselines = summary.get("baselines")
    if not baselines:
        return None
    least = min(figures["gain_nats"] for figures in baselines.values())
    bits = {n: f["bits_per_dim"] for n, f in baselines.items() if n in NAMES}
    listed = ", ".join(f"{NAMES[name]} {value:.3f}" for name, value in bits.items())
    beside = f"Their bits per dimension: {listed}."
    worse = worse_than(baselines)
    if ahead := worse or not_beaten(baselines):
        names = " and ".join(", ".join(ahead).rsplit(", ", 1))
        how = "worse than" if worse else "as good as, within two standard errors,"
        answer = (
            f"It is {how} {names}. Its log P(x) is {better_by(least)} nats per image than the"
            f" best of them.{_why_worse(summary) if worse else ''} {beside}"
        )
        return Judgement("Is it better than trivial models?", NO, answer)
    answer = f"Its log P(x) is {least:.1f} nats per image larger, or more. {beside}"
    return Judgement("Is it better than trivial models?", YES, answer)


def _why_worse(summary: Table) -> str:
    """Return what may be at fault where a run is worse than a trivial model."""
    why = ""
    if summary.get("scored_on") == "density":
        why = " It was trained on densities: --score levels trains on what is compared here."
    names = ("linear_optimum.elbo_nats", "train.elbo_nats", "train.standard_error_nats")
    optimum, reached, error = (lookup(summary, name) for name in names)
    if None not in (optimum, reached, error) and optimum - reached < 2 * error:
        why += " No linear VAE is better by what it was trained on."
    elif lookup(summary, "convergence.word") != "converged":
        why += " It may not be trained far enough."
    return why


def _components(summary: Table) -> Judgement | None:
    test, size = summary["test"], summary.get("latent_dim")
    collapsed, active = test.get("collapsed_units"), test.get("active_units")
    if collapsed is None or active is None or not size:
        return None
    question = "Are all latent components used?"
    if collapsed == size:
        answer = (
            "All are collapsed: codes say nothing about images. A smaller beta lets more through."
        )
        return Judgement(question, NO, answer)
    counts = (
        f"Of {size}, {active} are active (their mean varies by more than {ACTIVE_VARIANCE}), and"
        f" {size - active} are not. {collapsed} have collapsed (rate under {COLLAPSED_RATE} nats)."
    )
    if active < size:
        would_do = f"A latent space of {active} would do as well."
        answer = f"{counts} {would_do if active else 'Codes tell next to nothing of images.'}"
        return Judgement(question, LOOK, answer)
    return Judgement(question, YES, f"{counts} A larger latent space may pay.")


def _posterior(summary: Table, evaluation: Table) -> Judgement | None:
    if summary["test"].get("rate_nats") is None:
        return None  # a point, which has no posterior
    question = "Is the posterior right?"
    over = lookup(evaluation, "posterior.k_hat_over_0_7")
    images = lookup(evaluation, "posterior.k_hat_images")
    known = isinstance(over, (int, float)) and isinstance(images, (int, float)) and images > 0
    share = over / images if known else None
    p_value = _mean(lookup(evaluation, "posterior.calibration_on_data_p_value"))
    if share is None or p_value is None:
        return Judgement(question, NOT_MEASURED, "")
    gap = _mean(lookup(evaluation, "likelihood.ladder.amortization_gap_nats"))
    answer = (
        f"k-hat is over {UNRELIABLE_K_HAT} for {share:.0%} of images, and calibration on codes of"
        f" test images has p {_p_text(p_value)}."
    )
    if gap is not None:
        answer += f" The encoder costs {gap:.2f} nats per image."
    wrong, doubtful = share > 0.5 and p_value < 0.01, share > 0.1 or p_value < 0.01
    if wrong:
        answer += " Read bounds by importance sampling with care, and log P(x) by annealing."
    return Judgement(question, _mark(wrong, doubtful), answer)


def _samples(evaluation: Table) -> Judgement:
    question = "Are samples as good as reconstructions?"
    verdict = lookup(evaluation, "samples.verdict")
    if not verdict or "word" not in verdict:
        return Judgement(question, NOT_MEASURED, "")
    mark = {"well regularised": YES, "not over-regularised": LOOK}.get(verdict["word"], NO)
    if verdict.get("borderline"):
        mark = LOOK
    answer = f"{verdict['word'].capitalize()}: {verdict.get('reason', 'no reason is known')}."
    return Judgement(question, mark, answer)


def _decoder(summary: Table, evaluation: Table) -> Judgement | None:
    if summary["test"].get("bits_per_dim") is None:
        return None  # no likelihood of grey levels, or a point
    question = "Is the decoder calibrated?"
    half, most = (lookup(evaluation, f"decoder.coverage_{share}") for share in (50, 90))
    if not isinstance(half, dict) or not isinstance(most, dict):
        return Judgement(question, NOT_MEASURED, "")
    off = max(_surely_off(half, 0.5), _surely_off(most, 0.9))
    answer = (
        f"Its central 50% and 90% hold {_share_text(half)} and {_share_text(most)} of the pixels of"
        " test images."
    )
    if off > MISCALIBRATED[0]:
        sure = "not sure enough" if most["mean"] > 0.9 else "too sure"
        answer += f" It is {sure}: another likelihood may fit better."
    return Judgement(question, _mark(off > MISCALIBRATED[1], off > MISCALIBRATED[0]), answer)


def _surely_off(share: Table, nominal: float) -> float:
    """Return how far a share is from its nominal value, less two standard errors."""
    return abs(share["mean"] - nominal) - 2 * (share["standard_error"] or 0)


def _share_text(share: Table) -> str:
    error = share["standard_error"]  # null for a single image
    return f"{share['mean']:.0%}" + (f" ± {error:.1%}" if error else "")


def _mean(figure: Any) -> float | None:
    return figure.get("mean") if isinstance(figure, dict) else figure


def _p_text(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.2g}"


def _mark(wrong: bool, look: bool) -> str:
    if wrong:
        return NO
    return LOOK if look else YES
