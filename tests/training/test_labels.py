"""Conditional models train alike under every engine, alone and together, and resume bit for bit."""

import pytest
import torch

import pyro_vae as pv
from pyro_vae.data import Split
from pyro_vae.settings import TrainingSettings
from pyro_vae.training.ensembles import Ensemble
from pyro_vae.training.epochs import Splits
from pyro_vae.training.fit import make_training
from pyro_vae.training.loop import Stopped
from tests.support import fake_cuda
from tests.support.programs import images, model
from tests.support.training import assert_same_records, assert_same_weights, stop_after, trained

LABELS = torch.arange(40) % 3
HELD_OUT = {
    "test_images": images(7), "test_labels": LABELS[:7], "patience": 9,
    "validation_images": images(9), "validation_labels": LABELS[:9],
}  # fmt: skip
CASES = {
    "one-hot, vectors": {},
    "an embedding, channels, optimal sigma": {
        "conditional": 2, "network": "conv", "hidden": (4,), "likelihood": "gaussian_optimal_sigma",
    },
}  # fmt: skip


def conditional(**options):
    options = {"conditional": 3} | options
    if options["conditional"] == 2:
        torch.manual_seed(1)
        options["conditional"] = torch.nn.Embedding(3, 2)
    return model(**options)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_engines_train_alike(no_inductor, monkeypatch, name):
    """To rounding, which Adam magnifies; `graph` has its learning rate in float32."""
    options = {"labels": LABELS} | HELD_OUT
    expected, reference = trained(conditional(**CASES[name]), engine="svi", **options)
    for engine, tolerance in {"eager": 1e-8, "compiled": 1e-8, "graph": 1e-6}.items():
        if engine == "graph":
            fake_cuda.pretend(monkeypatch)
        records, weights = trained(conditional(**CASES[name]), engine=engine, **options)
        assert_same_weights(weights, reference, tolerance)
        assert_same_records(records, expected, tolerance)


def test_it_resumes_within_an_epoch_bit_for_bit():
    whole, first, second = (
        pv.fit(conditional(), images(), labels=LABELS, epochs=2, batch_size=8, engine="eager")
        for _ in range(3)
    )
    list(whole)
    first.should_stop = stop_after(3)
    with pytest.raises(Stopped):
        list(first)
    second.restore(first.state())
    list(second)
    assert_same_weights(second.model.state_dict(), whole.model.state_dict(), 0)


@pytest.mark.slow
def test_an_ensemble_is_its_members_alone(no_inductor):
    """Each on images and labels of its own, which lie in one row."""
    splits = Splits(Split(images(), LABELS)), Splits(Split(images().flip(0), LABELS.roll(1)))
    options = {"epochs": 2, "batch_size": 10, "precision": "float64", "engine": "compiled"}
    alone, together = (
        [
            make_training(conditional(seed=seed), each, TrainingSettings(seed=seed, **options))
            for seed, each in enumerate(splits)
        ]
        for _ in range(2)
    )
    for each in alone:
        list(each)
    list(Ensemble(together))
    for one, other in zip(together, alone):
        assert_same_weights(one.model.state_dict(), other.model.state_dict(), 1e-10)


def test_labels_that_do_not_fit_are_refused():
    expected = r"labels: the model is conditional; expected torch.int64 from 0, \(40,\).*, got "
    for labels, message in {
        None: expected + "none",
        LABELS[:4]: expected + r"\(4,\) of torch.int64 from 0",
        LABELS - 1: expected + r"\(40,\) of torch.int64 from -1",
        LABELS.float(): expected + r"\(40,\) of torch.float32 from 0",
        LABELS + 1: "labels: 1 to 3 cannot be embedded: index 3 is out of bounds",
    }.items():
        with pytest.raises(ValueError, match=message):
            pv.fit(conditional(), images(), labels=labels)
    with pytest.raises(ValueError, match="test_labels: the model is conditional"):
        pv.fit(conditional(), images(), labels=LABELS, test_images=images(3))
    with pytest.raises(ValueError, match="labels: the model takes none; make it with conditional="):
        pv.fit(model(), images(), labels=LABELS)
    with pytest.raises(ValueError, match="labels: the model is conditional"):
        pv.fit_many([conditional()], images())
