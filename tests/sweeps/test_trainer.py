"""Which runs of a sweep are trained together, and what becomes of those that fail."""

import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.runs.run import build_model
from pyro_vae.sweeps.trainer import Trainer, pays_together, units
from pyro_vae.training import ensembles
from pyro_vae.training.loop import Training
from tests.support import seams
from tests.support.faults import full_disk_after
from tests.support.runs import assert_same_run
from tests.support.sweeps import (
    BETAS,
    DYNAMIC,
    NAMES,
    SMALL,
    SWEEP,
    Noting,
    engines_of_runs,
    written,
)

pytestmark = pytest.mark.usefixtures("small_sweeps")

# --- together or one by one -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "count, options, training_images, pays",
    [
        (10, {"epochs": 200}, 1280, True),  # 10 x 200 x 10 steps
        (10, {"epochs": 199}, 1280, False),
        (10, {"epochs": 100, "batch_size": 64}, 1280, True),
        (10, {"epochs": 200}, 1279, False),
        (20_000, {"epochs": 1}, 100, True),  # batches of 100
        (1, {"epochs": 99_999}, 1280, False),
        (2, {"epochs": 1, "engine": "compiled"}, 1280, True),
        (99, {"epochs": 999, "engine": "svi"}, 1280, False),
        (99, {"epochs": 999, "engine": "eager"}, 1280, False),
    ],
)
def test_which_groups_pay_together(monkeypatch, count, options, training_images, pays):
    seams.set_steps_that_pay(20_000, monkeypatch.setattr)
    configs = [pv.RunConfig(seed=seed, **options) for seed in range(count)]
    assert pays_together(configs, pv.VAE((1, 8, 8), 2), training_images) is pays


@pytest.mark.slow
def test_groups_are_judged_by_their_own_steps(monkeypatch):
    """Two groups of two runs, 33 steps each: none has enough, though all four would."""
    grid = ["--likelihood", "bernoulli", "--seed", "0", "1", "--latent-dim", "2", "3"]
    seams.set_steps_that_pay(2 * 33 + 1, monkeypatch.setattr)
    assert main([*SWEEP, *grid]) == 0
    assert list(engines_of_runs().values()) == ["eager"] * 4


@pytest.mark.slow
def test_a_group_that_cannot_go_together_goes_one_by_one(capsys, monkeypatch):
    def refuse(step, device):
        raise RuntimeError("the compiler has crashed\nwith a long story")

    seams.put_compiler(refuse, monkeypatch.setattr)
    seams.set_steps_that_pay(100, monkeypatch.setattr)  # of 33 steps each
    assert main([*SWEEP, *BETAS]) == 0
    message = "engine: one run after the other, since the compiler has crashed\n"
    assert message in capsys.readouterr().err
    assert engines_of_runs() == dict.fromkeys(NAMES, "eager")


class Gpu:
    """Fails in stacks of more than so many runs, or in every training."""

    def __init__(self, monkeypatch, error, at_most=0):
        self.error, self.at_most, self.sizes = error, at_most, []
        take_steps = ensembles.Stack.take_steps
        advance = Training.advance

        def in_stacks(stack, lap):
            self.sizes.append(len(stack.learned.parameters[0]))
            if self.sizes[-1] > self.at_most:
                raise self.error
            return take_steps(stack, lap)

        def alone(training, terms):
            if self.at_most == 0:
                raise self.error
            return advance(training, terms)

        monkeypatch.setattr(ensembles.Stack, "take_steps", in_stacks)
        monkeypatch.setattr(Training, "advance", alone)


FULL = torch.OutOfMemoryError(
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 16.00 GiB. More"
)


