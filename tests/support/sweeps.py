"""Small sweeps into the folder `a`, and what they leave there."""

import json
from pathlib import Path

import pyro_vae as pv
from tests.support.runs import modified

SMALL = {"hidden": "8", "latent_dim": 2, "epochs": 3, "device": "cpu"}
DYNAMIC = SMALL | {"binarize": "dynamic"}
FLAGS = [f"--{name.replace('_', '-')}={value}" for name, value in DYNAMIC.items()]
SWEEP = ["sweep", *FLAGS, "--out", "a"]
BETAS = ["--likelihood", "bernoulli", "--beta", "0.5", "2", "--seed", "0", "1"]
NAMES = ["beta=0.5,seed=0", "beta=0.5,seed=1", "beta=2,seed=0", "beta=2,seed=1"]
OWN_PAGE = {"a/report.html", "a/compare.csv"}


def written(*folders):
    """When the files were written, but for the sweep's own page, which is written anew."""
    return {p: at for p, at in modified(*folders).items() if p not in OWN_PAGE}


def engines_of_runs():
    """The engines that finished runs were trained with, by the names of the runs."""
    summaries = Path("a").glob("*/summary.json")
    return {path.parent.name: json.loads(path.read_text())["engine"] for path in summaries}


def run_names():
    """The names of the run folders."""
    return sorted(p.name for p in Path("a").iterdir() if p.is_dir())


class Noting(pv.SweepObserver):
    """Keeps what it is told, in order."""

    def __init__(self):
        super().__init__()
        self.told = []

    def started(self, runs):
        self.told.append(("started", [run.ended for run in runs]))

    def epoch(self, name, record, last):
        self.told.append((name, record.epoch, last))

    def ended(self, run):
        self.told.append(("ended", run.name, run.ended))
