"""The user's own images: arrays, archives, folders of pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

import pyro_vae as pv

rng = np.random.default_rng(0)


GREY = rng.integers(256, size=(30, 4, 5), dtype=np.uint8)


def everything(data):
    """The images of both splits, sorted, so that the order does not matter."""
    images = torch.cat([data.train.images, data.test.images])
    return sorted(map(tuple, images.flatten(1).tolist()))


def as_rows(images):
    return sorted(map(tuple, torch.as_tensor(images).flatten(1).float().tolist()))


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_an_array_of_bytes_has_256_levels(tmp_path, kind):
    path = tmp_path / f"mine.{kind}"
    np.save(path, GREY) if kind == "npy" else np.savez_compressed(path, GREY)
    data = pv.load_dataset(path)
    assert data.name == "mine" and data.levels == 256 and data.image_shape == (1, 4, 5)
    assert (len(data.train), len(data.test)) == (27, 3)
    assert everything(data) == as_rows(GREY.astype(np.float32) / 255)
    again = pv.load_dataset(str(path))
    assert torch.equal(data.test.images, again.test.images)  # the same split each time
    held = pv.load_dataset(path, validation=True)
    assert (len(held.train), len(held.validation)) == (25, 2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("levels", [2, 256])
def test_floats_on_a_grid_that_levels_names(tmp_path, dtype, levels):
    v = rng.integers(levels, size=(30, 4, 5))
    np.save(tmp_path / "a.npy", (v / (levels - 1)).astype(dtype))
    data = pv.load_dataset(tmp_path / "a.npy", levels=levels)
    assert data.levels == levels
    assert everything(data) == as_rows(torch.from_numpy(v).float() / (levels - 1))
    assert pv.load_dataset(tmp_path / "a.npy").levels is None


def test_other_types_of_pixels(tmp_path):
    np.save(tmp_path / "a.npy", GREY > 99)
    assert pv.load_dataset(tmp_path / "a.npy").levels == 2
    np.save(tmp_path / "a.npy", GREY.astype(np.int64) % 17)
    data = pv.load_dataset(tmp_path / "a.npy", levels=17)
    assert data.levels == 17 and everything(data) == as_rows(GREY % 17 / np.float32(16))


@pytest.mark.parametrize(
    "shape, expected",
    [
        ((9, 3, 6, 7), (3, 6, 7)),
        ((9, 6, 7, 3), (3, 6, 7)),
        ((9, 1, 6, 7), (1, 6, 7)),
        ((9, 4, 5, 3), (3, 4, 5)),
        ((9, 2, 5, 6), (2, 5, 6)),
    ],
)
def test_channels_come_first_or_last(tmp_path, shape, expected):
    images = rng.integers(256, size=shape, dtype=np.uint8)
    np.save(tmp_path / "a.npy", images)
    data = pv.load_dataset(tmp_path / "a.npy")
    assert data.image_shape == expected
    first = images if shape[3] > 3 else images.transpose(0, 3, 1, 2)
    assert everything(data) == as_rows(np.ascontiguousarray(first, dtype=np.float32) / 255)


def test_an_archive_with_labels_and_factors(tmp_path):
    np.savez(tmp_path / "a.npz", images=GREY, labels=GREY[:, 0, 0], factors=GREY[:, 0, :2])
    data = pv.load_dataset(tmp_path / "a.npz")
    for split in (data.train, data.test):
        pixels = (split.images * 255).round().long()
        assert torch.equal(split.labels, pixels[:, 0, 0, 0])
        assert torch.equal(split.factors, pixels[:, 0, 0, :2])
    assert data.factor_names == ()


def test_an_archive_names_its_factors(tmp_path):
    path, factors = tmp_path / "a.npz", GREY[:, 0, :2]
    np.savez(path, images=GREY, factors=factors, factor_names=["height", "width"])
    assert pv.load_dataset(path).factor_names == ("height", "width")
    for names in (["height"], [1, 2], [["height", "width"]]):
        np.savez(path, images=GREY, factors=factors, factor_names=names)
        with pytest.raises(ValueError, match=r"expected 2 strings as factor_names in .*, got"):
            pv.load_dataset(path)


@pytest.mark.parametrize("style", ["{}_images {}_labels", "x_{} y_{}"])
def test_an_archive_with_a_split_of_its_own(tmp_path, style):
    arrays = {}
    for part, rows in (("train", slice(20)), ("test", slice(20, 30))):
        images, labels = style.format(part, part).split()
        arrays |= {images: GREY[rows], labels: GREY[rows, :1, 0]}  # labels (N, 1), as MedMNIST's
    np.savez(tmp_path / "a.npz", **arrays)
    data = pv.load_dataset(tmp_path / "a.npz")
    assert torch.equal(data.train.images[:, 0], torch.from_numpy(GREY[:20]).float() / 255)
    assert data.test.labels.tolist() == GREY[20:, 0, 0].tolist()
    np.savez(tmp_path / "b.npz", val_images=GREY[:7], **arrays)
    assert len(pv.load_dataset(tmp_path / "b.npz", validation=True).validation) == 7


def save_pictures(folder, images, mode="L", suffix="png"):
    folder.mkdir(parents=True)
    for k, image in enumerate(images):
        Image.fromarray(image).convert(mode).save(folder / f"{k:02d}.{suffix}")


def test_a_folder_of_pictures(tmp_path):
    save_pictures(tmp_path / "mine", GREY)
    (tmp_path / "mine" / "notes.txt").write_text("not a picture")
    (tmp_path / "mine" / "._00.png").write_bytes(b"nor this")
    data = pv.load_dataset(tmp_path / "mine")
    assert data.levels == 256 and data.image_shape == (1, 4, 5) and data.train.labels is None
    assert everything(data) == as_rows(GREY.astype(np.float32) / 255)


def test_subfolders_are_labels(tmp_path):
    for k, name in enumerate(["cats", "dogs", "eels"]):
        save_pictures(tmp_path / "zoo" / name, np.full((4, 6, 6), 10 * k, np.uint8))
    data = pv.load_dataset(tmp_path / "zoo")
    for split in (data.train, data.test):
        assert torch.equal(split.labels, (split.images[:, 0, 0, 0] * 25.5).round().long())


def test_train_and_test_are_splits(tmp_path):
    save_pictures(tmp_path / "mine" / "train" / "a", GREY[:9])
    save_pictures(tmp_path / "mine" / "test" / "a", GREY[9:11])
    data = pv.load_dataset(tmp_path / "mine")
    assert (len(data.train), len(data.test)) == (9, 2) and data.test.labels.tolist() == [0, 0]


@pytest.mark.parametrize("mode, channels, levels", [("1", 1, 2), ("RGB", 3, 256), ("P", 3, 256)])
def test_kinds_of_pictures(tmp_path, mode, channels, levels):
    save_pictures(tmp_path / "mine", GREY, mode)
    data = pv.load_dataset(tmp_path / "mine")
    assert data.image_shape == (channels, 4, 5) and data.levels == levels
