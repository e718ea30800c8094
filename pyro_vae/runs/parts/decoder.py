"""Whether the decoder's distribution of pixels is calibrated, given reconstructed codes."""

from pyro_vae.pages.wording import Picture, Row
from pyro_vae.runs.parts.part import Part, data_rows

DECODER = Part(
    title="Is the decoder calibrated?",
    summary="how often pixels fall where the decoder says, given reconstructed codes",
    measured_by="pyro_vae.runs.measuring.decoder:measure_decoder",
    needs=2,
    look="Where each pixel of a test image lies in the decoder's distribution of it, given a code"
    " drawn for that image. This shows which tails of a likelihood fail, which a ranking by bits"
    " cannot.",
    terms=(
        (
            "central 50%",
            "of the decoder's distribution of a pixel: between its quartiles.",
        ),
    ),
    rows=(
        Row("coverage_50", "inside central 50%", "of pixels: 0.5 if calibrated"),
        Row("coverage_90", "inside central 90%", "of pixels: 0.9 if calibrated"),
        *data_rows("images", "shares"),
    ),
    pictures=(
        Picture(
            "pixel_calibration",
            "Bars belong on the line. High ends mean that the decoder is too sure, a hill in the"
            " middle that it is not sure enough, a slope that it is too dark or too bright.",
        ),
    ),
)
