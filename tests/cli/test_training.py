"""What `train` and `sweep` say while they train."""

from pathlib import Path

import pytest

import pyro_vae as pv
from pyro_vae.cli import training
from pyro_vae.cli.main import main
from pyro_vae.settings import FIRST_RUN
from tests.support.runs import TRAIN_QUICK

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


def train(*arguments):
    """The exit status of a training of two epochs."""
    return main([*TRAIN_QUICK, "--epochs", "2", *arguments])


@pytest.mark.slow
def test_runs_get_new_folders(capsys):
    assert train("--epochs", "21") == 0 and train() == 0
    names = sorted(p.name for p in Path("runs").iterdir())
    assert names == ["digits-gaussian_shared_sigma-1", "digits-gaussian_shared_sigma-2"]
    out, err = capsys.readouterr()
    run = "runs/digits-gaussian_shared_sigma-2"
    assert out.splitlines()[-4:] == [
        f"Look at  {run}/report.html",
        f"Measure  pyro-vae evaluate {run} --quick",
        f"Draw     pyro-vae sample {run}",
        f"Explore  pyro-vae explore {run}",
    ]
    assert err == ""  # no progress bar off a terminal
    epochs = [line.split(":")[0] for line in out.splitlines() if line.startswith("epoch")]
    assert epochs == [f"epoch {n}" for n in (*range(2, 21, 2), 21, 1, 2)]  # a tenth, and the last


def test_a_training_is_announced_and_summed_up(capsys, all_draws):
    assert train("--out", "a") == 0
    out, run = capsys.readouterr().out, pv.load_run("a")
    lines = out.splitlines()
    assert lines[0] == "digits: 1437 training and 360 test images 1x8x8, 17 grey levels"
    parameters = sum(p.numel() for p in run.vae.parameters())
    assert lines[1:3] == [
        f"vae: gaussian_shared_sigma, mlp, 2 latents, {parameters:,} parameters; 2 epochs of 11",
        "  steps",
    ]
    assert lines[3] == "eager on cpu, since 22 steps do not pay for compiling"
    assert lines[4].startswith("Notice: 2 epochs of these images are only 22 steps")
    epochs = [line.split(":")[0] for line in lines if line.startswith("epoch")]
    assert epochs == ["epoch 1", "epoch 2"] and all(len(line) < 80 for line in lines)
    gap = run.summary["generalisation"]
    difference = run.summary["train"]["elbo_nats"] - run.summary["test"]["elbo_nats"]
    assert gap["gap_nats"] == pytest.approx(difference, rel=1e-6)  # rounding of float32
    assert f"better by {gap['gap_nats']:.2f} ± {gap['gap_error']:.2f} nats" in out
    test = run.summary["test"]
    assert f"test  ELBO {test['elbo_nats']:.4f} = -(rate {test['rate_nats']:.4f}" in out
    draws = f"bound of 182 draws, {test['bits_per_dim_effective_samples']:.1f} effective"
    assert f"test  {test['bits_per_dim']:.4f} bits per dimension ({draws})" in out
    assert 1 <= test["bits_per_dim_effective_samples"] <= 182


@pytest.mark.slow
def test_bernoulli_on_grey_levels_trains_with_a_notice(capsys):
    assert train("--likelihood", "bernoulli") == 0
    out = capsys.readouterr().out
    assert "Notice: bernoulli is no likelihood of 17 grey levels" in out
    assert "bits per dimension (" not in out


def first_run(*arguments, monkeypatch):
    """The configuration that a command comes to."""
    found = []
    monkeypatch.setattr(training, "train", lambda config, *_, **__: found.append(config) or 1 / 0)
    main(["train", *arguments])
    return found[0]


@pytest.mark.parametrize("more", [[], ["--seed", "3", "--device", "cpu", "--out", "a"]])
def test_a_run_without_a_model_is_a_first_run(more, monkeypatch):
    config = first_run(*more, monkeypatch=monkeypatch)
    chosen = {name: getattr(config, name) for name in FIRST_RUN}
    assert chosen == FIRST_RUN and config.seed == (3 if more else 0)


@pytest.mark.slow
def test_a_first_run_is_announced(capsys, monkeypatch, no_pictures):
    monkeypatch.setitem(FIRST_RUN, "epochs", 1)
    assert main(["train", "--out", "a"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith(
        "No model was asked for, so this is a first run: likelihood discretized_logistic, epochs 1,"
        " patience 20"
    )


def test_no_setting_that_is_given_meets_another_default(capsys, monkeypatch):
    Path("c.yaml").write_text("beta: 3\nseed: 4\n")
    for given in (["--epochs", "7"], ["--dataset", "digits"], ["--config", "c.yaml"]):
        config = first_run(*given, monkeypatch=monkeypatch)
        assert config.patience is None and config.likelihood == "gaussian_shared_sigma"
    assert config.beta == 3
    config = first_run("--config", "c.yaml", "--beta", "0.5", monkeypatch=monkeypatch)
    assert (config.seed, config.beta) == (4, 0.5), "flags win over the file"
    assert "first run" not in capsys.readouterr().out


@pytest.mark.slow
def test_compiling_is_announced(capsys, no_inductor, no_pictures):
    assert train("--engine", "compiled", "--out", "a") == 0
    lines = capsys.readouterr().out.splitlines()
    (place,) = [n for n, line in enumerate(lines) if line.startswith("Compiling the training step")]
    assert lines[place + 1].startswith("epoch 1")
