"""Published data sets, read from their authors' files under a root folder."""

import gzip
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL.Image import Resampling

from pyro_vae.data.images import (
    BYTES_PER_PIXEL,
    Dataset,
    Split,
    random_test_rows,
    split_from_integers,
)
from pyro_vae.data.own import mapped
from pyro_vae.data.pictures import AS_THEY_ARE, Form, packed
from pyro_vae.files import check_regular, read_file
from pyro_vae.settings import DATA_LIMIT

Loader = Callable[[Path, bool], Dataset]  # of the root folder, and of whether to download


def load_digits(root: Path, download: bool) -> Dataset:
    """Return the 1,797 digits that come with scikit-learn; the last 360 are the test set."""
    from sklearn import datasets  # slow to import, and needed for this data set only

    digits = datasets.load_digits()
    everything = split_from_integers(digits.images, digits.target, 16)
    return Dataset("digits", everything[:-360], everything[-360:], 17)


_FOLDERS = (
    *("MNIST", "FashionMNIST", "KMNIST", "EMNIST", "SVHN", "BinarizedMNIST", "dsprites"),
    *("omniglot-py", "celeba"),
)


def _published(name: str, read: Loader) -> Loader:
    """Return a loader that reports any failure in one line and leaves no empty folders behind."""

    def load(root: Path, download: bool) -> Dataset:
        there = {folder for folder in _folders(root) if folder.exists()}
        try:
            return read(root, download)
        except Exception as error:  # readers, unpackers and the network share no class
            for folder in _folders(root):
                if folder not in there and folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()
            raise ValueError(_cannot_load(name, root, download, error)) from error

    return load


def _folders(root: Path) -> list[Path]:
    """Return the folders that loaders make under a root, the innermost first."""
    raw = [root / name / "raw" for name in _FOLDERS]
    return [*raw, *(root / name for name in _FOLDERS), root]


def _cannot_load(name: str, root: Path, download: bool, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200].rstrip(" :") or type(error).__name__
    why = "could not be downloaded" if download else "is downloaded by train and datasets alone"
    return (
        f"dataset: {name} is not complete under {root} and {why} ({reason});"
        " delete what is damaged there,"
        f" run 'pyro-vae datasets {name} --data-dir DIR' where there is a network"
        " and give that folder as --data-dir"
    )


def _in_two_parts(name: str, read: Callable[[Path, bool, bool], Split]) -> Loader:
    def load(root: Path, download: bool) -> Dataset:
        return Dataset(name, read(root, True, download), read(root, False, download), 256)

    return _published(name, load)


def _mnist_like(class_name: str, **options: str) -> Callable[[Path, bool, bool], Split]:
    """Return what reads a part of a set in MNIST's format by a class of torchvision.

    Args:
        options: of the class, as EMNIST's split, which its files are named after.
    """
    names = "-".join(["emnist", *options.values(), ""]) if options else ""

    def read(root: Path, train: bool, download: bool) -> Split:
        import torchvision
        from torchvision.datasets.utils import extract_archive

        raw, make = root / class_name / "raw", getattr(torchvision.datasets, class_name)
        with TemporaryDirectory() as unpacked:  # so that only a download writes under the root
            if not download and not [*raw.glob(f"{names}*-ubyte")]:
                root = Path(unpacked)
                (there := root / class_name / "raw").mkdir(parents=True)
                for packed in raw.glob(f"{names}*-ubyte.gz"):
                    check_regular(packed)
                    extract_archive(str(packed), str(there))
            source = make(root, train=train, download=download, **options)
        return split_from_integers(source.data.numpy(), source.targets)

    return read


def _emnist(split: str) -> Callable[[Path, bool, bool], Split]:
    """Return what reads a part of EMNIST upright, its labels from 0 (the letters' begin at 1).

    Source: Cohen, Afshar, Tapson and van Schaik, "EMNIST: an extension of MNIST to handwritten
    letters", 2017, https://arxiv.org/abs/1702.05373.
    """
    read_lying, first = _mnist_like("EMNIST", split=split), int(split == "letters")

    def read(root: Path, train: bool, download: bool) -> Split:
        lying = read_lying(root, train, download)
        assert lying.labels is not None
        return Split(lying.images.mT.contiguous(), lying.labels - first)

    return read


def _omniglot(root: Path, train: bool, download: bool) -> Split:
    """Return a part of Omniglot, from 105x105 to 28x28 pixels by Lanczos' filter, ink as 1.

    The alphabets of the background set are the training images, and those of the evaluation set the
    test images, which have no labels: their characters are others. The 24,345 and 8,070 images of
    Burda, Grosse and Salakhutdinov (2015) are another split of the drawings, scaled in another way.

    Source: Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic
    program induction", 2015, https://doi.org/10.1126/science.aab3050.
    """
    from torchvision.datasets import Omniglot

    source = Omniglot(root, background=train, download=download)
    drawn = [(picture.resize((28, 28), Resampling.LANCZOS), label) for picture, label in source]
    ink = 255 - np.stack([np.asarray(picture) for picture, _ in drawn])
    return split_from_integers(ink, np.array([label for _, label in drawn]) if train else None)


def _svhn(root: Path, train: bool, download: bool) -> Split:
    from torchvision.datasets import SVHN

    source = SVHN(root / "SVHN", split="train" if train else "test", download=download)
    return split_from_integers(source.data, source.labels)


def _cifar10(root: Path, train: bool, download: bool) -> Split:
    from torchvision.datasets import CIFAR10

    source = CIFAR10(root, train=train, download=download)
    return split_from_integers(source.data.transpose(0, 3, 1, 2), source.targets)


