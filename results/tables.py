"""Write `tables.md` beside the measures of a plan: `python results/tables.py results/digits`.

With `--against FOLDER` each family is also compared with the same one of another plan. Errors of
means and of differences cover images and seeds. Differences are paired over the images; their
p-values are adjusted by Holm's method.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from pyro_vae.evaluation.significance import confidence_set, holm, paired_difference, two_way_mean

JUDGES = {  # how a beta is judged: the measure, its best, and whether each image has one
    "log P by AIS, validation images": ("validation_ais", "highest", True),
    "squared error, validation images": ("validation_squared_error", "lowest", True),
    "Fréchet distance, drawn samples": ("frechet_samples", "lowest", False),
    "Fréchet distance, expected samples": ("frechet_sample_means", "lowest", False),
}


class Measures:
    """The measures of a plan's cells at the chosen learning rates."""

    def __init__(self, folder, pixels):
        self.cells = pd.read_csv(folder / "cells.csv").dropna(subset="validation_ais")
        self.images, self.pixels = np.load(folder / "per_image.npz"), pixels

    def of(self, likelihood, beta):
        rows = self.cells.query("likelihood == @likelihood and beta == @beta")
        return rows.sort_values("seed")

    def per_image(self, likelihood, beta, measure):
        """Return a measure of each image, (seeds, images), or None without two seeds of it."""
        names = [f"{likelihood}/{beta:g}/{n}/{measure}" for n in self.of(likelihood, beta).seed]
        found = [self.images[name] for name in names if name in self.images]
        return np.stack(found) if len(found) > 1 else None

    def bits(self, nats):
        return nats / self.pixels / math.log(2)


def families_at_one(measures):
    """Return the table of families at beta 1 on the test images, the fewest bits first."""
    names = measures.cells.query("beta == 1").likelihood.unique()
    found = {name: measures.per_image(name, 1, "test_ais") for name in names}
    found = {name: values for name, values in found.items() if values is not None}
    order = sorted(found, key=lambda name: -found[name].mean())
    pairs = [paired_difference(found[a], found[b]) for a, b in zip(order, order[1:])]
    adjusted = holm([pair.p_value for pair in pairs]) if pairs else []
    rows, decoder = [], [f"validation_{part}_parameters" for part in ("decoder", "likelihood")]
    for n, name in enumerate(order):
        cells, log_prob = measures.of(name, 1), two_way_mean(found[name])
        scale = measures.bits(1)
        elbo = -(cells.test_rate + cells.test_distortion)
        row = {
            "family": name,
            "bits per dimension": within(-log_prob.mean * scale, log_prob.standard_error * scale),
            "log P, nats": within(*log_prob, digits=2),
            "to the next, nats": "",
            "p": "",
            "ELBO": f"{elbo.mean():.2f}",
            "bound of 1,000": f"{cells.test_importance.mean():.2f}",
            "rate": f"{cells.test_rate.mean():.2f}",
            "active": f"{cells.test_active.mean():.1f}",
            "Fréchet, drawn": over_seeds(cells.frechet_samples),
            "Fréchet, expected": over_seeds(cells.frechet_sample_means),
            "squared error": over_seeds(cells.test_squared_error),
            "decoder": f"{cells[decoder].sum(axis=1).iloc[0]:.0f}",
            "rate of Adam": f"{cells.learning_rate.iloc[0]:g}",
            "best epoch": f"{cells.best_epoch.min():.0f} to {cells.best_epoch.max():.0f}",
            "seeds": len(found[name]),
        }
        if n < len(pairs):
            row["to the next, nats"] = within(pairs[n].mean, pairs[n].standard_error, 2)
            row["p"] = f"{adjusted[n]:.2g}"
        rows.append(row)
    among = confidence_set([found[name] for name in order]) if len(order) > 1 else []
    best = ", ".join(name for name, inside in zip(order, among) if inside)
    return rows, f"95% confidence set of the family with the highest log P: {best}.\n\n"


def another_plan(measures, other):
    """Return a row for each family: its bits here and in another plan at beta 1, paired by image."""
    found = {}
    for name in measures.cells.likelihood.unique():
        here, there = (plan.per_image(name, 1, "test_ais") for plan in (measures, other))
        if here is not None and there is not None:
            found[name] = here, there[: len(here)]
    pairs = [paired_difference(there, here) for here, there in found.values()]
    rows = []
    for (name, both), pair, p in zip(found.items(), pairs, holm([pair.p_value for pair in pairs])):
        here, there = (f"{-measures.bits(each.mean()):.3f}" for each in both)
        lost = within(pair.mean, pair.standard_error, 2)
        rows.append({"family": name, "bits": here, "there": there, "lost, nats": lost})
        rows[-1] |= {"p": f"{p:.2g}", "seeds": len(both[0])}
    return rows


def best_betas(measures, measure, best, per_image):
    """Return a row for each family: the measure over beta, the best beta, its confidence set."""
    rows = []
    for name in measures.cells.likelihood.unique():
        betas, values, row = [], [], {"family": name}
        for beta in sorted(measures.cells.beta.unique()):
            each = measures.per_image(name, beta, measure) if per_image else None
            if not per_image and len(measures.of(name, beta)) > 1:
                each = measures.of(name, beta)[measure].to_numpy()
            row[f"{beta:g}"] = "" if each is None else means(each)
            if each is not None:
                betas.append(beta)
                values.append(each)
        if len(betas) < 2:
            continue
        sign = 1 if best == "highest" else -1
        row["best"] = f"{betas[int(np.argmax([sign * each.mean() for each in values]))]:g}"
        among = confidence_set(values, best)
        row["95% set"] = ", ".join(f"{beta:g}" for beta, inside in zip(betas, among) if inside)
        rows.append(row)
    return rows


def agreement(measures):
    """Return how far the order of families at beta 1 by bits agrees with that by other measures."""
    columns = ["frechet_samples", "frechet_sample_means", "test_squared_error"]
    table = measures.cells.query("beta == 1").dropna(subset="test_ais")
    table = table.groupby("likelihood")[["test_ais", *columns]].mean()
    rows = []
    for column in columns if len(table) > 3 else ():
        found = stats.spearmanr(-table.test_ais, table[column])
        row = {"measure": column, "rank correlation with bits": f"{found.statistic:.2f}"}
        rows.append(row | {"p": f"{found.pvalue:.2g}", "families": len(table)})
    return rows


def within(mean, error, digits=4):
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def over_seeds(values):
    return within(values.mean(), values.sem(), 3)


def means(values):
    error = two_way_mean(values).standard_error if values.ndim == 2 else stats.sem(values)
    return within(values.mean(), error, 2)


def markdown(title, rows, note=""):
    if not rows:
        return f"## {title}\n\nNothing is measured yet.\n"
    lines = [rows[0].keys(), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    table = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
    return f"## {title}\n\n{note}{table}\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("plan", type=Path, help="the folder of cells.csv and per_image.npz")
    parser.add_argument("--pixels", type=int, required=True, help="of an image")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="that of another plan")
    folder, pixels, other = vars(parser.parse_args()).values()
    measures = Measures(folder, pixels)
    parts = [markdown("Families at beta 1, test images", *families_at_one(measures))]
    if other:
        rows = another_plan(measures, Measures(other, pixels))
        parts.append(markdown(f"Against {other.name} at beta 1, test images", rows))
    for title, judge in JUDGES.items():
        parts.append(markdown(f"Beta by {title}", best_betas(measures, *judge)))
    parts.append(markdown("Order of families by bits and by other measures", agreement(measures)))
    (folder / "tables.md").write_text("# Tables\n\n" + "\n".join(parts))