@pytest.mark.slow
def test_a_gpu_that_fails_ends_the_sweep_and_blames_no_run(capsys, monkeypatch):
    """Its runs are not marked as failed: the same command resumes them."""
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    with monkeypatch.context() as broken:
        Gpu(broken, torch.AcceleratorError("CUDA error: an illegal memory access was encountered"))
        assert main([*SWEEP, *BETAS]) == 1
    said = capsys.readouterr().err
    assert "the GPU failed (CUDA error: an illegal memory" in said and "the same command" in said
    assert not list(Path().rglob("failed.txt"))
    assert main([*SWEEP, *BETAS]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("at_most", [1, 2])
def test_a_full_gpu_takes_smaller_stacks(capsys, monkeypatch, at_most):
    """And single runs in the end."""
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    seams.set_steps_that_pay(1, monkeypatch.setattr)
    gpu = Gpu(monkeypatch, FULL, at_most)
    grid = ["--likelihood", "bernoulli", "--beta", "1", "2", "3", "4"]
    assert main([*SWEEP, *grid]) == 0
    assert list(dict.fromkeys(gpu.sizes)) == [4, 2]
    assert "the GPU is full: on with stacks of 2 runs" in capsys.readouterr().err
    assert not list(Path().rglob("failed.txt")) and len(engines_of_runs()) == 4


@pytest.mark.slow
def test_a_single_run_that_does_not_fit_says_what_it_wanted(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    Gpu(monkeypatch, FULL)
    assert main([*SWEEP, "--beta", "1"]) == 1
    (failure,) = Path().rglob("failed.txt")
    assert "Tried to allocate 20.00 GiB" in failure.read_text()
    assert "use a smaller batch_size" in failure.read_text()


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, [(2, 2), (2, 2), (1, 2)]),
        ({"network": "conv", "hidden": (2,)}, [(1, 1)] * 5),
        ({"engine": "eager"}, [(1, None)] * 5),
    ],
)
def test_a_group_is_cut_where_its_stacks_end(monkeypatch, options, expected):
    """Members and places of each unit, where a stack holds two models."""
    seams.stack_at_most(2, monkeypatch.setattr)
    configs = [pv.RunConfig(**SMALL | options, seed=seed) for seed in range(5)]
    group = [pv.Run(f"a/{config.seed}", config) for config in configs]
    found = units(group, "cpu")
    assert [(len(unit.runs), unit.places) for unit in found] == expected


@pytest.mark.slow
def test_the_units_of_a_group_are_computed_as_one_ensemble(monkeypatch):
    """Three runs in stacks of two: the last stack has an idle place in both. One step is compiled."""
    compiled = []
    seams.put_compiler(lambda step, *_: compiled.append(step) or step, monkeypatch.setattr)
    seams.stack_at_most(2, monkeypatch.setattr)
    pv.sweep(DYNAMIC | {"seed": range(3)}, "a")
    assert len(compiled) == 1
    configs = [pv.RunConfig(**DYNAMIC, seed=seed) for seed in range(3)]
    pv.train_many(configs, [f"b/{seed}" for seed in range(3)])
    for seed in range(3):
        assert pv.load_run(f"a/seed={seed}").summary["engine"] == "compiled"
        assert_same_run(f"a/seed={seed}", f"b/{seed}")


def test_runs_that_have_ended_are_left_alone_also_where_their_data_are_gone(copy_run, monkeypatch):
    """They are not marked as failed."""
    finished = pv.Run(copy_run("a/0", engine="eager"))
    observer, other = Noting(), pv.Run("a/1", replace(finished.config, seed=1))

    def gone(config):
        raise OSError("the data are gone")

    monkeypatch.setattr("pyro_vae.sweeps.trainer.load_data", gone)
    Trainer(observer).train([[finished, other]])
    assert observer.told == [("ended", "1", True)] and not finished.reread().failed


# --- what fails -----------------------------------------------------------------------------------

FAILED = NAMES[1]


