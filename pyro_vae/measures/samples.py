"""The quality of samples and reconstructions, with a verdict."""

from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_vae.data import Dataset
from pyro_vae.evaluation.estimates import Estimate
from pyro_vae.evaluation.features import (
    FeatureNet,
    feature_count,
    held_out_count,
    train_features,
)
from pyro_vae.evaluation.samples import radial_power_spectrum, sample_quality, sharpness_ratio
from pyro_vae.evaluation.verdict import explained_share, judge, mismatch
from pyro_vae.figures import one_run
from pyro_vae.kept import cache_file, digest, kept
from pyro_vae.measures.part import Figures, Measured, Part, Subject, to_numpy
from pyro_vae.models.elbo import chunks
from pyro_vae.models.vae import VAE
from pyro_vae.pages.wording import Compared, Row
from pyro_vae.randomness import seeded

VERSION = 2  # of the classifiers; raise it where the same images and labels give another one


def measure_samples(subject: Subject) -> Measured:
    """Measure the quality of samples and reconstructions against the data, with a verdict."""
    real, sets = _image_sets(subject)
    net = _classifier(subject)
    drawings: dict[str, Figure | bytes] = {"power_spectra": _spectra_drawn(real, sets)}
    explained = explained_share(subject.model, real, subject.seed)
    figures: dict[str, Any] = {"explained_share": explained}
    if net is None:
        verdict = {"verdict": judge(explained)}
        return Measured(_sharpness_figures(real, sets) | figures | verdict, drawings=drawings)
    net = net.to(real.device)
    real, sets = real.float(), {name: images.float() for name, images in sets.items()}
    apart = mismatch(net, real, sets["sample_means"], sets["reconstruction_means"])
    figures |= {"mismatch": apart, "verdict": judge(explained, apart)}
    quality = sample_quality(net, real, sets)
    tested = {"classifier_accuracy": net.accuracy, "classifier_images": net.tested}
    figures = quality | tested | figures
    return Measured(figures, drawings=drawings)


