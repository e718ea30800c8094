"""Run folders and the command line, from the outside."""

import json
import math
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.evaluation.exact import linear_optimum
from pyro_vae.likelihoods.families import LIKELIHOODS
from pyro_vae.models.elbo import elbo_terms

QUICK = {"hidden": "8", "latent_dim": 2, "epochs": 2}
HEADER = (
    "epoch,step,seconds,beta,loss,train_elbo,train_rate,train_distortion,"
    "test_elbo,test_rate,test_distortion,validation_loss"
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def quick(**options):
    return pv.RunConfig(**(QUICK | options))


def command(*arguments):
    """Exit status of a command; `--hidden 8` and two epochs unless it says otherwise."""
    return main(["train", "--hidden", "8", "--latent-dim", "2", "--epochs", "2", *arguments])


def test_a_run_folder_holds_what_the_contract_says(tmp_path):
    run = pv.train(quick(), "a")
    assert run.folder == pv.load_run("a").folder
    files = {str(p.relative_to("a")) for p in run.folder.rglob("*") if p.is_file()}
    assert files == {
        "config.yaml", "metrics.csv", "summary.json", "report.html", "checkpoints/last.pt",
        "figures/learning_curves.png", "figures/reconstructions.png", "figures/samples.png",
        "figures/kl_histogram.png", "figures/progress_0001.png", "figures/progress_0002.png",
    }  # fmt: skip
    for picture in run.folder.glob("figures/*.png"):
        assert min(Image.open(picture).size) > 250
    header, *rows = Path("a/metrics.csv").read_text().splitlines()
    assert header == HEADER and [row.split(",")[0] for row in rows] == ["1", "2"]
    assert run.metrics["epoch"] == [1, 2] and run.metrics["step"] == [11, 22]


def test_the_summary_says_what_was_measured():
    run = pv.train(quick(beta=2.0), "a")
    summary = json.loads(Path("a/summary.json").read_text())
    assert summary == run.summary
    test = pv.load_dataset("digits").test.images
    terms = elbo_terms(run.vae, test)
    assert summary["test"]["elbo_nats"] == pytest.approx(terms.elbo.mean().item(), rel=1e-5)
    assert summary["test"]["rate_nats"] == pytest.approx(terms.rate.mean().item(), rel=1e-5)
    assert -summary["test"]["elbo_nats"] == pytest.approx(
        summary["test"]["rate_nats"] + summary["test"]["distortion_nats"], rel=1e-5
    )
    assert summary["test"]["elbo_nats"] == pytest.approx(run.metrics["test_elbo"][-1], rel=1e-5)
    assert summary["test"]["bits_per_dim"] > 0 and summary["test"]["bits_per_dim_samples"] == 16
    assert summary["parameters"] == {
        "encoder": 65 * 8 + 9 * 4, "decoder": 3 * 8 + 9 * 64, "likelihood": 1
    }  # fmt: skip
    assert summary["beta"] == 2.0 and summary["engine"] == "eager" and summary["steps"] == 22
    assert summary["steps_per_second"] == pytest.approx(22 / summary["seconds"])
    assert summary["linear_optimum"] is None


def test_a_linear_run_is_held_against_its_closed_form():
    run = pv.train(quick(network="linear", hidden=None), "a")
    exact = run.summary["linear_optimum"]
    train = pv.load_dataset("digits").train.images
    optimum = linear_optimum(train, 2)
    assert exact["elbo_nats"] == pytest.approx(optimum.elbo)
    assert run.summary["train"]["elbo_nats"] < exact["elbo_nats"]


def test_the_readmes_linear_run_reaches_the_likelihoods_maximum_under_ppca():
    """The command as the README gives it: within 0.05 nats of the closed form, sigma within 1%."""
    readme = (Path(__file__).parent.parent / "README.md").read_text().splitlines()
    (line,) = [line for line in readme if line.startswith("pyro-vae train") and "linear" in line]
    assert main([*shlex.split(line)[1:], "--out", "a"]) == 0
    run = pv.load_run("a")
    exact = run.summary["linear_optimum"]
    assert abs(run.summary["train"]["elbo_nats"] - exact["elbo_nats"]) < 0.05
    assert run.vae.likelihood.scale.item() == pytest.approx(exact["sigma"], rel=0.01)


def test_a_loaded_run_is_the_trained_model():
    config, live = quick(likelihood="gaussian_optimal_sigma", precision="float64"), []
    run = pv.train(config, "a", announce=lambda *about: live.append(about[-1].engine.model))
    again = pv.load_run("a")
    assert not again.vae.training and again.config == run.config
    for key, value in live[0].state_dict().items():
        assert value.dtype == torch.float64 and torch.equal(value, again.vae.state_dict()[key])
    assert again.vae.sample(3).shape == (3, 1, 8, 8)


def test_the_configuration_repeats_the_run():
    first = pv.train(quick(binarize="dynamic", likelihood="bernoulli"), "a")
    config = pv.RunConfig.load("a/config.yaml")
    assert config == first.config and config.batch_size == 128
    second = pv.train(config, "b")
    for key, value in first.vae.state_dict().items():
        assert torch.equal(value, second.vae.state_dict()[key])


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_family_leaves_a_complete_summary(name):
    run = pv.train(quick(likelihood=name, epochs=1), "a")
    bits = run.summary["test"]["bits_per_dim"]
    assert (bits is None) == (name == "bernoulli")
    test = run.summary["test"]
    numbers = [v for v in test.values() if v is not None and not isinstance(v, list)]
    assert all(math.isfinite(v) for v in numbers + test["rate_per_component_nats"])


def test_an_autoencoder_has_no_rate_to_report():
    run = pv.train(quick(model="autoencoder"), "a")
    test = run.summary["test"]
    assert test["distortion_nats"] and test["active_units"] is not None
    empty = ("elbo_nats", "rate_nats", "bits_per_dim", "collapsed_units")
    assert [test[key] for key in empty] == [None] * 4
    assert run.metrics["train_rate"] == [None, None]
    assert not (run.folder / "figures" / "kl_histogram.png").exists()


def test_runs_get_new_folders(capsys):
    assert command() == 0 and command() == 0
    names = sorted(p.name for p in Path("runs").iterdir())
    assert names == ["digits-gaussian_shared_sigma-1", "digits-gaussian_shared_sigma-2"]
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "Look at runs/digits-gaussian_shared_sigma-2/report.html"
    assert err == ""  # no progress bar off a terminal


def test_bernoulli_on_grey_levels_trains_with_a_notice(capsys):
    assert command("--likelihood", "bernoulli") == 0
    out = capsys.readouterr().out
    assert "Notice: bernoulli is no likelihood of 17 grey levels" in out
    assert "bits per dimension (" not in out


def test_python_users_are_warned_too():
    with pytest.warns(UserWarning, match="bernoulli is no likelihood of 17 grey levels"):
        pv.train(quick(likelihood="bernoulli"), "a")


def test_flags_win_over_the_file():
    with open("c.yaml", "w") as file:
        yaml.safe_dump({"beta": 3, "seed": 4, "hidden": [8]}, file)
    config = pv.RunConfig.load("c.yaml", beta="0.5")
    assert (config.beta, config.seed, config.hidden) == (0.5, 4, (8,))
    assert command("--config", "c.yaml", "--beta", "0.5", "--out", "a") == 0
    assert pv.load_run("a").config.seed == 4 and pv.load_run("a").config.beta == 0.5


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none_is_an_error(capsys):
    assert command("--device", "cuda") == 2
    assert "torch finds no CUDA device" in capsys.readouterr().err


def test_a_failed_run_exits_with_1(capsys, monkeypatch):
    monkeypatch.setattr("pyro_vae.training.loop.Training.draw_epoch", lambda self: 1 / 0)
    assert command() == 1
    assert capsys.readouterr().err.startswith("pyro-vae: ")
    with pytest.raises(ZeroDivisionError):
        command("--debug")


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("engine", ["svi", "eager"])
def test_a_run_that_diverges_exits_with_1(capsys, engine):
    assert command("--learning-rate", "1e20", "--engine", engine) == 1
    assert "not finite at epoch" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["datasets", "--help"]])
def test_help_fits_a_terminal(capsys, monkeypatch, arguments):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as status:
        main(arguments)
    assert status.value.code == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_lists(capsys):
    assert main(["likelihoods"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(LIKELIHOODS)
    assert main(["datasets"]) == 0
    assert capsys.readouterr().out.startswith("digits ")
    assert main(["datasets", "digits"]) == 0


def test_the_module_is_a_command():
    done = subprocess.run([sys.executable, "-m", "pyro_vae"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("pyro-vae: expected a command")
