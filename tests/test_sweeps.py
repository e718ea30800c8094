"""Runs that are trained at once leave the folders of runs trained one by one."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pyro_vae as pv
from pyro_vae.training.engines import Compiled
from pyro_vae.runs.checkpoints import load_checkpoint
from pyro_vae.runs.interrupts import Interrupted, Interrupts
from pyro_vae.sweeps.together import train_many

BASE = pv.RunConfig(
    likelihood="bernoulli", binarize="dynamic", hidden=(8,), latent_dim=2, epochs=3,
    precision="float64", engine="compiled", beta_schedule="linear", warmup_epochs=1,
)  # fmt: skip
CONFIGS = [
    replace(BASE, beta=0.5),
    replace(BASE, beta=4.0, seed=1),
    replace(BASE, beta=1.0, seed=2, learning_rate=1e-2),
]
NAMES = ["a", "b", "c"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder of its own, and no inductor: it is the runs that are tested."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Compiled, "compile", staticmethod(lambda step, device: step))


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


def numbers(value, path=""):
    """The numbers in nested dicts and lists, by their path, but for times."""
    if isinstance(value, dict):
        return {
            k: v for key, each in value.items() for k, v in numbers(each, f"{path}/{key}").items()
        }
    if isinstance(value, list):
        return numbers(dict(enumerate(value)), path)
    return {} if "second" in path else {path: value}


def assert_same_folder(one, other):
    assert files(one) == files(other)
    assert Path(one, "config.yaml").read_text() == Path(other, "config.yaml").read_text()
    a, b = (numbers(json.loads(Path(run, "summary.json").read_text())) for run in (one, other))
    assert a.keys() == b.keys()
    for key, value in a.items():
        close = pytest.approx(b[key], rel=1e-9) if isinstance(value, float) else b[key]
        assert value == close, key
    tables = (Path(run, "metrics.csv").read_text().splitlines() for run in (one, other))
    rows = [list(csv.DictReader(table)) for table in tables]
    for x, y in zip(*rows, strict=True):
        assert x.keys() == y.keys()
        for key in x.keys() - {"seconds"}:
            assert (x[key] == y[key] == "") or float(x[key]) == pytest.approx(
                float(y[key]), rel=1e-9
            )
    a, b = (load_checkpoint(f"{run}/checkpoints/last.pt") for run in (one, other))
    assert a.keys() == b.keys() and a["step"] == b["step"]
    for key, weight in a["model"].items():
        assert (weight - b["model"][key]).abs().max() <= 1e-10
    assert torch.equal(a["random"][0], b["random"][0]) and torch.equal(a["order"], b["order"])
    sizes = [Path(run, "checkpoints/last.pt").stat().st_size for run in (one, other)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_folders_are_those_of_single_runs():
    seen = []
    runs = train_many(CONFIGS, NAMES, on_record=lambda i, r, last: seen.append((i, r.epoch, last)))
    assert seen == [(i, epoch, epoch == 3) for epoch in (1, 2, 3) for i in range(3)]
    for config, name, run in zip(CONFIGS, NAMES, runs):
        pv.train(config, f"{name}-alone")
        assert_same_folder(name, f"{name}-alone")
        assert run.config == config.__class__.load(f"{name}/config.yaml")
        assert Path(name, "report.html").exists()


def test_finished_runs_are_left_alone_and_others_are_added():
    train_many(CONFIGS[:2], NAMES[:2])
    times = [Path(n, "checkpoints/last.pt").stat().st_mtime_ns for n in NAMES[:2]]
    runs = train_many(CONFIGS, NAMES, resume=True)
    assert [r.summary["epochs"] for r in runs] == [3, 3, 3]
    assert times == [Path(n, "checkpoints/last.pt").stat().st_mtime_ns for n in NAMES[:2]]


def test_an_interrupted_sweep_goes_on_to_the_same_weights():
    interrupts, calls = Interrupts(), []

    def stop(i, record, last):
        calls.append(i)
        if len(calls) == 4:  # within the second lap, after the first member's record
            interrupts.pending = 15

    with pytest.raises(Interrupted, match="all is saved, and the same command goes on"):
        train_many(CONFIGS, NAMES, on_record=stop, interrupts=interrupts)
    assert all(load_checkpoint(f"{n}/checkpoints/last.pt")["step"] for n in NAMES)
    train_many(CONFIGS, NAMES, resume=True)
    for config, name in zip(CONFIGS, NAMES):
        pv.train(config, f"{name}-alone")
        assert_same_folder(name, f"{name}-alone")


def test_one_that_diverges_stops_alone(monkeypatch):
    build = pv.runs.build_model

    def broken(config, *arguments):
        model = build(config, *arguments)
        if config.seed == 1:
            with torch.no_grad():
                next(model.decoder.parameters()).fill_(math.nan)
        return model

    monkeypatch.setattr("pyro_vae.runs.run.build_model", broken)
    first, error, third = train_many(CONFIGS, NAMES)
    message = (
        "the distortion is not finite at epoch 1, step 1; .*; last finite checkpoint: none yet"
    )
    with pytest.raises(FloatingPointError, match=message):
        raise error
    assert first.summary["epochs"] == third.summary["epochs"] == 3
    assert not Path("b/summary.json").exists()


@pytest.mark.parametrize(
    "configs, folders, message",
    [
        (
            [BASE, replace(BASE, latent_dim=3)],
            ["a", "b"],
            "configs: 1 differs from 0 in more than beta",
        ),
        ([BASE, BASE], ["a"], "folders: expected 2, got 1"),
        ([BASE, BASE], ["a", "./a"], "folders: expected a folder for each run, got one twice"),
        ([BASE, BASE], ["a", "taken"], "out: taken is there already"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(configs, folders, message):
    Path("taken").mkdir()
    with pytest.raises(ValueError, match=message):
        train_many(configs, folders)
    assert sorted(p.name for p in Path().iterdir()) == ["taken"]
