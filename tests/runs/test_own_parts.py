"""A run of a user's own parts through every command."""

from pathlib import Path

import numpy as np
import pytest

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.measures import PARTS
from pyro_vae.notices import Notice
from tests.support import seams
from tests.support.own_parts import FILE
from tests.support.runs import TINY, assert_same_run, contents
from tests.support.training import assert_same_weights

pytestmark = pytest.mark.usefixtures("elsewhere", "no_pictures")
FLAGS = [
    "--network", "mine.py:Net", "--likelihood", "mine.py:Poisson", "--prior", "mine.py:Wide",
    "--posterior", "mine.py:Narrow", "--latent-dim", "2", "--objective", "mine.py:Renyi",
]  # fmt: skip
TRAIN = ["train", *FLAGS, "--epochs", "2"]


@pytest.fixture(autouse=True)
def mine(elsewhere):
    Path("mine.py").write_text(FILE)


@pytest.mark.slow
def test_a_run_of_own_parts_stops_resumes_and_is_measured(monkeypatch, capsys):
    assert main([*TRAIN, "--out", "whole"]) == 0
    assert main([*TRAIN[:-1], "1", "--out", "a"]) == 0
    Path("deep").mkdir()
    monkeypatch.chdir("deep")  # the run knows the whole path of the file
    assert main(["train", "--epochs", "2", "--out", "../a", "--resume"]) == 0
    monkeypatch.chdir("..")
    assert_same_run("a", "whole")
    run = pv.load_run("a")
    assert run.config.network == f"{Path('mine.py').resolve()}:Net" and run.config.kind == "Poisson"
    assert run.summary["test"]["bits_per_dim"] > 0
    seams.evaluate_with(TINY, monkeypatch.setattr)
    assert main(["evaluate", "--quick", "a"]) == 0
    parts = pv.load_run("a").evaluation
    assert parts.keys() == PARTS.keys()
    assert "standard Normal" in parts["latents"]["left_out"] and "left_out" in parts["limit"]
    assert main(["train", "--hidden", "8", "--epochs", "1", "--out", "b"]) == 0
    assert main(["compare", "a", "b"]) == 0 and main(["sample", "a"]) == 0
    assert main(["explore", "a"]) == 2
    assert "the page knows the standard Normal only" in capsys.readouterr().err


def test_what_is_in_the_file_is_remembered_and_not_kept():
    assert main([*TRAIN, "--out", "a"]) == 0
    assert not any("Poisson(Likelihood)" in str(text) for text in contents("a").values())
    Path("mine.py").write_text(FILE + "\n")
    with pytest.warns(Notice, match=r"the text of .*mine.py has changed since a was trained"):
        pv.load_run("a")
    Path("mine.py").unlink()
    with pytest.raises(ValueError, match=r"network: .*mine.py is no longer there; put it back"):
        pv.load_run("a")


def test_code_in_a_run_folder_is_not_run():
    """It may be anybody's: a folder is passed on with all that lies in it."""
    assert main([*TRAIN, "--out", "a"]) == 0
    Path("a/mine.py").write_text("raise SystemExit('ran')")
    config = Path("a/config.yaml")
    config.write_text(config.read_text().replace("/mine.py", "/a/mine.py"))
    with pytest.raises(ValueError, match="network: code in a run folder is not run"):
        pv.load_run("a")


