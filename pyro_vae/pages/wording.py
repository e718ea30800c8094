"""What an evaluation's figures are called, what they mean, and what would be bad."""

import math
from typing import Any, NamedTuple


class Row(NamedTuple):
    """A figure of `evaluation.json`: where it stands in its part, its name, its unit."""

    key: str
    name: str
    unit: str = ""


class Picture(NamedTuple):
    """A figure's file, and the sentence that belongs under it."""

    name: str
    look: str


class Section(NamedTuple):
    """A part of the evaluation: its title, what to make of it, its rows and pictures."""

    title: str
    look: str
    rows: tuple[Row, ...]
    pictures: tuple[Picture, ...] = ()


NATS = "nats per image"
SECTIONS: dict[str, Section] = {
    "likelihood": Section(
        "How likely are the data?",
        "Bounds from below on log P(x), at beta = 1. Look how far the ELBO lies under the best"
        " estimate: the approximation gap is the price of a diagonal Normal, the amortization gap"
        " that of an encoder which has to guess it. A bracket gap of more than a nat or two means"
        " that the chains are too short, even for images that the model drew itself; on real data"
        " it is only indicative.",
        (
            Row("elbo_nats", "ELBO as trained", NATS),
            Row("rate_nats", "rate", NATS),
            Row("distortion_nats", "distortion", NATS),
            Row("bits_per_dim", "bits per dimension", "importance bound"),
            Row("active_units", "active components"),
            Row("collapsed_units", "collapsed components"),
            Row("ladder.nats.elbo", "ELBO, levels", NATS),
            Row("ladder.nats.importance_bound", "importance bound, levels", NATS),
            Row("ladder.nats.ais_from_prior", "AIS from the prior", NATS),
            Row("ladder.nats.ais_from_posterior", "AIS from q(z|x)", NATS),
            Row("ladder.log_prob_nats", "best: log P(x)", NATS),
            Row("ladder.log_prob_monte_carlo_error", "its Monte Carlo error", NATS),
            Row("ladder.approximation_gap_nats", "approximation gap", NATS),
            Row("ladder.amortization_gap_nats", "amortization gap", NATS),
            Row("ladder.bracket_gap_nats", "bracket gap, simulated", NATS),
            Row("ladder.warning", "warning"),
        ),
        (
            Picture(
                "ladder",
                "Each rung should stand right of the one below, or beside it; an importance bound"
                " far left of AIS is not to be trusted.",
            ),
        ),
    ),
    "posterior": Section(
        "Is the posterior right?",
        "k-hat over 0.7 says that q misses a part of the posterior's tails, and that importance"
        " weights of that image mean little. Calibration ranks true codes among draws of q: a"
        " p-value near 0 means that q is wrong somewhere, as most are.",
        (
            Row("k_hat", "k-hat"),
            Row("k_hat_over_0_7", "images over 0.7"),
            Row("effective_sample_size", "effective sample size", "of 1,000 draws"),
            Row("nuts_r_hat", "largest R-hat of NUTS", "trust it under 1.05"),
            Row("largest_shift", "largest shift of q's mean", "posterior deviations"),
            Row("smallest_scale_ratio", "smallest scale ratio", "of q to posterior"),
            Row("largest_scale_ratio", "largest scale ratio", "of q to posterior"),
            Row("calibration_p_value", "calibration, p-value", "Holm"),
        ),
        (
            Picture(
                "posterior_moments",
                "Points belong where the lines cross; those below are components of which q is"
                " too sure, those far to a side ones that it puts in the wrong place.",
            ),
            Picture(
                "calibration",
                "Bars belong in the grey band: a valley means that q is too narrow, a hill that it"
                " is too wide, a slope that it is biased; the last panel also sees a q that is"
                " the prior.",
            ),
        ),
    ),
    "latents": Section(
        "What do the latents do?",
        "The rate splits into what codes say about their image (mutual information, at most"
        " log N of N images), how much the components depend on each other (total correlation)"
        " and how far each is from its prior. The comparison with the prior cannot see collapse:"
        " q = prior passes all of it, so read it beside the rate.",
        (
            Row("rate_nats", "rate", NATS),
            Row("mutual_information_nats", "mutual information, low", NATS),
            Row("mutual_information_upper_nats", "mutual information, high", NATS),
            Row("log_images", "log N, its limit", "nats"),
            Row("mutual_information_identified", "identified"),
            Row("total_correlation_nats", "total correlation", NATS),
            Row("dimension_wise_kl_nats", "KL of the components", NATS),
            Row("largest_mean", "largest mean of q(z)", "0 in the prior"),
            Row("smallest_variance", "smallest variance", "1 in the prior"),
            Row("largest_variance", "largest variance", "1 in the prior"),
            Row("largest_correlation", "largest correlation", "0 in the prior"),
            Row("mmd_p_value", "MMD to the prior, p-value"),
            Row("inactive_units", "inactive components"),
            Row("nll_change_without_inactive_nats", "log P lost without them", NATS),
        ),
        (
            Picture(
                "aggregate_posterior",
                "Lines belong on the dashed one: holes and shoulders are codes that samples use"
                " and images do not.",
            ),
        ),
    ),
    "limit": Section(
        "The limiting distribution",
        "The chain decode - sample - encode - sample, from 64 codes of the prior. With an exact"
        " posterior it would stay at the prior for ever; a p-value near 0 says that it has left."
        " R-hat speaks of mixing only.",
        (
            Row("p_value", "p-value at the last step", "Holm"),
            Row("steps", "steps"),
            Row("chains", "independent chains"),
            Row("r_hat", "largest R-hat"),
        ),
        (
            Picture(
                "limiting_distribution",
                "Lines belong on the dashed one: flat ones have shrunk to a point, shifted ones"
                " have drifted to a favourite kind of image.",
            ),
        ),
    ),
    "samples": Section(
        "Are the samples good?",
        "Fréchet distances in the features of a small classifier: compare them with the distance"
        " between two halves of the real images, with the same number of images, and with no"
        " other data set's. Sharpness is the power at fine detail over the data's: 1 is as sharp,"
        " less is blurred.",
        (
            Row("verdict.word", "verdict"),
            Row("verdict.reason", "because"),
            Row("frechet_distance_samples", "Fréchet, samples"),
            Row("frechet_distance_reconstructions", "Fréchet, reconstructions"),
            Row("frechet_distance_real", "Fréchet, real images"),
            Row("images", "images of each"),
            Row("precision_samples", "precision of samples"),
            Row("recall_samples", "recall of samples"),
            Row("variance_ratio", "reconstructions' variance", "of the data's"),
            Row("sharpness_ratio_reconstructions", "sharpness, reconstructions", "of the data's"),
            Row("sharpness_ratio_samples", "sharpness, samples", "of the data's"),
            Row("classifier_accuracy", "the classifier's accuracy"),
        ),
        (
            Picture(
                "power_spectra",
                "Curves that fall below the data's on the right are blurred: what the code does"
                " not hold is averaged over.",
            ),
        ),
    ),
    "factors": Section(
        "Do components mean something?",
        "How well a linear classifier reads labels off the mean codes, beside guessing the most"
        " common one; and, for data with true factors, how far each factor has a component of its"
        " own. Scores of 1 are perfect; a rotated code keeps its ELBO and loses these.",
        (
            Row("label_accuracy", "accuracy of a linear probe"),
            Row("label_chance", "by guessing"),
            Row("mutual_information_gap", "MIG"),
            Row("disentanglement", "DCI disentanglement"),
            Row("completeness", "DCI completeness"),
            Row("informativeness", "DCI informativeness"),
            Row("separated_attribute_predictability", "SAP"),
            Row("beta_vae_score", "beta-VAE score"),
            Row("factor_vae_score", "FactorVAE score"),
        ),
        (
            Picture(
                "traversals",
                "A row that changes nothing belongs to an idle component; one that changes"
                " several things at once is entangled.",
            ),
            Picture(
                "interpolation",
                "Every picture on the way should be a possible image: ghosts of two overlaid"
                " images mean holes in the latent space.",
            ),
        ),
    ),
}

