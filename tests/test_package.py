"""The package's own names, what starts without torch, and what its files for others hold."""

import ast
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import pyro_vae
from tests.support.house import ROOT

HEAVY = ("torch", "pandas", "pyro", "matplotlib", "sklearn")
REPORT = (
    "import json, sys; print('\\n' + json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
)


def imported_by(program):
    """The heavy packages among those that a fresh process has imported after a program."""
    code = f"try:\n {program}\nexcept SystemExit:\n pass\n{REPORT}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return sorted(set(json.loads(done.stdout.splitlines()[-1])) & set(HEAVY))


@pytest.mark.parametrize(
    "program",
    [
        "import pyro_vae",
        "import pyro_vae.names",
        "import pyro_vae.settings",
        "import pyro_vae.runs.config",
        "import pyro_vae.cli.parser",
        "import pyro_vae.cli.main",
        "from pyro_vae.cli.main import main; main(['--help'])",
        "from pyro_vae.cli.main import main; main(['train', '--help'])",
        "from pyro_vae.cli.main import main; main(['likelihoods'])",
        "from pyro_vae.cli.main import main; main(['datasets'])",
        "from pyro_vae.cli.main import main; main(['train', '--epoch', '3'])",
        "from pyro_vae.cli.main import main; main(['--version'])",
        "import pyro_vae as pv; pv.RunConfig(beta=4)",
        "import pyro_vae as pv; dir(pv)",
        "import pyro_vae as pv; print(pv.RunConfig(beta=4))",
    ],
)
def test_what_needs_no_torch_starts_without_it(program):
    assert imported_by(program) == []


@pytest.mark.slow
def test_torch_is_imported_when_it_is_needed():
    """Else the test above would not see it."""
    assert "torch" in imported_by("import pyro_vae as pv; pv.VAE")
    assert "pandas" in imported_by("import pyro_vae as pv; pv.compare")


@pytest.mark.parametrize("name", pyro_vae.__all__)
def test_every_public_name_is_there(name):
    value = getattr(pyro_vae, name)
    assert value is getattr(pyro_vae, name)
    assert getattr(value, "__name__", name) == name
    assert name in dir(pyro_vae)


def test_what_types_and_editors_see_is_what_is_imported():
    """The names stand twice: once as imports that nothing runs, and once with their modules."""
    (checked,) = (
        n for n in ast.parse(Path(pyro_vae.__file__).read_text()).body if type(n) is ast.If
    )
    pairs = [(alias.name, node.module) for node in checked.body for alias in node.names]
    assert dict(pairs) == pyro_vae._HOMES and len(pairs) == len(pyro_vae._HOMES)


def test_the_names_that_python_lists_are_the_public_ones():
    import pyro_vae.runs.lock  # a room that is imported is no public name

    names = [name for name in dir(pyro_vae) if not name.startswith("__")]
    assert names == sorted(pyro_vae.__all__) and "evaluate" in names
    assert {"__doc__", "__version__", "__all__"} < set(dir(pyro_vae))


def test_a_misspelled_name_is_an_error():
    with pytest.raises(AttributeError, match="module 'pyro_vae' has no attribute 'evalute'"):
        pyro_vae.evalute  # noqa: B018


@pytest.mark.slow
def test_public_names_are_imported_when_they_are_asked_for():
    program = "import pyro_vae as pv, sys; assert 'pyro_vae.runs.evaluate' not in sys.modules; "
    program += "from pyro_vae.runs.evaluate import evaluate; assert pv.evaluate is evaluate"
    assert "torch" in imported_by(program)


# --- what is handed on ----------------------------------------------------------------------------

TREE = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md")
BUILD = "from setuptools import build_meta as b; b.build_wheel('out'); b.build_sdist('out')"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the wheel and the sdist, built from a copy so that nothing is left in the tree."""
    copy = tmp_path_factory.mktemp("tree")
    for name in TREE:
        shutil.copy(ROOT / name, copy)
    for name in ("pyro_vae", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    (copy / "runs").mkdir()
    (copy / "runs" / "large.npz").write_bytes(b"no part of the package")
    done = subprocess.run([sys.executable, "-c", BUILD], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return copy / "out"


def test_the_wheel_holds_every_file_of_the_package_and_no_other(built):
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    there = {p.relative_to(ROOT) for p in (ROOT / "pyro_vae").rglob("*") if p.is_file()}
    wanted = {str(path) for path in there if path.suffix != ".pyc"}
    assert {name for name in names if name.startswith("pyro_vae/")} == wanted
    assert "pyro_vae/py.typed" in wanted and "pyro_vae/pages/templates/run.html" in wanted
    others = {name.split("/")[1] for name in names - wanted if ".dist-info/" in name}
    assert len(names - wanted) == len([n for n in names if ".dist-info/" in n])
    assert {"METADATA", "entry_points.txt", "licenses"} <= others


def test_the_wheel_says_what_it_is(built):
    (wheel,) = built.glob("*.whl")
    archive = zipfile.ZipFile(wheel)
    (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
    metadata = message_from_bytes(archive.read(name))
    assert metadata["Author"] == "the pyro_vae authors"
    assert metadata["License-Expression"] == "MIT"
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert metadata["Project-URL"] is None and metadata["Home-page"] is None
    assert "cluster" in metadata.get_all("Provides-Extra")


def test_the_sdist_holds_the_tests_and_nothing_that_was_computed(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"LICENSE", "CITATION.cff", "tests/test_house.py", "tests/runs/test_resume.py"}
    assert wanted <= names and "pyro_vae/pages/templates/style.css" in names
    assert not any(name.startswith(("runs/", "data/")) or "__pycache__" in name for name in names)
