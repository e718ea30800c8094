"""The quality of samples and reconstructions, with a verdict."""

from pyro_vae.pages.wording import Compared, Picture, Row
from pyro_vae.runs.parts.part import Part, data_rows

SAMPLES = Part(
    title="Are the samples good?",
    summary="Fréchet distance, precision and recall in a small classifier's features, sharpness, and"
    " a verdict: over-, under- or well regularised",
    measured_by="pyro_vae.runs.measuring.samples:measure_samples",
    needs=8,
    look="Distances in the features of a small classifier. Drawn images have the noise of the"
    " likelihood, as the model says that data look like; expected images are the ones in the"
    " pictures. The Fréchet distance depends on the number of images: compare it with the distance"
    " between two halves of the real images, and never between data sets. The squared MMD does not;"
    " it is 0 for images like the data. Sharpness is the power at fine detail over the data's.",
    terms=(
        (
            "Fréchet distance",
            "between two Normals, fitted to the features of images and of samples.",
        ),
        (
            "MMD²",
            "squared maximum mean discrepancy of the features; unbiased, so it may be a little"
            " under 0.",
        ),
        (
            "precision and recall",
            "the share of samples that lie among real images, and of real images that lie among"
            " samples.",
        ),
    ),
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
        Row("frechet_distance_reconstructions", "Fréchet, reconstructions", "drawn"),
        Row("frechet_distance_real", "Fréchet, real images", in_table="result"),
        Row("frechet_distance_sample_means", "Fréchet, expected samples"),
        Row("frechet_distance_reconstruction_means", "Fréchet, expected rec."),
        Row("mmd_squared_samples", "MMD², samples", "drawn"),
        Row("mmd_squared_reconstructions", "MMD², reconstructions", "drawn"),
        Row("mmd_squared_real", "MMD², real images", "0 but for chance"),
        Row("images", "images of each"),
        Row("precision_samples", "precision of samples", "drawn"),
        Row("recall_samples", "recall of samples", "drawn"),
        Row("explained_share", "structure explained", "by reconstructions"),
        Row("mismatch", "samples vs reconstructions", "MMD² of expected images"),
        Row(
            "sharpness_ratio_sample_means",
            "sharpness, samples",
            "expected, of the data's",
            in_table="result",
            compared=Compared(
                "sharpness of expected samples",
                "of the data's",
                "1 is as sharp as the data. Lines that stay far below it have blurred samples.",
                best="nearest 1",
            ),
        ),
        Row(
            "sharpness_ratio_reconstruction_means",
            "sharpness, reconstructions",
            "expected, of the data's",
            in_table="result",
            compared=Compared(
                "sharpness of expected reconstructions",
                "of the data's",
                "1 is as sharp as the data. Look at whether samples fall below what reconstructions"
                " reach.",
                best="nearest 1",
            ),
        ),
        Row("classifier_accuracy", "the classifier's accuracy"),
        *data_rows("precision_real", "precision_reconstructions", "recall_real"),
        *data_rows("recall_reconstructions", "sharpness_ratio_real", "sharpness_ratio_samples"),
        *data_rows("sharpness_ratio_reconstructions", "mmd_squared_sample_means"),
        *data_rows("mmd_squared_reconstruction_means", "precision_sample_means"),
        *data_rows("precision_reconstruction_means", "recall_sample_means"),
        *data_rows("recall_reconstruction_means", "verdict.borderline"),
    ),
    pictures=(
        Picture(
            "power_spectra",
            "Curves that fall below the data's on the right are blurred: what the code does not hold"
            " is averaged over.",
        ),
    ),
)
