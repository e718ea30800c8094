"""The bars of a measurement, and what is left of an evaluation that is stopped."""

import json
import os
import signal
import time
from contextlib import closing
from types import SimpleNamespace

import pytest

import pyro_vae as pv
from pyro_vae.cli import output
from pyro_vae.cli.main import main
from pyro_vae.cli.output import CountingBar, EvaluationProgress
from pyro_vae.measures import PARTS
from pyro_vae.runs import evaluate
from tests.support import seams
from tests.support.pages import Page
from tests.support.runs import TINY
from tests.support.terminal import Terminal


@pytest.mark.parametrize("columns", [40, 80])
def test_a_bar_counts_and_its_time_runs_on_while_nothing_is_counted(columns, monkeypatch):
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda file: (columns, 24))
    monkeypatch.setattr(output, "TICK", 0.01)
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with closing(CountingBar("1 of 7  likelihood")) as bar:
        assert terminal.drawings(3)[-1].startswith("1 of 7  likelihood 00:0")
        bar.count(340, 1000, "temperatures")
        counted = terminal.drawings(20)[-1]
        assert counted.startswith("1 of 7  likelihood |") and len(counted) <= columns
        assert columns < 80 or "| 340 of 1000 temperatures, 00:0" in counted
    drawn = terminal.getvalue()
    assert drawn.endswith(" \r") and not drawn.split("\r")[-2].strip(), "nothing of it stays"
    time.sleep(0.1)
    assert terminal.getvalue() == drawn, "the clock stands still after the end"


def test_parts_have_their_lines_without_a_terminal(capsys, monkeypatch):
    now = SimpleNamespace(monotonic=lambda: now.seconds, seconds=0.0)
    monkeypatch.setattr(output, "time", now)
    parts = {"likelihood": {"elbo_nats": 1.0}, "posterior": None, "limit": {"left_out": "too few"}}
    with closing(EvaluationProgress(list(parts))) as shown:
        for part, figures in parts.items():
            shown.count(part, 0, 0, f"{len(part)} images")
            now.seconds += 83
            shown.count(part, 3, 9, "images")
            shown.measured(part, figures)
    assert capsys.readouterr().err.splitlines() == [
        "1 of 3  likelihood  10 images",
        "1 of 3  likelihood  01:23",
        "2 of 3  posterior   9 images",
        "2 of 3  posterior   does not apply",
        "3 of 3  limit       5 images",
        "3 of 3  limit       left out",
    ]


# --- an evaluation that is stopped ----------------------------------------------------------------

THREE = ["latents", "decoder", "factors"]


@pytest.fixture
def run(copy_run, no_pictures, monkeypatch):
    """A run that can be measured in seconds."""
    seams.evaluate_with(TINY, monkeypatch.setattr)
    return pv.load_run(copy_run("a b"))


@pytest.mark.slow
def test_a_stopped_evaluation_keeps_its_parts_and_names_the_rest(run, capsys, monkeypatch):
    """The report shows the parts that are kept."""
    measure = evaluate._measure

    def stopped(part, subject):
        if part is PARTS["factors"]:
            os.kill(os.getpid(), signal.SIGTERM)
        return measure(part, subject)

    command = ["evaluate", "a b", "--quick", "--only"]
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "_measure", stopped)
        assert main([*command, ", ".join(THREE)]) == 143
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        "pyro-vae: stopped by SIGTERM; kept: latents, decoder; the same command with --only factors"
        " goes on"
    )
    kept = json.loads((run.folder / "evaluation.json").read_text())
    assert list(kept) == THREE[:2]
    text = Page(run.folder / "report.html").text
    assert [PARTS[name].title in text for name in THREE] == [True, True, False]
    assert main([*command, "factors"]) == 0
    whole = json.loads((run.folder / "evaluation.json").read_text())
    assert list(whole) == THREE and whole["latents"] == kept["latents"]


@pytest.mark.slow
def test_an_evaluation_that_is_stopped_at_once_keeps_nothing(run, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "_measure", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    assert main(["evaluate", "a b"]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "pyro-vae: stopped by SIGINT; no part was done yet"
    assert not (run.folder / "evaluation.json").exists()
