"""Images that stay in their file: read in parts, and to the last bit those that lie in memory."""

import mmap
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset

import pyro_vae as pv
from pyro_vae.data import mapped
from pyro_vae.data.mapped import MappedImages, ahead
from pyro_vae.data.own import mapped as mapped_images
from pyro_vae.data.pictures import Form
from pyro_vae.kept import digest
from pyro_vae.measures.samples import classifier_for
from pyro_vae.notices import Notice

rng = np.random.default_rng(0)
GREY = rng.integers(256, size=(60, 5, 4), dtype=np.uint8)
FORMS = {
    "grey bytes": (GREY, None),
    "channels last": (rng.integers(256, size=(60, 6, 5, 3), dtype=np.uint8), None),
    "other whole numbers": (GREY.astype(np.int16) % 17, 17),
    "doubles": (GREY / 255, None),
    "halves on a grid": ((GREY / 255).astype(np.float16), 256),
}


@pytest.mark.parametrize("form", FORMS)
def test_images_in_a_file_are_those_in_memory(tmp_path, form):
    array, levels = FORMS[form]
    np.save(tmp_path / "a.npy", array)
    options = {"levels": levels, "validation": True, "train_images": 31}
    here = pv.load_dataset(tmp_path / "a.npy", **options)
    there = pv.load_dataset(tmp_path / "a.npy", limit=1e-6, **options)
    assert there.fingerprint == here.fingerprint and there.levels == here.levels
    rows = torch.randperm(5)
    for name in ("train", "test", "validation"):
        expected = getattr(here, name).images.double()
        found = getattr(there, name).images.to("cpu", torch.float64)
        assert isinstance(found, MappedImages) and found.shape == expected.shape
        assert digest(found) == digest(expected)
        for index in (rows, slice(1, 9, 2), 3):
            assert torch.equal(found[index], expected[index])


def test_what_needs_all_images_is_an_error(tmp_path):
    np.save(tmp_path / "a.npy", GREY)
    with pytest.warns(Notice, match="is read while training"):
        images = pv.load_dataset(tmp_path / "a.npy", limit=1e-6).train.images
    assert repr(images) == "MappedImages((54, 1, 5, 4))" and images.device.type == "cpu"
    with pytest.raises(NotImplementedError, match="read in parts"):
        images + 1
    with pytest.raises(ValueError, match="binarize: images that stay in their file"):
        pv.load_dataset(tmp_path / "a.npy", binarize="threshold", limit=1e-6)


def test_pixels_are_checked(tmp_path, monkeypatch):
    array = GREY / 255
    array[41, 2, 2] = np.nan
    np.save(tmp_path / "a.npy", array)
    file = np.load(tmp_path / "a.npy", mmap_mode="r")
    vae = pv.VAE((1, 5, 4), 2, hidden=(3,))
    with pytest.raises(ValueError, match="expected finite pixels"):
        pv.load_dataset(tmp_path / "a.npy", limit=1e-6)
    with pytest.raises(ValueError, match="expected finite pixels"):
        pv.fit(vae, file)
    monkeypatch.setattr(mapped, "LOOKED_AT", 40)  # two images
    with pytest.raises(OSError, match=r"expected finite pixels.*; it was read while training"):
        list(pv.fit(vae, file, batch_size=4))


def test_errors_come_from_the_thread_in_their_place():
    results = ahead(lambda n: 1 / n, [1, 2, 0, 3])
    assert [next(results), next(results)] == [1, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_no_step_of_a_run_reads_more_than_a_share_of_the_file(tmp_path, monkeypatch):
    """From the first look at the pixels to the report; labels go with the images that are looked at."""
    np.save(tmp_path / "a.npy", rng.integers(256, size=(5000, 5, 4), dtype=np.uint8))
    (tmp_path / "of_mine.py").write_text(
        "import numpy as np\n"
        f"def make(): x = np.load({str(tmp_path / 'a.npy')!r}, mmap_mode='r'); return"
        " {'train_images': x[:4900], 'train_labels': np.arange(4900) % 2,"
        " 'test_images': x[4900:], 'test_labels': np.arange(100) % 2}\n"
    )
    counts, read = [], MappedImages._part
    monkeypatch.setattr(MappedImages, "_part", lambda x, at: counts.append(len(at)) or read(x, at))
    monkeypatch.setattr(mapped, "LOOKED_AT", 200 * 20)
    monkeypatch.setattr("pyro_vae.measures.baselines.MOST_NUMBERS", 200 * 20)
    monkeypatch.setattr("pyro_vae.models.elbo._PIXELS_AT_ONCE", 200 * 20)
    monkeypatch.setattr("pyro_vae.devices.PIECE", 200 * 20)
    settings = {"latent_dim": 2, "hidden": (4,), "epochs": 1, "batch_size": 100}
    config = pv.RunConfig(dataset=f"{tmp_path / 'of_mine.py'}:make", conditional=2, **settings)
    pv.train(config, out=tmp_path / "run")
    data = pv.load_dataset(config.dataset)
    classifier_for(data)
    assert max(counts) <= 200 and sum(counts) > 4900


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="pages cannot be given back")
def test_pages_that_were_read_are_given_back(tmp_path):
    def mapped_kilobytes():
        return int(re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())[1])

    np.save(tmp_path / "a.npy", np.zeros((2**10, 256, 256), np.uint8))  # 64 MiB
    images, before = mapped_images(np.load(tmp_path / "a.npy", mmap_mode="r"), 256), []
    for rows in torch.arange(2**10).split(64):
        images[rows]
        before.append(mapped_kilobytes())
    assert max(before) - min(before) < 2**14  # kilobytes


