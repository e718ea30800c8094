"""The commands that train a run or a sweep, and how they show progress."""

import math
from argparse import Namespace
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from pyro_vae.cli.output import CountingBar, epochs_bar, say, wrapped
from pyro_vae.comparison.page import write_comparison
from pyro_vae.data import Dataset
from pyro_vae.devices import resolve_device
from pyro_vae.evaluation.estimates import COLLAPSED_RATE
from pyro_vae.explorer.model import describe
from pyro_vae.names import command
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.runs.judgements import better_by
from pyro_vae.runs.observer import Observer
from pyro_vae.runs.run import Run
from pyro_vae.runs.summary import parameter_counts
from pyro_vae.runs.train import train
from pyro_vae.settings import FIRST_RUN
from pyro_vae.sweeps.observer import SweepObserver
from pyro_vae.sweeps.sweep import sweep
from pyro_vae.training.epochs import Record
from pyro_vae.training.loop import Training

FEW_STEPS = 300  # in all: hardly any model is trained by fewer


def run_train(parsed: Namespace, interrupts: Interrupts) -> None:
    """Train a model and write a run folder."""
    observer = _TrainingProgress(interrupts, parsed.first_run)
    options = {"resume": parsed.resume, "overwrite": parsed.overwrite}
    try:
        run = train(parsed.settings, parsed.out, observer=observer, **options)
    finally:
        observer.close()
    say(_results(run))
    say(_next_steps(run))


