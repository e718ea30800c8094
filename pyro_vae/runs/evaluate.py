"""`evaluate`: measures a run part by part, for `evaluation.json` and the report."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pyro_vae.data import Dataset, load_dataset
from pyro_vae.devices import checked_device, computing_on
from pyro_vae.files import replace_file
from pyro_vae.measures import PARTS
from pyro_vae.measures.part import FULL, QUICK, VERSION, Measured, Part, Subject
from pyro_vae.models.elbo import fixed_weights
from pyro_vae.models.vae import VAE
from pyro_vae.names import DATASETS, check_name
from pyro_vae.randomness import one_at_a_time
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.data import form_of, load_data_again
from pyro_vae.runs.lock import FolderLock, check_sweep_unused
from pyro_vae.runs.report import write_report
from pyro_vae.runs.results import save_json
from pyro_vae.runs.run import OneRun, Run, runs_of
from pyro_vae.runs.use import few_threads
from pyro_vae.runs.writer import save_columns, save_drawings


@one_at_a_time()
def evaluate(
    run: OneRun,
    only: list[str] | None = None,
    quick: bool = False,
    num_samples: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    data_dir: str | None = None,
    progress: Callable[[str, int, int, str], None] | None = None,
    measured: Callable[[str, dict | None], None] | None = None,
    dataset: str | Path | None = None,
) -> dict:
    """Measure a run on its test images and write `evaluation.json`, figures, draws and the report.

    The file is written again after each part, and the report at the end, also of an evaluation that is
    interrupted: it keeps the parts that are done.

    Args:
        run: a run with a model, as `load_run` and `train` return it, or its folder.
        only: names of `pyro_vae.names.PARTS` (default: all of them). The results of an earlier
            evaluation stay for the other parts.
        quick: whether to take fewer images, draws and temperatures.
        num_samples: draws per image of the importance bound (default: 5,000, or 500 if quick).
        seed: the seed of all random draws.
        device: where to measure, as in `"cuda"` (default: where the model is).
        data_dir: the folder of the published data sets (default: where the run had them).
        progress: called with a part's name and how many of what are done, as in `("likelihood", 20,
            100, "images")`; `(name, 0, 0, cost)` says that a part begins, and how many images and
            draws it takes at most.
        measured: called with a part's name and its figures when they are kept. They are None for a
            part that does not apply to the run.
        dataset: the path of the run's own images (default: where the run had them).

    Returns:
        The content of `evaluation.json`.

    Raises:
        ValueError: an unknown part.
        FolderInUse: another process writes to the folder.
        OSError: the run's data can no longer be read, or hold other images.

    Example:
        >>> evaluate("runs/first", quick=True)["samples"]  # doctest: +SKIP
    """
    (run,) = runs_of(run)
    chosen = [check_name("only", name, PARTS) for name in (only or PARTS)]
    config = run.config.at(data_dir, dataset)
    progress, measured = progress or _tell_nobody, measured or _tell_nobody
    effort = (QUICK if quick else FULL).within(run.vae)
    if num_samples is not None:
        effort = dataclasses.replace(effort, bound_samples=num_samples)
    check_sweep_unused(run.folder)
    about = {"seed": seed, "quick": quick, "checkpoint": run.fingerprint, "measures": VERSION}
    with FolderLock(run.folder).acquire(), _only_measured(run.vae, device):
        subject = subject_of(run, load_data_again(run, config), config, effort=effort, seed=seed)
        run.figures.mkdir(exist_ok=True)
        try:
            for name in chosen:
                progress(name, 0, 0, PARTS[name].spends.format_map(vars(effort)))
                told = dataclasses.replace(subject, progress=partial(progress, name))
                found = _measure(PARTS[name], told)
                _write(run, found)
                figures = _as_dicts(found.figures | about) if found.figures else None
                save_json(run.evaluation_file, run.reread().evaluation | {name: figures})
                measured(name, figures)
        finally:  # the parts that are done stand in the report
            write_report(run.reread())
    return run.reread().evaluation


def evaluate_missing(
    runs: OneRun | Sequence[OneRun], only: Sequence[str], quick: bool = False
) -> None:
    """Evaluate each run by those parts that have not measured its present weights yet.

    A part that an earlier version of the measures has measured is measured again.

    Args:
        runs: the runs, as `load_runs` returns them, or their folders.
        only: names of `pyro_vae.names.PARTS`.
        quick: whether to take fewer images, draws and temperatures.

    Raises:
        ValueError: an unknown part.
        FolderInUse: another process writes to a run's folder.
        OSError: a run's data can no longer be read.
    """
    for name in only:
        check_name("only", name, PARTS)
    for run in runs_of(runs):
        known = run.reread()
        missing = [name for name in only if not _is_measured(name, known)]
        if missing:
            evaluate(run, missing, quick)


def _is_measured(name: str, run: Run) -> bool:
    """Return whether a part was measured; one that does not apply to the run is None."""
    return name in run.current_parts or run.evaluation.get(name, "not yet") is None


def subject_of(run: Run, data: Dataset, config: RunConfig, **options: Any) -> Subject:
    """Return a run as the subject of a measurement, with its data where its model is.

    Args:
        data: the data set of the run.
        config: the settings that say where data lie.
        options: further fields of the subject, such as its seed.
    """
    weight = next(run.vae.parameters())
    return Subject(
        model=run.vae,
        data=data.to(weight.device, weight.dtype),
        labelled=partial(_labelled, config, data),
        **options,
    )


def _labelled(config: RunConfig, data: Dataset) -> Dataset | None:
    """Return the labelled data set whose classifier judges the run's samples, or None without one.

    It is the run's own with its grey levels, or MNIST for Larochelle's binarized MNIST.
    """
    name = "mnist" if data.name == "binarized_mnist" else config.dataset
    if data.train.labels is None and name == config.dataset:
        return None
    levels = None if name in DATASETS else config.levels
    form = form_of(config, name)
    try:
        return load_dataset(
            name,
            config.data_dir,
            levels=levels,
            limit=config.data_limit,
            download=False,
            form=form,
        )
    except ValueError:
        return None


def _measure(part: Part, subject: Subject) -> Measured:
    count = len(subject.test)
    if count < part.needs:
        reason = f"it needs {part.needs} test images, and there are {count}"
        return Measured({"left_out": reason})
    if subject.model.embedding is not None and not part.takes_labels:
        return Measured({"left_out": "the model is conditional, and the part takes no labels"})
    return part.measure(subject)


def _write(run: Run, found: Measured) -> None:
    """Write what a part found beside its figures."""
    for name, columns in found.columns.items():
        plain = {key: values.tolist() for key, values in columns.items()}
        save_columns(run.folder / f"{name}.csv", plain)
    for name, tree in found.draws.items():
        replace_file(run.folder / f"{name}.nc", bytes(tree.to_netcdf()))
    save_drawings(run.figures, found.drawings)


def _as_dicts(value: Any) -> Any:
    """Return estimates and other named tuples as dicts."""
    if hasattr(value, "_asdict"):
        return _as_dicts(value._asdict())
    if isinstance(value, dict):
        return {key: _as_dicts(v) for key, v in value.items()}
    return value


@contextmanager
def _only_measured(model: VAE, device: torch.device | str | None) -> Iterator[None]:
    """Make measuring a model cheap inside a `with` block, on a device; the figures are the same.

    The steps of a small model are so short that several threads would wait for each other longer
    than they work.
    """
    weights = list(model.parameters())
    home = weights[0].device
    device = home if device is None else checked_device(device)
    try:
        model.to(device)
        with fixed_weights(model), computing_on(device), few_threads(model):
            yield
    finally:
        model.to(home)


def _tell_nobody(part: str, *what: object) -> None:
    """Take the place of `progress` and `measured` where nobody asks for them."""