# --- pictures -------------------------------------------------------------------------------------


def paint(path, *frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = map(Image.fromarray, frames)
    first.save(path, save_all=True, append_images=others)


def test_pictures_that_exceed_the_limit_are_decoded_once(tmp_path, monkeypatch):
    for n, name in enumerate(["train/a/1", "train/a/2", "train/b/3", "test/a/4", "test/b/5"]):
        paint(tmp_path / f"{name}.png", GREY[n], GREY[n + 9])
    options = {"form": Form(channels=3)}
    here = pv.load_dataset(tmp_path, **options)
    with pytest.warns(Notice, match="10 pictures are decoded once"):
        there = pv.load_dataset(tmp_path, limit=1e-9, **options)
    for part in ("train", "test"):
        images = getattr(there, part).images
        assert isinstance(images, MappedImages)
        assert torch.equal(images[:], getattr(here, part).images)
        assert torch.equal(getattr(there, part).labels, getattr(here, part).labels)
    assert there.fingerprint == here.fingerprint
    paint(tmp_path / "test/b/5.png", *GREY[:3])
    assert len(pv.load_dataset(tmp_path, limit=1e-9, **options).test) == 5
    with monkeypatch.context() as patch:
        patch.setattr("pyro_vae.data.pictures._pictures", None)
        assert len(pv.load_dataset(tmp_path, limit=1e-9, **options).test) == 5


def test_pictures_of_two_sizes_leave_nothing_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    paint(tmp_path / "a" / "1.png", GREY[0])
    paint(tmp_path / "a" / "2.png", GREY[0].T)
    with pytest.raises(ValueError, match=r"got 4x5 in 1.png and 5x4 in 2.png"):
        pv.load_dataset(tmp_path / "a", limit=1e-9, form=Form(channels=1))
    assert list((tmp_path / "cache" / "pyro_vae" / "pictures").iterdir()) == []


# --- data sets of torch ---------------------------------------------------------------------------


class Pictures(Dataset):
    """Pictures of Pillow with their number, of which one may be gone."""

    def __init__(self, gone=None):
        self.gone = gone

    def __len__(self):
        return len(GREY)

    def __getitem__(self, n):
        if n == self.gone:
            raise KeyError("a file that is gone")
        return Image.fromarray(GREY[n]), n


def test_items_may_be_pictures():
    images = mapped_images(Pictures(), 256)
    assert images.shape == (60, 1, 5, 4)
    assert torch.equal(images[7:9], torch.from_numpy(GREY[7:9, None] / 255).float())


@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_that_fails_is_named(workers):
    given = DataLoader(Pictures(gone=41), num_workers=workers)
    vae = pv.VAE((1, 5, 4), 2, hidden=(3,))
    with pytest.raises(OSError, match=r"^images: item 41 cannot be read: 'a file that is gone'$"):
        list(pv.fit(vae, given, batch_size=4, epochs=1))


def test_images_of_another_size_are_told_in_one_line():
    images = [np.zeros((size, 4), np.uint8) for size in (5, 5, 6)]
    given = DataLoader(images, num_workers=1)
    with pytest.raises(OSError, match=r"^all input arrays must have the same shape$"):
        list(mapped_images(given, 256).split(3))


def test_processes_begin_as_the_loader_says():
    def broken(worker):
        raise RuntimeError("as the loader says")

    images = mapped_images(DataLoader(Pictures(), num_workers=1, worker_init_fn=broken), 256)
    with pytest.raises(RuntimeError, match="as the loader says"):
        list(images.split(20))


class Drawn(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, n):
        return torch.rand(1, 5, 4)


@pytest.mark.parametrize("workers", [0, 1])
def test_reading_takes_no_random_numbers_of_the_caller(workers):
    images = mapped_images(DataLoader(Drawn(), num_workers=workers), 256)
    before = torch.get_rng_state()
    one, other = images.split(20)
    assert not torch.equal(one, other) and torch.equal(images[:20], one)
    assert torch.equal(torch.get_rng_state(), before)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.zeros(3, 1, 5, 4))


def test_a_stream_without_numbers_is_refused():
    with pytest.raises(ValueError, match="images: expected a data set with a length and numbered"):
        pv.fit(pv.VAE((1, 5, 4), 2, hidden=(3,)), Stream())
