"""The row `jaanli` with RMSProp, as in the program that it repeats, under Pyro's own SVI.

    python results/published/rmsprop.py --data data

It prints the test ELBO and the bound of 1,000 draws, in nats per image.
"""

import argparse
import itertools
import json
from pathlib import Path

import pyro
import torch
import yaml

import pyro_vae as pv
from pyro_vae.evaluation.bounds import importance_bound
from pyro_vae.models.elbo import elbo_terms

STEPS = 30_000


def main(data_dir):
    row = yaml.safe_load(Path(__file__).with_name("jaanli.yaml").read_text())
    config = pv.RunConfig(**row["config"])
    data = pv.load_dataset(config.dataset, data_dir)
    torch.manual_seed(config.seed)
    shape = {"hidden": config.hidden, "latent_dim": config.latent_dim}
    vae = pv.VAE(data.image_shape, likelihood=config.likelihood, levels=data.levels, **shape)
    optimizer = pyro.optim.RMSprop({"lr": config.learning_rate})
    svi = pyro.infer.SVI(vae.model, vae.guide, optimizer, pyro.infer.Trace_ELBO())
    for rows in itertools.islice(minibatches(len(data.train), config.batch_size), STEPS):
        svi.step(data.train.images[rows])
    x = data.test.images
    elbo = elbo_terms(vae.eval(), x).elbo.mean().item()
    bound = importance_bound(vae, x, row["draws"]).log_prob.mean().item()
    print(json.dumps({"steps": STEPS, "elbo": elbo, f"bound of {row['draws']:,} draws": bound}))


def minibatches(count, size):
    """Yield rows (size,), through all of them in a new order again and again."""
    while True:
        yield from torch.randperm(count)[: count - count % size].view(-1, size)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="data", help="the folder of the published data sets")
    main(parser.parse_args().data)
