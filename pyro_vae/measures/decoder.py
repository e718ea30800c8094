"""Whether the decoder's distribution of pixels is calibrated, given reconstructed codes."""

from pyro_vae.evaluation.predictive import pixel_calibration
from pyro_vae.figures import one_run
from pyro_vae.measures.part import Measured, Part, Subject, to_numpy
from pyro_vae.pages.wording import Row
from pyro_vae.randomness import seeded


def measure_decoder(subject: Subject) -> Measured:
    """Measure the calibration of pixels given draws of q(z|x) for test images."""
    if not subject.scores_levels:
        return Measured()
    images = subject.test[: subject.effort.few_images]
    with seeded(subject.seed + 1, images.device):  # not the draws that break ties between levels
        codes = subject.draws(images)
    found = pixel_calibration(subject.model, images, codes, subject.seed)
    shares = to_numpy(found.shares())
    figures = {
        "images": len(images),
        "coverage_50": found.coverage[0.5],
        "coverage_90": found.coverage[0.9],
        "shares": shares.mean(0).tolist(),
    }
    return Measured(figures, drawings={"pixel_calibration": one_run.pixel_calibration(shares)})


DECODER = Part(
    title="Is the decoder calibrated?",
    measure=measure_decoder,
    needs=2,
    spends="{few_images} images",
    look="A code is drawn for each test image, and each pixel is placed in the distribution that the"
    " decoder gives for it. This shows which tails of a likelihood fail, which a ranking by bits"
    " cannot.",
    terms={
        "central 50%": "of the decoder's distribution of a pixel: between its quartiles.",
    },
    rows=(
        Row("images", "test images"),
        Row("coverage_50", "inside central 50%", "of pixels: 0.5 if calibrated"),
        Row("coverage_90", "inside central 90%", "of pixels: 0.9 if calibrated"),
    ),
    pictures={
        "pixel_calibration": "Bars belong on the line. High ends mean that the decoder is too"
        " sure, a hill in the middle that it is not sure enough, a slope that it is too dark or"
        " too bright.",
    },
)
