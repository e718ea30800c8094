"""Train and measure what has been published, each row once, and write `table.md` and `rows.csv`.

    python results/published/run.py --runs runs/published --data data --only burda_vae

A row is a file: where its figure was read, what we do differently, how it is measured, and the
settings of `pyro-vae train`. A run that was stopped goes on. `rows.csv` keeps the rows of other runs.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

import pyro_vae as pv
from pyro_vae.evaluation.ais import (
    Annealing,
    annealed_importance_sampling,
    bidirectional_monte_carlo,
)
from pyro_vae.evaluation.bounds import bits_per_dim, importance_bound
from pyro_vae.evaluation.terms import active_units, mean_variance_per_component
from pyro_vae.models.elbo import elbo_terms

HERE = Path(__file__).resolve().parent
FILES = sorted(HERE.glob("*.yaml"))
UNITS = """# Published numbers

Nats per image where nothing else is said; errors are over test images, of one seed.

"""


def measured(path, runs, data):
    """Train what a file asks for, or go on with it, and return rows of its figures."""
    row = yaml.safe_load(path.read_text())
    settings = {"data_dir": str(data)} | row["config"]
    if "train_images" in row:
        settings["dataset"] = str(first_images(data, row["train_images"], runs))
    if ":" in settings.get("network", ""):
        settings["network"] = str(HERE / settings["network"])
    run = pv.train(pv.RunConfig(**settings), runs / path.stem, resume=True)
    known = {
        "row": path.stem,
        "steps": run.summary["steps"],
        "minutes": run.summary["seconds"] / 60,
    }
    return [known | found for found in MEASURES[row["measure"]](row, run, images_of(run))]


def first_images(data, count, runs):
    """Write the first training images of MNIST as a file, and return its path."""
    path = runs / f"first-{count}.npz"
    images = pv.load_dataset("mnist", data).train.images[:count].numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, train_images=images, test_images=images)
    return path


def images_of(run):
    config = run.config
    return pv.load_dataset(config.dataset, config.data_dir, binarize=config.binarize)


def after_epochs(row, run, data):
    """Return the test ELBO after some of the epochs."""
    for epoch, published in row["epochs"].items():
        ours = run.metrics["test_elbo"][epoch - 1]
        yield {"measure": f"test ELBO after {epoch} epochs", "published": published, "ours": ours}


def train_elbo(row, run, data):
    """Return the ELBO of the training images, a mean over 100 draws."""
    x = data.train.images
    terms = elbo_terms(run.vae, x, 100)
    elbo = -(terms.rate + terms.distortion).double().mean().item()
    yield {"measure": "ELBO, training images", "published": row["published"], "ours": elbo}


def importance(row, run, data):
    """Return the bound on log P(x) of all test images, and the active components."""
    x, vae = data.test.images, run.vae
    bound = importance_bound(vae, x, row["draws"]).log_prob.double()
    yield {
        "measure": f"bound of {row['draws']:,} draws",
        "published": row["published"],
        "ours": bound.mean().item(),
        "standard_error": bound.std().item() / len(x) ** 0.5,
        "elbo": run.metrics["test_elbo"][-1],
        "active": active_units(mean_variance_per_component(vae, x)),
    }


def test_bits(row, run, data):
    """Return the bound in bits per dimension, by one draw (an ELBO) and by several."""
    x, vae = data.test.images, run.vae
    for draws in (1, row["draws"]):
        bits = bits_per_dim(importance_bound(vae, x, draws).log_prob, vae.image_shape).double()
        yield {
            "measure": f"bits, bound of {draws} draws",
            "published": row["published"],
            "ours": bits.mean().item(),
            "standard_error": bits.std().item() / len(x) ** 0.5,
        }


def annealed(row, run, data):
    """Return log p(x) of the first test images by annealing and by the bound, and the bracket's gap."""
    annealing, published = Annealing(**row["annealing"]), row["published"]
    x, vae = data.test.images[: row["images"]], run.vae
    bracket = bidirectional_monte_carlo(vae, row["bracketed"], annealing)
    bound = importance_bound(vae, x, row["draws"], score=annealing.score)
    found = {
        "annealing": ("annealing", annealed_importance_sampling(vae, x, annealing).log_prob),
        "bound": (f"bound of {row['draws']:,} draws", bound.log_prob),
        "gap": ("gap of the bracket, drawn images", bracket.gap),
    }
    for name, (measure, nats) in found.items():
        yield {
            "measure": measure,
            "published": published[name],
            "ours": nats.double().mean().item(),
            "standard_error": nats.double().std().item() / len(nats) ** 0.5,
        }


MEASURES = {
    "annealing": annealed,
    "test_elbo": after_epochs,
    "train_elbo": train_elbo,
    "importance": importance,
    "test_bits": test_bits,
}


def write(rows):
    """Write rows into `rows.csv`, in place of earlier ones of the same names, and `table.md`."""
    path, new = HERE / "rows.csv", pd.DataFrame(rows)
    if path.exists():
        before = pd.read_csv(path)
        new = pd.concat([before[~before.row.isin(new.row)], new]).sort_values("row", kind="stable")
    new.to_csv(path, index=False, float_format="%.6g")
    about = [f"- `{file.stem}`: {described(yaml.safe_load(file.read_text()))}" for file in FILES]
    lines = [new.columns, ["---"] * len(new.columns), *new.map(shown).to_numpy()]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    (HERE / "table.md").write_text(UNITS + table + "\n\n" + "\n".join(about) + "\n")


def shown(value):
    return "" if pd.isna(value) else value if isinstance(value, str) else f"{value:.6g}"


def described(row):
    others = f" Others reach {row['others']}." if "others" in row else ""
    return f"{row['source']}. Different here: {row.get('differs', 'nothing')}.{others}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=Path, required=True, help="the folder of what was trained")
    parser.add_argument("--data", type=Path, required=True, help="the folder of the data sets")
    parser.add_argument("--only", nargs="+", help="names of rows (default: all)")
    arguments = parser.parse_args()
    for file in FILES:
        if not arguments.only or file.stem in arguments.only:
            write(measured(file, arguments.runs, arguments.data))
