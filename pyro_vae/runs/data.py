"""The data of a run: loaded for its training, and loaded again as the images that it was trained on."""

from collections.abc import Callable
from functools import partial

from pyro_vae.data import Dataset, load_dataset
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.run import Run


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
    )


load_local_data = partial(load_data, download=False)


class OtherImages(OSError):
    """The images of a run's data set are not those that it was trained on."""


def load_data_again(
    run: Run,
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
    try:
        data = load(config)
    except ValueError as error:
        raise OSError(f"the run's data cannot be read any more: {error}") from error
    check_images(run, data, config.dataset)
    return data


def check_images(run: Run, data: Dataset, dataset: str) -> None:
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
