"""What a run may do with a folder: begin in it, or resume what is there with other settings."""

import dataclasses
from dataclasses import fields
from pathlib import Path

from pyro_vae.files import PART, check_path_name, exists
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.run import Run
from pyro_vae.settings import PLACE

MAY_CHANGE_ON_RESUME = ("epochs", *PLACE)


def free_folder(config: RunConfig) -> Path:
    """Create and return the first free `runs/DATASET-LIKELIHOOD-NUMBER`."""
    number = 1
    while True:
        folder = Path("runs", f"{config.data_name}-{config.kind}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1


def check_free(run: Run, overwrite: bool = False) -> None:
    """Check that a run may begin in its folder.

    Raises:
        ValueError: it exists already, unless it may be overwritten; it is not a run's; its name
            cannot be written into a file.
    """
    check_path_name("out", run.folder)
    if not exists(run.folder):
        return
    if not run.folder.is_dir():
        raise ValueError(f"out: {run.folder} is there already, and is not a folder")
    if not overwrite:
        raise ValueError(
            f"out: {run.folder} is there already; name another folder, resume its run with"
            " --resume, or replace it with --overwrite"
        )
    if visible_entries(run.folder) and not run.config_file.exists():
        raise ValueError(
            f"out: {run.folder} is not a run folder: it has no config.yaml; left as it is"
        )


def visible_entries(path: Path) -> list[Path]:
    """Return what lies in a folder, sorted, without locks and files that are being written."""
    if not exists(path):
        return []
    visible = (p for p in path.iterdir() if not p.name.startswith(".") and p.suffix != PART)
    return sorted(visible)


def settings_to_resume(saved: RunConfig, config: RunConfig, folder: Path) -> RunConfig:
    """Return the settings with which the run in a folder resumes.

    Raises:
        ValueError: settings that differ from the folder's and may not change.
    """
    config, difference = compare_settings(saved, config, MAY_CHANGE_ON_RESUME)
    if difference:
        name, before, now = difference
        raise ValueError(
            f"resume: {name} is {before} in {folder}, got {now};"
            f" only {', '.join(MAY_CHANGE_ON_RESUME)} may change"
        )
    return config


def compare_settings(
    saved: RunConfig, config: RunConfig, may_change: tuple[str, ...]
) -> tuple[RunConfig, tuple[str, object, object] | None]:
    """Compare a configuration with the one that a folder holds.

    Returns:
        The configuration, with the folder's batch size where it has none, and the first setting
        that differs and may not: its name, the folder's value, the new one.
    """
    if config.batch_size is None:
        config = dataclasses.replace(config, batch_size=saved.batch_size)
    for f in fields(RunConfig):
        before, now = getattr(saved, f.name), getattr(config, f.name)
        if before != now and f.name not in may_change:
            return config, (f.name, before, now)
    return config, None
