"""Predictive checks: measures of test images beside those of sets of images that the model draws."""

from functools import partial

import torch
from torch import Tensor

from pyro_vae.data import draw_binary
from pyro_vae.evaluation import predictive
from pyro_vae.figures.images import reconstruction_grid
from pyro_vae.measures.part import Measured, Part, Subject, to_numpy
from pyro_vae.models.elbo import chunks
from pyro_vae.pages.frame import png_bytes
from pyro_vae.pages.wording import Row, under
from pyro_vae.randomness import seeded
from pyro_vae.settings import DEFAULT_LEVELS

SET = 50  # images: mistakes that so many show are large enough to matter
SHOWN = 16  # drawn images with the training images that are the nearest


def measure_checks(subject: Subject) -> Measured:
    """Compare test images with sets of drawn images, and show those with their nearest neighbours."""
    model, test = subject.model, subject.test
    with seeded(subject.seed, test.device):
        data = test[torch.randperm(len(test), device=test.device)[:SET]]
        codes = model.prior.sample((subject.effort.replicates * len(data),))
        drawn = torch.cat([model.images(z, draw=True) for z in chunks(codes)])
        known = _training_images(subject)
    figures: dict[str, object] = {"images": len(data), "sets": subject.effort.replicates}
    for name, measure in _measures(subject, known).items():
        found = predictive.predictive_check(measure(data), measure(drawn).view(-1, len(data)))
        figures[name] = found._asdict()
    shown = drawn[:SHOWN]
    _, places = predictive.nearest(shown, known)
    picture = reconstruction_grid(to_numpy(shown), to_numpy(known[places]))
    return Measured(figures, drawings={"nearest.png": png_bytes(picture)})


def _training_images(subject: Subject) -> Tensor:
    """Return training images, chosen at random, and binary if the model's are."""
    rows = torch.randperm(len(subject.train), device=subject.train.device)
    images = subject.train[rows[: subject.effort.rows]]
    return draw_binary(images) if subject.data.dynamic else images


def _measures(subject: Subject, known: Tensor) -> dict[str, predictive.Measure]:
    return {
        "brightness": predictive.brightness,
        "contrast": predictive.contrast,
        "sparsity": partial(predictive.sparsity, levels=subject.data.levels or DEFAULT_LEVELS),
        "correlation": predictive.neighbour_correlation,
        "nearest": lambda images: predictive.nearest(images, known)[0],
    }


def _rows(key: str, name: str) -> tuple[Row, ...]:
    return under(
        name,
        Row(f"{key}.data", "test images"),
        Row(f"{key}.model", "drawn images"),
        Row(f"{key}.tail_probability", "tail probability"),
    )


CHECKS = Part(
    title="Would the model draw such images?",
    measure=measure_checks,
    needs=8,
    spends="{replicates} sets of images",
    look="Means over a set of test images stand beside those of many sets that the model draws, each of"
    " as many images. A tail probability near 0 says that no such set looks like the test images; it"
    " says nothing of the other measures, and of five measures one falls under 0.05 by chance in up to"
    " a quarter of all right models. Drawn images that are nearer to training images than test images"
    " are may have been memorised, or vary less than images do: look at the contrast and the picture.",
    terms={
        "tail probability": "twice the share of sets that lie as far out as the test images, on"
        " their side; these are counted as one of the sets.",
        "drawn images": "have the noise of the likelihood, and come from codes of the prior.",
    },
    rows=(
        Row("images", "images of a set"),
        Row("sets", "drawn sets"),
        *_rows("brightness", "mean grey value"),
        *_rows("contrast", "variance of the pixels of an image"),
        *_rows("sparsity", "share of pixels at the lowest level"),
        *_rows("correlation", "correlation of neighbouring pixels"),
        *_rows("nearest", "distance to the nearest training image"),
    ),
    pictures={
        "nearest": "Each row of drawn images stands over the training images that are the nearest"
        " to them. Look for pairs that are alike but for noise: such images have been copied.",
    },
)