def _image_sets(subject: Subject) -> tuple[Tensor, dict[str, Tensor]]:
    """Return half of the test images, and as many images of each kind by their name in the figures.

    `real` is the other half, which is reconstructed. Samples come from the prior, and from densities
    that are fitted to codes. They are drawn but for those that are called means, which are expected
    images.
    """
    model, half = subject.model, min(len(subject.test) // 2, subject.effort.images)
    with seeded(subject.seed, subject.test.device):  # the published order may be by difficulty
        order = torch.randperm(len(subject.test), device=subject.test.device)
        real, other = subject.test[order[:half]], subject.test[order[half : 2 * half]]
        codes = {"sample": model.prior.sample((half,)), "reconstruction": subject.draws(other)}
        drawn = {f"{name}s": _decoded(model, z, True) for name, z in codes.items()}
        means = {f"{name}_means": _decoded(model, z, False) for name, z in codes.items()}
        fitted = {
            f"samples_{kind}": _decoded(model, fit.prior.sample((half,)), True)
            for kind, fit in subject.with_fitted_priors().items()
        }
    return real, {"real": other} | drawn | means | fitted


def _decoded(model: VAE, codes: Tensor, draw: bool) -> Tensor:
    return torch.cat([model.images(z, draw) for z in chunks(codes)])


def _sharpness_figures(real: Tensor, sets: dict[str, Tensor]) -> Figures:
    ratios = {
        f"sharpness_ratio_{name}": sharpness_ratio(images, real) for name, images in sets.items()
    }
    return {"images": len(real)} | ratios


def _spectra_drawn(real: Tensor, sets: dict[str, Tensor]) -> Figure:
    shown = {
        "data": real,
        "expected reconstructions": sets["reconstruction_means"],
        "expected samples": sets["sample_means"],
        "drawn samples": sets["samples"],
    }
    curves = {}
    for name, images in shown.items():
        spectrum = radial_power_spectrum(images)
        curves[name] = to_numpy(spectrum.frequencies), to_numpy(spectrum.power)
    return one_run.power_spectra(curves)


def _classifier(subject: Subject) -> FeatureNet | None:
    """Return the classifier that judges samples, or None where the data allow none."""
    labelled = subject.labelled()
    try:
        return None if labelled is None else classifier_for(labelled)
    except ValueError:  # a single class, or pictures that are too small
        return None


def classifier_for(data: Dataset, seed: int = 0) -> FeatureNet:
    """Return the classifier of a labelled data set, kept in the user's cache folder or newly trained.

    Args:
        data: the data set, of which only the training images are used. For binary pixels drawn from
            grey values, give the grey set, so that one classifier measures all versions of it.
        seed: the seed of the classifier's training.

    Raises:
        ValueError: what `train_features` refuses.
    """
    images, labels = data.train.images, data.train.labels
    mark = digest(VERSION, images, labels, seed)

    def trained() -> dict[str, Any]:
        net = train_features(images, labels, feature_count(len(images)), seed)
        weights = {name: weight.cpu() for name, weight in net.state_dict().items()}
        return weights | {"accuracy": net.accuracy, "sizes": net.sizes[1:]}

    arrays = kept(cache_file("classifiers", mark), mark, trained)
    accuracy, (features, classes) = arrays.pop("accuracy"), arrays.pop("sizes").tolist()
    with seeded(0):  # draws initial weights, which are then replaced
        net = FeatureNet(data.image_shape, features, classes)
    net.load_state_dict({name: torch.from_numpy(weight) for name, weight in arrays.items()})
    net.accuracy, net.tested = Estimate(*accuracy.tolist()), held_out_count(len(images))
    return net.to(images.device).eval()


SAMPLES = Part(
    title="Are the samples good?",
    measure=measure_samples,
    needs=8,
    spends="up to {images:,} images of each kind, and a classifier the first time",
    look="Distances are computed from the features of a small classifier. Drawn images have the noise"
    " of the likelihood, and are what the model takes data to be; expected images are the ones in the"
    " pictures. The Fréchet distance depends on the number of images: compare it with the distance"
    " between two halves of the real images, and never between data sets. The squared MMD does not;"
    " it is 0 for images like the data. Sharpness is the power at fine detail over the data's. If"
    " samples from a density of codes are much better than those from the prior, the prior covers codes"
    " that no image has, and the decoder is not to blame.",
    terms={
        "density of codes": "a Normal, or a mixture of ten Normals, that is fitted to the codes of"
        " training images and takes the place of the prior.",
        "Fréchet distance": "between two Normals, fitted to the features of images and of samples.",
        "MMD²": "squared maximum mean discrepancy of the features; unbiased, so it may be a little"
        " under 0.",
        "precision and recall": "the share of samples that lie among real images, and of real"
        " images that lie among samples.",
    },
    rows=(
        Row("verdict.word", "verdict", kind="words", in_table="result"),
        Row("verdict.reason", "because", kind="words"),
        Row(
            "frechet_distance_samples",
            "Fréchet, samples",
            kind="main",
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
        Row(
            "frechet_distance_samples_gaussian",
            "Fréchet, Normal of codes",
            "drawn",
            in_table="result",
        ),
        Row(
            "frechet_distance_samples_mixture",
            "Fréchet, mixture of codes",
            "drawn",
            in_table="result",
        ),
        Row("frechet_distance_reconstructions", "Fréchet, reconstructions", "drawn"),
        Row("frechet_distance_real", "Fréchet, real images", kind="main", in_table="result"),
        Row("frechet_distance_sample_means", "Fréchet, expected samples"),
        Row("frechet_distance_reconstruction_means", "Fréchet, expected rec."),
        Row("mmd_squared_samples", "MMD², samples", "drawn"),
        Row("mmd_squared_reconstructions", "MMD², reconstructions", "drawn"),
        Row("mmd_squared_real", "MMD², real images", "0 but for chance"),
        Row("images", "images of each"),
        Row("precision_samples", "precision of samples", "drawn", kind="main"),
        Row("recall_samples", "recall of samples", "drawn", kind="main"),
        Row("precision_samples_gaussian", "precision, Normal of codes", "drawn"),
        Row("recall_samples_gaussian", "recall, Normal of codes", "drawn"),
        Row("precision_samples_mixture", "precision, mixture of codes", "drawn"),
        Row("recall_samples_mixture", "recall, mixture of codes", "drawn"),
        Row("explained_share", "structure explained", "by reconstructions", kind="main"),
        Row("mismatch", "samples vs reconstructions", "MMD² of expected images", kind="main"),
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
        Row("classifier_accuracy", "the classifier's accuracy", "of held-out images"),
        Row("classifier_images", "held-out images of that"),
    ),
    pictures={
        "power_spectra": "Curves that fall below the data's on the right are blurred: what the"
        " code does not hold is averaged over.",
    },
)
