"""The standing rules (fixed seeds, one thread, CUDA tests only where there is a GPU) and fixtures.

What takes long to import is imported where it is needed: the process that hands out the tests needs
none of it, and the others start when that one is ready.
"""

import os
from pathlib import Path

import pytest

# The models here are small: more threads cost more than they bring, most of all where processes share
# cores and wait for each other. Processes that a test starts inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Inductor would else start processes that compile beside the one that waits for them.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

LONG = (  # the longest first
    "test_notebooks",
    "test_benchmarks",
    "test_ensembles",
    "test_docs",
    "test_step",
    "test_gaps",
    "test_evaluate",
    "test_trainer",
    "test_sweep",
    "test_priors",
    "test_products",
    "test_replay",
    "test_loop",
    "test_figures",
    "test_fit",
    "test_resume",
)


def pytest_collection_modifyitems(items):
    """Begin with the files that take minutes, so that no process has one of them left at the end.

    What is long is slow, too.
    """
    order = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))
    for item in items:
        if "long" in item.keywords:
            item.add_marker("slow")
    import torch

    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="no CUDA device")
        for item in items:
            if "cuda" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """No test reads or writes the user's cache folder; all of them and their processes share another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(_shared(tmp_path_factory) / "cache"))
        yield


def _shared(tmp_path_factory):
    """The temporary folder of all processes that test, and not that of this one."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(autouse=True)
def fresh_state():
    """Every test starts from one seed, an empty parameter store and validation on."""
    import pyro
    import torch

    torch.manual_seed(0)
    pyro.clear_param_store()
    pyro.enable_validation(True)


@pytest.fixture(autouse=True)
def few_draws(request, monkeypatch):
    """A finished run scores its images with the fewest draws: with all, scoring is most of a test."""
    if "all_draws" not in request.fixturenames:
        from tests.support import seams

        seams.score_with_few_draws(monkeypatch.setattr)


@pytest.fixture
def all_draws():
    """A finished run scores its images with as many draws as for a user."""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The test runs in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_inductor(monkeypatch):
    """Captured graphs are run as they are; they are not compiled."""
    from tests.support import seams

    seams.do_without_inductor(monkeypatch.setattr)


@pytest.fixture
def no_pictures(monkeypatch):
    """Runs and comparisons draw nothing."""
    from tests.support import seams

    seams.do_without_pictures(monkeypatch.setattr)


@pytest.fixture
def small_sweeps(elsewhere, no_inductor, no_pictures, monkeypatch):
    """An empty folder, no inductor, no pictures, and compiling that always pays."""
    from tests.support import seams

    seams.set_steps_that_pay(1, monkeypatch.setattr)


@pytest.fixture(scope="session")
def kept_runs(tmp_path_factory):
    """Runs that the tests train once; `copy_run` gives a test a copy of its own."""
    from tests.support.runs import KeptRuns

    root = _shared(tmp_path_factory) / "kept_runs"
    root.mkdir(exist_ok=True)
    return KeptRuns(root)


@pytest.fixture
def copy_run(kept_runs, elsewhere):
    """A function of a folder's name and of settings: the finished run of `quick(**settings)` there."""
    return kept_runs.copy


@pytest.fixture(scope="session")
def _evaluated(kept_runs):
    return kept_runs.evaluated()


@pytest.fixture
def finished_run(_evaluated, copy_run):
    """The folder `a`, of a run with pictures that was trained and evaluated in every part."""
    return copy_run("a", source=_evaluated)


@pytest.fixture(scope="session")
def digits():
    """The embedded digits: 1,437 training and 360 test images."""
    import pyro_vae as pv

    return pv.load_dataset("digits")


@pytest.fixture(scope="session")
def classifier(digits, cache):
    """A classifier of the digits, with 32 features, which all processes and evaluations share."""
    from pyro_vae.measures.samples import classifier_for

    return classifier_for(digits)


@pytest.fixture
def real_data():
    """A folder with the published files, named by PYRO_VAE_DATA; the test skips without it."""
    root = os.environ.get("PYRO_VAE_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("PYRO_VAE_DATA names no data folder")
    return Path(root)
