"""The data of a run: loaded for its training, and loaded again as the images that it was trained on."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from torch import Tensor

from pyro_vae.data import Dataset, Split, load_dataset
from pyro_vae.data.images import BYTES_PER_PIXEL, check_declared_size
from pyro_vae.data.loading import binarized
from pyro_vae.data.mapped import MappedImages
from pyro_vae.data.own import load_whole
from pyro_vae.data.pictures import AS_THEY_ARE, SIZED, Form
from pyro_vae.models.vae import VAE
from pyro_vae.names import DATASETS, check_name, is_made
from pyro_vae.own_parts import whole_path
from pyro_vae.runs.config import RunConfig
from pyro_vae.training.epochs import Splits

SPLITS = ("train", "test", "validation")


class Trained(Protocol):
    """A run as the functions here and in `use` see it."""

    @property
    def folder(self) -> Path: ...
    @property
    def config(self) -> RunConfig: ...
    @property
    def vae(self) -> VAE: ...
    @property
    def fingerprint(self) -> str | None: ...
    @property
    def image_fingerprint(self) -> str | None: ...
    def check_parts(self) -> None: ...


def form_of(config: RunConfig, dataset: str | Path = "") -> Form:
    """Return what the settings make of pictures of a data set, most of which have their own form."""
    fixed = dataset in DATASETS and dataset not in SIZED
    return AS_THEY_ARE if fixed else Form(config.image_size, config.channels)


def load_data(config: RunConfig, download: bool = True) -> Dataset:
    """Return the data set of a configuration, with validation images if it holds some out.

    The pixels that `binarize` draws once are the same for all seeds, so that runs are compared on
    the same images.

    Raises:
        ValueError: data that do not exist or cannot be read.
    """
    return load_dataset(
        config.dataset,
        config.data_dir,
        config.binarize,
        validation=config.patience is not None or config.validation == "always",
        levels=config.levels,
        limit=config.data_limit,
        download=download,
        train_images=config.train_images,
        form=form_of(config),
    )


load_local_data = partial(load_data, download=False)


def splits_of(model: VAE, data: Dataset, with_validation: bool) -> Splits:
    """Return the images of a data set, with their labels if the model takes them.

    Args:
        with_validation: whether those that are held out are among them.
    """
    train, test, validation = data.train, data.test, data.validation if with_validation else None
    if model.embedding is None:
        train, test = Split(train.images), Split(test.images)
        validation = Split(validation.images) if validation else None
    return Splits(train, test, validation, data.dynamic)


class OtherImages(OSError):
    """The images of a run's data set are not those that it was trained on."""


def load_data_again(
    run: Trained,
    config: RunConfig | None = None,
    load: Callable[[RunConfig], Dataset] = load_local_data,
) -> Dataset:
    """Return the data set that a run was trained on; by default nothing is downloaded.

    Args:
        config: the run's settings, with the place where its data are now (default: as they were).
        load: what loads the data of settings.

    Raises:
        OtherImages: other images are there.
        OSError: data that can no longer be read.
        ValueError: another place of data that the run, of an earlier version, cannot recognise.
    """
    config = config or run.config
    if config.dataset != run.config.dataset and run.image_fingerprint is None:
        raise ValueError(
            f"dataset: {run.folder} is of an earlier version and cannot recognise its images in"
            f" another place than {run.config.dataset}"
        )
    if is_made(run.config.dataset):
        run.check_parts()
    try:
        data = load(config)
    except ValueError as error:
        raise OSError(f"the run's data cannot be read any more: {error}") from error
    check_images(run, data, config.dataset)
    return data


def check_images(run: Trained, data: Dataset, dataset: str) -> None:
    """Check that a run was trained on the images of a data set; runs of earlier versions pass.

    Args:
        dataset: its name or path, for the message.

    Raises:
        OtherImages: the run was trained on others.
    """
    if run.image_fingerprint not in (None, data.fingerprint):
        raise OtherImages(
            f"dataset: the images in {dataset} are not those that {run.folder} was trained on;"
            " put them back, or name the place where they are with --dataset"
        )


# --- other images --------------------------------------------------------------------------------------


class Images(NamedTuple):
    """Images (N, C, H, W) in [0, 1], with their labels (N,) and the names of their files, if known."""

    images: Tensor
    labels: Tensor | None = None
    names: tuple[str, ...] = ()

    def first(self, count: int) -> "Images":
        """Return the first of the images, as many as there are at most."""
        labels = None if self.labels is None else self.labels[:count]
        return Images(self.images[:count], labels, self.names[:count])


def load_images(config: RunConfig, source: str | Path, levels: int | None) -> Images:
    """Return images as a run of these settings reads them: with its grey levels, binary if its are.

    Args:
        source: a path, of which all images are taken in their order, or a data set's split, as in
            `mnist:test`.
        levels: the number of grey levels of whole numbers.

    Raises:
        ValueError: images that do not exist or cannot be read, or a data set without its split.
    """
    names: list[str] = []
    name, _, split = str(source).rpartition(":")
    if source in DATASETS:
        raise ValueError(f"images: name the split of {source}, as in {source}:test")
    if name and (name in DATASETS or split in SPLITS):
        check_name("images: split", split, SPLITS)
        size, channels, _ = form_of(config, name)
        place = replace(
            config,
            dataset=name,
            binarize="none",
            levels=None if name in DATASETS else config.levels,
            image_size=size,
            channels=channels,
        )
        if config.dataset not in (name, os.path.abspath(name), whole_path(name)):
            place = replace(place, train_images=None)
        if split == "validation":
            place = replace(place, validation="always")
        data = load_local_data(place)
    else:
        path, split = Path(source).expanduser(), "train"
        form = form_of(config) if path.is_dir() else AS_THEY_ARE
        data, names = load_whole(path, levels, config.data_limit, form)
    if data.levels != 2:
        how = "static" if config.binarize == "dynamic" else config.binarize
        data = binarized(data, how, seed=0)
    found: Split = getattr(data, split)
    x = found.images
    if isinstance(x, MappedImages):  # whoever uses images takes all of them at once
        check_declared_size(Path(name), x.numel() * BYTES_PER_PIXEL, config.data_limit)
        x = x[:]
    return Images(x, found.labels, tuple(names))
