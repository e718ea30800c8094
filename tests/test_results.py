"""The settings that `results/` names, and how its tables grow."""

import importlib.util
import math
import shutil
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import pyro_vae as pv
from pyro_vae.likelihoods import LIKELIHOODS
from tests.support.house import ROOT

PLANS = sorted((ROOT / "results").glob("*/plan.yaml"))
ROWS = sorted((ROOT / "results" / "published").glob("*.yaml"))


@pytest.fixture
def run_of_results(monkeypatch):
    """The module `results/run.py`, which imports its neighbours."""
    monkeypatch.syspath_prepend(ROOT / "results")
    monkeypatch.setitem(sys.modules, "measures", ModuleType("measures"))  # unused here
    return script("run")


def script(name):
    """A module of `results/`; benchmarks and notebooks have some of the same name."""
    path = ROOT / "results" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_of_results", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.stem)
def test_a_published_row_has_settings_that_train_takes(path):
    row = yaml.safe_load(path.read_text())
    assert row["source"] and row["measure"]
    pv.RunConfig(**row["config"])


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.parent.name)
def test_a_plan_has_settings_that_train_takes(path):
    plan = yaml.safe_load(path.read_text())
    for family in plan["families"]:
        pv.RunConfig(likelihood=family, **plan["settings"])


def test_noise_of_one_bin_costs_a_normal_its_variance():
    """The expected log density is lower by w^2 / (24 sigma^2) for each pixel, in closed form."""
    trainings = script("trainings")
    shape, levels, sigma = (1, 2, 2), 5, 0.25  # that of the family, before it is trained
    noisy, plain = (
        family(shape, levels)(torch.zeros(20_000, *shape))
        for family in (
            trainings.with_noise("gaussian_fixed_sigma"),
            LIKELIHOODS["gaussian_fixed_sigma"],
        )
    )
    x = torch.tensor([0.0, 0.25, 0.5, 1.0]).view(shape).expand(20_000, *shape)
    lost = (plain.log_prob(x) - noisy.log_prob(x)).double()
    expected = 4 / (levels - 1) ** 2 / 24 / sigma**2
    assert abs(lost.mean() - expected) < 4 * lost.std() / 20_000**0.5
    assert lost.std() > expected
    assert torch.equal(noisy.mean, plain.mean)


@pytest.mark.parametrize("rise, best", [({}, 1), ({"warmup_epochs": 2}, 4)])
def test_the_best_epoch_comes_after_the_warm_up(monkeypatch, rise, best):
    """While beta rises, the loss at the last beta may be lower by chance, and its weights worse."""
    trainings, losses, model = script("trainings"), [1.0, 2.0, 5.0, 4.0, 6.0], torch.nn.Linear(1, 1)

    def fit_many(*_, **options):
        assert options.get("warmup_epochs") == rise.get("warmup_epochs")
        for epoch, loss in enumerate(losses, 1):
            torch.nn.init.constant_(model.weight, epoch)
            yield {0: SimpleNamespace(epoch=epoch, step=10 * epoch, validation_loss=loss)}

    monkeypatch.setattr(pv, "fit_many", fit_many)
    data = SimpleNamespace(
        train=SimpleNamespace(images=None), validation=SimpleNamespace(images=None)
    )
    cell = {"beta": 1, "seed": 0, "learning_rate": 0.001}
    (found,), (curve,) = trainings.together(
        [cell], [model], data, {"epochs": 5, "patience": 9} | rise
    )
    assert (found["best_epoch"], found["best_step"]) == (best, 10 * best)
    assert (
        found["validation_loss"] == losses[best - 1] and found["weights"]["weight"].item() == best
    )
    assert curve == losses


def test_rows_of_another_machine_stay_in_a_table(tmp_path, run_of_results):
    def table(seed, loss):
        names = {"likelihood": "laplace", "beta": 1.0, "seed": seed, "learning_rate": 0.001}
        return pd.DataFrame([names | {"validation_loss": loss}])

    path = tmp_path / "cells.csv"
    for rows in (table(1, 3.0), table(0, 2.0), table(1, 2.5)):
        run_of_results.merge_rows(rows, path)
    assert pd.read_csv(path).validation_loss.tolist() == [2.0, 2.5]


def test_a_family_is_compared_with_itself_in_another_plan(tmp_path):
    """By the same seeds, of which the other plan may have more; what it has not is left out."""
    tables = script("tables")

    def plan(name, families, seeds, log_prob):
        folder = tmp_path / name
        folder.mkdir()
        cells = [{"likelihood": f, "beta": 1.0, "seed": n} for f in families for n in range(seeds)]
        pd.DataFrame(cells).assign(validation_ais=0.0).to_csv(folder / "cells.csv")
        kept = {f"{f}/1/{n}/test_ais": log_prob - 10.0 * n for f in families for n in range(seeds)}
        np.savez(folder / "per_image.npz", **kept)
        return tables.Measures(folder, pixels=4)

    images = np.arange(5.0)
    here = plan("here", ["laplace", "beta"], 2, images - 3.0)
    there = plan("there", ["laplace"], 3, images)
    (row,) = tables.another_plan(here, there)
    assert row["family"] == "laplace" and row["seeds"] == 2
    assert row["lost, nats"].startswith("3.00 ± 7.07")  # the error of seeds, which are not paired
    assert float(row["bits"]) - float(row["there"]) == pytest.approx(3 / 4 / math.log(2), abs=2e-3)


def test_a_release_is_read_without_where_it_was_trained(copy_run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "results")
    import release

    run = copy_run("a", patience=3)
    archive = release.pack(run, tmp_path)
    shutil.unpack_archive(archive, tmp_path / "b")
    (packed,) = (tmp_path / "b").iterdir()
    names = {path.name for path in packed.iterdir()}
    assert names >= {"report.html", "explore.html"} and not names & {"figures", ".lock"}
    weights, expected = (pv.load_run(folder).vae.state_dict() for folder in (packed, run))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert [path.name for path in (packed / "checkpoints").iterdir()] == ["best.pt"]
