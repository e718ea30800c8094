"""The quality of samples and reconstructions, with a verdict."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyro_vae.data import Dataset, load_dataset
from pyro_vae.evaluation.samples import radial_power_spectrum, sample_quality, sharpness_ratio
from pyro_vae.evaluation.verdict import explained_share, judge, mismatch
from pyro_vae.figures import one_run
from pyro_vae.models.elbo import chunks
from pyro_vae.names import DATASETS
from pyro_vae.randomness import seeded
from pyro_vae.runs.classifiers import classifier_for
from pyro_vae.runs.folder import RunFolder, to_numpy
from pyro_vae.runs.subject import Figures, Subject


class ImageSets(NamedTuple):
    """Equally many images (N, C, H, W) of each kind."""

    real: Tensor  # half of the test images
    other: Tensor  # the other half
    reconstructions: Tensor  # of the other half, drawn
    samples: Tensor  # from the prior, drawn
    reconstruction_means: Tensor  # the same two as expected images
    sample_means: Tensor

    @property
    def measured(self) -> dict[str, Tensor]:
        """Return the sets to compare with `real`, by the names that they have in the figures."""
        return {
            "real": self.other,
            "reconstructions": self.reconstructions,
            "samples": self.samples,
            "reconstruction_means": self.reconstruction_means,
            "sample_means": self.sample_means,
        }


def measure_samples(subject: Subject) -> Figures:
    """Measure the quality of samples and reconstructions against the data, with a verdict."""
    sets, labelled = _image_sets(subject), _labelled(subject)
    _show_spectra(subject.folder, sets)
    explained = explained_share(subject.model, sets.real, subject.seed)
    figures: dict[str, Any] = {"explained_share": explained}
    if labelled is None:
        return _sharpness_figures(sets) | figures | {"verdict": judge(explained)}
    net = classifier_for(labelled, Path(subject.data_dir)).to(sets.real.device)
    sets = ImageSets(*(images.float() for images in sets))
    apart = mismatch(net, sets.real, sets.sample_means, sets.reconstruction_means)
    figures |= {"mismatch": apart, "verdict": judge(explained, apart)}
    quality = sample_quality(net, sets.real, sets.measured)
    return quality | {"classifier_accuracy": net.accuracy} | figures


def _image_sets(subject: Subject) -> ImageSets:
    model, half = subject.model, min(len(subject.test) // 2, subject.effort.images)
    with seeded(subject.seed, subject.test.device):  # the published order may be by difficulty
        order = torch.randperm(len(subject.test), device=subject.test.device)
        real, other = subject.test[order[:half]], subject.test[order[half : 2 * half]]
        codes = [model.prior.sample((half,)), subject.draws(other)]
        drawn, expected = (
            [torch.cat([model.images(part, draw) for part in chunks(z)]) for z in codes]
            for draw in (True, False)
        )
    return ImageSets(real, other, drawn[1], drawn[0], expected[1], expected[0])


def _sharpness_figures(sets: ImageSets) -> Figures:
    ratios = {
        f"sharpness_ratio_{name}": sharpness_ratio(images, sets.real)
        for name, images in sets.measured.items()
    }
    return {"images": len(sets.real)} | ratios


def _show_spectra(folder: RunFolder, sets: ImageSets) -> None:
    shown = {
        "data": sets.real,
        "expected reconstructions": sets.reconstruction_means,
        "expected samples": sets.sample_means,
        "drawn samples": sets.samples,
    }
    curves = {}
    for name, images in shown.items():
        spectrum = radial_power_spectrum(images)
        curves[name] = to_numpy(spectrum.frequencies), to_numpy(spectrum.power)
    folder.save_figure("power_spectra", one_run.power_spectra(curves))


def _labelled(subject: Subject) -> Dataset | None:
    """Return the labelled data set whose classifier measures the run, or None without one.

    It is the run's own data set, or MNIST for Larochelle's binarized MNIST.
    """
    name = "mnist" if subject.data.name == "binarized_mnist" else subject.run.config.dataset
    if subject.data.train.labels is None and name == subject.run.config.dataset:
        return None
    levels = None if name in DATASETS else subject.run.config.levels
    try:
        return load_dataset(name, subject.data_dir, levels=levels)
    except ValueError:
        return None
