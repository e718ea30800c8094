"""The exit status and the one line of every command, and how lines are printed."""

import io
import os
import signal
import subprocess
import sys

import pytest

from pyro_vae.cli.commands import COMMANDS
from pyro_vae.cli.main import main
from pyro_vae.cli.output import ERASE_LINE, loading, wrapped
from tests.support.house import ROOT
from tests.support.runs import TRAIN_QUICK
from tests.support.terminal import Terminal

pytestmark = pytest.mark.usefixtures("elsewhere")
ONE_EPOCH = [*TRAIN_QUICK, "--epochs", "1"]


@pytest.fixture
def broken(monkeypatch):
    """Training fails in a way that nobody foresaw."""
    monkeypatch.setattr("pyro_vae.training.loop.Training.draw_epoch", lambda training: 1 / 0)


def test_a_failed_run_exits_with_1(broken, capsys):
    assert main(ONE_EPOCH) == 1
    assert capsys.readouterr().err == "pyro-vae: division by zero\n"


@pytest.mark.parametrize("arguments", [["--debug", *ONE_EPOCH], [*ONE_EPOCH, "--debug"]])
def test_debug_shows_the_traceback(broken, arguments):
    with pytest.raises(ZeroDivisionError):
        main(arguments)


def command(*arguments, **options):
    """The command as a process of its own."""
    words = [sys.executable, "-m", "pyro_vae", *arguments]
    return subprocess.run(words, cwd=ROOT, stderr=subprocess.PIPE, text=True, **options)


def test_the_module_is_a_command():
    done = command("datasets", stdout=subprocess.PIPE)
    assert done.returncode == 0 and done.stdout.startswith("digits ") and done.stderr == ""


def test_a_reader_that_goes_away_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = command("datasets", stdout=write)
    os.close(write)
    assert done.returncode == 128 + signal.SIGPIPE and done.stderr == ""


def test_a_character_that_the_terminal_lacks_is_a_question_mark(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    printing = COMMANDS["datasets"]._replace(run=lambda *_: print("2 \u00b1 1"))
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setitem(COMMANDS, "datasets", printing)
    assert main(["datasets"]) == 0
    assert terminal.buffer.getvalue() == b"2 ? 1\n"


# --- lines ----------------------------------------------------------------------------------------


def test_a_terminal_shows_what_is_loaded_and_then_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with loading("torch"):
        assert terminal.getvalue() == "Loading torch ..."
    assert terminal.getvalue() == f"Loading torch ...{ERASE_LINE}"


def test_a_log_file_shows_no_loading(capsys):
    with loading("torch"):
        pass
    assert capsys.readouterr().err == ""


def test_lines_fit_a_terminal_of_80_columns():
    text = wrapped("word " * 40 + "a-long-name/" * 9, indent=4)
    first, *others = text.splitlines()
    assert all(line.startswith("    ") for line in others)
    assert all(len(line) < 80 for line in [first, *others[:-1]])
    assert others[-1].strip() == "a-long-name/" * 9  # names and paths stay whole