@pytest.mark.parametrize("flags, message", [
    (["--network", "mine.py:Nett"], "network: mine.py:Nett cannot be imported"),
    (["--prior", "gone.py:Own"], "prior: gone.py:Own cannot be imported"),
    (["--objective", "math.py:nan"], "objective: math.py:nan cannot be imported"),
    (["--objective", "builtins:dict"], "objective: expected an Objective or an Estimator, got {}"),
    (["--objective", "mine.py:Renyi", "--beta", "2"], "beta: a scaled importance bound is no bound"),
    (["--posterior", "point", "--prior", "mixture"], "prior: an autoencoder has none to learn"),
    (["--network", "mine.py:Net", "--hidden", "8"], "hidden: goes with the name of a network"),
])  # fmt: skip
def test_a_wrong_part_is_one_line(flags, message, capsys):
    assert main(["train", *flags, "--out", "a"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert message in line.replace(str(Path.cwd()) + "/", "")


@pytest.mark.slow
def test_a_sweep_over_own_parts_names_its_runs_by_them(small_sweeps):
    grid = {"posterior": ["normal", "mine.py:Narrow"], "seed": [0, 1]}
    runs = pv.sweep(grid | {"hidden": [(8,)], "latent_dim": [2], "epochs": [1]}, "a")
    names = ["posterior=normal,seed=0", "posterior=normal,seed=1"]
    names += [name.replace("normal", "Narrow") for name in names]
    assert sorted(runs) == sorted(names)
    assert all(pv.load_run(f"a/{name}").summary for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["--posterior=full_normal", "--posterior=flow", "--prior=mixture"])
def test_a_run_of_other_parts_is_loaded_and_resumed(part):
    assert main(["train", part, "--hidden", "8", "--epochs", "1", "--out", "a"]) == 0
    assert main(["train", "--epochs", "2", "--out", "a", "--resume"]) == 0
    pv.train(pv.load_run("a").config, "whole")
    assert_same_run("a", "whole")


# --- data of a function ---------------------------------------------------------------------------

MAKE = """
import numpy as np
import torch
from torch.utils.data import TensorDataset

IMAGES = np.random.default_rng(0).integers(256, size=(40, 6, 5), dtype=np.uint8)

def whole():
    return IMAGES

def split():
    train, test = (TensorDataset(torch.from_numpy(x)) for x in (IMAGES[:30], IMAGES[30:]))
    return {"train_images": train, "test_images": test, "test_labels": np.arange(10)}

def names():
    return {"pictures": 3, "more": 4}

def fails():
    raise KeyError("no disk")
"""
SMALL = ["--hidden", "8", "--latent-dim", "2", "--epochs", "2", "--batch-size", "10"]


@pytest.fixture
def made():
    Path("made.py").write_text(MAKE)


def test_a_run_of_a_data_set_of_torch_stops_resumes_and_is_used(made, monkeypatch):
    """It is the run of the same images in an archive, which memory holds."""
    content = ["--dataset", "made.py:split"]
    namespace: dict = {}
    exec(MAKE, namespace)
    x = namespace["IMAGES"]
    np.savez("a.npz", train_images=x[:30], test_images=x[30:], test_labels=np.arange(10))
    assert main(["train", "--dataset", "a.npz", *SMALL, "--out", "whole"]) == 0
    assert main(["train", *content, *SMALL, "--epochs", "1", "--out", "a"]) == 0
    Path("deep").mkdir()
    monkeypatch.chdir("deep")
    assert main(["train", "--epochs", "2", "--out", "../a", "--resume"]) == 0
    monkeypatch.chdir("..")
    run, whole = pv.load_run("a"), pv.load_run("whole")
    assert_same_weights(run.vae.state_dict(), whole.vae.state_dict())
    assert run.summary["test"] == whole.summary["test"]
    assert run.config.data_name == "made"
    assert main(["encode", "a", "made.py:split:test", "--out", "codes.npz"]) == 0
    assert np.load("codes.npz")["labels"].tolist() == list(range(10))


def test_a_function_may_return_an_array(made):
    assert main(["train", "--dataset", "made.py:whole", *SMALL, "--out", "a"]) == 0
    Path("made.py").write_text(MAKE.replace("rng(0)", "rng(1)"))
    with pytest.raises(OSError, match=r"made.py:whole are not those that a was trained on"):
        pv.evaluate(pv.load_run("a"), quick=True)


@pytest.mark.parametrize("function, message", [
    ("names", "holds pictures, more; expected images, or train_images and test_images"),
    ("fails", "made.py:fails fails: 'no disk'"),
    ("gone", "made.py:gone cannot be imported"),
])  # fmt: skip
def test_a_function_without_images_is_refused(made, capsys, function, message):
    assert main(["train", "--dataset", f"made.py:{function}", *SMALL, "--out", "a"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("pyro-vae: dataset: ") and message in error and error.count("\n") == 1
    assert not Path("a").exists()


def test_a_function_in_a_run_folder_is_not_called(made):
    assert main(["train", "--dataset", "made.py:whole", *SMALL, "--out", "a"]) == 0
    Path("a/made.py").write_text("raise SystemExit('ran')")
    config = Path("a/config.yaml")
    config.write_text(config.read_text().replace("/made.py", "/a/made.py"))
    for command in (["train", "--resume", "--out", "a", "--epochs", "3"], ["evaluate", "a"]):
        assert main(command) == 2
