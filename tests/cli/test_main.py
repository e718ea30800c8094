"""The exit status and the one line of every command, and how lines are printed."""

import io
import os
import shlex
import signal
import subprocess
import sys

import pytest

from pyro_vae.cli.commands import COMMANDS
from pyro_vae.cli.main import main
from pyro_vae.cli.output import ERASE_LINE, loading, wrapped
from pyro_vae.cli.parser import parse
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.report import write_report
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


def test_one_of_several_processes_of_torchrun_is_refused(monkeypatch, capsys):
    """Each of them would train the same run again."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(ONE_EPOCH) == 2
    assert capsys.readouterr().err == "pyro-vae: train: runs in one process; leave torchrun out\n"


def test_the_module_is_a_command():
    done = command("datasets", stdout=subprocess.PIPE)
    assert done.returncode == 0 and done.stdout.startswith("digits ") and done.stderr == ""


def test_a_reader_that_goes_away_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = command("datasets", stdout=write)
    os.close(write)
    assert done.returncode == 128 + signal.SIGPIPE and done.stderr == ""


WITHOUT_A_HOME = """
import pwd, sys
def nobody(number):
    raise KeyError(number)
pwd.getpwuid = nobody
from pyro_vae.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_user_without_a_home_or_streams_can_train(tmp_path):
    """As the user of a container, whom no file of passwords names; all streams are closed."""
    known = {
        name: text for name, text in os.environ.items() if name not in ("HOME", "MPLCONFIGDIR")
    }
    words = [sys.executable, "-c", WITHOUT_A_HOME, *ONE_EPOCH, "--out", str(tmp_path / "a")]
    shell = ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash"]
    paths = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    assert subprocess.run([*shell, *words], env=known | paths).returncode == 0
    assert (tmp_path / "a" / "report.html").exists()
    assert [n for n in os.listdir(tmp_path) if not n.startswith("torchinductor")] == [
        "a"
    ]  # torch's


def test_a_path_begins_at_home(monkeypatch, tmp_path):
    """A shell leaves the ~ of `--out=~/runs` as it is."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    parsed = parse(COMMANDS, ["train", "--out=~/runs", "--config=~/c.yaml", "--data-dir=~/d"])
    assert (parsed.out, parsed.config) == tuple(f"{tmp_path}/home/{n}" for n in ("runs", "c.yaml"))
    config = RunConfig(data_dir=parsed.data_dir, dataset="~/a.npy")
    assert (config.data_dir, config.dataset) == (f"{tmp_path}/home/d", f"{tmp_path}/home/a.npy")
    parsed = parse(COMMANDS, ["compare", "~/runs", "a"])
    assert parsed.runs == [f"{tmp_path}/home/runs", "a"]


def test_printed_commands_can_be_given_to_a_shell(copy_run, capsys, no_pictures):
    copy_run("my run; ls")
    assert main([*TRAIN_QUICK, "--epochs", "2", "--resume", "--out", "my run; ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (command,) = (line.removeprefix("Explore").strip() for line in lines if "explore" in line)
    assert shlex.split(command) == ["pyro-vae", "explore", "my run; ls"]
    assert (
        "pyro-vae train --config &#39;my run; ls/config.yaml&#39;"
        in write_report("my run; ls").read_text()
    )


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
