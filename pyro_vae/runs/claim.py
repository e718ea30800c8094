"""Who may write to a run folder: new ones, existing ones, and the settings that may change."""

import dataclasses
from dataclasses import fields
from pathlib import Path

from pyro_vae.files import PART, check_path_name, exists
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.folder import RunFolder
from pyro_vae.runs.lock import FolderLock, check_unused

MAY_CHANGE_ON_RESUME = ("epochs", "device", "engine", "data_dir", "data_limit")
SWEEP_FILE = "sweep.yaml"  # what a sweep's folder holds


def free_folder(config: RunConfig) -> RunFolder:
    """Create and return the first free `runs/DATASET-LIKELIHOOD-NUMBER`."""
    number = 1
    while True:
        folder = RunFolder(Path("runs", f"{config.data_name}-{config.kind}-{number}"))
        try:
            folder.path.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1


def check_free(folder: RunFolder, overwrite: bool = False) -> None:
    """Check that a run may begin in the folder.

    Raises:
        ValueError: it exists already, unless it may be overwritten; it is not a run's; its name
            cannot be written into a file.
    """
    path = folder.path
    check_path_name("out", path)
    if not exists(path):
        return
    if not path.is_dir():
        raise ValueError(f"out: {path} is there already, and is not a folder")
    if not overwrite:
        raise ValueError(
            f"out: {path} is there already; name another folder, resume its run with --resume, or"
            " replace it with --overwrite"
        )
    if visible_entries(path) and not folder.config.exists():
        raise ValueError(f"out: {path} is not a run folder: it has no config.yaml; left as it is")


def visible_entries(path: Path) -> list[Path]:
    """Return what lies in a folder, sorted, without locks and files that are being written."""
    if not exists(path):
        return []
    visible = (p for p in path.iterdir() if not p.name.startswith(".") and p.suffix != PART)
    return sorted(visible)


def claim(folder: RunFolder) -> FolderLock:
    """Lock an existing run folder.

    Raises:
        FolderInUse: another process writes to it, or to the sweep that it belongs to.
    """
    check_sweep_unused(folder)
    return FolderLock(folder.path).acquire()


def check_sweep_unused(folder: RunFolder) -> None:
    """Check that no sweep writes to the folder.

    Raises:
        FolderInUse: one does.
    """
    parent = folder.path.resolve().parent
    if (parent / SWEEP_FILE).exists():
        check_unused(parent)


def check_resumable(folder: RunFolder, config: RunConfig) -> RunConfig:
    """Return the settings to resume with.

    Raises:
        ValueError: other settings than the folder's.
    """
    config, difference = compare_settings(
        RunConfig.load(folder.config), config, MAY_CHANGE_ON_RESUME
    )
    if difference:
        name, before, now = difference
        raise ValueError(
            f"resume: {name} is {before} in {folder.path}, got {now};"
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
