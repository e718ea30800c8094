"""The progress of an evaluation, and what is left of one that is stopped."""

import io
import json
import os
import shlex
import signal
import time
from contextlib import contextmanager, redirect_stderr
from types import SimpleNamespace

import pytest

import pyro_vae as pv
from pyro_vae.cli import measuring
from pyro_vae.cli.main import main
from pyro_vae.cli.measuring import MeasuringProgress
from pyro_vae.runs import evaluate
from pyro_vae.runs.parts import PARTS
from tests.support import seams
from tests.support.pages import Page
from tests.support.runs import TINY, quick

ALL = list(PARTS)


class Terminal(io.StringIO):
    """A terminal that remembers what was drawn."""

    def isatty(self):
        return True

    @property
    def drawings(self):
        """The drawings of the bar, with the escape sequences around them."""
        return [text for text in self.getvalue().split("\r") if "|" in text]


@contextmanager
def on_a_terminal(parts, monkeypatch, columns=80):
    """The progress of parts on a terminal of so many columns, and the terminal."""
    shape = (columns, 24)
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda file: shape)
    terminal = Terminal()
    with redirect_stderr(terminal), MeasuringProgress(parts) as progress:
        yield progress, terminal


@pytest.fixture
def clock(monkeypatch):
    """The time of the progress, which the test sets."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(measuring, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


# --- the bar --------------------------------------------------------------------------------------


def test_the_time_left_runs_on_while_nothing_is_reported(clock, monkeypatch):
    """A quarter in ten seconds leaves thirty; they pass, and do not become negative."""
    with on_a_terminal(ALL, monkeypatch) as (progress, _):
        progress.report("limit", 0.0)
        clock.seconds = 3
        assert progress.line().endswith("|{bar}| 00:03 so far")
        clock.seconds = 10
        progress.report("limit", 0.25)
        shown = {10: "00:30", 11: "00:29", 39: "00:01", 60: "00:00"}
        for seconds, left in shown.items():
            clock.seconds = seconds
            assert progress.line() == f"5 of 7  limit      |{{bar}}| {left} left"


def test_the_bar_is_drawn_again_while_nothing_is_reported(monkeypatch):
    monkeypatch.setattr(measuring, "TICK", 0.01)
    with on_a_terminal(ALL, monkeypatch) as (progress, terminal):
        progress.report("posterior", 0.0)
        until = time.monotonic() + 30
        while len(terminal.drawings) < 20 and time.monotonic() < until:
            time.sleep(0.01)
    assert len(terminal.drawings) >= 20
    drawn = terminal.getvalue()
    time.sleep(0.1)
    assert terminal.getvalue() == drawn, "the clock stands still after the end"


@pytest.mark.parametrize("columns", [40, 80])
def test_the_bar_fits_the_terminal(clock, columns, monkeypatch):
    with on_a_terminal(ALL, monkeypatch, columns) as (progress, terminal):
        for part in PARTS:
            progress.report(part, 0.0)
            clock.seconds += 1000
            progress.report(part, 0.5)
            progress._draw()
            progress.measured(part, {})
    assert len(terminal.drawings) >= 2 * len(PARTS)
    for drawing in terminal.drawings:
        assert len(drawing.replace("\x1b[A", "").strip("\n")) <= columns
        assert "of 7  " in drawing


def test_parts_have_their_lines_without_a_terminal(clock, capsys):
    with MeasuringProgress(["likelihood", "posterior", "limit"]) as progress:
        progress.report("likelihood", 0.0)
        clock.seconds = 83
        progress.measured("likelihood", {"elbo_nats": 1.0})
        progress.report("posterior", 0.0)
        progress.measured("posterior", None)
        progress.report("limit", 0.0)
        progress.measured("limit", {"left_out": "too few images"})
    assert capsys.readouterr().err.splitlines() == [
        "1 of 3  likelihood  01:23",
        "2 of 3  posterior   does not apply",
        "3 of 3  limit       left out",
    ]


# --- an evaluation that is stopped ----------------------------------------------------------------

THREE = ["latents", "decoder", "factors"]


@pytest.fixture
def run(elsewhere, no_pictures, monkeypatch):
    """A run that can be measured in seconds."""
    seams.evaluate_with(TINY, monkeypatch.setattr)
    return pv.train(quick(), "a b")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_evaluation_keeps_its_parts_and_names_the_rest(run, number, capsys, monkeypatch):
    measure = evaluate._measure

    def stopped(name, *rest):
        if name == "factors":
            os.kill(os.getpid(), number)
        return measure(name, *rest)

    command = ["evaluate", "a b", "--quick", "--seed", "3", "--only", ", ".join(THREE)]
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "_measure", stopped)
        assert main(command) == 128 + number
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        f"pyro-vae: stopped by {number.name}; kept: latents, decoder. Measure the rest:"
        " pyro-vae evaluate 'a b' --only factors --quick --seed 3"
    )
    kept = json.loads((run.folder / "evaluation.json").read_text())
    assert list(kept) == THREE[:2]
    text = Page(run.folder / "report.html").text
    assert [PARTS[name].title in text for name in THREE] == [True, True, False]
    rest = last[last.index("evaluate ") :]
    assert main(shlex.split(rest)) == 0
    whole = json.loads((run.folder / "evaluation.json").read_text())
    assert list(whole) == THREE and whole["latents"] == kept["latents"]


@pytest.mark.slow
def test_an_evaluation_that_is_stopped_at_once_keeps_nothing(run, capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "_measure", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    assert main(["evaluate", "a b"]) == 130
    assert capsys.readouterr().err == "pyro-vae: stopped by SIGINT; no part was done yet\n"
    assert not (run.folder / "evaluation.json").exists()


@pytest.mark.slow
def test_the_report_is_renewed_after_each_part(run):
    seen = []

    def note(part, figures):
        text = (run.folder / "report.html").read_text()
        seen.append([name for name in THREE if f"<h2>{PARTS[name].title}</h2>" in text])

    pv.evaluate(run, THREE, quick=True, measured=note)
    assert seen == [THREE[:1], THREE[:2], THREE]


@pytest.mark.slow
def test_a_report_that_is_interrupted_is_written_again(run, monkeypatch):
    """A signal between the two files of a part leaves them in step."""
    write, signals = evaluate.write_report, iter([KeyboardInterrupt])

    def interrupted(folder):
        for error in signals:
            raise error
        return write(folder)

    monkeypatch.setattr(evaluate, "write_report", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pv.evaluate(run, THREE, quick=True)
    assert PARTS["latents"].title in Page(run.folder / "report.html").text


@pytest.mark.slow
def test_a_part_that_does_not_apply_is_named(run, capsys):
    pv.train(quick(model="autoencoder"), "b")
    assert main(["evaluate", "b", "--quick", "--only", "latents,factors"]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first == "1 of 2  latents  does not apply"
    assert second.startswith("2 of 2  factors  00:")
