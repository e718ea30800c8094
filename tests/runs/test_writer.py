"""The files of a run folder, as they are written and read."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.metrics import COLUMNS, append_row
from pyro_vae.runs.results import save_json
from pyro_vae.runs.resume import (
    MAY_CHANGE_ON_RESUME,
    free_folder,
    resume_folder,
    settings_to_resume,
    start_folder,
)
from pyro_vae.runs.run import Run
from pyro_vae.runs.writer import is_power_of_two, save_columns
from pyro_vae.training.epochs import Record
from tests.support.runs import quick

pytestmark = pytest.mark.usefixtures("elsewhere")
RECORD = Record(
    epoch=1,
    step=11,
    seconds=0.5,
    beta=1.0,
    loss=3.0,
    train_elbo=-3.0,
    train_rate=1.0,
    train_distortion=2.0,
    test_elbo=-4.0,
)


@pytest.fixture
def run():
    """A run that is about to begin."""
    run = Run("a", quick())
    run.folder.mkdir()
    start_folder(run)
    return run


def test_records_are_read_as_they_were_written(run):
    later = replace(RECORD, epoch=2, step=22, test_elbo=None, train_rate=math.nan)
    for record in (RECORD, later):
        append_row(run.metrics_file, record)
    assert Path("a/metrics.csv").read_text().splitlines()[0] == ",".join(COLUMNS)
    assert Run("a").metrics["epoch"] == [1, 2] and Run("a").metrics["test_elbo"] == [-4, None]
    first, second = Run("a").records
    assert first == RECORD and type(first.step) is int
    assert math.isnan(second.train_rate) and second.test_elbo is None


def test_a_row_that_was_cut_off_does_not_count(run):
    append_row(run.metrics_file, RECORD)
    with open("a/metrics.csv", "a") as file:
        file.write("2,22,0.5")
    assert Run("a").metrics["epoch"] == [1]


def test_a_resumed_run_loses_the_rows_after_its_checkpoint(run):
    for epoch in (1, 2, 3):
        append_row(run.metrics_file, replace(RECORD, epoch=epoch))
    with open("a/metrics.csv", "a") as file:
        file.write("4,44,0.5")  # it was killed in the middle of a row
    Path("a/summary.json").touch()
    resume_folder(Run("a", quick(epochs=9)), epoch=2)
    assert Run("a").metrics["epoch"] == [1, 2]
    assert Path("a/summary.json").exists()  # until its successor is written


def test_numbers_that_json_does_not_have_are_null(run):
    save_json(run.summary_file, {"a": math.nan, "b": {"c": (2, -math.inf, 1.5)}})
    assert json.loads(Path("a/summary.json").read_text()) == {"a": None, "b": {"c": [2, None, 1.5]}}


def test_columns_have_a_row_for_each_image(run):
    save_columns(Path("a/likelihood.csv"), {"elbo": [-1.5, -2.0], "bound": [-1.0, -1.25]})
    expected = ["image,elbo,bound", "0,-1.5,-1.0", "1,-2.0,-1.25"]
    assert Path("a/likelihood.csv").read_text().splitlines() == expected


def test_pictures_of_progress_are_drawn_at_powers_of_two():
    assert [n for n in range(1, 70) if is_power_of_two(n)] == [1, 2, 4, 8, 16, 32, 64]


def test_a_new_run_takes_the_first_free_folder():
    paths = [str(free_folder(quick(likelihood="laplace"))) for _ in range(2)]
    assert paths == ["runs/digits-laplace-1", "runs/digits-laplace-2"]
    assert free_folder(quick(model="autoencoder")) == Path("runs/digits-autoencoder-1")


def test_settings_that_may_change_on_resuming(run):
    computing, place = ("epochs", "device", "engine"), ("data_dir", "data_limit")
    assert computing + place == MAY_CHANGE_ON_RESUME
    quick(batch_size=128).save("a/config.yaml")
    changed = quick(epochs=50, engine="svi", device="cpu")
    assert settings_to_resume(run, changed) == replace(changed, batch_size=128)


def test_no_other_setting_may_change(run):
    """The first that differs is named; a sweep leaves fewer of them free."""
    quick(batch_size=9).save("a/config.yaml")
    for name in RunConfig.__dataclass_fields__.keys() - set(MAY_CHANGE_ON_RESUME):
        asked = quick(batch_size=9)
        object.__setattr__(asked, name, "other")
        message = f"out: {name} is .* in a, got other; only epochs, device"
        with pytest.raises(ValueError, match=message):
            settings_to_resume(run, asked)
    with pytest.raises(ValueError, match="out: epochs is 2 in a, got 9; only seed may change"):
        settings_to_resume(run, quick(epochs=9, seed=1), ("seed",))
