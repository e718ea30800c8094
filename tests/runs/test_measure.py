"""`measure`: figures by a function of the user's, measured once and kept in the run folders."""

import copy
import json
import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation.estimates import Estimate
from pyro_vae.measures.part import VERSION
from pyro_vae.notices import Notice
from pyro_vae.runs.evaluate import evaluate_missing
from pyro_vae.runs.lock import FolderInUse, FolderLock
from pyro_vae.runs.measure import measure


class Counted:
    """A measure that counts its calls."""

    __name__ = "counted"

    def __init__(self, **figures):
        self.calls, self.figures = 0, figures

    def __call__(self, subject, factor=1):
        self.calls += 1
        return self.figures | {"of": factor * len(subject.test), "seed": subject.seed}


@pytest.fixture
def run(copy_run):
    return pv.load_run(copy_run("a", seed=2))


def kept_files(run):
    return list((run.folder / "measured").iterdir())


def test_a_table_has_a_row_for_each_run_and_is_measured_once(run, copy_run):
    runs, function = [run, pv.load_run(copy_run("b"))], Counted()
    for _ in range(2):
        table = measure(runs, function, factor=2)
        assert function.calls == 2 and table.index.tolist() == ["a", "b"]
        assert table["of"].tolist() == [720, 720] and table["seed"].tolist() == [2, 0]
    assert isinstance(table, pd.DataFrame) and len(kept_files(run)) == 1


def test_a_run_is_measured_alone_and_a_repeated_one_not_at_all(run, copy_run):
    again, function = pv.load_run(copy_run("b", seed=2)), Counted()
    with pytest.warns(Notice, match="measure: b is left out: settings and seed are those of a"):
        assert measure([run, again], function).index.tolist() == ["a"]
    assert measure(run, function)["seed"].tolist() == [2] and function.calls == 1


def test_a_measure_has_the_model_and_its_data(run, digits):
    def elbo(subject):
        assert subject.model is run.vae
        assert len(subject.labelled().train) == len(digits.train)
        return {"images": subject.test.flatten(1).sum(1)}

    values = measure([run], elbo)["images"].iloc[0]
    assert np.array_equal(values, digits.test.images.flatten(1).sum(1).numpy())


def test_other_settings_and_other_weights_are_measured_again(run):
    function = Counted()
    for factor in (1, 2):
        measure([run], function, factor=factor)
    assert function.calls == 2 and len(kept_files(run)) == 2
    retrained = copy.copy(run)
    retrained.fingerprint = "of other weights"
    for one in (retrained, retrained, run):
        measure([one], function, factor=1)
    assert function.calls == 4 and len(kept_files(run)) == 2


def test_figures_come_back_as_they_were(run):
    values = torch.tensor([0.1, math.pi])
    draws = torch.arange(6.0).reshape(1, 2, 3)
    function = Counted(word="good", images=values, mean=Estimate(1.5, 0.25), draws=draws)
    for _ in range(2):  # measured, and read
        (row,) = measure([run], function).to_dict("records")
        assert row["word"] == "good" and row["of"] == 360
        assert (row["mean"], row["mean.standard_error"]) == (1.5, 0.25)
        assert np.array_equal(row["images"], values.numpy()) and row["draws"].shape == (1, 2, 3)
        assert isinstance(row["word"], str) and isinstance(row["mean"], float)


def test_what_cannot_be_kept_is_refused(run):
    with pytest.raises(ValueError, match=r"counted: expected numbers, words.*got dict as a"):
        measure([run], Counted(a={"b": 1}))
    with pytest.raises(ValueError, match="settings: expected values that JSON can write"):
        measure([run], Counted(), factor=object())


@pytest.mark.parametrize("function", [partial(Counted(), factor=2), lambda subject: {"a": 1}])
def test_a_function_without_a_name_is_refused(run, function):
    with pytest.raises(ValueError, match="function: expected one that 'def' names, got"):
        measure(run, function)


def test_a_folder_that_is_in_use_is_left_alone(run):
    with FolderLock(run.folder).acquire(), pytest.raises(FolderInUse, match="in use by"):
        measure([run], Counted())
    measure([run], Counted())
    with FolderLock(run.folder).acquire():  # what is kept can be read
        assert measure([run], Counted())["of"].tolist() == [360]


# --- parts that are missing -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "known, missing",
    [
        ({"latents": {"checkpoint": "new", "measures": VERSION}, "factors": None}, []),
        ({"latents": {"checkpoint": "new", "measures": VERSION - 1}, "factors": None}, ["latents"]),
        ({"latents": {"checkpoint": "old", "measures": VERSION}, "factors": None}, ["latents"]),
        ({}, ["latents", "factors"]),
    ],
)
def test_parts_of_other_weights_are_missing(known, missing, run, monkeypatch):
    """A part that is None does not apply to the run."""
    calls = []
    monkeypatch.setattr(
        "pyro_vae.runs.evaluate.evaluate", lambda run, only, quick: calls.append(only)
    )
    text = json.dumps(known).replace("new", run.fingerprint)
    (run.folder / "evaluation.json").write_text(text)
    evaluate_missing([run], ["latents", "factors"])
    assert calls == [missing] * bool(missing)
    with pytest.raises(ValueError, match="only: unknown name 'latent'"):
        evaluate_missing([run], ["latent"])
