"""`evaluate`: a run measured completely, part by part, into `evaluation.json`."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch

from pyro_vae.names import check_name
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.parts import PARTS, Effort, Subject
from pyro_vae.runs.run import Run, load_data_again
from pyro_vae.training.loop import PRECISIONS

FULL = Effort(10_000, 100, 5000, 1000, 16, 500, 4, 500, 1000, 4096, 10_000)
QUICK = Effort(1000, 20, 500, 100, 16, 200, 2, 150, 300, 1024, 5000)


def evaluate(
    run: Run,
    only: list[str] | None = None,
    quick: bool = False,
    num_samples: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    data_dir: str | None = None,
    progress: Callable[[str, float], None] = lambda part, done: None,
) -> dict:
    """Measure a run on its test images, and leave `evaluation.json`, figures and draws.

    Args:
        only: names of `PARTS`; the others stay as an earlier evaluation left them.
        quick: fewer images, draws and temperatures: a minute on the digits.
        num_samples: of the importance bound (5,000, or 500 if quick, unless told).
        seed: of all random draws.
        data_dir: where the published data sets lie, if no longer where the run had them.
        progress: called with a part's name and the fraction of it that is done.

    Raises:
        ValueError: an unknown part.
        OSError: the run's data cannot be read any more.
    """
    chosen = [check_name("only", name, PARTS) for name in (only or PARTS)]
    config = run.config if data_dir is None else dataclasses.replace(run.config, data_dir=data_dir)
    data = load_data_again(config)
    effort = QUICK if quick else FULL
    if num_samples is not None:
        effort = dataclasses.replace(effort, bound_samples=num_samples)
    dtype, model = PRECISIONS[config.precision], run.vae.to(device)
    folder = RunFolder(run.folder)
    folder.figures.mkdir(exist_ok=True)
    found = folder.load_json(folder.evaluation) or {}
    for name in chosen:
        progress(name, 0.0)
        subject = Subject(
            dataclasses.replace(run, vae=model),
            folder,
            data,
            data.train.images.to(device, dtype),
            data.test.images.to(device, dtype),
            effort,
            seed,
            config.data_dir,
            lambda done, name=name: progress(name, done),
        )
        part = PARTS[name](subject)
        found[name] = _plain(part | {"seed": seed, "quick": quick}) if part else None
        folder.save_json(folder.evaluation, found)
        progress(name, 1.0)
    return folder.load_json(folder.evaluation)


def _plain(value: Any) -> Any:
    """Estimates and other named tuples as dicts."""
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
