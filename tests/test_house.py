"""The rules of the house: what imports what, short files, explained names, one list of packages."""

import ast
import re
import shlex
import tomllib
from itertools import chain

import pytest
import yaml

import pyro_vae
from pyro_vae.cli.commands import COMMANDS
from pyro_vae.cli.parser import parse
from pyro_vae.runs.config import RunConfig
from pyro_vae.sweeps.grid import combinations, read_grid
from tests.support.house import ROOT, broken_rules, sources_of_package, table_of_rooms

SOURCES = sources_of_package()
TABLE = table_of_rooms((ROOT / "docs" / "architecture.md").read_text())

# --- rooms ----------------------------------------------------------------------------------------


def test_the_table_has_every_room_once():
    rooms = [room for line in TABLE for room in line]
    assert len(rooms) == len(set(rooms))
    assert set(rooms) == {name.split(".")[1] for name in SOURCES}


def test_rooms_import_what_stands_above_them():
    assert broken_rules(TABLE, SOURCES) == []


RULES = [["low"], ["middle", "beside"], ["high"], ["__init__"]]
SOUND = {
    "pyro_vae.low.one": "",
    "pyro_vae.low.two": "from pyro_vae.low.one import x",
    "pyro_vae.middle": "import os\nimport pyro_vae.low.two as two",
    "pyro_vae.beside.one": "from pyro_vae.low import one",
    "pyro_vae.high.one": "def f():\n    from pyro_vae.middle import y\n    return y",
    "pyro_vae.__init__": "from pyro_vae.high.one import f",
}


def test_sound_imports_break_no_rule():
    assert broken_rules(RULES, SOUND) == []


NOT_ABOVE = {  # what a module must not import, and the module that it would import
    ("low.one", "from pyro_vae.middle import y"): "middle",
    ("low.one", "import pyro_vae.middle"): "middle",
    ("low.one", "from pyro_vae import middle"): "middle",
    ("low.one", "def f():\n    import pyro_vae.high.one"): "high.one",
    ("low.one", "if TYPE_CHECKING:\n    from pyro_vae.high.one import f"): "high.one",
    ("low.one", "PLACE = 'pyro_vae.high.one:f'"): "high.one",
    ("middle", "from pyro_vae.beside.one import y"): "beside.one",
    ("beside.one", "from pyro_vae.middle import y"): "middle",
    ("high.one", "import pyro_vae"): "__init__",
    ("high.one", "from pyro_vae import f"): "__init__",
}


@pytest.mark.parametrize("module, source", NOT_ABOVE)
def test_an_import_of_what_does_not_stand_above_is_refused(module, source):
    (found,) = broken_rules(RULES, SOUND | {f"pyro_vae.{module}": source})
    wrong = f"pyro_vae.{NOT_ABOVE[module, source]}"
    assert found == f"pyro_vae.{module}: imports {wrong}, which stands on no line above"


@pytest.mark.parametrize("source", ["from .two import x", "from . import two"])
def test_a_relative_import_is_refused(source):
    found = broken_rules(RULES, SOUND | {"pyro_vae.high.one": source})
    assert found == ["pyro_vae.high.one: a relative import"]


def test_a_circle_inside_a_room_is_refused():
    circle = {
        "pyro_vae.low.one": "def f():\n    from pyro_vae.low.three import x",
        "pyro_vae.low.three": "from pyro_vae.low.two import x",
    }
    (found,) = broken_rules(RULES, SOUND | circle)
    assert found.startswith("circle: ") and all(
        f"low.{n}" in found for n in ("one", "two", "three")
    )


def test_a_module_of_no_room_is_refused():
    (found,) = broken_rules(RULES, SOUND | {"pyro_vae.attic": ""})
    assert found == "pyro_vae.attic: attic is no room"


def test_rooms_are_read_from_the_first_column_of_a_table():
    page = "| rooms | what |\n| --- | --- |\n| `a` `b` | `x` |\n| `c` | text |\n| to `d` | no |\n"
    assert table_of_rooms(page) == [["a", "b"], ["c"]]


# --- files ----------------------------------------------------------------------------------------


def test_files_are_short_and_public_names_are_explained():
    for name, source in SOURCES.items():
        assert len(source.splitlines()) <= 350, name
        for node in ast.parse(source).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_":
                assert ast.get_docstring(node), f"{name}.{node.name}"


