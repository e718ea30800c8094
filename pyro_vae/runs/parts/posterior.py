"""How near q(z|x) is to p(z|x): importance weights, NUTS, calibration."""

from pyro_vae.evaluation.thresholds import MIXED_R_HAT, UNRELIABLE_K_HAT
from pyro_vae.pages.wording import Picture, Row
from pyro_vae.runs.effort import IMPORTANCE_DRAWS
from pyro_vae.runs.parts.part import Part, data_rows

POSTERIOR = Part(
    title="Is the posterior right?",
    summary="Pareto k-hat, NUTS beside q, simulation-based calibration",
    measured_by="pyro_vae.runs.measuring.posterior:measure_posterior",
    needs=2,
    look=f"A k-hat over {UNRELIABLE_K_HAT} says that q misses a part of the posterior's tails, and"
    " that importance weights of that image mean little. Calibration ranks true codes among draws of"
    " q: a p-value near 0 means that q is wrong somewhere, as most are. Its images are drawn from codes"
    " of the prior, on which no encoder was trained, and from codes of the test images.",
    terms=(
        (
            "k-hat",
            "the shape of the tail of importance weights. Over 0.7 their mean is unreliable.",
        ),
        (
            "NUTS",
            "the No-U-Turn sampler: draws from the posterior itself, from which q is judged.",
        ),
        (
            "R-hat",
            "how far several chains disagree; 1 where they have mixed.",
        ),
        (
            "calibration",
            "ranks of true codes among draws of q, which are uniform if q is the posterior.",
        ),
        (
            "Holm",
            "p-values of several tests, raised so that one of them under 0.05 means something.",
        ),
    ),
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
        *data_rows("k_hat_images", "nuts_images", "nuts_effective_sample_size", "coverage"),
        *data_rows(
            "calibration_simulations", "calibration_p_values", "calibration_on_data_simulations"
        ),
        *data_rows("calibration_on_data_p_values", "calibration_on_data_coverage"),
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
