"""The pages of docs/: their sessions run, and what is listed there is complete."""

import doctest
import html
import re
import runpy
import shlex
import sys
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

import pyro_vae as pv
from pyro_vae.cli.commands import COMMANDS
from pyro_vae.cli.main import main
from pyro_vae.cli.parser import parse, parsers
from pyro_vae.measures import PARTS
from pyro_vae.measures.part import QUICK
from pyro_vae.runs import evaluate
from tests.support import seams
from tests.support.house import ROOT, sources_of_package
from tests.support.runs import TINY

DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))  # declared.py, which conf.py imports too
import declared  # noqa: E402

ERROR = re.compile(r" ± (\d+\.?\d*)")
NUMBER = re.compile(r"-?\d+\.?\d*")
ROUNDING = 1e-9
SLOW_PAGES = ("own_data", "likelihoods", "own_parts")


class Near(doctest.OutputChecker):
    """A checker that takes output whose words are those of the page and whose numbers are near.

    A number may be off by one unit of the last digit that the page shows: a training on another
    processor rounds otherwise. One that is printed with its standard error may be off by that.
    """

    def check_output(self, want, got, optionflags):
        if NUMBER.sub("#", want).split() != NUMBER.sub("#", got).split():
            return False
        found = zip(NUMBER.finditer(want), NUMBER.findall(got))
        return all(self._near(w.group(), g, want[w.end() :]) for w, g in found)

    @staticmethod
    def _near(want, got, after):
        """Whether two printed numbers are near; the text after the first may give its error."""
        unit = 10.0 ** -len(want.partition(".")[2])
        error = ERROR.match(after)
        allowed = max(unit, float(error.group(1))) if error else unit
        return abs(float(got) - float(want)) <= allowed + ROUNDING


@pytest.mark.parametrize(
    "got, near",
    [
        ("ELBO -91.3, rate 7, gain 2.0 ± 0.3", True),
        ("ELBO -91.2, rate 7, gain 1.7 ± 0.4", True),
        ("ELBO -91.5, rate 7, gain 2.0 ± 0.3", False),
        ("ELBO -91.3, rate 9, gain 2.0 ± 0.3", False),
        ("ELBO -91.3, rate 7, gain 2.4 ± 0.3", False),
        ("bits -91.3, rate 7, gain 2.0 ± 0.3", False),
        ("ELBO -91.3", False),
    ],
)
def test_near_is_near_and_not_far(got, near):
    page = "ELBO -91.3, rate 7, gain 2.0 ± 0.3\n"
    assert Near().check_output(page, f"{got}\n", 0) is near


@pytest.mark.parametrize(
    "name",
    [
        "course",
        pytest.param("tutorial", marks=[pytest.mark.slow, pytest.mark.long]),
        *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_PAGES),
    ],
)
def test_a_page_shows_what_happens(name, no_pictures, all_draws, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Fewer chains find the same log P(x) to a tenth of a nat.
    monkeypatch.setattr(evaluate, "QUICK", replace(QUICK, temperatures=100, chains=8))
    families = dict(pv.LIKELIHOODS)  # a page may add to them
    page = DOCS / f"{name}.md"
    text = re.sub(r"^```.*$", "", page.read_text(), flags=re.M)  # else the fence is an output
    session = doctest.DocTestParser().get_doctest(text, {}, name, str(page), 0)
    said = []
    try:
        result = doctest.DocTestRunner(Near(), verbose=False).run(session, out=said.append)
    finally:
        pv.LIKELIHOODS.clear()
        pv.LIKELIHOODS.update(families)
    assert result.attempted >= 5
    assert result.failed == 0, "".join(said)


def small(line):
    """The words of a command with two seeds, one value of each other flag, one epoch of few images."""
    words, left = [], 9  # values that a flag keeps
    for word in shlex.split(line):
        left = {"--seed": 3}.get(word, 2) if word.startswith("--") else left
        words += [word] * (left > 0)
        left -= 1
    epochs = ["--epochs", "1", "--train-images", "200"]
    return words[1:] + {"evaluate": ["--quick"], "train": epochs, "sweep": epochs}.get(words[1], [])


@pytest.mark.slow
def test_the_commands_of_the_course_run(no_pictures, tmp_path, monkeypatch):
    """Those of other data sets are parsed only, by the house test."""
    seams.evaluate_with(TINY, monkeypatch.setattr)
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "course.md").read_text().partition("## Other data sets")[0]
    text = text.replace("\\\n", "")
    for line in re.findall(r"^(?:for|pyro-vae) .*", text, re.M):
        loop = re.fullmatch(r"for run in (\S+); do (.*) \"\$run\" (.*); done", line)
        runs = sorted(tmp_path.glob(loop[1])) if loop else [""]
        for run in runs[:1]:
            assert main(small(f"{loop[2]} {run} {loop[3]}" if loop else line)) == 0, line


@pytest.mark.filterwarnings("error::UserWarning")
def test_the_cell_for_a_hosted_notebook_shows_the_report(no_pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "tutorial.md").read_text().partition("## In a hosted notebook")[2]
    install, *lines = text.partition("```python\n")[2].partition("```")[0].splitlines()
    assert install.startswith("%pip install") and lines[-1].startswith("HTML(f")
    cell = "\n".join(lines).replace("epochs=60", "epochs=1").replace("HTML(f", "shown = HTML(f")
    names = {}
    exec(cell, names)
    report = (tmp_path / "runs/first/report.html").read_text()
    assert f'srcdoc="{html.escape(report)}"' in names["shown"].data


