"""What a report answers first: every mark has a case."""

import pytest

from pyro_vae.runs.judgements import LOOK, NO, NOT_MEASURED, YES, judgements

SUMMARY = {
    "latent_dim": 4,
    "test": {
        "elbo_nats": -90.0,
        "rate_nats": 7.0,
        "bits_per_dim": 2.0,
        "active_units": 4,
        "collapsed_units": 0,
    },
    "generalisation": {"gap_nats": 1.0, "gap_error": 0.2, "gap_bits_per_dim": 0.01},
    "convergence": {"word": "converged", "reason": "it stands"},
    "baselines": {
        "one_gaussian": {"bits_per_dim": 2.3, "gain_nats": 5.0, "gain_error": 1.0},
    },
}


def share(mean, error=0.001):
    """A share of pixels with its standard error."""
    return {"mean": mean, "standard_error": error}


EVALUATION = {
    "posterior": {"k_hat_over_0_7": 1, "k_hat_images": 20, "calibration_on_data_p_value": 0.4},
    "likelihood": {"ladder": {"amortization_gap_nats": {"mean": 1.5, "standard_error": 0.1}}},
    "samples": {"verdict": {"word": "well regularised", "reason": "so", "borderline": False}},
    "decoder": {"coverage_50": share(0.51), "coverage_90": share(0.89)},
}


def answered(question, evaluation=EVALUATION, **changed):
    """The judgement of a question that contains some words; `changed` replaces parts of the summary."""
    (found,) = [j for j in judgements(SUMMARY | changed, evaluation) if question in j.question]
    return found


def test_all_is_well():
    found = judgements(SUMMARY, EVALUATION)
    assert [j.mark for j in found] == [YES] * 7
    assert all(j.answer.endswith(".") and j.question.endswith("?") for j in found)


def test_what_was_not_measured_says_so():
    marks = {j.question: j.mark for j in judgements(SUMMARY, {})}
    assert [q for q, mark in marks.items() if mark == NOT_MEASURED] == [
        "Is the posterior right?",
        "Are samples as good as reconstructions?",
        "Is the decoder calibrated?",
    ]


def test_generalisation():
    gap = {"gap_nats": 9.0, "gap_error": 1.0, "gap_bits_per_dim": 0.2}
    found = answered("generalise", generalisation=gap)
    assert found.mark == LOOK and "9.00 ± 1.00 nats" in found.answer
    assert answered("generalise", generalisation=gap | {"gap_error": 5.0}).mark == YES  # by chance
    drawn = gap | {"drawn_gap_nats": 0.1, "drawn_gap_error": 0.2, "drawn_gap_bits_per_dim": 0.002}
    found = answered("generalise", generalisation=drawn)
    assert found.mark == YES and "better by 0.10 ± 0.20 nats, which is over-fitting" in found.answer
    assert (
        "any way in which test images differ" in answered("generalise", generalisation=gap).answer
    )
    of_digits = answered("generalise", generalisation=gap, dataset="digits").answer
    assert "over-fitting" in of_digits and "by other writers" in of_digits
    better = gap | {"gap_nats": -0.25, "gap_bits_per_dim": -0.005}
    of_digits = answered("generalise", generalisation=better, dataset="digits").answer
    assert "no over-fitting" in of_digits and "by other writers" in of_digits
    answer = answered("generalise", generalisation=better).answer
    assert "is worse by 0.25 ± 1.00 nats per image (0.005 bits per dimension)" in answer
    assert "no over-fitting" in answer
    past = {"word": "past its best", "reason": "it fell"}
    assert answered("generalise", convergence=past).mark == NO
    assert (
        answered("generalise", convergence=past, best_epoch=30).mark == YES
    )  # its weights are kept
    assert answered("converged", convergence=past, best_epoch=30).mark == YES


@pytest.mark.parametrize(
    "gain, scored_on, word, said",
    [
        (1.0, "levels", "converged", "as good as, within two standard errors, one Gaussian (pixel"),
        (-9.0, "levels", "converged", "worse than one Gaussian (pixel by pixel). Its log P(x) is"),
        (-9.0, "levels", "converged", "Its log P(x) is worse by 9.00 nats"),
        (-9.0, "levels", "still climbs", "It may not be trained far enough."),
        (-9.0, "density", "converged", "trained on densities: --score levels"),
        (-9.0, "density", "cannot tell", "No linear VAE is better by what it was trained on."),
    ],
)
def test_trivial_models(gain, scored_on, word, said):
    """A linear VAE at its optimum is pPCA: it is trained far enough, though no better."""
    worse = {"one_gaussian": {"bits_per_dim": 2.0, "gain_nats": gain, "gain_error": 1.0}}
    curve = {"word": word, "reason": "since"}
    train, optimum = {"elbo_nats": -9.1, "standard_error_nats": 0.3}, {"elbo_nats": -9.0}
    at_it = {"train": train, "linear_optimum": optimum} if word == "cannot tell" else {}
    found = answered("trivial", baselines=worse, convergence=curve, scored_on=scored_on, **at_it)
    assert found.mark == NO and said in found.answer
    assert ("trained far enough" in found.answer) == (word == "still climbs")


