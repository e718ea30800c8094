"""The classifiers of the data sets, kept in the data folder."""

import contextlib
import zlib
from pathlib import Path

import torch

from pyro_vae.checkpoints import load_checkpoint, save_checkpoint
from pyro_vae.data import Dataset
from pyro_vae.evaluation.estimates import Estimate
from pyro_vae.evaluation.features import FeatureNet, feature_count, train_features
from pyro_vae.randomness import seeded


def save_features(path: str | Path, net: FeatureNet) -> None:
    """Write a classifier and its accuracy as a checkpoint.

    Raises:
        OSError: the file cannot be written.
    """
    content = {"sizes": net.sizes, "accuracy": tuple(net.accuracy), "weights": net.state_dict()}
    save_checkpoint(path, content)


def load_features(path: str | Path, device: torch.device | str = "cpu") -> FeatureNet:
    """Return the classifier that `save_features` wrote.

    Raises:
        OSError: there is no such file.
        ValueError: a file that is not a classifier's checkpoint.
    """
    content = load_checkpoint(path, device)
    try:
        with seeded(0):  # draws initial weights, which are then replaced
            net = FeatureNet(*content["sizes"])
        net.load_state_dict(content["weights"])
        net.accuracy = Estimate(*content["accuracy"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"features: {path} holds no classifier: {error!r}") from error
    return net.to(device).eval()


def classifier_for(data: Dataset, folder: str | Path, seed: int = 0) -> FeatureNet:
    """Return the classifier of a labelled data set, from `folder/features` or newly trained.

    A classifier that is trained is kept there. Its file is named by the set's name, its number of
    images, their content, and the seed. A file that cannot be read is replaced. Nothing is kept
    if the folder cannot be written to.

    Args:
        data: the data set, of which only the training images are used. For binary pixels drawn from
            grey values, give the grey set, so that one classifier measures all versions of it.
        folder: the data folder.
        seed: the seed of the classifier's training.

    Raises:
        ValueError: what `train_features` refuses.
    """
    images, labels = data.train.images, data.train.labels
    content = zlib.crc32(images.cpu().contiguous().numpy().data)  # users' own sets may share a name
    path = Path(folder) / "features" / f"{data.name}-{len(images)}-{content:08x}-{seed}.pt"
    with contextlib.suppress(OSError, ValueError):
        return load_features(path, images.device)
    net = train_features(images, labels, feature_count(len(images)), seed)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_features(path, net)
    return net