def test_a_diagnostic_of_every_part_answers_a_doubt():
    text = (DOCS / "evaluation.md").read_text()
    by = re.findall(r"^\| [^|]+\? \| `?(\w+)`? \|", text, re.M)
    assert set(by) == {*PARTS, "report", "compare"}


def test_symptoms_show_the_figures_of_the_results():
    """Means over the seeds of the discretized logistic, and two numbers that can be worked out."""
    cells = pd.read_csv(ROOT / "results" / "digits" / "cells.csv")
    chosen = cells[cells.likelihood == "discretized_logistic"].dropna(subset=["validation_rate"])
    means = chosen.groupby("beta").mean(numeric_only=True)
    columns = ["validation_rate", "validation_ais", "validation_active", "frechet_samples"]
    rate, log_prob, active, distance = (means[name] for name in columns)
    text = " ".join((DOCS / "symptoms.md").read_text().split())
    for claim in (
        f"at beta 1 the rate is {rate[1]:.1f} nats, and at beta 4 it is {rate[4]:.1f}",
        f"of eight components {active[4]:.1f} are active",
        f"samples is {distance[0.25]:.1f} at beta 1/4, and {distance[1]:.1f} at beta 1",
        f"at beta 4, log P of validation images is {log_prob[1] - log_prob[4]:.1f} nats lower",
        f"All {np.isfinite(cells.validation_loss).sum()} trainings",
        f"with sigma 0.1 it is {norm(scale=0.1).logpdf(0):.2f} nats for each pixel",
        f"about 64 log 16 = {64 * np.log(16):.0f} nats",
    ):
        assert claim in text
    assert np.isfinite(cells.validation_loss).all()


def test_every_family_has_its_code_its_use_and_its_pathologies():
    text = (DOCS / "likelihoods.md").read_text()
    for name in pv.LIKELIHOODS:
        assert f"\n| `{name}` |" in text
        section = text.partition(f"\n### `{name}`\n")[2].partition("\n### ")[0]
        for part in ("```pycon", f'"{name}"', "*Use it*", "*Beware*"):
            assert part in section, (name, part)


def test_every_command_and_every_flag_is_listed():
    text = "\n".join(declared.commands())
    _, each = parsers(COMMANDS)
    for name in COMMANDS:
        section = text.partition(f"## pyro-vae {name}\n")[2].partition("\n## ")[0]
        for action in each[name]._actions:
            assert all(f"{flag}" in section for flag in action.option_strings)
            assert action.help in section.replace("\\|", "|").replace("`", "")


def test_every_setting_is_listed():
    text = "\n".join(declared.settings())
    for f in fields(pv.RunConfig):
        assert f"| `{f.name}` |" in text
        assert f.metadata["help"].partition(" (default")[0] in text.replace("\\|", "|")


def test_every_figure_of_an_evaluation_is_listed():
    text = "\n".join(declared.measures())
    for name, part in PARTS.items():
        assert part.look in text
        for row in part.rows:
            assert f"`{name}.{row.key}`" in text


def test_tables_have_as_many_cells_as_columns():
    """A bar inside a cell, as in p(x|z), would make one more."""
    for lines in declared.DIRECTIVES:
        rows = [line.replace("\\|", "") for line in lines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1, lines.__name__


@pytest.mark.parametrize("page, room", [("evaluation", "evaluation"), ("figures", "figures")])
def test_the_reference_has_every_module_of_a_room(page, room):
    text = (DOCS / "reference" / f"{page}.md").read_text()
    listed = re.findall(r"automodule:: ([\w.]+)", text)
    there = [name for name in sources_of_package() if name.startswith(f"pyro_vae.{room}.")]
    assert sorted(listed) == sorted(there)


def test_the_reference_has_every_public_name():
    text = (DOCS / "reference" / "python.md").read_text()
    listed = re.findall(r"auto(?:class|function):: (\w+)", text)
    assert sorted([*listed, "LIKELIHOODS"]) == sorted(pv.__all__)


def test_scripts_give_commands_that_the_parser_takes():
    build = runpy.run_path(str(DOCS / "build.py"))["commands"]
    make = runpy.run_path(str(DOCS / "figures" / "make.py"))["COMMANDS"]
    for line in (*build(True), *build(False), *make.values()):
        words = shlex.split(line)
        if words[0] == "sweep" and "--out" not in words:  # the script adds it
            words += ["--out", "runs/some"]
        assert parse(COMMANDS, words).command == words[0]


def test_every_page_is_in_the_contents():
    contents = (DOCS / "index.md").read_text()
    for page in [*DOCS.glob("*.md"), *DOCS.glob("reference/*.md")]:
        name = page.relative_to(DOCS).with_suffix("").as_posix()
        assert name in ("index", "README") or f"\n{name}\n" in contents
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"\n../notebooks/shown/{notebook.stem}\n" in contents
        assert f"\n{notebook.stem} <../notebooks/{notebook.stem}>\n" in contents
