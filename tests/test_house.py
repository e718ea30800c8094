"""The rules of the house: imports point upward, names are settled, the two environments agree."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pyro_vae

ROOT = Path(__file__).parent.parent
FLOORS = [
    {
        "special",
        "distributions",
        "levels",
        "names",
        "randomness",
        "ranks",
        "files",
        "interrupts",
        "data",
        "products",
    },
    {"likelihoods", "networks"},
    {"vae", "autoencoder"},
    {"objectives", "capture", "compiled", "checkpoints"},
    {"engines", "ranked", "evaluation", "training", "ensembles", "fitting"},
    {"figures", "comparison_figures", "pages", "videos", "descriptions", "config"},
    {"folders", "summaries", "recording", "runs", "grids", "members", "sweeps", "report"}
    | {"parts", "evaluations", "comparison", "comparison_plots", "comparison_report", "trainers"}
    | {"clusters"},
    {"commands", "cli"},
    {"__main__", "__init__"},
]
SOURCES = sorted((ROOT / "pyro_vae").rglob("*.py"))


def floor_of(room):
    return next(n for n, rooms in enumerate(FLOORS) if room in rooms)


def room_of(path):
    return path.relative_to(ROOT / "pyro_vae").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_imports_point_upward(path):
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.ImportFrom) or node.level == 0, "a relative import"
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            rooms = name.split(".")[1:2] if name.startswith("pyro_vae.") else []
            if name == "pyro_vae" and isinstance(node, ast.ImportFrom):
                rooms = [a.name for a in node.names]
            for room in rooms:
                assert floor_of(room) <= floor_of(room_of(path)), (path.name, name)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_files_are_short_and_public_names_are_explained(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 350
    for node in ast.parse(text).body:
        public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_"
        assert not public or ast.get_docstring(node), (path.name, node.name)


def requirement(text):
    return re.split(r"[\[<>=!~ ;]", text)[0].lower()


CONDA_NAMES = {
    "torch": "pytorch-gpu",
    "matplotlib": "matplotlib-base",
    "graphviz": "python-graphviz",
    "ray": "ray-core",
}


def test_the_conda_environment_and_the_package_ask_for_the_same():
    """pip then finds all that it needs, and never brings a torch of its own."""
    import yaml

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {requirement(r) for r in project["dependencies"]}
    wanted |= {requirement(r) for r in project["optional-dependencies"]["test"]}
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    packages = [d for d in environment["dependencies"] if isinstance(d, str)]
    conda = {requirement(d) for d in packages}
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert pip == ["-e ."]
    ours = {CONDA_NAMES.get(name, name) for name in wanted}
    beside = {"python", "pip", "cxx-compiler", "h5netcdf", "imageio-ffmpeg"}
    assert conda == ours | beside
    python = next(d for d in packages if requirement(d) == "python")
    assert project["requires-python"].replace(" ", "") in python.replace("python", "")


def test_the_readme_opens_with_the_two_commands():
    readme = (ROOT / "README.md").read_text()
    first = "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/pyro-vae train"
    second = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest"
    assert 0 < readme.index(first) < readme.index(second)
    assert second in (ROOT / ".ci" / "run").read_text()
    for block in re.findall(r"```sh\n(.*?)```", readme[readme.index(second) :], re.S):
        for line in block.strip().splitlines():
            known = (
                "pyro-vae ",
                "conda ",
                "pip install -e ",
                "python3 -m venv",
                "python benchmarks/speed.py",
                "torchrun ",
            )
            assert line.startswith(known), line


def test_every_version_is_the_same():
    import pyro_vae

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert pyro_vae.__version__ == project["version"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_evaluate_is_imported_when_it_is_asked_for():
    said = subprocess.run(
        [sys.executable, "-c", "import sys, pyro_vae as pv; a = 'pyro_vae.runs.evaluate' in sys.modules;"
         "from pyro_vae.runs.evaluate import evaluate; print(a, pv.evaluate is evaluate)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        pyro_vae.evalute  # noqa: B018
