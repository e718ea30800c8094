"""Whether the decoder's distribution of pixels is calibrated, given reconstructed codes."""

from pyro_vae.evaluation.pixels import pixel_calibration
from pyro_vae.figures import one_run
from pyro_vae.runs.folder import to_numpy
from pyro_vae.runs.subject import Figures, Subject


def measure_decoder(subject: Subject) -> Figures:
    """Measure the calibration of pixels given draws of q(z|x) for test images."""
    if not subject.scores_levels:
        return {}
    images = subject.test[: subject.effort.few_images]
    found = pixel_calibration(subject.model, images, subject.draws(images), subject.seed)
    shares = to_numpy(found.shares())
    subject.folder.save_figure("pixel_calibration", one_run.pixel_calibration(shares))
    return {
        "images": len(images),
        "coverage_50": found.coverage[0.5],
        "coverage_90": found.coverage[0.9],
        "shares": shares.mean(0).tolist(),
    }
