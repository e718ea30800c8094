"""The user's own images: arrays and archives."""

import re
import zipfile

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.notices import Notice

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


@pytest.mark.parametrize(
    "arrays, said",
    [
        ({"masks": GREY}, "took masks as the images"),
        ({"images": GREY, "label": GREY[:, 0, 0], "masks": GREY}, "left out label, masks"),
        ({"x": GREY, "pictures": GREY}, "left out pictures"),
        ({"train_images": GREY, "test_images": GREY, "images": GREY}, "left out images"),
    ],
)
def test_an_archive_is_not_read_in_part_without_a_word(tmp_path, arrays, said):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.warns(Notice, match=said):
        pv.load_dataset(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "labels, said",
    [
        (
            np.zeros((30, 14)),
            r"expected one whole number per image, got float64 of shape \(30, 14\)",
        ),
        (GREY[:, 0, 0] / 7, r"left out the labels in .*, got float64 of shape \(30,\)"),
        (np.full(30, np.nan), r"left out the labels in .*, got float64 of shape \(30,\)"),
        (np.array(["cat"] * 30), r"left out the labels in .*, got <U3 of shape \(30,\)"),
    ],
)
def test_labels_of_another_kind_are_left_out(tmp_path, labels, said):
    np.savez(tmp_path / "a.npz", images=GREY, labels=labels)
    with pytest.warns(Notice, match=said):
        assert pv.load_dataset(tmp_path / "a.npz").train.labels is None


def test_whole_numbers_may_be_stored_as_floats_and_one_factor_as_a_row(tmp_path):
    v = GREY[:, 0, 0].astype(float)
    np.savez(tmp_path / "a.npz", images=GREY, labels=v, factors=v, factor_names=["first"])
    data = pv.load_dataset(tmp_path / "a.npz")
    first = (data.train.images[:, 0, 0, 0] * 255).round().long()
    assert torch.equal(data.train.labels, first) and data.train.labels.dtype == torch.long
    assert torch.equal(data.train.factors, first[:, None]) and data.factor_names == ("first",)


def declares(path, dtype, shape):
    """Write an array that says more of itself than it holds."""
    with open(path, "wb") as file:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)


@pytest.mark.parametrize(
    "dtype, shape, limit, said",
    [
        ("|S1073741824", (20, 4, 4), 4, "declares images of 343.597 GB in memory, more than 4;"),
        ("<f8", (10, 4, 4), 1e-6, "declares images of 1.28e-06 GB in memory, more than 1e-06;"),
        ("|u1", (-20, 4, 4), 4, "cannot be read"),
    ],
)
def test_the_limit_counts_bytes(tmp_path, dtype, shape, limit, said):
    declares(tmp_path / "images.npy", dtype, shape)
    with pytest.raises(ValueError, match="cannot be read"):  # an array stays in its file
        pv.load_dataset(tmp_path / "images.npy", limit=limit)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(tmp_path / "images.npy", "images.npy")
    with pytest.raises(ValueError, match=re.escape(said)):
        pv.load_dataset(tmp_path / "a.npz", limit=limit)
