"""pyro_vae: `fit` under each of its engines, and `fit_many`.

The images are resident in any case; with `data_dir` they are grey, as in the README. The objective
is `fit`'s default, `elbo`: both terms of the rate are those of the drawn z.
"""

import statistics
import sys

import pyro_vae as pv
from peers.base import LEARNING_RATE, Peer, Task


def new_vae(task: Task) -> pv.VAE:
    """A model with fresh weights."""
    return pv.VAE(
        tuple(task.images.shape[1:]),
        task.latent_dim,
        "bernoulli",
        hidden=task.hidden,
        levels=task.levels,
        network=task.network,
    )


class Fit(Peer):
    """`next` on what `fit` gave, for every epoch."""

    def __init__(self, task: Task, engine: str):
        super().__init__(task)
        self.training = pv.fit(
            new_vae(task),
            task.images,
            epochs=sys.maxsize,
            batch_size=task.batch_size,
            learning_rate=LEARNING_RATE,
            seed=task.seed,
            device=task.device,
            engine=engine,
        )

    def train(self):
        return next(self.training).loss


def svi(task: Task) -> Fit:
    """`engine="svi"`."""
    return Fit(task, "svi")


def eager(task: Task) -> Fit:
    """`engine="eager"`."""
    return Fit(task, "eager")


def compiled(task: Task) -> Fit:
    """`engine="compiled"`."""
    return Fit(task, "compiled")


class FitMany(Peer):
    """The models of all betas at once; `next` on what `fit_many` gave, for every epoch."""

    def __init__(self, task: Task):
        super().__init__(task)
        self.training = pv.fit_many(
            [new_vae(task) for _ in task.betas],
            task.images,
            betas=task.betas,
            seeds=[task.seed + n for n in range(len(task.betas))],
            learning_rates=[LEARNING_RATE] * len(task.betas),
            epochs=sys.maxsize,
            batch_size=task.batch_size,
            device=task.device,
        )

    def train(self):
        return statistics.fmean(record.loss for record in next(self.training).values())
