"""Run folders that others made: whatever they hold, no command hangs, tells secrets or asks servers."""

import base64
import math
import os
import re
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_vae as pv
from pyro_vae.checkpoints import load_checkpoint
from pyro_vae.cli.main import main
from pyro_vae.names import DATASETS
from pyro_vae.runs.lock import FolderLock
from tests.support import seams
from tests.support.runs import contents

pytestmark = pytest.mark.usefixtures("elsewhere")
SECRET = "<svg>secret</svg>"


def leads_to(path, target):
    """Put a pipe in the place of a file of a run, or a link to somewhere else."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    if target == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(Path(target).absolute())


@pytest.fixture
def secret():
    """A folder outside of the run, with a picture and a text."""
    Path("secret").mkdir()
    for name in ("samples.svg", "samples.png", "failed.txt"):
        Path("secret", name).write_text(SECRET)


ELSEWHERE = [
    ("figures/samples.svg", "pipe"),
    ("figures/samples.png", "/dev/zero"),
    ("figures/progress_0001.png", "pipe"),
    ("figures/samples.svg", "secret/samples.svg"),
    ("figures/samples.png", "secret/samples.png"),
    ("figures", "secret"),
]


@pytest.mark.parametrize("name, target", ELSEWHERE)
def test_a_page_shows_what_lies_in_the_run_folder_alone(
    copy_run, secret, capsys, name, target, no_pictures
):
    """Else a picture would never end, or carry a file of its reader's along."""
    leads_to(copy_run("a") / name, target)
    assert main(["report", "a"]) == 0
    err = capsys.readouterr().err
    assert "it is left out of the page" in err and "figures: a/figures" in err
    page = Path("a/report.html").read_text() + pv.Run("a")._repr_html_()
    assert base64.b64encode(SECRET.encode()).decode() not in page


def test_other_files_among_the_pictures_are_no_matter(copy_run, no_pictures):
    copy_run("a")
    Path("a/figures/progress_of_mine.png").write_text("mine")
    assert main(["report", "a"]) == 0


@pytest.mark.parametrize(
    "target, reason",
    [
        ("pipe", "is no regular file"),
        ("/dev/zero", "is no regular file"),
        ("secret/failed.txt", "is a link that leads out of x/a"),
    ],
)
def test_why_a_run_failed_is_read_from_its_own_folder(copy_run, secret, capsys, target, reason):
    leads_to(copy_run("x/a") / "failed.txt", target)
    assert main(["compare", "x"]) == 2
    assert capsys.readouterr().err == f"pyro-vae: x/a/failed.txt {reason}\n"


def test_a_page_in_the_place_of_a_comparison_is_not_opened(copy_run, capsys):
    for seed in (0, 1):
        copy_run(f"x/{seed}", seed=seed)
    leads_to(Path("x/report.html"), "pipe")
    assert main(["compare", "x"]) == 2
    assert "x/report.html is no regular file" in capsys.readouterr().err


# --- files that hold something else -----------------------------------------------------------------

RESUME = ["train", "--resume", "--out", "a", "--hidden", "8", "--latent-dim", "2", "--epochs", "9"]
STATE = [  # what a checkpoint holds instead, which would go on to other weights or end in a traceback
    ("random", []),
    ("adam", {}),
    ("adam.decoder.0.weight", torch.zeros(3)),
    ("adam.decoder.0.weight.step", torch.tensor(1.0)),
    ("adam.decoder.0.weight.exp_avg", torch.zeros(3)),
    ("terms", torch.tensor(1.0)),
    ("best_epoch", 1),
    ("best_loss", math.nan),
    ("step", -1),
]
WEIGHTS = [
    ("levels", 10**12),
    ("image_shape", [1, 10**6, 10**6]),
    ("model.decoder.0.weight", torch.zeros(1).expand(8, 2)),
    ("model.decoder.0.weight", torch.full((8, 2), math.nan)),
    ("model.decoder.0.weight", torch.zeros(8, 2, dtype=torch.long)),
    ("model.decoder.0.weight", torch.zeros(8, 2).to_sparse()),
    ("model.decoder.0.weight", None),
    ("model.more", torch.zeros(1)),
]


def put(content, key, value):
    """Set a value in nested tables."""
    *names, last = re.findall(r"(?:(?<=^model\.)|(?<=^adam\.))\w+\.\d+\.\w+|\w+", key)
    for name in names:
        content = content[name]
    content[last] = value


@pytest.mark.parametrize("key, value", STATE + WEIGHTS, ids=str)
def test_a_checkpoint_of_something_else_is_named(copy_run, capsys, key, value):
    path = copy_run("a") / "checkpoints" / "last.pt"
    content = load_checkpoint(path)
    put(content, key, value)
    torch.save(content, path)
    for command in (
        [RESUME, ["sample", "a"]] if key.startswith(("model", "levels", "image")) else [RESUME]
    ):
        assert main(command) == 2
        assert "a/checkpoints/last.pt" in capsys.readouterr().err