def broken_model(config, *arguments):
    """The model of a run, with weights that are no numbers in one of the four runs."""
    model = build_model(config, *arguments)
    if (config.seed, config.beta) == (1, 0.5):
        with torch.no_grad():
            next(model.decoder.parameters()).fill_(math.nan)
    return model


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_a_run_that_diverges_is_marked_until_its_folder_is_deleted(capsys, monkeypatch, engine):
    arguments = [*SWEEP, *BETAS, "--engine", engine]
    with monkeypatch.context() as patch:
        patch.setattr("pyro_vae.runs.train.build_model", broken_model)
        assert main(arguments) == 1
        before = written("a")
        out, err = capsys.readouterr()
        assert main(arguments) == 1
        assert written("a") == before
    assert err == (
        f"pyro-vae: 1 of 4 runs failed, as failed.txt in their folders says: a/{FAILED}; delete a"
        " folder to try its run again\n"
    )
    assert f"{FAILED}: failed: the distortion is not finite at epoch 1, step 1; try" in out
    assert "(3 of 4 runs done, 1 failed)" in out
    reason = Path("a", FAILED, "failed.txt").read_text()
    assert reason.count("\n") == 1 and reason.endswith("last finite checkpoint: none yet\n")
    assert set(engines_of_runs()) == set(NAMES) - {FAILED}
    shutil.rmtree(Path("a", FAILED))
    assert main(arguments) == 0
    assert set(engines_of_runs()) == set(NAMES)


@pytest.mark.slow
def test_a_failed_run_keeps_its_place_beside_those_that_continue(monkeypatch):
    """The others are computed in a stack of the same size, killed or not."""
    stack, sizes = ensembles.Stack, []

    def noted(ensemble, numbers, size, *rest):
        sizes.append((len(numbers), size))
        return stack(ensemble, numbers, size, *rest)

    monkeypatch.setattr("pyro_vae.training.ensembles.Stack", noted)
    Path("a/seed=1").mkdir(parents=True)
    Path("a/sweep.yaml").touch()
    Path("a/seed=1/failed.txt").write_text("it diverged\n")
    pv.RunConfig(**DYNAMIC, seed=1).save("a/seed=1/config.yaml")
    assert main([*SWEEP, "--seed", "0", "1", "2"]) == 1
    assert sizes == [(3, 3)] and set(engines_of_runs()) == {"seed=0", "seed=2"}
    assert sorted(p.name for p in Path("a/seed=1").iterdir()) == ["config.yaml", "failed.txt"]


@pytest.mark.slow
def test_data_that_are_missing_fail_their_runs_alone(capsys):
    data = ["--dataset", "digits", "absent.npy"]
    assert main([*SWEEP, *data, "--seed", "0", "1"]) == 1
    err = capsys.readouterr().err
    assert "2 of 4 runs failed" in err and err.count("\n") == 1
    assert "a/dataset=absent,seed=0, a/dataset=absent,seed=1;" in err
    for seed in (0, 1):
        reason = Path(f"a/dataset=absent,seed={seed}/failed.txt").read_text()
        assert reason.startswith("dataset: there is no file or folder") and reason.count("\n") == 1
        assert pv.RunConfig.load(f"a/dataset=absent,seed={seed}/config.yaml").seed == seed
    assert set(engines_of_runs()) == {"dataset=digits,seed=0", "dataset=digits,seed=1"}


@pytest.mark.slow
def test_a_damaged_checkpoint_fails_its_run_alone():
    assert main([*SWEEP, "--seed", "0", "1", "2"]) == 0
    for seed in range(2):
        Path(f"a/seed={seed}/summary.json").unlink()
    Path("a/seed=0/checkpoints/last.pt").write_bytes(b"garbage")
    assert main([*SWEEP, "--seed", "0", "1", "2"]) == 1
    assert "last.pt cannot be read" in Path("a/seed=0/failed.txt").read_text()
    assert set(engines_of_runs()) == {"seed=1", "seed=2"}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_a_full_disk_is_no_runs_fault(capsys, monkeypatch, engine):
    arguments = [*SWEEP, *BETAS, "--engine", engine]
    with monkeypatch.context() as disk:
        disk.setattr("os.replace", full_disk_after(9, os.replace))
        assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "No space left on device" in error and error.count("\n") == 1
    assert list(Path("a").rglob("failed.txt")) == []
    assert main(arguments) == 0


def test_no_more_than_three_failed_runs_are_named(capsys):
    values = ["--dataset", "absent.npy", "--seed", *map(str, range(5))]
    assert main([*SWEEP, *values]) == 1
    error = capsys.readouterr().err
    assert "5 of 5 runs failed" in error and "a/seed=2 and 2 more; delete" in error
