"""The parts of an evaluation: what each of them measures, and what its figures mean.

Each part declares its rows once, with their keys in `evaluation.json`, their names and how they are
compared. The functions that measure them are named here and imported when they are called, so that
this module is cheap to import.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from pyro_vae.evaluation.thresholds import FEW_CHAINS, MIXED_R_HAT, UNRELIABLE_K_HAT
from pyro_vae.pages.wording import NATS, Compared, Picture, Row, Shown, shown_rows
from pyro_vae.runs.effort import IMPORTANCE_DRAWS, WATCHED_CHAINS


@dataclass(frozen=True)
class Part:
    """A part of an evaluation.

    `measured_by` names a function that takes a `pyro_vae.runs.subject.Subject`, writes the
    pictures and files of the part, and returns its numbers by key. It returns an empty dict where
    the part does not apply.
    """

    title: str
    look: str
    rows: tuple[Row, ...]
    pictures: tuple[Picture, ...]
    measured_by: str
    needs: int  # test images
    summary: str  # in a phrase, for tables of parts

    def shown(self, figures: dict[str, Any]) -> list[Shown]:
        """Return the rows that have a value, as they are shown."""
        return shown_rows((LEFT_OUT, *self.rows), figures)

    @property
    def measure(self) -> Callable[[Any], dict[str, Any]]:
        """Return the function that measures the part."""
        return resolve_name(self.measured_by)


def _data(*keys: str) -> tuple[Row, ...]:
    """Return rows that are kept in the file and not shown."""
    return tuple(Row(key, kind="data") for key in keys)


LEFT_OUT = Row("left_out", "left out", kind="words")
EFFORT_KEYS = (
    "seed",
    "quick",
    "checkpoint",
    "left_out",
)  # keys that every part has besides its own
LIKELIHOOD = Part(
    title="How likely are the data?",
    summary="ELBO, importance bound, annealed importance sampling, and the gaps between them",
    measured_by="pyro_vae.runs.measuring:measure_likelihood",
    needs=2,
    look="Lower bounds on log P(x), at beta = 1. The estimate of log P(x) is AIS from q(z|x), whichever"
    " bound is largest. Look at how far the ELBO lies under it. The approximation gap is the price of"
    " a diagonal Normal; the amortization gap is the price of an encoder that has to guess it. A"
    " bracket gap of more than a nat or two means that the chains are too short, even for images that"
    " the model drew itself; for real data it is only indicative.",
    rows=(
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
        Row(
            "ladder.log_prob_nats",
            "log P(x): AIS from q",
            NATS,
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
        Row("ladder.ais_effective_sample_size", "effective chains", "of AIS from q(z|x)"),
        Row("ladder.ais_of_few_chains", "images of few chains", f"under {FEW_CHAINS}"),
        Row("ladder.approximation_gap_nats", "approximation gap", NATS),
        Row("ladder.amortization_gap_nats", "amortization gap", NATS),
        Row("ladder.bracket_gap_nats", "bracket gap, simulated", NATS),
        Row("ladder.warning", "warning", kind="words"),
        *_data("images", "bits_per_dim_samples", "rate_per_component_nats", "ladder.images"),
        *_data("ladder.nats.elbo_refitted", "ladder.log_prob_source", "ladder.acceptance"),
        *_data("ladder.bits_per_dim"),
    ),
    pictures=(
        Picture(
            "ladder",
            "Each rung should stand to the right of the one below, or beside it. An importance bound"
            " far to the left of AIS is not to be trusted.",
        ),
    ),
)
POSTERIOR = Part(
    title="Is the posterior right?",
    summary="Pareto k-hat, NUTS beside q, simulation-based calibration",
    measured_by="pyro_vae.runs.measuring:measure_posterior",
    needs=2,
    look=f"A k-hat over {UNRELIABLE_K_HAT} says that q misses a part of the posterior's tails, and"
    " that importance weights of that image mean little. Calibration ranks true codes among draws of"
    " q: a p-value near 0 means that q is wrong somewhere, as most are. Its images are drawn from codes"
    " of the prior, on which no encoder was trained, and from codes of the test images.",
    rows=(
        Row("k_hat", "k-hat"),
        Row("k_hat_over_0_7", f"images over {UNRELIABLE_K_HAT}"),
        Row("effective_sample_size", "effective sample size", f"of {IMPORTANCE_DRAWS:,} draws"),
        Row("nuts_r_hat", "largest R-hat of NUTS", f"trust it under {MIXED_R_HAT}"),
        Row("largest_shift", "largest shift of q's mean", "posterior deviations"),
        Row("smallest_scale_ratio", "smallest scale ratio", "of q to posterior"),
        Row("largest_scale_ratio", "largest scale ratio", "of q to posterior"),
        Row("calibration_p_value", "calibration, p-value", "codes of the prior, Holm"),
        Row("calibration_on_data_p_value", "on data, p-value", "codes of test images, Holm"),
        *_data("k_hat_images", "nuts_images", "nuts_effective_sample_size", "coverage"),
        *_data(
            "calibration_simulations", "calibration_p_values", "calibration_on_data_simulations"
        ),
        *_data("calibration_on_data_p_values", "calibration_on_data_coverage"),
    ),
    pictures=(
        Picture(
            "posterior_moments",
            "Points belong where the lines cross. Those below are components of which q is too sure;"
            " those far to a side are components that q puts in the wrong place.",
        ),
        Picture(
            "calibration",
            "Bars belong in the grey band: a valley means that q is too narrow, a hill that it is"
            " too wide, a slope that it is biased. The last panel also sees a q that is the prior.",
        ),
        Picture(
            "calibration_on_data",
            "The same for images drawn from codes of the test images, not of the prior: where this"
            " one is flat and the one above is not, the encoder is right only near the data.",
        ),
    ),
)
LATENTS = Part(
    title="What do the latents do?",
    summary="the rate as mutual information, total correlation and KLs; q(z) against the prior",
    measured_by="pyro_vae.runs.measuring:measure_latents",
    needs=4,
    look="The rate splits into three: what codes say about their image (mutual information, at most"
    " log N of N images), how much the components depend on each other (total correlation), and how"
    " far each is from its prior. The comparison with the prior cannot see collapse, since q = prior"
    " passes all of it: read it beside the rate.",
    rows=(
        Row("rate_nats", "rate", NATS),
        Row(
            "mutual_information_nats",
            "mutual information, low",
            NATS,
            compared=Compared(
                "mutual information",
                NATS,
                "What codes say about which image they belong to. Look for where it levels off at"
                " the log of the number of images.",
            ),
        ),
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
        *_data("images", "marginal_distances", "mmd_squared"),
    ),
    pictures=(
        Picture(
            "aggregate_posterior",
            "Lines belong on the dashed one: holes and shoulders are codes that samples use and"
            " images do not.",
        ),
    ),
)
LIMIT = Part(
    title="The limiting distribution",
    summary="the chain decode - sample - encode - sample: its video, and whether it stays at the"
    " prior",
    measured_by="pyro_vae.runs.measuring:measure_limit",
    needs=1,
    look="The chain decode - sample - encode - sample, from codes of the prior; the video shows"
    f" {WATCHED_CHAINS} chains. With an exact posterior the codes would stay at the prior for ever; a"
    " p-value near 0 says that they have left it; a p-value near 1 only that no drift is larger than"
    " what the test would see. R-hat speaks of mixing only.",
    rows=(
        Row("p_value", "p-value", "Holm"),
        Row("visible_shift", "a shift it would see", "prior deviations"),
        Row("visible_scale", "a scale it would see", "off 1"),
        Row("steps", "steps"),
        Row("chains", "independent chains"),
        Row("r_hat", "largest R-hat"),
        *_data("distances", "p_values", "final_mean", "final_scale"),
    ),
    pictures=(
        Picture(
            "limiting_distribution",
            "Lines belong on the dashed one: flat ones have shrunk to a point, shifted ones have"
            " drifted to a favourite kind of image.",
        ),
    ),
)
SAMPLES = Part(
    title="Are the samples good?",
    summary="Fréchet distance, precision and recall in a small classifier's features, sharpness, and"
    " a verdict: over-, under- or well regularised",
    measured_by="pyro_vae.runs.measuring:measure_samples",
    needs=8,
    look="Fréchet distances in the features of a small classifier. Compare them with the distance"
    " between two halves of the real images, at the same number of images, and never between data"
    " sets. Sharpness is the power at fine detail over the data's: 1 is as sharp, less is blurred.",
    rows=(
        Row("verdict.word", "verdict", kind="words", in_table="result"),
        Row("verdict.reason", "because", kind="words"),
        Row(
            "frechet_distance_samples",
            "Fréchet, samples",
            in_table="result",
            compared=Compared(
                "Fréchet distance of samples",
                "squared features",
                "Lower is better. Look at how near a line comes to the dotted one, which real images"
                " reach.",
                best="lowest",
                floor="samples.frechet_distance_real",
            ),
        ),
        Row("frechet_distance_reconstructions", "Fréchet, reconstructions"),
        Row("frechet_distance_real", "Fréchet, real images", in_table="result"),
        Row("images", "images of each"),
        Row("precision_samples", "precision of samples"),
        Row("recall_samples", "recall of samples"),
        Row("variance_ratio", "reconstructions' variance", "of the data's"),
        Row(
            "sharpness_ratio_samples",
            "sharpness, samples",
            "of the data's",
            in_table="result",
            compared=Compared(
                "sharpness of samples",
                "of the data's",
                "1 is as sharp as the data. Lines that stay far below it have blurred samples.",
                best="nearest 1",
            ),
        ),
        Row(
            "sharpness_ratio_reconstructions",
            "sharpness, reconstructions",
            "of the data's",
            in_table="result",
            compared=Compared(
                "sharpness of reconstructions",
                "of the data's",
                "1 is as sharp as the data. Look at whether samples fall below what reconstructions"
                " reach.",
                best="nearest 1",
            ),
        ),
        Row("classifier_accuracy", "the classifier's accuracy"),
        *_data("precision_real", "precision_reconstructions", "recall_real"),
        *_data("recall_reconstructions", "sharpness_ratio_real", "feature_spread"),
    ),
    pictures=(
        Picture(
            "power_spectra",
            "Curves that fall below the data's on the right are blurred: what the code does not hold"
            " is averaged over.",
        ),
    ),
)
FACTORS = Part(
    title="Do components mean something?",
    summary="traversals, interpolation, a linear probe; MIG, DCI, SAP, beta-VAE and FactorVAE scores",
    measured_by="pyro_vae.runs.measuring:measure_factors",
    needs=8,
    look="How well a linear classifier reads labels off the mean codes, beside guessing the most"
    " common one. For data with true factors, how far each factor has a component of its own. Scores"
    " of 1 are perfect; a rotated code keeps its ELBO and loses these.",
    rows=(
        Row(
            "label_accuracy",
            "accuracy of a linear probe",
            compared=Compared(
                "accuracy of a linear probe",
                "share",
                "How well labels are read off the codes. Look at whether it falls as components"
                " collapse.",
                best="highest",
                floor="factors.label_chance",
            ),
        ),
        Row("label_chance", "by guessing"),
        Row(
            "mutual_information_gap",
            "MIG",
            compared=Compared(
                "MIG",
                "0 to 1",
                "1 where each true factor has a component of its own. Look for a beta that raises"
                " it.",
                best="highest",
            ),
        ),
        Row("disentanglement", "DCI disentanglement"),
        Row("completeness", "DCI completeness"),
        Row("informativeness", "DCI informativeness"),
        Row("separated_attribute_predictability", "SAP"),
        Row("beta_vae_score", "beta-VAE score"),
        Row("factor_vae_score", "FactorVAE score"),
        *_data("components_by_spread", "factor_names", "mutual_information_nats", "importances"),
    ),
    pictures=(
        Picture(
            "traversals",
            "A row that changes nothing belongs to an idle component; one that changes several"
            " things together is entangled.",
        ),
        Picture(
            "interpolation",
            "Every picture on the way should be a possible image. Ghosts of two overlaid images mean"
            " holes in the latent space.",
        ),
    ),
)

PARTS: dict[str, Part] = {
    "likelihood": LIKELIHOOD,
    "posterior": POSTERIOR,
    "latents": LATENTS,
    "limit": LIMIT,
    "samples": SAMPLES,
    "factors": FACTORS,
}