def test_tests_are_short_and_import_no_other_test():
    for path in sorted((ROOT / "tests").rglob("*.py")):
        text = path.read_text()
        assert len(text.splitlines()) <= 350, path
        assert not re.search(r"^(from|import) .*\btest_\w+", text, re.M), path


# --- packages and versions ------------------------------------------------------------------------

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {
    "torch": "pytorch-gpu",
    "matplotlib": "matplotlib-base",
    "graphviz": "python-graphviz",
}
RECIPE = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text())
BESIDE = {"python", "pip", "cxx-compiler", "h5netcdf", "imageio-ffmpeg"}  # what conda names itself


def package(requirement):
    """The name in a requirement."""
    return re.split(r"[\[<>=!~ ;]", requirement)[0].lower()


WANTED = {package(r) for r in PROJECT["dependencies"]}


def test_the_conda_environment_and_the_package_ask_for_the_same():
    """pip then finds all that it needs, and never brings a torch of its own."""
    wanted = WANTED | {package(r) for r in PROJECT["optional-dependencies"]["test"]}
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    packages = [d for d in environment["dependencies"] if isinstance(d, str)]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert pip == ["-e ."]
    ours = {CONDA_NAMES.get(name, name) for name in wanted}
    assert {package(d) for d in packages} == ours | BESIDE
    (python,) = [d for d in packages if package(d) == "python"]
    assert PROJECT["requires-python"].replace(" ", "") in python.replace("python", "")
    on_cpu = (ROOT / "environment-cpu.yml").read_text().partition("name: pyro-vae-cpu\n")[2]
    on_gpu = (ROOT / "environment.yml").read_text().partition("name: pyro-vae\n")[2]
    assert on_cpu.replace("pytorch-cpu", "pytorch-gpu") == on_gpu


def test_the_conda_package_asks_for_what_the_package_asks_for():
    """conda-forge's `pytorch` is the build that fits the machine, on a GPU or not."""
    run = RECIPE["requirements"]["run"]
    names = {name: "pytorch" if name == "torch" else CONDA_NAMES.get(name, name) for name in WANTED}
    assert {package(r) for r in run} == {*names.values(), *BESIDE} - {"pip", "cxx-compiler"}
    bounds = {package(r): r.partition(" ")[2] for r in run}
    for requirement in PROJECT["dependencies"]:
        name, bound = re.fullmatch(r"([\w-]+)(?:\[\w+\])?(.*)", requirement).groups()
        assert bounds[names[name]] == bound
    assert bounds["python"] == PROJECT["requires-python"]
    (entry,) = RECIPE["build"]["python"]["entry_points"]
    (script,) = PROJECT["scripts"].items()
    assert entry == " = ".join(script)


def test_every_version_is_the_same():
    assert pyro_vae.__version__ == PROJECT["version"] == RECIPE["context"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PROJECT["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


# --- the README and the pages of docs/ ------------------------------------------------------------

INSTALL = "python3 -m venv .venv && .venv/bin/pip install -e . && .venv/bin/pyro-vae train"
TEST = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest"
OTHERS = ("conda ", "pip install -e ", "python3 -m venv", "python benchmarks/speed.py")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(page):
    """The lines of a page's shell commands, with continued ones joined."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.S)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line]


def test_the_readme_opens_with_the_two_commands():
    assert commands(ROOT / "README.md")[:2] == [INSTALL, TEST]
    assert TEST in (ROOT / ".ci" / "run").read_text()


def test_the_readme_gives_commands_that_are_known():
    for line in commands(ROOT / "README.md"):
        assert line.startswith(("pyro-vae ", *OTHERS)), line


def test_pages_give_commands_that_the_parser_takes():
    """A variable of the shell stands for a number."""
    for line in chain.from_iterable(map(commands, PAGES)):
        words = shlex.split(re.sub(r"\$\w+", "0", line), comments=True)
        if not words or words[0] != "pyro-vae":
            continue
        parsed = vars(parse(COMMANDS, words[1:]))
        settings = {name: parsed[name] for name in parsed.keys() & RunConfig.__dataclass_fields__}
        if parsed["command"] == "train" and parsed["config"] is None:
            RunConfig(**settings)
        if parsed["command"] == "sweep" and parsed["config"] is None:
            combinations(read_grid(settings))
