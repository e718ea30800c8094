"""What the commands do: call the package, print what came out."""

import math
from argparse import Namespace
from dataclasses import fields
from functools import partial
from pathlib import Path
from textwrap import fill

import numpy as np
import torch
from tqdm import tqdm

from pyro_vae.comparison.page import write_comparison
from pyro_vae.data import DATASETS, Dataset, load_dataset
from pyro_vae.figures import one_run as figures
from pyro_vae.likelihoods.families import LIKELIHOODS
from pyro_vae.names import check_name
from pyro_vae.pages.wording import SECTIONS, rows_of
from pyro_vae.randomness import seeded
from pyro_vae.runs.config import RunConfig, load_settings
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.interrupts import Interrupts
from pyro_vae.runs.report import write_report
from pyro_vae.runs.run import Run, load_run, no_likelihood, resolve_device
from pyro_vae.runs.summary import parameter_counts
from pyro_vae.runs.train import train
from pyro_vae.sweeps.folder import Member
from pyro_vae.sweeps.sweep import sweep
from pyro_vae.training.loop import Record, Training

PICTURE_TYPES = (".png", ".npy")


def run_train(parsed: Namespace, interrupts: Interrupts) -> None:
    """Train a model and leave a run folder."""
    flags, file = _settings(parsed), parsed.config
    if parsed.resume and parsed.out and file is None and RunFolder(parsed.out).config.exists():
        file = RunFolder(parsed.out).config
    config = RunConfig.load(file, **flags) if file else RunConfig(**flags)
    options = {name: getattr(parsed, name) for name in ("resume", "overwrite", "ranks")}
    go = partial(train, config, parsed.out, interrupts=interrupts, **options)
    if not parsed.ranks.first:  # it is the first one that speaks
        go()
        return
    measuring = _Measuring()
    style = "{n}/{total} epochs |{bar}| {remaining} left{postfix}"
    with tqdm(total=config.epochs, bar_format=style, disable=None, dynamic_ncols=True) as bar:
        bar.clear()

        def announce(folder: Path, config: RunConfig, data: Dataset, training: Training) -> None:
            _announce(folder, config, data, training)
            bar.initial = bar.n = training.epoch

        def show(record: Record, finished: bool) -> None:
            bar.set_postfix_str(_terms(record), refresh=False)
            bar.update()
            if bar.disable and (finished or record.epoch % max(1, config.epochs // 10) == 0):
                print(f"epoch {record.epoch}: {_terms(record)}", flush=True)  # for a log file
            if finished:
                bar.close()
                print("Measuring the trained model ...", flush=True)

        run = go(announce=announce, on_record=show, progress=measuring)
    measuring.close()
    print(_results(run))
    print(f"Look at {run.folder / 'report.html'}")


def _settings(parsed: Namespace) -> dict:
    names = {f.name for f in fields(RunConfig)}
    return {k: v for k, v in vars(parsed).items() if k in names}


class _Measuring:
    """A bar that appears once there is something to wait for, and goes when it is done."""

    bar: tqdm | None = None

    def __call__(self, done: float) -> None:
        if self.bar is None:
            style = "{percentage:3.0f}% |{bar}| {remaining} left"
            options = {"bar_format": style, "disable": None, "dynamic_ncols": True}
            self.bar = tqdm(total=1.0, leave=False, delay=1, **options)
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _terms(record: Record) -> str:
    if math.isnan(record.train_rate):  # the posterior is a point
        return f"distortion {record.train_distortion:.2f}"
    return (
        f"ELBO {record.train_elbo:.2f} rate {record.train_rate:.2f}"
        f" distortion {record.train_distortion:.2f}"
    )


def _announce(folder: Path, config: RunConfig, data: Dataset, training: Training) -> None:
    model = training.engine.model
    shape = "x".join(map(str, data.image_shape))
    reason = f", since {training.choice.reason}" if training.choice.automatic else ""
    levels = "unknown" if data.levels is None else data.levels
    ranks = f", {training.ranks.count} ranks" if training.ranks.count > 1 else ""
    held_out = f", {len(data.validation)} validation" if data.validation else ""
    print(
        f"{data.name}: {len(data.train)} training{held_out} and {len(data.test)} test images"
        f" {shape}, {levels} grey levels\n"
        f"{config.model}: {config.likelihood}, {config.network}, {config.latent_dim} latents,"
        f" {sum(parameter_counts(model).values())} parameters\n"
        f"{training.engine.name} on {resolve_device(config.device)}{ranks}{reason}"
    )
    if training.step:
        print(f"Going on in {folder} after step {training.step}, epoch {training.epoch}")
    if data.levels is None:
        print(
            "Notice: pixels are floats on no known grid of grey levels: bits per dimension are"
            " not reported; --levels names the grid"
        )
    elif not model.likelihood.is_likelihood:
        print(f"Notice: {no_likelihood(config, data)}")


def _results(run: Run) -> str:
    lines = [_elbo_line(split, run.summary[split]) for split in ("train", "test")]
    test, exact = run.summary["test"], run.summary["linear_optimum"]
    if exact:
        lines.append(_elbo_line("exact", exact) + ", the optimum of a linear VAE")
    if test["bits_per_dim"] is not None:
        samples = test["bits_per_dim_samples"]
        lines.append(
            f"test  {test['bits_per_dim']:.4f} bits per dimension (bound, {samples} samples)"
        )
    if run.config.model == "vae":
        lines.append(
            f"test  of {run.config.latent_dim} components, {test['active_units']} active (their"
            f" mean varies), {test['collapsed_units']} collapsed (rate under 0.01)"
        )
    if run.summary["best_epoch"] is not None:
        epochs = run.summary["epochs"]
        lines.append(
            f"best  epoch {run.summary['best_epoch']} of {epochs}, whose weights these are"
        )
    return "\n".join(lines)


def _elbo_line(split: str, terms: dict) -> str:
    if terms["elbo_nats"] is None:
        return f"{split:5s} distortion {terms['distortion_nats']:.4f} nats per image"
    return (
        f"{split:5s} ELBO {terms['elbo_nats']:.4f} = -(rate {terms['rate_nats']:.4f}"
        f" + distortion {terms['distortion_nats']:.4f}) nats per image"
    )


def run_sweep(parsed: Namespace, interrupts: Interrupts) -> None:
    """Train every combination of settings."""
    settings = (load_settings(parsed.config) if parsed.config else {}) | _settings(parsed)
    progress = _SweepProgress(parsed.out)
    try:
        sweep(
            settings,
            parsed.out,
            ray=parsed.ray,
            announce=progress.announce,
            on_record=progress.add,
            on_end=progress.end,
            interrupts=interrupts,
        )
    finally:
        progress.close()
    failed = [str(member.path) for member in progress.members if member.failed]
    finished = [member.path for member in progress.members if not member.failed]
    page = write_comparison(finished, parsed.out)[0] if len(finished) > 1 else None
    if failed:
        more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
        raise RuntimeError(
            f"{len(failed)} of {len(progress.members)} runs failed, as failed.txt in their folders"
            f" says: {', '.join(failed[:3])}{more}; delete a folder to try its run again"
        )
    print(f"All {len(finished)} runs are finished: look at {page or finished[0] / 'report.html'}")


class _SweepProgress:
    """A bar over the epochs of all runs, and a line for each run that ends."""

    members: list[Member] = []
    bar: tqdm | None = None

    def __init__(self, out: str):
        self.out, self.epochs = out, dict[str, int]()  # epochs that are done of each run

    def announce(self, members: list[Member]) -> None:
        self.members = members
        self.left = {m.name for m in members if not m.ended}
        self.failed = sum(m.failed for m in members)
        print(f"{len(members)} runs in {self.out}, {len(self.left)} of them to train", flush=True)
        done = sum(m.config.epochs for m in members if m.ended)
        style = "{n}/{total} epochs |{bar}| {remaining} left{postfix}"
        total = sum(m.config.epochs for m in members)
        options = {"bar_format": style, "disable": None, "dynamic_ncols": True}
        self.bar = tqdm(total=total, initial=done, postfix=self._counts(), **options)

    def _counts(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        done = len(self.members) - len(self.left) - self.failed
        return f"{done} of {len(self.members)} runs done{failed}"

    def add(self, name: str, record: Record, finished: bool) -> None:
        before = self.epochs.get(name)
        if before is None:  # an earlier process did these
            before = record.epoch - 1
            self._skip(before)
        self.bar.update(max(0, record.epoch - before))
        self.epochs[name] = max(before, record.epoch)

    def end(self, member: Member) -> None:
        self.left.discard(member.name)
        self.failed += member.failed
        self._skip(member.config.epochs - self.epochs.get(member.name, 0))
        self.bar.set_postfix_str(self._counts())
        with tqdm.external_write_mode():
            print(f"{member.name}: {_outcome(member)} ({self._counts()})", flush=True)

    def _skip(self, epochs: int) -> None:
        """Count epochs that say nothing of the time that one takes."""
        if not self.bar.disable:
            self.bar.initial += epochs
            self.bar.n += epochs

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _outcome(member: Member) -> str:
    if member.failed:
        return f"failed: {member.mark.read_text().strip()}"
    return _elbo_line("test", member.summary()["test"])


def run_evaluate(parsed: Namespace, interrupts: Interrupts) -> None:
    """Measure a run on its test images, with standard errors."""
    from pyro_vae.runs.evaluate import evaluate  # slow to import, and needed for this command only

    device = resolve_device(parsed.device)
    run = load_run(parsed.run, device)
    only = None if parsed.only is None else [name.strip() for name in parsed.only.split(",")]
    style = "{desc:11s} |{bar}| {percentage:3.0f}% {elapsed}"
    with tqdm(total=1.0, bar_format=style, disable=None, dynamic_ncols=True, leave=False) as bar:

        def show(part: str, done: float) -> None:
            bar.desc, bar.n = part, done
            bar.refresh()

        options = {"only": only, "quick": parsed.quick, "num_samples": parsed.samples}
        found = evaluate(
            run, **options, seed=parsed.seed, device=device, data_dir=parsed.data_dir, progress=show
        )
    write_report(run.folder)
    print(f"{run.folder}: mean ± standard error over test images")
    for name in only or SECTIONS:
        if found[name]:
            print(SECTIONS[name].title)
            for row, value, unit in rows_of(name, found[name]):
                line = f"{row:28s}{value}{f'  {unit}' if unit else ''}"
                print(fill(line, 79, initial_indent="  ", subsequent_indent=" " * 30))
    print(f"Look at {run.folder / 'report.html'}")


def run_sample(parsed: Namespace, interrupts: Interrupts) -> None:
    """Decode codes of the prior into a picture or an array."""
    out = Path(parsed.out or RunFolder(parsed.run).figures / f"samples_seed{parsed.seed}.png")
    check_name("out: type of file", out.suffix, PICTURE_TYPES)
    if not out.parent.is_dir():
        raise ValueError(f"out: there is no folder {out.parent}")
    device = resolve_device(parsed.device)
    run = load_run(parsed.run, device)
    with torch.no_grad(), seeded(parsed.seed, device):
        z = run.vae.prior.sample((parsed.count,))
        known = run.vae.likelihood.is_likelihood
        x = (run.vae.decode_levels if known else run.vae.decode)(z)
        images = x.sample() if parsed.pixels == "drawn" else run.vae.decode(z).mean
    images = images.clamp(0, 1).cpu().numpy()
    if out.suffix == ".npy":
        with open(out, "wb") as file:
            np.save(file, images)
    else:
        title = f"Samples, {parsed.pixels} pixels, seed {parsed.seed}"
        columns = min(16, math.ceil(math.sqrt(len(images))))
        figures.image_grid(images, columns, title).savefig(out, dpi=150)
    print(f"{len(images)} images in {out}")


def run_report(parsed: Namespace, interrupts: Interrupts) -> None:
    """Write a run's page anew."""
    print(f"Look at {write_report(parsed.run)}")


def run_compare(parsed: Namespace, interrupts: Interrupts) -> None:
    """Put finished runs side by side."""
    path, found = write_comparison(parsed.runs, parsed.out)
    print(f"{len(found.finished)} finished runs in {path.with_name('compare.csv')}")
    for word, which in (("not finished", found.unfinished), ("failed", found.failed)):
        for folder, why in which.items():
            print(f"{word}: {folder}: {why}")
    print(f"Look at {path}")


def run_likelihoods(parsed: Namespace, interrupts: Interrupts) -> None:
    """List the likelihood families."""
    for name, family in LIKELIHOODS.items():
        print(f"{name:30s}{(family.__doc__ or '').strip().splitlines()[0]}")


def run_datasets(parsed: Namespace, interrupts: Interrupts) -> None:
    """List the data sets, or see that one is there."""
    if parsed.name:
        data = load_dataset(parsed.name, parsed.data_dir)
        shape = "x".join(map(str, data.image_shape))
        print(
            f"{data.name} is complete: {len(data.train)} training and {len(data.test)} test images"
            f" {shape}"
        )
        return
    for name, source in DATASETS.items():
        print(f"{name:18s}{source.description}")
