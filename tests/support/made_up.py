"""Run folders made up, with the files that `compare` reads."""

import json
from pathlib import Path

import numpy as np

import pyro_vae as pv
from pyro_vae.comparison.plots import Group
from pyro_vae.comparison.runs import find_runs
from pyro_vae.comparison.table import table_of
from pyro_vae.measures.part import VERSION

SMALL = {"hidden": (8,), "latent_dim": 3, "epochs": 1, "batch_size": 128}


def make_up_run(path, bits=2.0, elbo=-10.0, rate=5.0, evaluation=None, **settings):
    """Leave the files of a finished run; the figures given are those of its test images."""
    path = Path(path)
    path.mkdir(parents=True)
    config = pv.RunConfig(**(SMALL | settings))
    config.save(path / "config.yaml")
    test = {"elbo_nats": elbo, "rate_nats": rate, "distortion_nats": None, "active_units": 2}
    if elbo is not None:
        test["distortion_nats"] = -elbo - rate
    summary = {
        "parameters": {"encoder": 10, "decoder": 20, "likelihood": 1},
        "seconds": 3.5,
        "test": test | {"bits_per_dim": bits, "bits_per_dim_samples": bits and 16},
    }
    (path / "summary.json").write_text(json.dumps(summary))
    if evaluation:
        parts = {name: part and {"measures": VERSION} | part for name, part in evaluation.items()}
        (path / "evaluation.json").write_text(json.dumps(parts))


def make_up_images(path, values, split="test", mark=1):
    """Leave the log probability of each image, beside those of other splits."""
    path = Path(path, "per_image.npz")
    arrays = dict(np.load(path)) if path.exists() else {}
    arrays |= {f"{split}.mark": np.array(mark), f"{split}.log_prob_nats": np.asarray(values)}
    np.savez(path, **arrays)


def make_up_settings(root, means, splits=("test",), seeds=3, images=400, random_state=0):
    """Runs of a beta for each of the means, on the same images: nats with noise of all kinds."""
    rng = np.random.default_rng(random_state)
    common = {split: 5 * rng.normal(size=images) - 100 for split in splits}
    for n, mean in enumerate(means):
        for seed in range(seeds):
            path = f"{root}/{n}-{seed}"
            make_up_run(path, beta=float(n + 1), seed=seed)
            of_seed = 0.05 * rng.normal()
            for split in splits:
                noise = 0.5 * rng.normal(size=images)
                make_up_images(path, common[split] + mean + of_seed + noise, split)
    return root


def make_up_study(root="study"):
    """Two families by three betas by two seeds, on a made-up surface."""
    for likelihood, offset in (("gaussian_shared_sigma", 0), ("discretized_logistic", 1)):
        for beta in (0.0, 1.0, 4.0):
            for seed in (0, 1):
                make_up_run(
                    f"{root}/{likelihood}-{beta:g}-{seed}",
                    bits=2 + offset + abs(beta - 1) / 10 + seed / 5,
                    elbo=-10 - abs(beta - 1) - seed,
                    rate=9 - beta,
                    likelihood=likelihood, beta=beta, seed=seed,
                )  # fmt: skip
    return root


def group_of(*folders):
    """The runs in folders, as a group of a page."""
    runs = find_runs(folders).finished
    return Group("g", runs, table_of(runs))
