"""The limiting distribution of the chain decode - sample - encode - sample."""

from matplotlib.figure import Figure

from pyro_vae.evaluation.limit import Limit, limiting_distribution
from pyro_vae.figures import one_run
from pyro_vae.figures.images import counted, encode_video, frames, slow_start
from pyro_vae.measures.part import Measured, Part, Subject, to_numpy
from pyro_vae.pages.frame import png_bytes
from pyro_vae.pages.wording import Row

WATCHED_CHAINS = 64  # chains whose images become the video


def measure_limit(subject: Subject) -> Measured:
    """Measure the limiting distribution of the chain decode - sample - encode - sample."""
    if not subject.model.standard_prior:
        return Measured({"left_out": "its tests compare codes with the standard Normal"})
    limit = limiting_distribution(
        subject.model, subject.effort.walkers, num_watched=WATCHED_CHAINS, seed=subject.seed
    )
    figures = {
        "chains": len(limit.z),
        "steps": len(limit.images) - 1,
        "distances": limit.distances.tolist(),
        "p_values": limit.p_values.tolist(),
        "p_value": limit.p_value,
        "visible_shift": limit.visible_shift,
        "visible_scale": limit.visible_scale,
        "r_hat": limit.r_hat.max().item(),
    }
    return Measured(figures, drawings=_drawings(limit))


def _drawings(limit: Limit) -> dict[str, Figure | bytes]:
    pictures = counted(frames(to_numpy(limit.images), 8))
    drawings: dict[str, Figure | bytes] = {
        "limiting_distribution": one_run.quantiles(to_numpy(limit.z)),
        "limiting_distribution_poster.png": png_bytes(pictures[0] / 255),
    }
    pictures = slow_start(pictures)
    for ending in (".mp4", ".gif"):
        drawings[f"limiting_distribution{ending}"] = encode_video(pictures, ending)
    return drawings


LIMIT = Part(
    title="The limiting distribution",
    measure=measure_limit,
    needs=1,
    spends="{walkers:,} chains, and their video",
    look="The chain decode - sample - encode - sample begins at codes of the prior, and the video shows"
    f" {WATCHED_CHAINS} such chains. With the exact posterior the codes would stay distributed like the"
    " prior. A p-value near 0 means that they do not, and a large one only that the test could not see"
    " their drift. R-hat tells whether the chains mix, and nothing about the prior.",
    terms={
        "R-hat": "how far the chains disagree; 1 where they have mixed.",
        "p-value": "the smallest of several tests, raised by Holm's rule so that one under 0.05 means"
        " something.",
    },
    rows=(
        Row("p_value", "p-value", "of all components"),
        Row("visible_shift", "a shift it would see", "prior deviations"),
        Row("visible_scale", "a scale it would see", "off 1"),
        Row("steps", "steps"),
        Row("chains", "independent chains"),
        Row("r_hat", "largest R-hat"),
    ),
    pictures={
        "limiting_distribution": "Lines belong on the dashed one: flat ones have shrunk to a"
        " point, shifted ones have drifted to a favourite kind of image.",
    },
)
