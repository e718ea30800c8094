"""Folders of pictures: their split, their labels, and what a picture's file can hold."""

import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import pyro_vae as pv
from pyro_vae.data.pictures import Form
from pyro_vae.notices import Notice

SIDE = 6
GREY = np.random.default_rng(0).integers(256, size=(30, SIDE, SIDE), dtype=np.uint8)


def paint(path, *values, **options):
    """Write a picture of one grey value, or of one frame for each value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [Image.new("L", (SIDE, SIDE), value) for value in values]
    more = {"save_all": True, "append_images": frames[1:]} if len(frames) > 1 else {}
    frames[0].save(path, **more, **options)


def content(split):
    """Return the grey value and the label of each picture, in order of the values."""
    values = (split.images[:, 0, 0, 0] * 255).round().int().tolist()
    labels = [None] * len(values) if split.labels is None else split.labels.tolist()
    return sorted(zip(values, labels))


def load(folder, **settings):
    """Return the data set, and the notices that were given."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = pv.load_dataset(folder, **settings)
    return data, [str(warning.message) for warning in caught if warning.category is Notice]


ZOO = {"cats/1.png": 1, "cats/2.png": 2, "dogs/3.png": 3, "dogs/4.png": 4}
LABELLED = [(1, 0), (2, 0), (3, 1), (4, 1)]
HIDDEN = (".ipynb_checkpoints", ".Trash-1000", "__MACOSX", "$RECYCLE.BIN", "@eaDir")
WHOLE = {  # the pictures of a folder, what they become, and what a notice says
    "classes": (ZOO, LABELLED, None),
    "a folder around the classes": ({f"zoo/{k}": v for k, v in ZOO.items()}, LABELLED, None),
    "two folders around them": ({f"a/b/{k}": v for k, v in ZOO.items()}, LABELLED, None),
    "folders within classes": ({k.replace("/", "/x/"): v for k, v in ZOO.items()}, LABELLED, None),
    "a picture beside the classes": (ZOO | {"all.png": 9}, LABELLED, "left out .*: all.png$"),
    "most pictures beside a folder": (
        {"1.png": 1, "2.png": 2, "few/3.png": 3},
        [(1, None), (2, None), (3, None)],
        "no labels",
    ),
    "hidden folders": (ZOO | {f"{name}/9.png": 9 for name in HIDDEN}, LABELLED, None),
    "a hidden folder in a class": (ZOO | {"cats/.trash/9.png": 9}, LABELLED, None),
    "a class that is called train": (
        {"bus/1.png": 1, "train/2.png": 2, "valley/3.png": 3},
        [(1, 0), (2, 1), (3, 2)],
        None,
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_folders_are_labels(tmp_path, name):
    pictures, expected, said = WHOLE[name]
    for path, value in pictures.items():
        paint(tmp_path / path, value)
    data, notices = load(tmp_path)
    assert sorted(content(data.train) + content(data.test)) == expected
    assert len(notices) == (said is not None)
    if said:
        with pytest.warns(Notice, match=said):
            pv.load_dataset(tmp_path)


NAMES = [
    ("train", "test", "val"),
    ("training", "testing", "validation"),
    ("Train", "TEST", "Valid"),
    ("training_set", "test-images", "val2017"),
    ("trainA", "testA", "valA"),
]


@pytest.mark.parametrize("form", ["{part}/{name}", "outer/{part}/{name}", "{part}/inner/{name}"])
@pytest.mark.parametrize("names", NAMES, ids=" ".join)
def test_folders_of_a_split(tmp_path, names, form):
    train, test, val = names
    for part, value in ((train, 10), (test, 20), (val, 30)):
        for k, kind in enumerate(("ape", "bat", "cow")):
            if (part, kind) != (test, "ape"):  # which the test images lack
                paint(tmp_path / form.format(part=part, name=f"{kind}/1.png"), value + k)
    paint(tmp_path / form.format(part=train, name="deer/1.png"), 13)
    data, notices = load(tmp_path, validation=True)
    assert content(data.train) == [(10, 0), (11, 1), (12, 2), (13, 3)]
    assert content(data.test) == [(21, 1), (22, 2)]
    assert content(data.validation) == [(30, 0), (31, 1), (32, 2)]
    assert notices == []


def test_validation_images_of_sorted_classes_are_drawn_at_random(tmp_path):
    for k in range(40):
        paint(tmp_path / "train" / "ab"[k // 20] / f"{k}.png", k)
    paint(tmp_path / "test" / "a" / "1.png", 99)
    held, _ = load(tmp_path, validation=True)
    assert set(held.validation.labels.tolist()) == {0, 1} and len(held.validation) == 4
    assert sorted(content(held.train) + content(held.validation)) == [
        (k, k // 20) for k in range(40)
    ]
    assert [label for _, label in content(load(tmp_path)[0].train)] == [0] * 20 + [1] * 20


def test_a_split_within_each_class(tmp_path):
    for k, path in enumerate(["ape/train/1", "bat/train/2", "bat/test/3"]):
        paint(tmp_path / f"{path}.png", k)
    data, _ = load(tmp_path)
    assert content(data.train) == [(0, 0), (1, 1)] and content(data.test) == [(2, 1)]


def test_without_a_test_folder_the_validation_images_are_the_test_set(tmp_path):
    for k, path in enumerate(["train/1", "train/2", "val/3"]):
        paint(tmp_path / f"{path}.png", k)
    data, notices = load(tmp_path)
    assert content(data.train) == [(0, None), (1, None)] and content(data.test) == [(2, None)]
    assert len(notices) == 1 and "its validation images are the test set" in notices[0]


def test_test_images_may_have_no_classes(tmp_path):
    for path, value in ZOO.items():
        paint(tmp_path / "train" / path, value)
    paint(tmp_path / "test" / "5.png", 5)
    data, notices = load(tmp_path)
    assert content(data.train) == LABELLED and content(data.test) == [(5, None)] and not notices


def test_what_lies_beside_a_split_is_left_out(tmp_path):
    for k, path in enumerate(["train/1", "test/2", "extra/3", "all"]):
        paint(tmp_path / f"{path}.png", k)
    data, notices = load(tmp_path)
    assert content(data.train) == [(0, None)] and content(data.test) == [(1, None)]
    assert len(notices) == 1 and notices[0].endswith(": all.png, 3.png")


@pytest.mark.parametrize(
    "names", [("train", "training", "test"), ("test", "val"), ("test", "Test")]
)
def test_what_looks_like_a_split_but_is_none_is_refused(tmp_path, names):
    for name in names:
        paint(tmp_path / name / "1.png", 1)
    with pytest.raises(ValueError, match=r"dataset: .* look like parts of a split; expected one"):
        pv.load_dataset(tmp_path)


def test_links_are_followed_but_not_in_circles(tmp_path):
    for path, value in ZOO.items():
        paint(tmp_path / "elsewhere" / path, value)
    for name in ("cats", "dogs"):
        (tmp_path / "zoo").mkdir(exist_ok=True)
        (tmp_path / "zoo" / name).symlink_to(tmp_path / "elsewhere" / name)
    (tmp_path / "elsewhere" / "cats" / "again").symlink_to(tmp_path / "zoo")
    data, _ = load(tmp_path / "zoo")
    assert sorted(content(data.train) + content(data.test)) == LABELLED


@pytest.mark.parametrize("name", ["a.h5", "a.pdf", "a.eps", "a.mpg", "a.heic"])
def test_files_that_are_no_pictures_are_left_out_by_name(tmp_path, name):
    for k in range(3):
        paint(tmp_path / f"{k}.png", k)
    (tmp_path / name).write_bytes(b"%PDF junk")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "._00.png").write_bytes(b"nor this")
    (tmp_path / "lost.png").symlink_to(tmp_path / "gone.png")
    data, notices = load(tmp_path)
    assert len(data.train) + len(data.test) == 3
    assert len(notices) == 1 and f"{name}, lost.png, notes.txt" in notices[0]


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png"])
def test_every_frame_is_an_image(tmp_path, suffix):
    exact = {"lossless": True} if suffix == "webp" else {}
    for k, name in enumerate(["cats", "dogs"]):
        paint(tmp_path / name / f"1.{suffix}", *range(10 * k, 10 * k + 5), **exact)
    data, _ = load(tmp_path)
    assert sorted(content(data.train) + content(data.test)) == [
        (10 * k + n, k) for k in range(2) for n in range(5)
    ]
    if suffix in ("tif", "gif"):
        assert data.image_shape == (1, SIDE, SIDE)
    with pytest.raises(ValueError, match="declares images of"):
        pv.load_dataset(tmp_path, limit=9 * SIDE * SIDE * 4 / 1e9)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_pictures_are_turned_as_their_file_says(tmp_path, suffix):
    lying = np.zeros((8, 16, 3), np.uint8)
    lying[:, 8:] = 255  # bright on the right, which 6 turns to the bottom
    exif = Image.Exif()
    exif[274] = 6
    for k in range(3):
        Image.fromarray(lying).save(tmp_path / f"{k}.{suffix}", exif=exif)
    data, _ = load(tmp_path)
    assert data.image_shape == (3, 16, 8)
    halves = data.train.images.unflatten(2, (2, 8)).mean((0, 1, 3, 4))
    assert halves[0] < 0.05 and halves[1] > 0.95


def colour_palette(grey):
    picture = Image.fromarray(grey)
    picture.putpalette([channel for v in range(256) for channel in (v, 255 - v, 0)])
    return picture


def opaque(mode):
    return lambda grey: Image.fromarray(grey).convert(mode)


KINDS = {
    "1": (opaque("1"), 1, 2),
    "LA": (opaque("LA"), 1, 256),
    "RGB": (opaque("RGB"), 3, 256),
    "RGBA": (opaque("RGBA"), 3, 256),
    "grey palette": (opaque("P"), 1, 256),
    "colour palette": (colour_palette, 3, 256),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_pictures(tmp_path, kind):
    convert, channels, levels = KINDS[kind]
    for k, grey in enumerate(GREY):
        convert(grey).save(tmp_path / f"{k:02d}.png")
    data, _ = load(tmp_path)
    assert data.image_shape == (channels, SIDE, SIDE) and data.levels == levels
    if levels == 256:
        found = torch.cat([data.train.images, data.test.images])[:, 0].flatten(1).mul(255).round()
        assert sorted(found.tolist()) == sorted(GREY.reshape(30, -1).astype(float).tolist())


@pytest.mark.parametrize(
    "text, levels", [(b"P1 2 2\n1 0 0 1\n", 2), (b"P2 2 2 100\n100 0 0 100\n", 256)]
)
def test_pictures_in_plain_text(tmp_path, text, levels):
    for k in range(2):
        (tmp_path / f"{k}.pnm").write_bytes(text)
    data, _ = load(tmp_path)
    assert data.levels == levels and data.train.images.sum() == 2


def png16(channels):
    """Return a PNG file of 4x4 pixels with 16 bits per channel."""

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", 4, 4, 16, colour_type, 0, 0, 0)
    rows = (b"\0" + bytes(range(8 * channels))) * 4
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff16():
    """Return a TIFF file of 4x4 pixels with three channels of 16 bits."""
    fields = [(256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 3, 122), (259, 3, 1, 1), (262, 3, 1, 2)]
    fields += [(273, 4, 1, 128), (277, 3, 1, 3), (278, 4, 1, 4), (279, 4, 1, 96)]
    entries = b"".join(struct.pack("<HHII", *entry) for entry in fields)
    head = b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(4)
    return head + struct.pack("<HHH", 16, 16, 16) + bytes(range(96))


DEEP = {
    "png": png16(3), "PNG": png16(2), "apng": png16(4), "tif": tiff16(),
    "ppm": b"P6 4 4 65535\n" + bytes(96), "pnm": b"P3 1 1 1023\n9 8 7\n",
}  # fmt: skip


@pytest.mark.parametrize("suffix", DEEP)
def test_colour_of_16_bits_is_not_cut_to_8(tmp_path, suffix):
    for k in range(3):
        (tmp_path / f"{k}.{suffix}").write_bytes(DEEP[suffix])
    with pytest.raises(ValueError, match=r"expected 8-bit pictures, got 16 bits in .*0"):
        pv.load_dataset(tmp_path)


# --- pictures that are made into others -----------------------------------------------------------


def test_pictures_are_cut_around_the_middle_scaled_and_made_grey_or_coloured(tmp_path):
    """The middle third is white; what is left of a wide or a high picture is white alone."""
    for n, size in enumerate([(90, 30), (30, 90), (60, 20)]):
        picture = Image.new("RGB", size)
        width, height = size
        side = min(size)
        left, top = (width - side) // 2, (height - side) // 2
        picture.paste((255, 255, 255), (left, top, left + side, top + side))
        picture.save(tmp_path / f"{n}.png")
    for channels in (1, 3):
        data = pv.load_dataset(tmp_path, form=Form(5, channels))
        x = torch.cat([data.train.images, data.test.images])
        assert x.shape == (3, channels, 5, 5) and (x == 1).all() and data.levels == 256
    with pytest.raises(ValueError, match=r"got 90x30 in .*; train --image-size makes squares"):
        pv.load_dataset(tmp_path)
    np.save(tmp_path / "a.npy", GREY)
    with pytest.raises(ValueError, match="channels: only pictures of a folder are converted, got"):
        pv.load_dataset(tmp_path / "a.npy", form=Form(None, 1))
    with pytest.raises(ValueError, match="image_size: digits has its own; only pictures are con"):
        pv.load_dataset("digits", form=Form(5))


def test_pictures_of_the_size_asked_for_are_left_as_they_are(tmp_path):
    for n, grey in enumerate(GREY):
        Image.fromarray(grey).save(tmp_path / f"{n:02d}.png")
    plain, made = pv.load_dataset(tmp_path), pv.load_dataset(tmp_path, form=Form(SIDE, 1))
    assert torch.equal(plain.train.images, made.train.images)
    coloured = pv.load_dataset(tmp_path, form=Form(channels=3))
    assert torch.equal(coloured.train.images, plain.train.images.expand(-1, 3, -1, -1))


def test_the_memory_of_pictures_is_that_of_what_they_are_made_into(tmp_path):
    for n in range(2):
        Image.new("RGB", (300, 300)).save(tmp_path / f"{n}.png")
    assert pv.load_dataset(tmp_path, form=Form(5), limit=1e-5).image_shape == (3, 5, 5)
    with pytest.raises(ValueError, match="more than 1e-05; raise --data-limit"):
        pv.load_dataset(tmp_path, limit=1e-5)
