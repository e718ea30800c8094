"""What a terminal shows."""

import io
import sys

from pyro_vae.cli.output import ERASE_LINE, loading, wrapped


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_a_terminal_shows_what_is_loaded_and_then_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with loading("torch"):
        assert sys.stderr.getvalue() == "Loading torch ..."
    assert sys.stderr.getvalue() == f"Loading torch ...{ERASE_LINE}"


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