class _TrainingProgress(Observer):
    """A bar over the epochs, or lines without a terminal, and then a bar for the measurements."""

    def __init__(self, interrupts: Interrupts, first_run: bool):
        super().__init__(interrupts)
        self.first_run = first_run
        self.bar: tqdm | None = None
        self.counting: CountingBar | None = None

    def started(self, folder: Path, config: RunConfig, data: Dataset, training: Training) -> None:
        if self.first_run:
            chosen = ", ".join(f"{name} {value}" for name, value in FIRST_RUN.items())
            say(wrapped(f"No model was asked for, so this is a first run: {chosen}"))
        say(_announcement(config, data, training))
        if training.step:
            where = f"after step {training.step}, epoch {training.epoch}"
            say(f"Resuming {folder} {where}")
        self.total, self.done = config.epochs, training.epoch
        steps = training.schedule.steps
        if steps < FEW_STEPS:
            self.notice(
                f"{config.epochs} epochs of these images are only {steps} steps. A model usually needs"
                " hundreds of them: raise --epochs, or lower --batch-size"
            )
        if training.engine.name == "compiled":
            say("Compiling the training step; the first time takes up to a minute ...")

    def prepared(self) -> None:
        self.bar = epochs_bar(self.total, self.done, smoothing=0.1)

    def notice(self, message: str) -> None:
        with tqdm.external_write_mode():
            say(wrapped(f"Notice: {message}"))

    def epoch(self, record: Record, last: bool) -> None:
        self.bar.set_postfix_str(_terms(record), refresh=False)
        self.bar.update()
        if self.bar.disable and (last or record.epoch % max(1, self.total // 10) == 0):
            say(f"epoch {record.epoch}: {_terms(record)}")  # for a log file
        if last:
            self.bar.close()
            say("Measuring the trained model ...")
            self.counting = CountingBar("measuring")

    def measuring(self, done: int, total: int, unit: str) -> None:
        if self.counting is not None:
            self.counting.count(done, total, unit)

    def close(self) -> None:
        """Remove the bars."""
        for bar in (self.bar, self.counting):
            if bar is not None:
                bar.close()


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
    held_out = f", {len(data.validation)} validation" if data.validation else ""
    parameters = sum(parameter_counts(training.model).values())
    steps = training.schedule.steps_per_epoch
    lines = (
        f"{data.name}: {len(data.train)} training{held_out} and {len(data.test)} test images"
        f" {shape}, {levels} grey levels",
        f"{config.model}: {config.likelihood}, {config.network}, {config.latent_dim} latents,"
        f" {parameters:,} parameters; {config.epochs} epochs of {steps} steps",
        f"{training.engine.name} on {resolve_device(config.device)}{reason}",
    )
    return "\n".join(map(wrapped, lines))


def _results(run: Run) -> str:
    lines = [elbo_line(split, run.summary[split]) for split in ("train", "test")]
    if gap := run.summary.get("generalisation"):  # which runs of earlier versions lack
        size = f"{better_by(gap['gap_nats'])} ± {gap['gap_error'] or 0:.2f}"
        lines.append(f"gap   training images are {size} nats per image")
    test, exact = run.summary["test"], run.summary["linear_optimum"]
    if exact:
        lines.append(elbo_line("exact", exact) + ", the optimum of a linear VAE")
    if test["bits_per_dim"] is not None:
        effective = test["bits_per_dim_effective_samples"]
        draws = f"bound of {test['bits_per_dim_samples']} draws, {effective:.1f} effective"
        lines.append(f"test  {test['bits_per_dim']:.4f} bits per dimension ({draws})")
    if test["collapsed_units"] is not None:
        lines.append(
            f"test  of {run.config.latent_dim} components, {test['active_units']} active (their"
            f" mean varies), {test['collapsed_units']} collapsed (rate under {COLLAPSED_RATE})"
        )
    if run.summary["best_epoch"] is not None:
        epochs = run.summary["epochs"]
        lines.append(
            f"best  epoch {run.summary['best_epoch']} of {epochs}, whose weights these are"
        )
    return "\n".join(wrapped(line, indent=6) for line in lines)


def _next_steps(run: Run) -> str:
    """Return what to look at, and the commands that go on from a finished run."""
    steps = {
        "Look at": f"{run.folder / 'report.html'}",
        "Measure": command("evaluate", run.folder, "--quick"),
        "Draw": command("sample", run.folder),
    }
    with suppress(ValueError):  # the page cannot run every model
        describe(run.vae)
        steps["Explore"] = command("explore", run.folder)
    return "\n".join(f"{name:9s}{step}" for name, step in steps.items())


def elbo_line(split: str, terms: dict) -> str:
    """Return a line with the ELBO of a split and its two terms."""
    if terms["elbo_nats"] is None:
        return f"{split:5s} distortion {terms['distortion_nats']:.4f} nats per image"
    return (
        f"{split:5s} ELBO {terms['elbo_nats']:.4f} = -(rate {terms['rate_nats']:.4f}"
        f" + distortion {terms['distortion_nats']:.4f}) nats per image"
    )


# --- sweeps ---------------------------------------------------------------------------------------


def run_sweep(parsed: Namespace, interrupts: Interrupts) -> None:
    """Train every combination of settings."""
    progress = _SweepProgress(interrupts, parsed.out)
    try:
        sweep(parsed.settings, parsed.out, observer=progress)
    finally:
        progress.close()
    runs = [run.reread() for run in progress.runs]
    left = sum(not run.ended for run in runs)
    page = None if left else _page([run.folder for run in runs if not run.failed], parsed.out)
    failed = [str(run.folder) for run in runs if run.failed]
    if failed:
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        raise RuntimeError(
            f"{len(failed)} of {len(runs)} runs failed, as failed.txt in their folders"
            f" says: {', '.join(failed[:3])}{more}; delete a folder to try its run again"
        )
    if left:
        say(
            f"Other processes had the last {left} of {len(runs)} runs; the same command resumes what"
            " they leave"
        )
    else:
        say(f"All {len(runs)} runs are finished: look at {page}")


def _page(finished: list[Path], out: str) -> Path | None:
    """Return the page of a sweep: the comparison of its runs, or the report of a single one."""
    if len({Run(folder).config.identity for folder in finished}) > 1:
        return write_comparison(finished, out)[0]
    return finished[0] / "report.html" if finished else None


class _SweepProgress(SweepObserver):
    """A bar over the epochs of all runs, and a line for each run that ends."""

    def __init__(self, interrupts: Interrupts, out: str):
        super().__init__(interrupts)
        self.out, self.bar = out, None
        self.runs: list[Run] = []
        self.epochs: dict[str, int] = {}  # finished epochs of each run

    def started(self, runs: list[Run]) -> None:
        self.runs = runs
        self.left = {run.name for run in runs if not run.ended}
        self.failures = sum(bool(run.failed) for run in runs)
        say(f"{len(runs)} runs in {self.out}, {len(self.left)} of them to train")
        done = sum(run.config.epochs for run in runs if run.ended)
        total = sum(run.config.epochs for run in runs)
        self.bar = epochs_bar(total, done, postfix=self._counts())

    def _counts(self) -> str:
        failed = f", {self.failures} failed" if self.failures else ""
        done = len(self.runs) - len(self.left) - self.failures
        return f"{done} of {len(self.runs)} runs done{failed}"

    def epoch(self, name: str, record: Record, last: bool) -> None:
        before = self.epochs.get(name)
        if before is None:  # an earlier process trained these
            before = record.epoch - 1
            self._skip(before)
        self.bar.update(max(0, record.epoch - before))
        self.epochs[name] = max(before, record.epoch)

    def ended(self, run: Run) -> None:
        self.left.discard(run.name)
        self.failures += bool(run.failed)
        self._skip(run.config.epochs - self.epochs.get(run.name, 0))
        self.bar.set_postfix_str(self._counts())
        with tqdm.external_write_mode():
            failure = f"failed: {run.failed}"
            outcome = failure if run.failed else elbo_line("test", run.summary["test"])
            say(f"{run.name}: {outcome} ({self._counts()})")

    def _skip(self, epochs: int) -> None:
        """Count epochs as done, but leave them out of the estimate of the time that remains."""
        if not self.bar.disable:
            self.bar.initial += epochs
            self.bar.n += epochs

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()
