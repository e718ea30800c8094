"""The notebooks: short, without outputs, and each runs in its small setting to an answer in numbers."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.house import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def sources(notebook, kind):
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


def code_lines(notebook):
    lines = (line.strip() for source in sources(notebook, "code") for line in source.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_a_short_question_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec"}
    assert notebook.metadata.kernelspec.name == "python3"
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert "?" in first.source
    assert len(code_lines(notebook)) <= 110
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            assert all(len(line) <= 100 for line in cell.source.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_answers_in_numbers(path, tmp_path, monkeypatch):
    """On the embedded images, with everything written below `tmp_path`."""
    monkeypatch.setenv("PYRO_VAE_NOTEBOOKS", "small")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # other tests run beside it
    notebook = nbformat.read(path, as_version=4)
    (tmp_path / "notebooks").mkdir()
    place = {"metadata": {"path": str(tmp_path / "notebooks")}}
    NotebookClient(notebook, timeout=300, resources=place).execute()
    last = notebook.cells[-1]
    assert last.cell_type == "code"
    (answer,) = [
        o.data["text/markdown"] for o in last.outputs if "text/markdown" in o.get("data", {})
    ]
    assert len(re.findall(r"\d", answer)) >= 5, answer
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", answer), answer
    outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
    assert any("image/png" in o.get("data", {}) for o in outputs)
    assert not any(o.output_type == "execute_result" for o in outputs), "a value that is not shown"
    written = {p.name for p in tmp_path.iterdir()}
    assert written <= {"notebooks", "runs", "data"}  # data: classifiers that measure samples
