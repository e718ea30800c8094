"""The limiting distribution of the chain decode - sample - encode - sample."""

from pyro_vae.evaluation.limit import Limit, limiting_distribution
from pyro_vae.figures import codes
from pyro_vae.figures.videos import counted, encode_video, frames, slow_start
from pyro_vae.runs.effort import WATCHED_CHAINS
from pyro_vae.runs.folder import RunFolder, to_numpy
from pyro_vae.runs.subject import Figures, Subject


def measure_limit(subject: Subject) -> Figures:
    """Measure the limiting distribution of the chain decode - sample - encode - sample."""
    limit = limiting_distribution(
        subject.model, subject.effort.walkers, num_watched=WATCHED_CHAINS, seed=subject.seed
    )
    _show_limit(subject.folder, limit)
    return {
        "chains": len(limit.z),
        "steps": len(limit.images) - 1,
        "distances": limit.distances.tolist(),
        "p_values": limit.p_values.tolist(),
        "p_value": limit.p_value,
        "visible_shift": limit.visible_shift,
        "visible_scale": limit.visible_scale,
        "r_hat": limit.r_hat.max().item(),
        "final_mean": limit.z.mean(0).tolist(),
        "final_scale": limit.z.std(0).tolist(),
    }


def _show_limit(folder: RunFolder, limit: Limit) -> None:
    pictures = counted(frames(to_numpy(limit.images), 8))
    folder.save_picture("limiting_distribution_poster", pictures[0] / 255)
    pictures = slow_start(pictures)
    for ending in (".mp4", ".gif"):
        folder.save_video("limiting_distribution", ending, encode_video(pictures, ending))
    folder.save_figure("limiting_distribution", codes.quantiles(to_numpy(limit.z)))
