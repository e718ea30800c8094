"""Run folders made up, with the files that `compare` reads."""

import json
from pathlib import Path

import pyro_vae as pv

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
        (path / "evaluation.json").write_text(json.dumps(evaluation))


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
