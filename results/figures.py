"""Draw what a plan found, beside it: `python results/figures.py results/digits --pixels 64`.

`betas.png` has the measures over beta, with standard errors over seeds. `curves.png` has, for each
family at beta 1, the validation loss of the seed that had converged least: whose loss fell most in
the last 20 epochs up to its best one, by as many nats as its title says.
"""

import argparse
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

PANELS = {
    "validation_bits": "bits per dimension, validation images",
    "frechet_samples": "Fréchet distance of drawn samples",
    "validation_squared_error": "squared error of reconstructions",
}
LAST = 20  # epochs


def draw_betas(cells, styles):
    """Return a figure with a panel for each measure and a line for each family."""
    figure, axes = plt.subplots(1, len(PANELS), figsize=(15, 5.5), layout="constrained")
    for name, style in styles.items():
        groups = cells[cells.likelihood == name].groupby("beta")
        for panel, column in zip(axes, PANELS):
            found = groups[column].agg(["mean", "sem"])
            panel.errorbar(found.index, found["mean"], found["sem"], marker=".", capsize=2, **style)
    betas = sorted(cells.beta.unique())
    for panel, title in zip(axes, PANELS.values()):
        panel.set(title=title, xlabel="beta", xscale="log")
        panel.set_xticks(betas, map("{:g}".format, betas))
        panel.minorticks_off()
    axes[1].set_yscale("log")
    axes[1].set_yticks([40, 60, 100, 200], ["40", "60", "100", "200"])
    axes[1].minorticks_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    return figure


def late_fall(curve):
    """Return by how many nats a loss fell in the last epochs up to its best one."""
    best = int(curve.argmin())
    return curve[: max(1, best - LAST)].min() - curve[best]


def draw_curves(curves, families):
    """Return a figure with the last part of the loss of each family's least converged seed."""
    columns = 4
    rows = math.ceil(len(families) / columns)
    grid = {"sharex": True, "sharey": True, "squeeze": False, "layout": "constrained"}
    figure, axes = plt.subplots(rows, columns, figsize=(12, 2.2 * rows + 0.6), **grid)
    for panel, name in zip(axes.flat, families):
        curve = max((c for key, c in curves.items() if key.startswith(f"{name}/1/")), key=late_fall)
        panel.plot(np.arange(len(curve)) - curve.argmin(), curve - curve.min(), linewidth=1)
        panel.set_title(f"{name}: {late_fall(curve):.2g} nats", fontsize=9)
    for panel in axes.flat[len(families) :]:
        panel.set_axis_off()
    axes[0, 0].set(xlim=(-100, 50), ylim=(-0.2, 10))
    figure.supxlabel("epochs after the best one")
    figure.supylabel("validation loss above its lowest, nats")
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("plan", type=Path, help="the folder of cells.csv and curves.npz")
    parser.add_argument("--pixels", type=int, required=True, help="of an image")
    folder, pixels = vars(parser.parse_args()).values()
    cells = pd.read_csv(folder / "cells.csv").dropna(subset="validation_ais")
    cells["validation_bits"] = -cells.validation_ais / pixels / math.log(2)
    of_one = cells.query("beta == 1").groupby("likelihood").validation_bits.mean()
    styles = {
        name: {"color": f"C{n % 10}", "linestyle": "-" if n < 10 else "--", "label": name}
        for n, name in enumerate(of_one.sort_values().index)
    }
    draw_betas(cells, styles).savefig(folder / "betas.png", dpi=80)
    curves = dict(np.load(folder / "curves.npz"))
    draw_curves(curves, list(styles)).savefig(folder / "curves.png", dpi=80)
