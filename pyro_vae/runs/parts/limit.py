"""The limiting distribution of the chain decode - sample - encode - sample."""

from pyro_vae.pages.wording import Picture, Row
from pyro_vae.runs.effort import WATCHED_CHAINS
from pyro_vae.runs.parts.part import Part, data_rows

LIMIT = Part(
    title="The limiting distribution",
    summary="the chain decode - sample - encode - sample: its video, and whether it stays at the"
    " prior",
    measured_by="pyro_vae.runs.measuring.limit:measure_limit",
    needs=1,
    look="The chain decode - sample - encode - sample, from codes of the prior; the video shows"
    f" {WATCHED_CHAINS} chains. With an exact posterior the codes would stay at the prior for ever; a"
    " p-value near 0 says that they have left it; a p-value near 1 only that no drift is larger than"
    " what the test would see. R-hat speaks of mixing only.",
    terms=(
        (
            "R-hat",
            "how far the chains disagree; 1 where they have mixed.",
        ),
        (
            "Holm",
            "p-values of several tests, raised so that one of them under 0.05 means something.",
        ),
    ),
    rows=(
        Row("p_value", "p-value", "Holm"),
        Row("visible_shift", "a shift it would see", "prior deviations"),
        Row("visible_scale", "a scale it would see", "off 1"),
        Row("steps", "steps"),
        Row("chains", "independent chains"),
        Row("r_hat", "largest R-hat"),
        *data_rows("distances", "p_values", "final_mean", "final_scale"),
    ),
    pictures=(
        Picture(
            "limiting_distribution",
            "Lines belong on the dashed one: flat ones have shrunk to a point, shifted ones have"
            " drifted to a favourite kind of image.",
        ),
    ),
)
