"""The package's own names, and what starts without torch."""

import json
import subprocess
import sys

import pytest

import pyro_vae
from tests.support.house import ROOT

HEAVY = ("torch", "pandas", "pyro", "matplotlib", "sklearn")
REPORT = """
import json, sys
said = {}
for program in PROGRAMS:
    try:
        exec(program)
    except SystemExit:
        pass
    said[program] = sorted({m.split(".")[0] for m in sys.modules} & set(HEAVY))
print("\\n" + json.dumps(said))
"""
LIGHT = [
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
    "from pyro_vae.cli.main import main; main(['train', '--out', 'pyro_vae'])",  # which is there
    "from pyro_vae.cli.main import main; main(['--version'])",
    "import pyro_vae as pv; pv.RunConfig(beta=4)",
    "import pyro_vae as pv; dir(pv)",
    "import pyro_vae as pv; print(pv.RunConfig(beta=4))",
]


def imported_by(programs):
    """The heavy packages that a fresh process has imported after each of the programs in turn."""
    code = f"HEAVY = {HEAVY}\nPROGRAMS = {programs}\n{REPORT}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_what_needs_no_torch_starts_without_it():
    assert imported_by(LIGHT) == {program: [] for program in LIGHT}


@pytest.mark.slow
def test_packages_and_functions_are_imported_when_they_are_needed():
    """Else the test above would not see them."""
    at_first = "import pyro_vae as pv; assert 'pyro_vae.runs.evaluate' not in sys.modules"
    model, table = "pv.VAE", "pv.compare"
    same = "from pyro_vae.runs.evaluate import evaluate; assert pv.evaluate is evaluate"
    shapes = "import torch\nwith torch.device('meta'): pv.VAE((1, 4, 4), 2)  # as a run is checked"
    shapes += "\nassert 'torch._dynamo' not in sys.modules"  # the compiler, which takes seconds
    imported = imported_by([at_first, model, shapes, table, same])
    assert imported[at_first] == [] and "torch" in imported[model] and "pandas" in imported[table]


def test_every_public_name_is_there():
    for name in pyro_vae.__all__:
        value = getattr(pyro_vae, name)
        assert value is getattr(pyro_vae, name)
        assert getattr(value, "__name__", name) == name
        assert name in dir(pyro_vae)


def test_the_names_that_python_lists_are_the_public_ones():
    import pyro_vae.runs.lock  # a room that is imported is no public name

    names = [name for name in dir(pyro_vae) if not name.startswith("__")]
    assert names == sorted(pyro_vae.__all__) and "evaluate" in names
    assert {"__doc__", "__version__", "__all__"} < set(dir(pyro_vae))


def test_a_misspelled_name_is_an_error():
    with pytest.raises(AttributeError, match="module 'pyro_vae' has no attribute 'evalute'"):
        pyro_vae.evalute  # noqa: B018