def load_celeba(
    root: Path, download: bool, form: Form = AS_THEY_ARE, limit: float = DATA_LIMIT
) -> Dataset:
    """Return CelebA's aligned faces with the published partition, as squares of 64 pixels or others.

    The middle 148x148 pixels of each picture are scaled by Lanczos' filter. They are decoded once,
    into the user's cache folder, and stay there where they would take more memory than the limit.

    Source: Liu, Luo, Wang and Tang, "Deep learning face attributes in the wild", 2015,
    https://arxiv.org/abs/1411.7766.
    """
    form = Form(form.image_size or 64, form.channels or 3, crop=148)
    return _published("celeba", partial(_celeba, form, limit))(root, download)


def _celeba(form: Form, limit: float, root: Path, download: bool) -> Dataset:
    from torchvision.datasets import CelebA

    parts = ("train", "valid", "test")
    names = [CelebA(root, part, [], download=download).filename for part in parts]
    folder = root / "celeba" / "img_align_celeba"
    faces = packed([folder / n for part in names for n in part], form, sum(map(len, names)))
    ends = np.cumsum([len(part) for part in names])
    stays = faces.size * BYTES_PER_PIXEL / 1e9 > limit
    train, valid, test = (
        Split(mapped(part, None)) if stays else split_from_integers(np.array(part))  # type: ignore[arg-type]
        for part in np.split(faces, ends[:-1])
    )
    return Dataset("celeba", train, test, 256, validation=valid)


_AMAT_URL = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/"
_AMAT_BYTES = {"train": 78_400_000, "valid": 15_680_000, "test": 15_680_000}
_AMAT_SHA256 = {  # as published by TensorFlow Datasets
    "train": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "valid": "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    "test": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
}


def _amat_text(root: Path, part: str, download: bool) -> bytes:
    path = root / "BinarizedMNIST" / f"binarized_mnist_{part}.amat"
    zipped = path.with_name(path.name + ".gz")
    if zipped.exists():
        check_regular(zipped)
        with gzip.open(zipped) as file:
            return file.read(_AMAT_BYTES[part] + 1)  # no more, whatever it would unpack to
    if download and not path.exists():
        from torchvision.datasets.utils import download_url

        arriving = path.with_name(path.name + ".part")
        download_url(_AMAT_URL + path.name, path.parent, arriving.name)
        if hashlib.sha256(read_file(arriving)).hexdigest() != _AMAT_SHA256[part]:
            raise RuntimeError(f"{path.name} arrived damaged")
        arriving.rename(path)
    return read_file(path, _AMAT_BYTES[part])


def _amat(root: Path, part: str, download: bool) -> Split:
    """Return one part of Larochelle's binarized MNIST: lines of 784 digits with single blanks."""
    text = np.frombuffer(_amat_text(root, part, download), np.uint8)
    if text.size == 0 or text.size % 1568:
        raise RuntimeError(f"binarized_mnist_{part}.amat is truncated: {text.size} bytes")
    pixels = text.reshape(-1, 1568)[:, ::2] - ord("0")
    if pixels.max() > 1:
        raise RuntimeError(f"binarized_mnist_{part}.amat holds other digits than 0 and 1")
    return Split(torch.from_numpy(pixels).float().view(-1, 1, 28, 28))


def _binarized_mnist(root: Path, download: bool) -> Dataset:
    train, valid, test = (_amat(root, part, download) for part in ("train", "valid", "test"))
    return Dataset("binarized_mnist", train, test, 2, validation=valid)


_DSPRITES_URL = "https://github.com/google-deepmind/dsprites-dataset/raw/master/"
_DSPRITES = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
_DSPRITES_PARTS = ("dsprites_downsampled.npz", "dsprites_subset.npz")  # by Gillon (2021)
_DSPRITES_FACTORS = ("shape", "scale", "orientation", "x", "y")


def _dsprites(root: Path, download: bool) -> Dataset:
    """Return the whole set, or the part of it under `root`; a random tenth is the test set."""
    candidates = [root / "dsprites" / name for name in (_DSPRITES, *_DSPRITES_PARTS)]
    path = next((p for p in candidates if p.exists()), candidates[0])
    if download and not path.exists():
        from torchvision.datasets.utils import download_url

        download_url(_DSPRITES_URL + path.name, path.parent, path.name + ".part")
        path.with_name(path.name + ".part").rename(path)
    check_regular(path)
    with np.load(path, allow_pickle=False) as archive:  # its pickled metadata are never read
        pictures, factors = archive["imgs"], archive["latents_classes"][:, -5:]
    if pictures.shape != (len(factors), 64, 64) or pictures.max() > 1:
        raise RuntimeError(f"{path.name} holds no binary pictures of 64x64 with five factors")
    train, test = (
        split_from_integers(pictures[rows], factors[rows, 0], 1, factors[rows])
        for rows in random_test_rows(len(pictures))
    )
    return Dataset("dsprites", train, test, levels=2, factor_names=_DSPRITES_FACTORS)


PUBLISHED = {
    "mnist": _in_two_parts("mnist", _mnist_like("MNIST")),
    "fashion_mnist": _in_two_parts("fashion_mnist", _mnist_like("FashionMNIST")),
    "kmnist": _in_two_parts("kmnist", _mnist_like("KMNIST")),
    **{
        f"emnist_{split}": _in_two_parts(f"emnist_{split}", _emnist(split))
        for split in ("balanced", "letters", "digits", "byclass")
    },
    "omniglot": _in_two_parts("omniglot", _omniglot),
    "svhn": _in_two_parts("svhn", _svhn),
    "cifar10": _in_two_parts("cifar10", _cifar10),
    "celeba": load_celeba,
    "binarized_mnist": _published("binarized_mnist", _binarized_mnist),
    "dsprites": _published("dsprites", _dsprites),
}