SUMMARY = (  # of `summary.json`
    Row("test.elbo_nats", "test ELBO", NATS),
    Row("test.rate_nats", "test rate", NATS),
    Row("test.distortion_nats", "test distortion", NATS),
    Row("test.bits_per_dim", "bits per dimension"),
    Row("test.bits_per_dim_samples", "draws of its bound"),
    Row("test.active_units", "active components"),
    Row("test.collapsed_units", "collapsed components"),
    Row("train.elbo_nats", "training ELBO", NATS),
    Row("linear_optimum.elbo_nats", "ELBO of the optimum", NATS),
    Row("epochs", "epochs"),
    Row("best_epoch", "best epoch"),
    Row("seconds", "training", "seconds"),
    Row("device", "device"),
    Row("engine", "engine"),
)


class Measure(NamedTuple):
    """What runs are compared by: its name and unit, which value is best, what to look for.

    `own_scale` marks figures in nats of a density or of a probability, which do not compare.
    """

    name: str
    unit: str
    best: str
    look: str
    own_scale: bool = False
    floor: str = ""  # the column with the value that the real images themselves have


MEASURES: dict[str, Measure] = {
    "test.elbo_nats": Measure(
        "test ELBO",
        NATS,
        "highest",
        "Higher is better, at beta = 1 whatever beta was trained with; look where a line turns down.",
        own_scale=True,
    ),
    "test.rate_nats": Measure(
        "test rate",
        NATS,
        "",
        "What a code tells of its image: look where a line reaches 0, the decoder then ignores codes.",
    ),
    "test.distortion_nats": Measure(
        "test distortion",
        NATS,
        "",
        "The error of reconstructions, lower is closer: look how much of it a larger rate buys.",
        own_scale=True,
    ),
    "test.bits_per_dim": Measure(
        "bits per dimension",
        "upper bound",
        "lowest",
        "Lower is better, and families compare: look which line runs lowest, and how flat it is.",
    ),
    "test.active_units": Measure(
        "active components",
        "of the latent size",
        "",
        "Components whose mean varies over images: look where they fall short of the latent size.",
    ),
    "likelihood.ladder.log_prob_nats": Measure(
        "log P(x), best bound",
        NATS,
        "highest",
        "Higher is better: by AIS or the importance bound, free of what a poor encoder costs.",
    ),
    "latents.mutual_information_nats": Measure(
        "mutual information",
        NATS,
        "",
        "What codes say about which image it is: look where it levels off at the log of their number.",
    ),
    "samples.frechet_distance_samples": Measure(
        "Fréchet distance of samples",
        "squared features",
        "lowest",
        "Lower is better: look how near a line comes to the dotted one, which real images reach.",
        floor="samples.frechet_distance_real",
    ),
    "samples.sharpness_ratio_samples": Measure(
        "sharpness of samples",
        "of the data's",
        "nearest 1",
        "1 is as sharp as the data: look which lines stay far below it, their samples are blurred.",
    ),
    "samples.sharpness_ratio_reconstructions": Measure(
        "sharpness of reconstructions",
        "of the data's",
        "nearest 1",
        "1 is as sharp as the data: look whether samples fall below what reconstructions reach.",
    ),
    "factors.label_accuracy": Measure(
        "accuracy of a linear probe",
        "share",
        "highest",
        "How well labels are read off the codes: look whether it falls as components collapse.",
        floor="factors.label_chance",
    ),
    "factors.mutual_information_gap": Measure(
        "MIG",
        "0 to 1",
        "highest",
        "1 where each true factor has a component of its own: look for a beta that raises it.",
    ),
}


def lookup(part: dict[str, Any], key: str) -> Any:
    """The figure at a dotted key, None where there is none."""
    value: Any = part
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def shown(value: Any) -> str:
    """A figure as text, an estimate with its standard error."""
    if isinstance(value, dict):
        error = value.get("standard_error")
        return shown(value.get("mean")) + ("" if error is None else f" ± {_rounded(error)}")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _rounded(value) if isinstance(value, float) else str(value)


def _rounded(value: float) -> str:
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.2g}"
    return f"{value:.{max(0, 3 - max(0, math.floor(math.log10(abs(value) or 1))))}f}"


def rows_of(name: str, part: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Name, figure and unit of what a part has measured."""
    found = ((row, lookup(part, row.key)) for row in SECTIONS[name].rows)
    return [(row.name, shown(value), row.unit) for row, value in found if value is not None]