def convergence(word):
    """The summary's entry of a curve that ends so."""
    return {"convergence": {"word": word, "reason": "since"}}


def components(active, collapsed):
    """The summary's entry of a test split with so many components."""
    test = {"active_units": active, "collapsed_units": collapsed}
    return {"test": SUMMARY["test"] | test}


def verdict(word, borderline=False):
    """Figures of the samples with this verdict."""
    return {"verdict": {"word": word, "reason": "so", "borderline": borderline}}


OF_SUMMARY = [  # a word of the question, what the summary says, the mark, and words of the answer
    ("converged", convergence("converged"), YES, "Converged: since."),
    ("converged", convergence("still climbs"), LOOK, "Still climbs: since."),
    ("converged", convergence("past its best"), LOOK, "Past its best: since."),
    ("converged", convergence("cannot tell"), LOOK, "Cannot tell: since."),
    ("components", components(4, 0), YES, "larger latent space may pay"),
    (
        "components",
        components(2, 1),
        LOOK,
        "and 2 are not. 1 have collapsed (rate under 0.01 nats)",
    ),
    ("components", components(2, 1), LOOK, "A latent space of 2 would do as well"),
    ("components", components(0, 4), NO, "All are collapsed"),
    ("components", components(0, 3), LOOK, "Codes tell next to nothing of images."),
]
OF_PARTS = [  # the part, its figures, the mark, and words of the answer
    ("posterior", {"k_hat_over_0_7": 1}, YES, "costs 1.50 nats"),
    ("posterior", {"calibration_on_data_p_value": 0.001}, LOOK, "p = 0.001"),
    ("posterior", {"k_hat_over_0_7": 12}, LOOK, "for 60% of images"),
    ("posterior", {"k_hat_over_0_7": 12, "calibration_on_data_p_value": 1e-9}, NO, "p < 0.001"),
    ("samples", verdict("well regularised"), YES, "Well regularised: so."),
    ("samples", verdict("well regularised", borderline=True), LOOK, ""),
    ("samples", verdict("over-regularised"), NO, ""),
    ("samples", verdict("under-regularised"), NO, ""),
    ("samples", verdict("not over-regularised"), LOOK, ""),
    ("decoder", {"coverage_50": share(0.5, None)}, YES, "90% hold 50% and 89% ± 0.1%"),
    ("decoder", {"coverage_50": share(0.55), "coverage_90": share(0.93)}, LOOK, "not sure enough"),
    ("decoder", {"coverage_50": share(0.55, 0.02)}, YES, "55% ± 2.0%"),
    ("decoder", {"coverage_50": share(0.4), "coverage_90": share(0.7)}, NO, "too sure"),
    ("decoder", {"coverage_50": share(0.38, 0.03)}, LOOK, "too sure"),
]


@pytest.mark.parametrize("question, changed, mark, words", OF_SUMMARY)
def test_what_a_summary_answers(question, changed, mark, words):
    found = answered(question, **changed)
    assert found.mark == mark and words in found.answer


@pytest.mark.parametrize("name, figures, mark, words", OF_PARTS)
def test_what_a_part_answers(name, figures, mark, words):
    found = answered(name, EVALUATION | {name: EVALUATION[name] | figures})
    assert found.mark == mark and words in found.answer


def test_an_autoencoder_is_not_asked_for_what_it_lacks():
    test = {"elbo_nats": None, "rate_nats": None, "bits_per_dim": None}
    test |= {"active_units": 4, "collapsed_units": None}
    found = judgements(SUMMARY | {"test": test, "baselines": None}, {})
    asked = [j.question for j in found]
    assert asked == [
        "Has training converged?",
        "Does it generalise?",
        "Are samples as good as reconstructions?",
    ]
    assert "distortion of training images" in found[1].answer


def test_a_summary_of_an_earlier_version_answers_what_it_can():
    found = judgements({"test": {"elbo_nats": -1.0, "rate_nats": 1.0}}, {})
    assert [j.mark for j in found] == [NOT_MEASURED, NOT_MEASURED]