def test_no_model_is_built_for_weights_that_do_not_fit_it(copy_run, monkeypatch, capsys):
    """A model of these settings takes 3.4 GB, and its checkpoint some kilobytes."""
    config = copy_run("a") / "config.yaml"
    config.write_text(config.read_text().replace("hidden:\n- 8", "hidden: [20000, 20000]"))
    initialise = torch.nn.Linear.reset_parameters
    built = []

    def counted(layer):
        built.extend([] if layer.weight.is_meta else [layer])
        initialise(layer)

    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", counted)
    resume = ["20000,20000" if word == "8" else word for word in RESUME]
    for command in (["sample", "a"], resume):
        assert main(command) == 2
        assert "a/checkpoints/last.pt does not fit a/config.yaml" in capsys.readouterr().err
    assert built == []


@pytest.mark.parametrize(
    "name, before, after, command",
    [
        ("metrics.csv", "\n1,", "\n,", "report"),
        ("config.yaml", "beta: 1.0", "beta: -1.0", "report"),
        ("summary.json", '"latent_dim": 2', '"latent_dim": "two"', "explore"),
        ("evaluation.json", "{}", '{"latents": {"images": []}}', "compare"),
    ],
)
def test_tables_of_something_else_are_named(copy_run, capsys, name, before, after, command):
    path = copy_run("x/a") / name
    copy_run("x/b", seed=1)
    text = path.read_text() if path.exists() else "{}"
    path.write_text(text.replace(before, after))
    assert main([command, "x" if command == "compare" else "x/a"]) == 2
    assert f"a/{name}" in capsys.readouterr().err


# --- what is deleted --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["figures", "checkpoints", "summary.json"])
def test_nothing_is_deleted_where_not_all_can_be(copy_run, no_pictures, capsys, name):
    """A linked folder, or a folder in the place of a file."""
    copy_run("a")
    Path("mine").mkdir()
    Path("mine/.0123456789abcdef.part").touch()
    if name == "summary.json":
        Path("a", name).unlink()
        Path("a", name).mkdir()
    else:
        leads_to(Path("a", name), "mine")
    before = contents("a")
    overwrite = [*RESUME[:1], "--overwrite", *RESUME[2:]]
    assert main(overwrite) == 2
    assert f"out: a/{name} is not what a run writes" in capsys.readouterr().err
    assert contents("a") == before and os.listdir("mine") == [".0123456789abcdef.part"]


def test_files_that_others_have_begun_to_write_stay(copy_run, no_pictures):
    leads_to(copy_run("a") / "figures", "mine")
    names = {".0123456789abcdef.part", ".paper.part", "mine"}
    for folder in ("mine", "a"):
        Path(folder).mkdir(exist_ok=True)
        for name in names:
            Path(folder, name).touch()
    assert main([*RESUME[:-1], "3"]) == 0
    assert set(os.listdir("mine")) >= names
    assert {name for name in os.listdir("a") if name in names} == {".paper.part", "mine"}


# --- data -------------------------------------------------------------------------------------------

NAMES = [name for name in DATASETS if name not in ("digits", "sprites")]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_data_are_neither_looked_up_nor_given_a_folder(copy_run, monkeypatch, capsys, name):
    """Whatever data folder the settings of the runs name."""
    seams.draw_no_curves(monkeypatch.setattr)
    asked = []
    monkeypatch.setattr("urllib.request.urlopen", lambda *request, **options: asked.append(request))
    for seed in (0, 1):
        config = copy_run(f"x/{seed}", seed=seed) / "config.yaml"
        text = re.sub("data_dir: .*", "data_dir: empty", config.read_text())
        config.write_text(text.replace("dataset: digits", f"dataset: {name}"))
    for command in (["evaluate", "x/0"], ["explore", "x/0"]):
        assert main(command) == 1
        assert f"datasets {name} --data-dir DIR" in capsys.readouterr().err
    assert main(["compare", "x"]) == 0
    with pytest.raises(OSError, match="cannot be read any more"):
        pv.measure([pv.load_run("x/0")], len)
    assert asked == [] and not Path("empty").exists()


# --- terminals --------------------------------------------------------------------------------------

ESCAPES = "\x1b]0;mine\x07\x1b[2J\r\x9b31m"


def test_what_others_wrote_does_not_steer_a_terminal(copy_run, no_pictures, capsys):
    """Why a run failed, the name of a data set, and who holds a lock."""
    for seed in (0, 1):
        copy_run(f"x/{seed}", seed=seed)
    Path(f"x/{ESCAPES}").mkdir()
    Path(f"x/{ESCAPES}/failed.txt").write_text(f"it diverged {ESCAPES}\n")
    assert main(["compare", "x"]) == 0
    assert "failed: x/?]0;mine??[2J??31m: ?31m" in shown(capsys)
    np.save(f"{ESCAPES}.npy", np.zeros((20, 4, 4), np.uint8))
    own = ["--dataset", f"{ESCAPES}.npy", "--epochs", "1", "--hidden", "4", "--latent-dim", "2"]
    assert main(["train", *own, "--out", "b"]) == 0
    assert "?[2J" in shown(capsys)
    with FolderLock(Path("x/0")).acquire():
        Path("x/0/.holder").write_text(f"process 1 {ESCAPES}")
        assert main(["evaluate", "x/0"]) == 2
    assert "in use by process 1 ?]0;mine" in shown(capsys)


def shown(capsys):
    """What was printed, in which no control stands but the end of a line."""
    printed = "".join(capsys.readouterr())
    assert not [c for c in printed if unicodedata.category(c) == "Cc" and c != "\n"]
    return printed
