"""What the latent components carry, and the aggregate posterior beside the prior."""

from pyro_vae.pages.wording import NATS, Compared, Picture, Row
from pyro_vae.runs.parts.part import Part, data_rows

LATENTS = Part(
    title="What do the latents do?",
    summary="the rate as mutual information, total correlation and KLs; q(z) against the prior",
    measured_by="pyro_vae.runs.measuring.latents:measure_latents",
    needs=4,
    look="The rate splits into three: what codes say about their image (mutual information, at most"
    " log N of N images), how much the components depend on each other (total correlation), and how"
    " far each is from its prior. The comparison with the prior cannot see collapse, since q = prior"
    " passes all of it: read it beside the rate.",
    terms=(
        (
            "aggregate posterior",
            "the mean of q(z|x) over images. Where it is the prior, samples come from codes that"
            " images have.",
        ),
        (
            "total correlation",
            "how far the components of the aggregate posterior depend on each other.",
        ),
        (
            "MMD",
            "maximum mean discrepancy: a distance of two sets of draws, 0 if they have one"
            " distribution.",
        ),
    ),
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
        Row("nll_change_effective_samples", "effective draws of that"),
        *data_rows("images", "marginal_distances", "mmd_squared"),
    ),
    pictures=(
        Picture(
            "aggregate_posterior",
            "Lines belong on the dashed one: holes and shoulders are codes that samples use and"
            " images do not.",
        ),
    ),
)
