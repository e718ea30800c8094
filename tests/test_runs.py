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
from pyro_vae.checkpoints import load_checkpoint, save_checkpoint
from pyro_vae.cli import main
from pyro_vae.evaluation.bounds import elbo_terms
from pyro_vae.evaluation.exact import linear_optimum
from pyro_vae.likelihoods import LIKELIHOODS

QUICK = {"hidden": "8", "latent_dim": 2, "epochs": 2}
HEADER = (
    "epoch,step,seconds,beta,loss,train_elbo,train_rate,train_distortion,"
    "test_elbo,test_rate,test_distortion"
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
        "config.yaml", "metrics.csv", "summary.json", "checkpoints/last.pt",
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
    run = pv.train(config, "a", announce=lambda folder, config, model, data: live.append(model))
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
    assert all(math.isfinite(v) for v in run.summary["test"].values() if v is not None)


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
    assert out.splitlines()[-1] == "Look at runs/digits-gaussian_shared_sigma-2/figures"
    assert err == ""  # no progress bar off a terminal


def test_bernoulli_on_grey_levels_trains_with_a_notice(capsys):
    assert command("--likelihood", "bernoulli") == 0
    out = capsys.readouterr().out
    assert "Notice: bernoulli is no likelihood of 17 grey levels" in out
    assert "bits per dimension (" not in out


def test_flags_win_over_the_file():
    with open("c.yaml", "w") as file:
        yaml.safe_dump({"beta": 3, "seed": 4, "hidden": [8]}, file)
    config = pv.RunConfig.load("c.yaml", beta="0.5")
    assert (config.beta, config.seed, config.hidden) == (0.5, 4, (8,))
    assert command("--config", "c.yaml", "--beta", "0.5", "--out", "a") == 0
    assert pv.load_run("a").config.seed == 4 and pv.load_run("a").config.beta == 0.5


WRONG = [
    ([], "expected a command: train, likelihoods or datasets"),
    (["trian"], "invalid choice: 'trian'"),
    (["train", "--epoch", "3"], "unknown argument --epoch; did you mean --epochs?"),
    (["train", "--zzz"], "unknown argument --zzz; see --help"),
    (["train", "--beta"], "argument --beta: expected one argument"),
    (["train", "--likelihood", "gausian_fixed_sigma"], "did you mean 'gaussian_fixed_sigma'?"),
    (["train", "--dataset", "minst"], "dataset: unknown name 'minst'; did you mean 'mnist'?"),
    (["train", "--epochs", "0"], "epochs: expected a whole number >= 1, got '0'"),
    (["train", "--latent-dim", "2.5"], "latent_dim: expected a whole number >= 1, got '2.5'"),
    (["train", "--learning-rate", "0"], "learning_rate: expected a number > 0, got '0'"),
    (["train", "--learning-rate", "nan"], "learning_rate: expected a number > 0, got 'nan'"),
    (["train", "--beta", "-1"], "beta: expected a number >= 0, got -1.0"),
    (["train", "--hidden", "4,x"], "hidden: expected a whole number >= 1, got 'x'"),
    (["train", "--seed", "-1"], "seed: expected a whole number >= 0"),
    (["train", "--batch-size", "9999"], "batch_size: expected 1 to 1437 images, got 9999"),
    (["train", "--sigma", "0.1"], "sigma: only gaussian_fixed_sigma takes one"),
    (["train", "--network", "linear", "--hidden", "4"], "a linear network has no hidden layers"),
    (["train", "--objective", "iwae", "--beta", "2"], "iwae is a bound at beta 1 only"),
    (["train", "--model", "autoencoder", "--objective", "iwae"], "no importance weights"),
    (["train", "--beta-schedule", "linear", "--warmup-epochs", "101"], "would end after training"),
    (["train", "--likelihood", "bernoulli", "--score", "levels"], "no probability to 17 grey"),
    (["train", "--config", "none.yaml"], "config: none.yaml cannot be read"),
    (["train", "--config", "key.yaml"], "config: key in key.yaml: unknown name 'betta'; did you"),
    (["train", "--config", "list.yaml"], "config: expected 'key: value' lines in list.yaml"),
    (["train", "--config", "broken.yaml"], "config: broken.yaml cannot be read"),
    (["train", "--config", "type.yaml"], "dataset: expected a name, got 3"),
    (["train", "--out", "taken"], "out: taken is there already"),
    (["datasets", "minst"], "did you mean 'mnist'?"),
]


@pytest.mark.parametrize("arguments, message", WRONG, ids=[" ".join(a) for a, _ in WRONG])
def test_a_wrong_argument_is_one_line_and_writes_nothing(tmp_path, capsys, arguments, message):
    (tmp_path / "taken").mkdir()
    for name, text in [
        ("key", "betta: 1"), ("list", "- 1"), ("broken", "a: [1"), ("type", "dataset: 3")
    ]:  # fmt: skip
        (tmp_path / f"{name}.yaml").write_text(text)
    before = sorted(tmp_path.rglob("*"))
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and err.startswith("pyro-vae: ") and out == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none_is_an_error(capsys):
    assert command("--device", "cuda") == 2
    assert "torch finds no CUDA device" in capsys.readouterr().err


def test_a_failed_run_exits_with_1(capsys, monkeypatch):
    monkeypatch.setattr("pyro_vae.training.Training.epoch", lambda self: 1 / 0)
    assert command() == 1
    assert capsys.readouterr().err.startswith("pyro-vae: ")
    with pytest.raises(ZeroDivisionError):
        command("--debug")


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("engine", ["svi", "eager"])
def test_a_run_that_diverges_exits_with_1(capsys, engine):
    assert command("--learning-rate", "1e20", "--engine", engine) == 1
    assert "not finite at epoch" in capsys.readouterr().err


def test_ctrl_c_exits_with_130(capsys, monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("pyro_vae.training.Training.epoch", interrupt)
    assert command() == 130
    assert "interrupted" in capsys.readouterr().err


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


# --- checkpoints ---------------------------------------------------------------------------------


def test_a_checkpoint_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})
    monkeypatch.setattr("torch.save", lambda content, file: (file.write(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        save_checkpoint(path, {"step": 2})
    assert load_checkpoint(path) == {"step": 1}


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoint: .*last\.pt cannot be read"):
        load_checkpoint(tmp_path / "last.pt")
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.pt")


def test_a_checkpoint_runs_no_code(tmp_path):
    class Hostile:
        def __reduce__(self):
            return exec, ("open('hacked', 'w')",)

    torch.save({"model": Hostile()}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        load_checkpoint(tmp_path / "last.pt")
    assert not (tmp_path / "hacked").exists()
