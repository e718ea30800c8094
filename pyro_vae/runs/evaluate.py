"""`evaluate`: measures a run part by part, for `evaluation.json` and the report."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pyro_vae.devices import computing_on, one_thread
from pyro_vae.evaluation.progress import no_progress
from pyro_vae.models.vae import LatentImageModel
from pyro_vae.names import check_name
from pyro_vae.runs.claim import check_sweep_unused
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.effort import FULL, QUICK, Effort
from pyro_vae.runs.evaluation import check_figures, load_evaluation
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.lock import FolderLock
from pyro_vae.runs.parts import PARTS
from pyro_vae.runs.report import write_report
from pyro_vae.runs.results import save_json
from pyro_vae.runs.run import Run, load_data_again
from pyro_vae.runs.subject import Subject
from pyro_vae.training.fit import PRECISIONS

SMALL_MODEL = 200_000  # parameters


def evaluate(
    run: Run,
    only: list[str] | None = None,
    quick: bool = False,
    num_samples: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    data_dir: str | None = None,
    progress: Callable[[str, int, int, str], None] | None = None,
    measured: Callable[[str, dict | None], None] | None = None,
) -> dict:
    """Measure a run on its test images and write `evaluation.json`, figures, draws and the report.

    The file and the report are written again after each part. An evaluation that is interrupted
    keeps the parts that are done.

    Args:
        run: a run with a model, as `load_run` and `train` return it.
        only: names of `pyro_vae.runs.parts.PARTS` (default: all of them). The results of an earlier
            evaluation stay for the other parts.
        quick: whether to take fewer images, draws and temperatures.
        num_samples: draws per image of the importance bound (default: 5,000, or 500 if quick).
        seed: the seed of all random draws.
        device: where to measure, as in `"cuda"`.
        data_dir: the folder of the published data sets (default: where the run had them).
        progress: called with a part's name and how many of what are done, as in `("likelihood", 20,
            100, "images")`; `(name, 0, 0, "")` says that a part begins.
        measured: called with a part's name and its figures when they are kept. They are None for a
            part that does not apply to the run.

    Returns:
        The content of `evaluation.json`.

    Raises:
        ValueError: an unknown part.
        FolderInUse: another process writes to the folder.
        OSError: the run's data can no longer be read.

    Example:
        >>> evaluate(load_run("runs/first"), quick=True)["samples"]  # doctest: +SKIP
    """
    chosen = [check_name("only", name, PARTS) for name in (only or PARTS)]
    config = run.config if data_dir is None else dataclasses.replace(run.config, data_dir=data_dir)
    progress, measured = progress or _tell_nobody, measured or _tell_nobody
    effort = QUICK if quick else FULL
    if num_samples is not None:
        effort = dataclasses.replace(effort, bound_samples=num_samples)
    check_sweep_unused(RunFolder(run.folder))
    lock = FolderLock(Path(run.folder)).acquire()
    with lock, computing_on(torch.device(device)), _only_measured(run.vae):
        subject = _subject(run, config, effort, seed, device)
        folder = subject.folder
        folder.figures.mkdir(exist_ok=True)
        for name in chosen:
            progress(name, 0, 0, "")
            figures = _measure(name, subject, quick, progress)
            _keep(folder, name, figures)
            measured(name, figures)
    return load_evaluation(folder.evaluation)


def _tell_nobody(part: str, *what: object) -> None:
    """Take the place of `progress` and `measured` where nobody asks for them."""


@contextmanager
def _only_measured(model: LatentImageModel) -> Iterator[None]:
    """Make measuring a model cheap inside a `with` block; the figures are the same.

    Gradients are those of codes and not of weights, so none are recorded for weights. The steps of
    a small model are so short that several threads would wait for each other longer than they work.
    """
    weights = list(model.parameters())
    wanted = [weight.requires_grad for weight in weights]
    model.requires_grad_(False)
    try:
        with one_thread(sum(weight.numel() for weight in weights) < SMALL_MODEL):
            yield
    finally:
        for weight, requires_grad in zip(weights, wanted):
            weight.requires_grad_(requires_grad)


def _keep(folder: RunFolder, name: str, figures: dict | None) -> None:
    """Write the figures of a part beside those of the others, and the report again."""
    save_json(folder.evaluation, load_evaluation(folder.evaluation) | {name: figures})
    try:
        write_report(folder.path)
    except KeyboardInterrupt:
        write_report(folder.path)  # else the page would lack the figures that are kept
        raise


def _subject(
    run: Run, config: RunConfig, effort: Effort, seed: int, device: torch.device | str
) -> Subject:
    data, dtype = load_data_again(config), PRECISIONS[config.precision]
    held_out = data.validation
    run.vae.to(device)
    return Subject(
        run=run,
        folder=RunFolder(run.folder),
        data=data,
        train=data.train.images.to(device, dtype),
        test=data.test.images.to(device, dtype),
        validation=None if held_out is None else held_out.images.to(device, dtype),
        effort=effort,
        seed=seed,
        data_dir=config.data_dir,
        progress=no_progress,
    )


def _measure(
    name: str, subject: Subject, quick: bool, progress: Callable[[str, int, int, str], None]
) -> dict | None:
    """Return the figures of a part, or None where it does not apply to this run."""
    part, count = PARTS[name], len(subject.test)
    if count < part.needs:
        figures = {"left_out": f"it needs {part.needs} test images, and there are {count}"}
    else:
        told = dataclasses.replace(subject, progress=partial(progress, name))
        figures = part.measure(told)
    if not figures:
        return None
    effort = {"seed": subject.seed, "quick": quick, "checkpoint": subject.run.fingerprint}
    figures = _as_dicts(figures | effort)
    check_figures(name, figures)
    return figures


def _as_dicts(value: Any) -> Any:
    """Return estimates and other named tuples as dicts."""
    if hasattr(value, "_asdict"):
        return _as_dicts(value._asdict())
    if isinstance(value, dict):
        return {key: _as_dicts(v) for key, v in value.items()}
    return value
