"""Predictive checks of a model: of images that it drew itself, of others, and of a model that copies."""

from dataclasses import replace

import pytest
import torch

import pyro_vae as pv
from pyro_vae.data import Split
from pyro_vae.measures.checks import measure_checks
from pyro_vae.measures.part import Subject
from tests.support.runs import TINY

MEASURES = ("brightness", "contrast", "sparsity", "correlation", "nearest")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return pv.VAE((1, 8, 8), 2, "discretized_logistic", hidden=(4,), levels=17).eval()


def tails(model, digits, test, train=None, seed=0):
    """The figures of the part for these test images."""
    train = digits.train if train is None else Split(train)
    data = replace(digits, train=train, test=Split(test))
    return measure_checks(Subject(model, data, TINY, seed)).figures


def test_images_of_the_model_are_rejected_at_the_stated_rate(model, digits):
    """Of 40 sets beside 39 drawn ones, p is 0.2 or less in a fifth, for each measure.

    Test and training images are drawn anew each time.
    """
    found = []
    for seed in range(40):
        torch.manual_seed(seed)
        test, train = model.sample(50, draw=True), model.sample(50, draw=True)
        figures = tails(model, digits, test, train, seed)
        found.append([figures[name]["tail_probability"] for name in MEASURES])
    shares = (torch.tensor(found) <= 0.2 + 1e-9).double().mean(0)
    assert ((shares - 0.2).abs() < 5 * (0.2 * 0.8 / 40) ** 0.5).all(), shares
    assert shares.mean().item() == pytest.approx(0.2, abs=0.15)


def test_each_measure_finds_its_fault(model, digits):
    torch.manual_seed(0)
    images = model.sample(50, draw=True)
    dimmed, blurred = images / 2, torch.nn.functional.avg_pool2d(images, 3, 1, 1)
    for test, name in ((dimmed, "brightness"), (dimmed, "contrast"), (blurred, "correlation")):
        assert tails(model, digits, test)[name]["tail_probability"] == 2 / 40
    assert tails(model, digits, images.clamp_min(1 / 16))["sparsity"]["tail_probability"] == 2 / 40


def test_a_model_that_copies_training_images_is_nearer_to_them(model, digits, monkeypatch):
    def copied(self, z, draw=False):
        return digits.train.images[torch.randint(len(digits.train), (len(z),))]

    monkeypatch.setattr(pv.VAE, "images", copied)
    found = tails(model, digits, digits.test.images)["nearest"]
    assert found["tail_probability"] == 2 / 40 and found["model"] < found["lower"] + found["data"]
    assert found["model"] < 0.1 * found["data"]
