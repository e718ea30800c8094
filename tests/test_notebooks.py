"""The notebooks: short, without outputs, and each runs in its small setting to an answer in numbers."""

import ast
import re
import shutil

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.util import run_sync

from tests.support.house import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OWN = {path.stem for path in (ROOT / "notebooks").glob("*.py")}
BEFORE = f"""%reset -f
import sys; sys.path.append({str(ROOT)!r})
from tests.support import runs, seams
seams.evaluate_with(runs.TINY)
seams.paint_pixels()
seams.sweep_few_epochs(2)
seams.score_with_few_draws()
from matplotlib_inline.config import InlineBackend
InlineBackend.instance().print_figure_kwargs = {{"bbox_inches": None, "dpi": 20}}  # small pictures
%reset -f"""

LINES, CELL_LINES, FUNCTIONS = 100, 10, 1  # of a notebook, of a cell, and for plotting
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def sources(notebook, kind):
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


def code_lines(source):
    """The lines of a cell that are neither blank nor a comment."""
    lines = (line.strip() for line in source.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def parsed(source):
    """A cell as Python, without the magic that shows figures."""
    return ast.parse(source.replace("%matplotlib inline", ""))


def faults(source):
    """What makes a cell hard to read; an empty list where nothing does."""
    found = []
    if len(code_lines(source)) > CELL_LINES:
        found.append("too many lines")
    for node in ast.walk(parsed(source)):
        inside = [n for n in ast.walk(node) if n is not node and isinstance(n, COMPREHENSIONS)]
        if isinstance(node, COMPREHENSIONS) and (inside or len(node.generators) > 1):
            found.append("a comprehension in a comprehension")
        if isinstance(node, ast.Lambda):
            found.append("a lambda")
    return found


def functions(notebook):
    nodes = (ast.walk(parsed(source)) for source in sources(notebook, "code"))
    return [n.name for walked in nodes for n in walked if isinstance(n, ast.FunctionDef)]


def test_cells_that_are_hard_to_read_are_found():
    for source, fault in {
        "x = [[y for y in z] for z in w]": "a comprehension in a comprehension",
        "x = {y: [*map(f, [v for v in z])] for y in w}": "a comprehension in a comprehension",
        "x = [y for z in w for y in z]": "a comprehension in a comprehension",
        "x = sorted(y, key=lambda z: -z)": "a lambda",
        "x = 1\n" * 11: "too many lines",
    }.items():
        assert faults(source) == [fault], source


def test_cells_that_read_aloud_are_left_alone():
    for source in (
        "x = [y for y in z]\nv = {w: 1 for w in x}",
        "%matplotlib inline\nimport os",
        "# why\n" * 9 + "x = 1",
    ):
        assert faults(source) == [], source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_a_short_question_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {"kernelspec"}
    assert notebook.metadata.kernelspec.name == "python3"
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    assert "?" in first.source
    codes = sources(notebook, "code")
    assert sum(len(code_lines(source)) for source in codes) <= LINES
    assert len(functions(notebook)) <= FUNCTIONS
    for source in codes:
        assert faults(source) == [], source
        assert all(len(line) <= 100 for line in source.splitlines()), source
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_imports_the_package_from_one_place(path):
    """As `pv`, and modules of estimators, which the reference documents and `pv` does not name."""
    notebook = nbformat.read(path, as_version=4)
    nodes = [n for source in sources(notebook, "code") for n in ast.walk(parsed(source))]
    plain = [name.name for n in nodes if isinstance(n, ast.Import) for name in n.names]
    taken = {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
    assert [name for name in plain if name.startswith("pyro_vae")] == ["pyro_vae"]
    rooms = {name for name in taken if name.startswith("pyro_vae")}
    assert rooms <= {"pyro_vae.evaluation"}, rooms
    assert taken & OWN, "what it draws and measures stands beside it"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """The kernel of all notebooks, which imports torch once, and the folder that they lie in."""
    folder = tmp_path_factory.mktemp("repository") / "notebooks"
    folder.mkdir()
    for path in (ROOT / "notebooks").glob("*.py"):
        shutil.copy(path, folder)
    (folder.parent / "results").symlink_to(ROOT / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYRO_VAE_NOTEBOOKS", "small")
        patch.setenv("PYRO_VAE_DATA", str(tmp_path_factory.mktemp("data")))
        patch.setenv("OMP_NUM_THREADS", "1")  # other tests run beside it
        manager = NotebookClient(nbformat.v4.new_notebook()).create_kernel_manager()
        yield manager, folder
    run_sync(manager.shutdown_kernel)(now=True)


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_answers_in_numbers(path, kernel):
    """On the embedded images, with everything written into `runs` and the data folder."""
    manager, folder = kernel
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BEFORE))
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, resources=place, km=manager).execute()
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
    assert {p.name for p in folder.parent.iterdir()} <= {"notebooks", "results", "runs"}
    assert all(p.suffix == ".py" or p.name == "__pycache__" for p in folder.iterdir())
