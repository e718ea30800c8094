"""What a run may do with a folder: begin in it, or resume what is there with other settings."""

import dataclasses
import os
import shutil
from dataclasses import fields
from pathlib import Path

from pyro_vae.files import PART
from pyro_vae.names import is_path
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.metrics import drop_rows_after
from pyro_vae.runs.run import Run
from pyro_vae.settings import PLACE

MAY_CHANGE_ON_RESUME = ("epochs", *PLACE)
MEASURED = ("likelihood.csv", "validation_likelihood.csv", "posterior.nc")  # by an evaluation


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


def settings_to_resume(
    run: Run, config: RunConfig, may_change: tuple[str, ...] = MAY_CHANGE_ON_RESUME
) -> RunConfig:
    """Return the settings with which the run in a folder resumes.

    They are those asked for, with the folder's batch size where they have none. Own images that the
    folder knows again may have moved.

    Raises:
        ValueError: settings that differ from the folder's and may not change.
    """
    saved = Run(run.folder).config
    if is_path(saved.dataset) and is_path(config.dataset) and run.image_fingerprint:
        saved = saved.at(dataset=config.dataset)
    if config.batch_size is None:
        config = dataclasses.replace(config, batch_size=saved.batch_size)
    for f in fields(RunConfig):
        before, now = getattr(saved, f.name), getattr(config, f.name)
        if before != now and f.name not in may_change:
            raise ValueError(
                f"out: {f.name} is {before} in {run.folder}, got {now};"
                f" only {', '.join(may_change)} may change: name another folder"
            )
    return config


def start_folder(run: Run) -> None:
    """Delete the files of an earlier run in the folder, and write the settings.

    Raises:
        ValueError: something else is in the place of one of them; nothing is deleted then.
    """
    folders = [
        path for path in (run.checkpoints, run.figures, run.measured) if os.path.lexists(path)
    ]
    results = (run.summary_file, run.evaluation_file, run.report, run.explorer, run.per_image_file)
    measured = (run.folder / name for name in MEASURED)
    files = (run.metrics_file, run.failure_file, run.parts_file, *results, *measured)
    others = [path for path in folders if path.is_symlink() or not path.is_dir()]
    others += [path for path in files if path.is_dir() and not path.is_symlink()]
    if others:
        raise ValueError(f"out: {others[0]} is not what a run writes; move it elsewhere first")
    for folder in folders:
        shutil.rmtree(folder)
    for file in files:
        file.unlink(missing_ok=True)
    _delete_parts(run)
    run.config.save(run.config_file)  # after deleting: no old checkpoints beside new settings
    run.checkpoints.mkdir()
    run.figures.mkdir()


def resume_folder(run: Run, epoch: int) -> None:
    """Prepare the folder for a run that has finished `epoch` epochs and is to resume.

    Rows of later epochs are deleted. Final results stay until their successors are written.

    Raises:
        ValueError: a file that is not a table of metrics; nothing is changed then.
    """
    drop_rows_after(run.metrics_file, epoch)
    run.config.save(run.config_file)
    run.failure_file.unlink(missing_ok=True)
    _delete_parts(run)
    run.figures.mkdir(exist_ok=True)


def _delete_parts(run: Run) -> None:
    """Delete files that a killed process has begun to write."""
    inside = [path for path in (run.checkpoints, run.figures) if not path.is_symlink()]
    for folder in (run.folder, *inside):
        for part in folder.glob(f".{'[0-9a-f]' * 16}{PART}"):
            part.unlink(missing_ok=True)
