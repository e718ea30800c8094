"""Run folders that others made: whatever they hold, no command hangs, tells secrets or asks servers."""

import base64
import os
import re
import shutil
from pathlib import Path

import pytest

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.names import DATASETS

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
def test_a_page_shows_what_lies_in_the_run_folder_alone(copy_run, secret, capsys, name, target):
    """Else a picture would never end, or carry a file of its reader's along."""
    leads_to(copy_run("a") / name, target)
    assert main(["report", "a"]) == 0
    err = capsys.readouterr().err
    assert "it is left out of the page" in err and "figures: a/figures" in err
    page = Path("a/report.html").read_text() + pv.Run("a")._repr_html_()
    assert base64.b64encode(SECRET.encode()).decode() not in page


def test_other_files_among_the_pictures_are_no_matter(copy_run):
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


NAMES = [name for name in DATASETS if name not in ("digits", "sprites")]


@pytest.mark.parametrize("name", NAMES)
def test_data_are_neither_looked_up_nor_given_a_folder(copy_run, monkeypatch, capsys, name):
    """Whatever data folder the settings of the runs name."""
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
