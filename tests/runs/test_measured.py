"""Measures of a user's own: measured once, and again where what they depend on has changed."""

import copy
import math

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.evaluation.estimates import Estimate
from pyro_vae.notices import Notice
from pyro_vae.runs.lock import FolderInUse, FolderLock
from pyro_vae.runs.measured import kept_figures
from pyro_vae.runs.run import Run


@pytest.fixture
def run(tmp_path):
    """A run of which the measures know the folder and the mark of its weights."""
    run = Run(tmp_path, pv.RunConfig())
    run.fingerprint = "of weights"
    return run


class Counted:
    """A measure that counts how often it is called."""

    __name__ = "counted"

    def __init__(self, figures=None):
        self.calls = 0
        self.figures = figures

    def __call__(self, run, data, factor):
        self.calls += 1
        return self.figures or {"twice": 2.0 * factor * data}


def test_a_run_is_measured_once(run):
    measure, loads = Counted(), []

    def load():
        loads.append(1)
        return 21

    for _ in range(2):
        assert kept_figures(run, measure, load, {"factor": 1}) == {"twice": 42.0}
    assert measure.calls == 1 and len(loads) == 1


def test_other_settings_are_measured_beside(run):
    measure = Counted()
    for factor in (1, 2, 1, 2):
        assert kept_figures(run, measure, lambda: 1, {"factor": factor}) == {"twice": 2.0 * factor}
    assert measure.calls == 2 and len(list((run.folder / "measured").glob("counted-*.npz"))) == 2


def test_other_weights_are_measured_again(run):
    measure = Counted()
    retrained = copy.copy(run)
    retrained.fingerprint = "of other weights"
    for one in (run, retrained, retrained):
        kept_figures(one, measure, lambda: 1, {"factor": 1})
    assert measure.calls == 2 and len(list((run.folder / "measured").glob("*.npz"))) == 1


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_measured_again_and_named(run, content):
    measure = Counted()
    kept_figures(run, measure, lambda: 1, {"factor": 1})
    (path,) = (run.folder / "measured").glob("*.npz")
    path.write_bytes(content)
    with pytest.warns(Notice, match=f"measured: {path} cannot be read; the run is measured again"):
        assert kept_figures(run, measure, lambda: 1, {"factor": 1}) == {"twice": 2.0}
    kept_figures(run, measure, lambda: 1, {"factor": 1})
    assert measure.calls == 2


def test_an_archive_of_something_else_is_measured_again(run):
    measure = Counted()
    kept_figures(run, measure, lambda: 1, {"factor": 1})
    (path,) = (run.folder / "measured").glob("*.npz")
    np.savez(path, other=np.zeros(3))
    with pytest.warns(Notice, match="cannot be read"):
        kept_figures(run, measure, lambda: 1, {"factor": 1})


def test_figures_come_back_as_they_were(run):
    values = torch.tensor([0.1, math.pi])
    figures = {"number": 3, "word": "good", "images": values, "est": Estimate(1.5, 0.25)}
    figures["draws"] = torch.arange(6.0).reshape(1, 2, 3)
    measure = Counted(figures)
    for _ in range(2):  # measured, and read
        found = kept_figures(run, measure, lambda: 1, {"factor": 1})
        assert found["number"] == 3 and found["word"] == "good"
        assert (found["est"], found["est.standard_error"]) == (1.5, 0.25)
        assert np.array_equal(found["images"], values.numpy())
        assert found["draws"].shape == (1, 2, 3)
        assert isinstance(found["word"], str) and isinstance(found["est"], float)


def test_what_cannot_be_kept_is_refused(run):
    with pytest.raises(ValueError, match=r"counted: expected numbers, words.*got dict as a"):
        kept_figures(run, Counted({"a": {"b": 1}}), lambda: 1, {"factor": 1})
    with pytest.raises(ValueError, match="settings: expected values that JSON can write"):
        kept_figures(run, Counted(), lambda: 1, {"factor": object()})


def test_a_folder_that_is_in_use_is_left_alone(run):
    other = FolderLock(run.folder).acquire()
    with pytest.raises(FolderInUse, match="in use by"):
        kept_figures(run, Counted(), lambda: 1, {"factor": 1})
    other.release()
