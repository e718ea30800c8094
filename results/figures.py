"""Draw the measures of a plan over beta, beside it: `python results/figures.py results/digits`."""

import argparse
import math
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

PANELS = {
    "validation_bits": "bits per dimension, validation images",
    "frechet_samples": "Fréchet distance of drawn samples",
    "validation_squared_error": "squared error of reconstructions",
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", type=Path, help="the folder of cells.csv")
    parser.add_argument("--pixels", type=int, required=True, help="of an image")
    folder, pixels = vars(parser.parse_args()).values()
    cells = pd.read_csv(folder / "cells.csv").dropna(subset="validation_ais")
    cells["validation_bits"] = -cells.validation_ais / pixels / math.log(2)
    figure, axes = plt.subplots(1, len(PANELS), figsize=(15, 5.5), layout="constrained")
    order = (
        cells.query("beta == 1").groupby("likelihood").validation_bits.mean().sort_values().index
    )
    for n, name in enumerate(order):
        groups = cells[cells.likelihood == name].groupby("beta")
        style = {"color": f"C{n % 10}", "linestyle": "-" if n < 10 else "--", "label": name}
        for panel, column in zip(axes, PANELS):
            found = groups[column].agg(["mean", "sem"])
            panel.errorbar(found.index, found["mean"], found["sem"], marker=".", capsize=2, **style)
    for panel, title in zip(axes, PANELS.values()):
        panel.set(title=title, xlabel="beta", xscale="log")
        panel.set_xticks(
            sorted(cells.beta.unique()), map("{:g}".format, sorted(cells.beta.unique()))
        )
        panel.minorticks_off()
    axes[1].set_yscale("log")
    axes[1].set_yticks([40, 60, 100, 200], ["40", "60", "100", "200"])
    axes[1].minorticks_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(folder / "betas.png", dpi=80)
