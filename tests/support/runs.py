"""Small runs, their folders, and the two ways in which one run can be another's equal."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

import pyro_vae as pv
from pyro_vae.checkpoints import load_checkpoint
from pyro_vae.measures.part import Effort
from pyro_vae.runs.lock import FolderLock
from tests.support import seams

QUICK = {"hidden": (8,), "latent_dim": 2, "epochs": 2}
TINY = Effort(
    images=60,
    bound_images=60,
    few_images=4,
    bound_samples=20,
    temperatures=20,
    chains=4,
    refit_steps=20,
    nuts_images=2,
    nuts_draws=12,
    simulations=60,
    walkers=64,
    replicates=39,
    rows=1500,
)
TRAIN_QUICK = ["train", "--hidden", "8", "--latent-dim", "2"]  # the epochs are to be added


def quick(**options):
    """The configuration of a run of a second: eight hidden units, two components, two epochs."""
    return pv.RunConfig(**(QUICK | options))


class KeptRuns:
    """Finished runs in a folder that all processes of the tests share; whoever asks first trains.

    All but the evaluated one are without pictures. They are trained in a working folder of their own
    under the name `a`, which stands on their pages. No test may change them.
    """

    def __init__(self, root):
        self.root = root

    def trained(self, pictures=False, **settings):
        """The folder of the run of `quick(**settings)`."""
        config = quick(**settings)
        return self._made(f"{pictures} {config}", lambda: pv.train(config, "a"), pictures)

    def evaluated(self):
        """The folder of the run of `quick()` with its pictures and every part of an evaluation."""
        return self._made("evaluated", _train_and_evaluate, pictures=True)

    def _made(self, mark, make, pictures):
        place = self.root / hashlib.sha256(mark.encode()).hexdigest()[:16]
        place.mkdir(exist_ok=True)
        with FolderLock(place).acquire(wait=600), pytest.MonkeyPatch.context() as patch:
            if not (place / "made").exists():
                patch.chdir(place)
                seams.evaluate_with(TINY, patch.setattr)
                seams.score_with_few_draws(patch.setattr)
                if not pictures:
                    seams.do_without_pictures(patch.setattr)
                make()
                (place / "made").touch()
        return place / "a"

    def copy(self, name="a", source=None, **settings):
        """A copy of the run of `quick(**settings)`, or of the folder `source`, as the folder `name`."""
        shutil.copytree(source or self.trained(**settings), name)
        return Path(name)


def _train_and_evaluate():
    pv.evaluate(pv.train(quick(), "a"), quick=True)


def metrics(run):
    """The rows of the table of metrics but for the seconds, as text."""
    with open(f"{run}/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: text for name, text in row.items() if name != "seconds"} for row in rows]


def files_in(folder):
    """The files in a folder, without locks and other hidden ones."""
    return [p for p in Path(folder).rglob("*") if p.is_file() and not p.name.startswith(".")]


def modified(*folders):
    """When each file in the folders was last written."""
    paths = (path for folder in folders for path in files_in(folder))
    return {str(path): path.stat().st_mtime_ns for path in paths}


def contents(folder):
    """The bytes of each file in the folder."""
    return {str(path): path.read_bytes() for path in files_in(folder)}


def assert_same_run(one, other):
    """The same weights to the last bit, and the same metrics but for the seconds."""
    a, b = (load_checkpoint(f"{run}/checkpoints/last.pt") for run in (one, other))
    assert a["model"].keys() == b["model"].keys()
    for key, value in a["model"].items():
        assert torch.equal(value, b["model"][key]), key
    assert torch.equal(a["order"], b["order"]) and torch.equal(a["random"][0], b["random"][0])
    assert metrics(one) == metrics(other) != []


def assert_same_folder(one, other):
    """The same files and the same settings; figures and weights that agree to rounding."""
    names = [{path.removeprefix(f"{run}/") for path in contents(run)} for run in (one, other)]
    assert names[0] == names[1]
    assert Path(one, "config.yaml").read_text() == Path(other, "config.yaml").read_text()
    _assert_same_figures(*(_figures(_summary(run)) for run in (one, other)))
    for x, y in zip(metrics(one), metrics(other), strict=True):
        _assert_same_figures(*({key: float(v) for key, v in row.items() if v} for row in (x, y)))
    _assert_same_checkpoints(*(Path(run, "checkpoints/last.pt") for run in (one, other)))


def _summary(run):
    return json.loads(Path(run, "summary.json").read_text())


def _figures(value, path=""):
    """The figures in nested dicts and lists by their path, but for times."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {} if "second" in path else {path: value}
    figures = {}
    for key, each in value.items():
        figures |= _figures(each, f"{path}/{key}")
    return figures


def _assert_same_figures(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        close = pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
        assert other[key] == close, key


def _assert_same_checkpoints(one, other):
    a, b = load_checkpoint(one), load_checkpoint(other)
    assert a.keys() == b.keys() and a["step"] == b["step"]
    assert a["model"].keys() == b["model"].keys()
    for key, weight in a["model"].items():
        assert (weight - b["model"][key]).abs().max() <= 1e-10, key
    assert torch.equal(a["random"][0], b["random"][0]) and torch.equal(a["order"], b["order"])
    assert one.stat().st_size == pytest.approx(other.stat().st_size, rel=0.05)
