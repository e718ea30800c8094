"""The command that trains a run, and how it shows progress."""

import math
from argparse import Namespace
from dataclasses import fields

from tqdm import tqdm

from pyro_vae.cli.output import say
from pyro_vae.data import Dataset
from pyro_vae.evaluation.thresholds import COLLAPSED_RATE
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.runs.observer import Observer
from pyro_vae.runs.run import Run, resolve_device
from pyro_vae.runs.summary import parameter_counts
from pyro_vae.runs.train import train
from pyro_vae.training.loop import Training
from pyro_vae.training.processes import ALONE
from pyro_vae.training.record import Record

EPOCHS_STYLE = "{n}/{total} epochs |{bar}| {remaining} left{postfix}"
MEASURING_STYLE = "{percentage:3.0f}% |{bar}| {remaining} left"


def run_train(parsed: Namespace, interrupts: Interrupts) -> None:
    """Train a model and write a run folder."""
    ranks = parsed.ranks or ALONE
    observer = _TrainingProgress(interrupts) if ranks.first else Observer(interrupts)
    options = {"resume": parsed.resume, "overwrite": parsed.overwrite, "ranks": ranks}
    try:
        run = train(_config(parsed), parsed.out, observer=observer, **options)
    finally:
        observer.close() if ranks.first else None
    if ranks.first:
        say(_results(run))
        say(f"Look at {run.folder / 'report.html'}")


def _config(parsed: Namespace) -> RunConfig:
    flags, file = settings_of(parsed), parsed.config
    if parsed.resume and parsed.out and file is None and RunFolder(parsed.out).config.exists():
        file = RunFolder(parsed.out).config
    return RunConfig.load(file, **flags) if file else RunConfig(**flags)


def settings_of(parsed: Namespace) -> dict:
    """Return the settings that the command line names."""
    names = {f.name for f in fields(RunConfig)}
    return {k: v for k, v in vars(parsed).items() if k in names}


class _TrainingProgress(Observer):
    """A bar over the epochs, or lines without a terminal, and then a bar for the measurements."""

    def __init__(self, interrupts: Interrupts):
        super().__init__(interrupts)
        self.bar: tqdm | None = None

    def started(
        self, folder: RunFolder, config: RunConfig, data: Dataset, training: Training
    ) -> None:
        say(_announcement(config, data, training))
        if training.step:
            where = f"after step {training.step}, epoch {training.epoch}"
            say(f"Resuming {folder.path} {where}")
        if data.levels is None:
            self.notice(
                "pixels are floats on no known grid of grey levels: bits per dimension are not"
                " reported; --levels names the grid"
            )
        options = {"bar_format": EPOCHS_STYLE, "disable": None, "dynamic_ncols": True}
        self.total = config.epochs
        self.bar = tqdm(total=self.total, initial=training.epoch, **options)

    def notice(self, message: str) -> None:
        with tqdm.external_write_mode():
            say(f"Notice: {message}")

    def epoch(self, record: Record, last: bool) -> None:
        self.bar.set_postfix_str(_terms(record), refresh=False)
        self.bar.update()
        if self.bar.disable and (last or record.epoch % max(1, self.total // 10) == 0):
            say(f"epoch {record.epoch}: {_terms(record)}")  # for a log file
        if last:
            self.bar.close()
            say("Measuring the trained model ...")
            options = {"bar_format": MEASURING_STYLE, "disable": None, "dynamic_ncols": True}
            self.bar = tqdm(total=1.0, leave=False, delay=1, **options)

    def measuring(self, done: float) -> None:
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()


def _terms(record: Record) -> str:
    if math.isnan(record.train_rate):  # the posterior is a point
        return f"distortion {record.train_distortion:.2f}"
    return (
        f"ELBO {record.train_elbo:.2f} rate {record.train_rate:.2f}"
        f" distortion {record.train_distortion:.2f}"
    )


def _announcement(config: RunConfig, data: Dataset, training: Training) -> str:
    shape = "x".join(map(str, data.image_shape))
    reason = f", since {training.choice.reason}" if training.choice.automatic else ""
    levels = "unknown" if data.levels is None else data.levels
    ranks = f", {training.ranks.count} ranks" if training.ranks.count > 1 else ""
    held_out = f", {len(data.validation)} validation" if data.validation else ""
    parameters = sum(parameter_counts(training.model).values())
    return (
        f"{data.name}: {len(data.train)} training{held_out} and {len(data.test)} test images"
        f" {shape}, {levels} grey levels\n"
        f"{config.model}: {config.likelihood}, {config.network}, {config.latent_dim} latents,"
        f" {parameters} parameters\n"
        f"{training.engine.name} on {resolve_device(config.device)}{ranks}{reason}"
    )


def _results(run: Run) -> str:
    lines = [elbo_line(split, run.summary[split]) for split in ("train", "test")]
    test, exact = run.summary["test"], run.summary["linear_optimum"]
    if exact:
        lines.append(elbo_line("exact", exact) + ", the optimum of a linear VAE")
    if test["bits_per_dim"] is not None:
        effective = test["bits_per_dim_effective_samples"]
        draws = f"bound of {test['bits_per_dim_samples']} draws, {effective:.1f} effective"
        lines.append(f"test  {test['bits_per_dim']:.4f} bits per dimension ({draws})")
    if run.vae.has_rate:
        lines.append(
            f"test  of {run.config.latent_dim} components, {test['active_units']} active (their"
            f" mean varies), {test['collapsed_units']} collapsed (rate under {COLLAPSED_RATE})"
        )
    if run.summary["best_epoch"] is not None:
        epochs = run.summary["epochs"]
        lines.append(
            f"best  epoch {run.summary['best_epoch']} of {epochs}, whose weights these are"
        )
    return "\n".join(lines)


def elbo_line(split: str, terms: dict) -> str:
    """Return a line with the ELBO of a split and its two terms."""
    if terms["elbo_nats"] is None:
        return f"{split:5s} distortion {terms['distortion_nats']:.4f} nats per image"
    return (
        f"{split:5s} ELBO {terms['elbo_nats']:.4f} = -(rate {terms['rate_nats']:.4f}"
        f" + distortion {terms['distortion_nats']:.4f}) nats per image"
    )
