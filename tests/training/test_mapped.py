"""Training on images that stay in their file: to the last bit that on the same images in memory."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

import pyro_vae as pv
from pyro_vae.training.ensembles import Ensemble
from pyro_vae.training.loop import Stopped
from pyro_vae.training.replay import Steps
from tests.support.training import assert_same_records, assert_same_weights, stop_after

GREY = np.random.default_rng(0).integers(256, size=(50, 4, 4, 3), dtype=np.uint8)
OF_LABELS = {"likelihood": "gaussian_optimal_sigma", "classes": 5}
OF_COLOURS = {"network": "conv", "beta": 2.0}
OF_DRAWN_PIXELS = {"likelihood": "bernoulli", "dynamic": True, "precision": "float64"}


@pytest.fixture
def file(tmp_path):
    """The images as a mapped array."""
    np.save(tmp_path / "a.npy", GREY)
    return np.load(tmp_path / "a.npy", mmap_mode="r")


def in_memory():
    return torch.from_numpy(GREY.transpose(0, 3, 1, 2).astype(np.float32) / 255)


def training(images, likelihood="bernoulli", network="mlp", classes=None, **options):
    """A training with all that reads images: steps, test and validation images, calibration."""
    torch.manual_seed(0)
    vae = pv.VAE((3, 4, 4), 2, likelihood, network, hidden=(8,), conditional=classes)
    held_out = {"test_images": images[:9], "validation_images": images[9:20], "patience": 9}
    if classes:
        labels = torch.arange(30) % classes
        options |= {"labels": labels, "test_labels": labels[:9], "validation_labels": labels[:11]}
    return pv.fit(vae, images[20:], batch_size=4, epochs=3, **held_out, **options)


@pytest.mark.parametrize(
    "engine, window, options",
    [
        ("svi", 1, OF_LABELS),
        ("eager", 1, OF_COLOURS),
        ("compiled", 1, OF_DRAWN_PIXELS),
        # the last window is not full: an epoch has seven steps
        pytest.param("compiled", 3, OF_LABELS, marks=pytest.mark.slow),
    ],
)
def test_weights_are_those_of_images_in_memory(
    no_inductor, monkeypatch, file, engine, window, options
):
    """Also where a training stops in the middle of its second epoch, and resumes."""
    monkeypatch.setattr(Steps, "window", window)
    whole, before, after = (
        training(images, engine=engine, **options) for images in (in_memory(), file, file)
    )
    records = list(whole)
    before.should_stop = stop_after(10)
    assert_same_records([next(before)], records[:1])
    with pytest.raises(Stopped):
        next(before)
    after.restore(before.state())
    assert_same_records(list(after), records[1:])
    assert_same_weights(after.model.state_dict(), whole.model.state_dict())


@pytest.mark.parametrize(
    "engine, workers", [("eager", 0), pytest.param("compiled", 2, marks=pytest.mark.slow)]
)
def test_weights_are_those_of_a_data_set_of_torch(no_inductor, monkeypatch, engine, workers):
    """Pairs of a picture in bytes and its label, which processes of a loader may read ahead."""
    monkeypatch.setattr(Steps, "window", 3)
    pairs = TensorDataset(torch.from_numpy(GREY[20:]), torch.arange(30))
    loader = DataLoader(pairs, batch_size=7, shuffle=True, num_workers=workers)

    def fitted(images, held_out):
        torch.manual_seed(0)
        vae = pv.VAE((3, 4, 4), 2, hidden=(8,))
        options = {"batch_size": 4, "epochs": 3, "patience": 9, "engine": engine}
        run = pv.fit(vae, images, validation_images=held_out, **options)
        return list(run), vae.state_dict()

    records, weights = fitted(loader if workers else pairs, TensorDataset(in_memory()[9:20]))
    expected = fitted(in_memory()[20:], in_memory()[9:20])
    assert_same_records(records, expected[0])
    assert_same_weights(weights, expected[1])


class Noisy(Dataset):
    """Images that are drawn whenever they are read."""

    def __len__(self):
        return 12

    def __getitem__(self, n):
        return torch.rand(1, 4, 4)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_items_draw_is_repeated_and_resumed(workers):
    def training():
        torch.manual_seed(0)
        loader = DataLoader(Noisy(), num_workers=workers)
        return pv.fit(pv.VAE((1, 4, 4), 2, hidden=(8,)), loader, batch_size=4, epochs=2)

    whole, before, after = training(), training(), training()
    records = list(whole)
    assert_same_records([next(before)], records[:1])
    after.restore(before.state())
    assert_same_records(list(after), records[1:])
    assert_same_weights(after.model.state_dict(), whole.model.state_dict())


def test_several_models_share_images_in_memory_only(file):
    with pytest.raises(ValueError, match="images: expected them in memory"):
        Ensemble([training(file, engine="compiled")])
