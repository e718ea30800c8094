"""Training of cells: many in one batched step, or each in a run folder that resumes.

A density may be trained with noise, as a continuous distribution of grey levels needs it.
"""

import itertools
import math
import time
from functools import cache

import torch
from pyro.distributions import TorchDistribution

import pyro_vae as pv
from pyro_vae.likelihoods import LIKELIHOODS

ANNEALING = "beta_schedule", "warmup_epochs"  # settings of a plan by which beta rises


@cache  # models in one step are of the same class
def with_noise(likelihood):
    """Return the class of a family whose density is scored at pixels with the noise of one bin.

    The expected log density, with the log of the bin's width, is a bound on the log probability of
    the grey level.

    Source: Theis, van den Oord and Bethge, "A note on the evaluation of generative models", 2016,
    https://arxiv.org/abs/1511.01844.
    """

    class WithNoise(LIKELIHOODS[likelihood]):
        def density(self, outputs):
            return Noisy(super().density(outputs), 1 / (self.levels - 1))

    return WithNoise


class Noisy(TorchDistribution):
    """A distribution that adds uniform noise of a width to what it scores."""

    arg_constraints = {}

    def __init__(self, base, width):
        self.base, self.width = base, width
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def log_prob(self, x):
        return self.base.log_prob(x + self.width * (torch.rand_like(x) - 0.5))

    @property
    def mean(self):
        return self.base.mean

    def sample(self, sample_shape=()):
        return self.base.sample(sample_shape)

    def expand(self, batch_shape, _instance=None):
        return Noisy(self.base.expand(batch_shape), self.width)


def together(cells, vaes, data, settings, device="cpu"):
    """Train models in one batched step, and return what is known of each, with its best weights."""
    start = time.process_time()
    annealing = {name: settings[name] for name in ANNEALING if name in settings}
    best: list[dict] = [{"validation_loss": math.inf, "weights": None} for _ in cells]
    curves: list[list[float]] = [[] for _ in cells]
    epochs = pv.fit_many(
        vaes,
        data.train.images,
        validation_images=data.validation.images,
        betas=[float(cell["beta"]) for cell in cells],
        seeds=[cell["seed"] for cell in cells],
        learning_rates=[cell["learning_rate"] for cell in cells],
        epochs=settings["epochs"],
        patience=settings["patience"],
        device=device,
        **annealing,
    )
    for n, record in itertools.chain.from_iterable(records.items() for records in epochs):
        if isinstance(record, FloatingPointError):
            best[n]["diverged"] = str(record)
            continue
        curves[n].append(record.validation_loss)
        warm = record.epoch > annealing.get("warmup_epochs", 0)
        if warm and record.validation_loss < best[n]["validation_loss"]:
            weights = {name: value.clone() for name, value in vaes[n].state_dict().items()}
            best[n] = {"validation_loss": record.validation_loss, "weights": weights}
            best[n] |= {"best_epoch": record.epoch, "best_step": record.step}
    seconds = (time.process_time() - start) / len(cells)
    counts = [{"epochs": len(curve), "train_cpu_seconds": seconds} for curve in curves]
    return [found | count for found, count in zip(best, counts)], curves


def alone(cell, settings, folder):
    """Train one model in a run folder, going on from its checkpoint; return the same of it."""
    config = pv.RunConfig(**settings, **cell)
    run = pv.train(config, folder, resume=True)
    losses, epoch = run.metrics["validation_loss"], run.summary["best_epoch"]
    found = {"validation_loss": losses[epoch - 1], "weights": run.vae.state_dict()}
    found |= {"best_epoch": epoch, "best_step": run.metrics["step"][epoch - 1]}
    found |= {"epochs": len(losses), "train_cpu_seconds": run.summary["seconds"]}
    return [found], [losses]
