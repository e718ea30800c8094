"""Runs that are trained in one batched step leave the folders of runs trained one by one."""

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pyro_vae as pv
from pyro_vae.checkpoints import load_checkpoint
from pyro_vae.notices import Notice
from pyro_vae.runs.interrupts import Interrupted, Interrupts
from pyro_vae.runs.run import build_model
from pyro_vae.training.loop import Stopped
from tests.support import seams
from tests.support.runs import assert_same_folder, modified, quick

pytestmark = pytest.mark.usefixtures("elsewhere", "no_inductor", "no_pictures")
BASE = quick(
    likelihood="bernoulli", binarize="dynamic", epochs=3, precision="float64", engine="compiled",
    beta_schedule="linear", warmup_epochs=1, data_dir=os.devnull,  # the same from any folder
)  # fmt: skip
CONFIGS = [
    replace(BASE, beta=0.5),
    replace(BASE, beta=4.0, seed=1),
    replace(BASE, beta=1.0, seed=2, learning_rate=1e-2),
]
NAMES = ["a", "b", "c"]


class Noting(pv.Observer):
    """Adds what it is told to a list."""

    def __init__(self, number, told, interrupts=None):
        super().__init__(interrupts)
        self.number, self.told = number, told

    def started(self, folder, config, data, training):
        self.told.append((self.number, "started"))

    def prepared(self):
        self.told.append((self.number, "prepared"))

    def notice(self, message):
        self.told.append((self.number, message))

    def epoch(self, record, last):
        self.told.append((self.number, record.epoch, last))

    def failed(self, error):
        self.told.append((self.number, str(error)))

    def finished(self):
        self.told.append((self.number, "finished"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of the same runs, trained one by one."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        seams.do_without_inductor(patch.setattr)
        seams.do_without_pictures(patch.setattr)
        seams.score_with_few_draws(patch.setattr)
        for config, name in zip(CONFIGS, NAMES):
            pv.train(config, folder / name)
    return folder


def assert_as_single_runs(alone):
    for name in NAMES:
        assert_same_folder(name, f"{alone}/{name}")


@pytest.mark.slow
def test_folders_are_those_of_single_runs_and_each_observer_is_told_of_its_own(alone):
    told = []
    runs = pv.train_many(CONFIGS, NAMES, observers=[Noting(n, told) for n in range(3)])
    assert [run.config for run in runs] == [pv.RunConfig.load(f"{n}/config.yaml") for n in NAMES]
    assert_as_single_runs(alone)
    assert told[:3] == [(n, "started") for n in range(3)]
    assert told[3:6] == [(n, "prepared") for n in range(3)]
    assert told[6:-3] == [(n, epoch, epoch == 3) for epoch in (1, 2, 3) for n in range(3)]
    assert told[-3:] == [(n, "finished") for n in range(3)]


@pytest.mark.slow
def test_each_observer_is_told_of_cautions_and_that_of_a_sweep_once():
    config, told = replace(BASE, binarize="none", epochs=1, data_dir="data"), []
    configs = [replace(config, seed=seed) for seed in range(2)]
    pv.train_many(configs, NAMES[:2], observers=[Noting(n, told) for n in range(2)])
    caution = "bernoulli is no likelihood of 17 grey levels"
    assert [n for n, words, *_ in told if str(words).startswith(caution)] == [0, 1]
    with pytest.warns(Notice, match=caution) as notices:
        pv.sweep({**vars(config), "seed": [0, 1]}, "sweep")
    assert len(notices) == 1


@pytest.mark.slow
def test_finished_runs_are_left_alone_and_others_are_added():
    pv.train_many(CONFIGS[:2], NAMES[:2])
    before = modified(*NAMES[:2])
    runs = pv.train_many(CONFIGS, NAMES, resume=True)
    assert [run.summary["epochs"] for run in runs] == [3, 3, 3]
    assert modified(*NAMES[:2]) == before


class Stopping(pv.Observer):
    """Has training stopped when it is told of the fourth epoch of all runs."""

    told = 0

    def epoch(self, record, last):
        Stopping.told += 1
        if Stopping.told == 4:  # within the second lap, after the first run's record
            self.stop()


class Signalled(Stopping):
    """Stops as a signal does."""

    def stop(self):
        self.interrupts.pending = 15


class Wishing(Stopping):
    """Stops without a signal."""

    wish = False

    def stop(self):
        Wishing.wish = True

    def should_stop(self):
        return Wishing.wish


@pytest.mark.slow
@pytest.mark.parametrize(
    "observer, error, message",
    [
        (Signalled, Interrupted, "all is saved, and the same command resumes"),
        (Wishing, Stopped, None),
    ],
)
def test_runs_that_are_stopped_are_saved_and_resume(alone, monkeypatch, observer, error, message):
    """An observer that stops training without a signal hears `Stopped`."""
    monkeypatch.setattr(Stopping, "told", 0)
    monkeypatch.setattr(Wishing, "wish", False)
    interrupts = Interrupts()
    with pytest.raises(error, match=message):
        pv.train_many(CONFIGS, NAMES, observers=[observer(interrupts) for _ in NAMES])
    steps = [load_checkpoint(f"{name}/checkpoints/last.pt")["step"] for name in NAMES]
    assert 0 < min(steps) <= max(steps) < 33
    pv.train_many(CONFIGS, NAMES, resume=True)
    assert_as_single_runs(alone)


@pytest.mark.slow
def test_one_that_diverges_stops_alone(monkeypatch):
    def broken(config, *arguments):
        model = build_model(config, *arguments)
        if config.seed == 1:
            with torch.no_grad():
                next(model.decoder.parameters()).fill_(math.nan)
        return model

    monkeypatch.setattr("pyro_vae.runs.train.build_model", broken)
    told = []
    observers = [Noting(n, told) for n in range(3)]
    first, error, third = pv.train_many(CONFIGS, NAMES, observers=observers)
    assert isinstance(error, FloatingPointError)
    assert str(error).startswith("the distortion is not finite at epoch 1, step 1; ")
    assert str(error).endswith("; last finite checkpoint: none yet")
    assert [what[1:] for what in told if what[0] == 1] == [
        ("started",),
        ("prepared",),
        (str(error),),
    ]
    assert first.summary["epochs"] == third.summary["epochs"] == 3
    assert not Path("b/summary.json").exists()


@pytest.mark.parametrize(
    "configs, folders, message",
    [
        ([BASE, replace(BASE, latent_dim=3)], ["a", "b"], "configs: 1 differs from 0 in more than"),
        ([BASE, BASE], ["a"], "folders: expected 2, got 1"),
        ([BASE, BASE], ["a", "./a"], "folders: expected a folder for each run, got one twice"),
        ([BASE, BASE], ["a", "taken"], "out: taken is there already"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(configs, folders, message):
    Path("taken").mkdir()
    with pytest.raises(ValueError, match=message):
        pv.train_many(configs, folders)
    assert sorted(p.name for p in Path().iterdir()) == ["taken"]
