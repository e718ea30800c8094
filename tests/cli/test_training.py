"""What `train` and `sweep` say while they train."""

from pathlib import Path

import pytest

import pyro_vae as pv
from pyro_vae.cli.main import main
from tests.support.runs import TRAIN_QUICK

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")


def train(*arguments):
    """The exit status of a training of two epochs."""
    return main([*TRAIN_QUICK, "--epochs", "2", *arguments])


@pytest.mark.slow
def test_runs_get_new_folders(capsys):
    assert train() == 0 and train() == 0
    names = sorted(p.name for p in Path("runs").iterdir())
    assert names == ["digits-gaussian_shared_sigma-1", "digits-gaussian_shared_sigma-2"]
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "Look at runs/digits-gaussian_shared_sigma-2/report.html"
    assert err == ""  # no progress bar off a terminal


def test_a_training_is_announced_and_summed_up(capsys):
    assert train("--out", "a") == 0
    out, run = capsys.readouterr().out, pv.load_run("a")
    lines = out.splitlines()
    assert lines[0] == "digits: 1437 training and 360 test images 1x8x8, 17 grey levels"
    parameters = sum(p.numel() for p in run.vae.parameters())
    assert lines[1] == f"vae: gaussian_shared_sigma, mlp, 2 latents, {parameters} parameters"
    assert lines[2] == "eager on cpu, since 22 steps do not pay for compiling"
    assert [line.split(":")[0] for line in lines[3:5]] == ["epoch 1", "epoch 2"]
    test = run.summary["test"]
    assert f"test  ELBO {test['elbo_nats']:.4f} = -(rate {test['rate_nats']:.4f}" in out
    draws = f"bound of 16 draws, {test['bits_per_dim_effective_samples']:.1f} effective"
    assert f"test  {test['bits_per_dim']:.4f} bits per dimension ({draws})" in out
    assert 1 <= test["bits_per_dim_effective_samples"] <= 16


@pytest.mark.slow
def test_bernoulli_on_grey_levels_trains_with_a_notice(capsys):
    assert train("--likelihood", "bernoulli") == 0
    out = capsys.readouterr().out
    assert "Notice: bernoulli is no likelihood of 17 grey levels" in out
    assert "bits per dimension (" not in out


@pytest.mark.slow
def test_flags_win_over_the_file():
    Path("c.yaml").write_text("beta: 3\nseed: 4\nhidden: [8]\n")
    assert train("--config", "c.yaml", "--beta", "0.5", "--out", "a") == 0
    config = pv.load_run("a").config
    assert (config.seed, config.beta) == (4, 0.5)
