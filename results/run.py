"""Train and measure the cells of a plan, each once; the same command goes on where it stopped.

    python results/run.py results/digits --runs runs/digits

`--device cuda` trains and measures on a GPU. The folder holds `plan.yaml`. After each cell its
tables are written beside it: `cells.csv`, a row for each trained cell; `chains.csv`, annealing
against longer annealing; `per_image.npz`, the measures of each image, as arrays
FAMILY/BETA/SEED/SPLIT_MEASURE; `curves.npz`, the validation loss after each epoch, as arrays
FAMILY/BETA/SEED. What is needed to go on is kept under `--runs`; rows and arrays that the tables
have of other cells, trained on another machine, stay in them.
Several processes may work on one plan: each takes families that no other one has.

The first stage tries several learning rates at beta 1. That of the lowest validation loss, averaged
over seeds, is taken for all other cells of the family.
"""

import argparse
import fcntl
import itertools
import json
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import trainings
import yaml

import measures
import pyro_vae as pv

CELL = ("likelihood", "beta", "seed", "learning_rate")


class Work:
    """A plan, its data, and the folder of what was trained."""

    def __init__(self, folder, runs, device="cpu"):
        self.folder, self.runs, self.device = folder, runs, device
        self.plan = yaml.safe_load((folder / "plan.yaml").read_text())
        self.settings, self.effort = self.plan["settings"], self.plan["measure"]
        place = self.settings.get("data_dir", "data")
        self.data = pv.load_dataset(self.settings["dataset"], place, validation=True)

    def do(self):
        for stage in self.plan["stages"]:
            for step in (self.train_stage, self.measure_stage):
                for likelihood in self.plan["families"]:
                    with claimed(self.runs / f"{likelihood}.lock") as free:
                        if free:
                            step(stage, likelihood)
        self.write_tables()

    def train_stage(self, stage, likelihood):
        cells = self.cells(stage, likelihood)
        missing = [cell for cell in cells if not (self.at(cell) / "cell.json").exists()]
        groups = [[cell] for cell in missing] if self.plan.get("alone") else [missing]
        for group in filter(None, groups):
            self.train(group)
            self.write_tables()

    def measure_stage(self, stage, likelihood):
        """Measure cells on validation images, and some of them on test images at last."""
        cells = [c for c in self.cells(stage, likelihood) if (self.at(c) / "cell.json").exists()]
        self.measure_missing(cells, "validation")
        checked = stage.get("check_seeds", [])
        self.measure_missing([cell for cell in cells if cell["seed"] in checked], "check")
        if "test" in stage:
            self.measure_missing(cells if stage["test"] == "all" else self.best_beta(cells), "test")

    def measure_missing(self, cells, name):
        for cell in cells:
            path = self.at(cell) / f"{name}.json"
            if not path.exists():
                save(path, self.measure(cell, name))
                self.write_tables()

    def cells(self, stage, likelihood):
        rates = self.rates(likelihood)
        every = itertools.product([likelihood], stage["betas"], stage["seeds"], rates)
        return [dict(zip(CELL, values)) for values in every]

    def rates(self, likelihood):
        """Return a family's learning rate in a list; all of the plan's before one is chosen."""
        seeds, rates = self.plan["stages"][0]["seeds"], self.plan["learning_rates"]
        files = (self.runs / likelihood).glob("beta=1,*/cell.json")
        rows = [row for row in map(load, files) if row["seed"] in seeds]
        if len(rows) < len(seeds) * len(rates):
            return rates
        return [pd.DataFrame(rows).groupby("learning_rate").validation_loss.mean().idxmin()]

    def best_beta(self, cells):
        """Return the cells of the beta with the highest log P of validation images by AIS."""
        found = pd.DataFrame([cell | self.figures(cell) for cell in cells])
        best = found.groupby("beta").validation_ais.mean().idxmax()
        return [cell for cell in cells if cell["beta"] == best]

    def train(self, cells):
        """Train cells, and keep the weights that were best on validation images."""
        if self.plan.get("alone"):
            settings = self.settings | {"device": self.device}
            found, curves = trainings.alone(cells[0], settings, self.at(cells[0]) / "run")
        else:
            vaes = [self.build(cell) for cell in cells]
            found, curves = trainings.together(cells, vaes, self.data, self.settings, self.device)
        for cell, each, curve in zip(cells, found, curves):
            path = self.at(cell)
            path.mkdir(parents=True, exist_ok=True)
            torch.save(each.pop("weights"), path / "weights.pt")
            np.savetxt(path / "validation_loss.txt", curve, fmt="%.4f")
            save(path / "cell.json", cell | each)

    def build(self, cell, training=True):
        """Return the model of a cell with weights drawn from its seed, to be trained or measured."""
        names = ("hidden", "latent_dim", "network", "activation", "decoder_features")
        chosen = {name: self.settings[name] for name in names if name in self.settings}
        likelihood, score, shape = cell["likelihood"], "levels", self.data.image_shape
        if training:
            score = self.settings["score"]
            if self.plan.get("noise"):
                likelihood = trainings.with_noise(likelihood)(shape, self.data.levels, score)
        torch.manual_seed(cell["seed"])
        return pv.VAE(shape, likelihood=likelihood, levels=self.data.levels, score=score, **chosen)

    def trained(self, cell):
        vae = self.build(cell, training=False)
        vae.load_state_dict(torch.load(self.at(cell) / "weights.pt", map_location="cpu"))
        return vae.eval().requires_grad_(False).to(self.device)

    def measure(self, cell, name):
        """Measure a cell on the images of a split, or check how well annealing works there."""
        start, vae = time.process_time(), self.trained(cell)
        if name == "check":
            return measures.check(vae, self.data.validation.images.to(self.device), self.effort)
        figures, columns = measures.split(vae, self.data, name, self.effort)
        np.savez(self.at(cell) / f"{name}.npz", **columns)
        if name == "validation":
            figures |= measures.distances(vae, self.data, self.effort)
        return figures | {f"{name}_cpu_seconds": time.process_time() - start}

    def write_tables(self):
        rows, checks, arrays, curves = [], [], {}, {}
        for file in sorted(self.runs.glob("*/*/cell.json")):
            row = load(file)
            rows.append(row | self.figures(row))
            if (check := file.with_name("check.json")).exists():
                checks.append({name: row[name] for name in CELL} | load(check))
            name = f"{row['likelihood']}/{row['beta']:g}/{row['seed']}"
            for kept in file.parent.glob("*.npz"):
                columns = np.load(kept).items()
                arrays |= {f"{name}/{kept.stem}_{key}": value.round(2) for key, value in columns}
                curves[name] = np.loadtxt(file.with_name("validation_loss.txt"), np.float32)
        with claimed(self.runs / "tables.lock") as free:
            if free:
                for table, name in ((rows, "cells.csv"), (checks, "chains.csv")):
                    merge_rows(pd.DataFrame(table), self.folder / name)
                merge_arrays(arrays, self.folder / "per_image.npz")
                merge_arrays(curves, self.folder / "curves.npz")

    def figures(self, cell):
        files = (self.at(cell) / f"{split}.json" for split in ("validation", "test"))
        found = (load(file) for file in files if file.exists())
        return {name: value for figures in found for name, value in figures.items()}

    def at(self, cell):
        name = f"beta={cell['beta']:g},seed={cell['seed']},rate={cell['learning_rate']:g}"
        return self.runs / cell["likelihood"] / name


def merge_rows(rows, path):
    """Write rows into a table; rows of other cells, measured elsewhere, stay in it."""
    before = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=CELL)
    rows = pd.concat([rows, before])
    rows = rows.drop_duplicates([*CELL]).sort_values([*CELL])
    rows.to_csv(path, index=False, float_format="%.6g")


def merge_arrays(arrays, path):
    """Write arrays into an archive; those of other cells stay in it."""
    before = dict(np.load(path)) if path.exists() else {}
    np.savez_compressed(path, **before | arrays)


def load(path):
    return json.loads(path.read_text())


def save(path, content):
    path.with_suffix(".tmp").write_text(json.dumps(content))
    path.with_suffix(".tmp").replace(path)


@contextmanager
def claimed(path):
    """Yield whether no other process holds the lock; the kernel lets go of it with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("plan", type=Path, help="the folder of plan.yaml and of the tables")
    parser.add_argument("--runs", type=Path, required=True, help="the folder of what was trained")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    Work(arguments.plan, arguments.runs, arguments.device).do()
