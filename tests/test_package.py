"""The package's own names, and what starts without torch."""

import json
import subprocess
import sys

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
        "import pyro_vae.runs.parts",
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


def test_the_names_that_python_lists_are_the_public_ones():
    from pyro_vae.runs import parts  # noqa: F401  # a room that is imported is no public name

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
