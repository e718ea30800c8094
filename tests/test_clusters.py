"""A sweep on a Ray cluster leaves what it leaves in one process, whatever happens to the workers."""

import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.runs.checkpoints import load_checkpoint
from pyro_vae.runs.interrupts import Interrupted, Interrupts
from pyro_vae.sweeps.folder import Member
from pyro_vae.sweeps.ray import LOSSES, _Watched
from pyro_vae.sweeps.trainer import Trainer, Unit, units
from tests.test_resume import assert_same_run
from tests.test_sweep_command import do_without_inductor

ray = pytest.importorskip("ray")
SMALL = {"hidden": "8", "latent_dim": 2, "epochs": 3, "device": "cpu"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder of its own, no inductor, no pictures, and stacks of two models."""
    monkeypatch.chdir(tmp_path)
    do_without_inductor(monkeypatch.setattr)
    monkeypatch.setattr("pyro_vae.training.ensembles.MOST_IN_A_STACK", {"cpu": 2, "cuda": 2})


@pytest.fixture(scope="module")
def cluster():
    """Two workers; the one that adds the second epoch of DIR/RUN is killed if there is DIR-kill/RUN."""

    def prepare_worker():
        from pyro_vae.runs.writer import RunWriter
        from tests.test_sweep_command import do_without_inductor

        def add_or_die(writer, record):
            add(writer, record)
            run = writer.folder.path
            order = run.parent.with_name(f"{run.parent.name}-kill") / run.name
            if record.epoch == 2 and order.exists():
                order.unlink()
                os.kill(os.getpid(), signal.SIGKILL)

        do_without_inductor(setattr)
        add, RunWriter.add = RunWriter.add, add_or_die

    before = signal.getsignal(signal.SIGTERM)
    with TemporaryDirectory(prefix="pyro-vae-", dir="/tmp") as folder:
        ray.init(
            "local",
            num_cpus=2,
            num_gpus=0,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=80 * 2**20,
            runtime_env={"worker_process_setup_hook": prepare_worker},
            _temp_dir=folder,
        )
        yield "local"
        ray.shutdown()
    signal.signal(signal.SIGTERM, before)


# --- without a cluster ------------------------------------------------------------------------------


def test_ray_is_asked_for_by_name(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["sweep", "--out", "a", "--ray", "local"]) == 2
    message = "pyro-vae: ray: Ray is missing; pip install 'pyro_vae[cluster]'\n"
    assert capsys.readouterr().err == message and not Path("a").exists()


def test_a_cluster_that_is_not_there(capsys):
    assert main(["sweep", "--out", "a", "--ray", "nowhere"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("pyro-vae: ray: no cluster at nowhere: ") and error.count("\n") == 1
    assert not Path("a").exists()


def test_a_group_is_cut_where_its_stacks_end():
    of = lambda **options: [  # noqa: E731
        Member(f"{seed}", pv.RunConfig(**SMALL | options, seed=seed), Path("a", f"{seed}"))
        for seed in range(5)
    ]
    parts = lambda group: [(len(u.members), u.stack) for u in units(group, "cpu")]  # noqa: E731
    assert parts(of()) == [(2, 2), (2, 2), (1, 2)]
    assert parts(of(network="conv", hidden=(2,))) == [(1, 1)] * 5
    assert parts(of(engine="eager")) == [(1, None)] * 5


def test_the_parts_of_a_group_are_computed_as_in_one_process():
    """Three runs in stacks of two: the last stack has an idle place in both."""
    grid, seeds = SMALL | {"binarize": "dynamic"}, range(3)
    pv.sweep(grid | {"seed": seeds}, "a")
    group = [Member(f"{n}", pv.RunConfig(**grid, seed=n), Path("b", f"{n}")) for n in seeds]
    for unit in units(group, "cpu"):
        Trainer(None, lambda member: None, None).train_unit(unit)
    for seed in seeds:
        assert pv.load_run(f"b/{seed}").summary["engine"] == "compiled"
        assert_same_run(f"a/seed={seed}", f"b/{seed}")


def test_runs_whose_workers_are_lost_without_progress_have_failed():
    ended = []
    unit = Unit(
        [Member(f"{n}", pv.RunConfig(**SMALL, seed=n), Path("a", f"{n}")) for n in (0, 1)], 2
    )
    watched = _Watched(unit, None, lambda member: ended.append(member.name))
    for _ in range(LOSSES - 1):
        assert not watched.lost_too_often("Lost")
    watched.epochs[unit.members[1]] = 7  # progress: its losses are counted anew
    for _ in range(LOSSES - 1):
        assert not watched.lost_too_often("Lost")
    assert ended == [] and watched.lost_too_often("Lost") and ended == ["0", "1"]
    reason = "its worker was lost 3 times in a row (Lost)\n"
    assert {Path("a", name, "failed.txt").read_text() for name in ended} == {reason}


def test_the_command_starts_a_cluster_and_ends_it(capfd):
    before = signal.getsignal(signal.SIGTERM), set(Path("/tmp").glob("pyro-vae-*"))
    assert main(["sweep", "--out", "a", "--dataset", "absent.npy", "--ray", "local"]) == 1
    out, err = capfd.readouterr()
    assert out.splitlines()[0] == "1 runs in a, 1 of them to train" and out.count("\n") == 2
    assert "1 of 1 runs failed" in err and err.count("\n") == 1, "Ray is quiet"
    assert not ray.is_initialized()
    assert before == (signal.getsignal(signal.SIGTERM), set(Path("/tmp").glob("pyro-vae-*")))


# --- on a cluster -----------------------------------------------------------------------------------


def test_a_killed_worker_changes_no_bit(cluster):
    families = ["bernoulli", "gaussian_shared_sigma"]
    grid = SMALL | {"likelihood": families, "beta": [0.5, 4], "binarize": "dynamic"}
    grid |= {"engine": "eager"}
    order, seen, ended = Path("a-kill/likelihood=bernoulli,beta=4"), {}, []
    order.parent.mkdir(), order.touch()
    summaries = pv.sweep(
        grid,
        "a",
        ray=cluster,
        on_record=lambda name, record, last: seen.setdefault(name, []).append((record.epoch, last)),
        on_end=lambda member: ended.append(member.name),
    )
    assert not order.exists(), "no worker was killed"
    expected = pv.sweep(grid, "b")
    assert sorted(ended) == sorted(expected) and list(summaries) == list(expected)
    for name, summary in expected.items():
        assert_same_run(f"a/{name}", f"b/{name}")
        assert summaries[name]["test"] == summary["test"]
        assert seen[name] == [(1, False), (2, False), (3, True)]
        texts = [Path(folder, name, "config.yaml").read_text() for folder in "ab"]
        assert texts[0] == texts[1]


def test_runs_that_fail_are_marked_as_in_one_process(cluster):
    grid = SMALL | {"dataset": ["digits", "absent.npy"], "learning_rate": [1e-3, 1e30]}
    grid |= {"likelihood": "bernoulli", "engine": "eager"}
    with pytest.warns(UserWarning, match="bernoulli is no likelihood of 17 grey levels"):
        found = pv.sweep(grid, "a", ray=cluster)
    expected = pv.sweep(grid, "b")
    name = "dataset=digits,learning_rate=0.001"
    assert found.keys() == expected.keys() and [n for n, s in found.items() if s] == [name]
    assert_same_run(f"a/{name}", f"b/{name}")
    for other in found.keys() - {name}:
        reasons = [Path(folder, other, "failed.txt").read_text() for folder in "ab"]
        assert reasons[0].replace(f"{Path('a').resolve()}/", "b/") == reasons[1]


def test_a_signal_stops_the_workers_when_they_have_saved(cluster, monkeypatch):
    monkeypatch.setattr("pyro_vae.sweeps.ray.LOOK_EVERY", 0.05)
    interrupts, grid = Interrupts(), SMALL | {"engine": "eager", "epochs": 60, "seed": [0, 1]}

    def stop(name, record, last):
        interrupts.pending = signal.SIGINT

    with pytest.raises(Interrupted, match="all is saved, and the same command goes on"):
        pv.sweep(grid, "a", ray=cluster, on_record=stop, interrupts=interrupts)
    saved = [load_checkpoint(path)["step"] for path in Path("a").glob("*/checkpoints/last.pt")]
    assert 0 < min(saved) <= max(saved) < 60 * 11 and not list(Path("a").glob("*/summary.json"))
    pv.sweep(grid, "a", ray=cluster)
    pv.sweep(grid, "b")
    for seed in range(2):
        assert_same_run(f"a/seed={seed}", f"b/seed={seed}")


def test_a_cluster_without_a_gpu_is_told_first(cluster):
    with pytest.raises(ValueError, match="device: cuda asked for, but the Ray cluster has no GPU"):
        pv.sweep({"device": ["cpu", "cuda"]}, "a", ray=cluster)
    assert not Path("a").exists()


def test_a_folder_that_the_workers_do_not_see_ends_the_sweep(cluster, monkeypatch):
    monkeypatch.setattr("pyro_vae.sweeps.sweep.SweepFolder.start", lambda *_: Path("a").mkdir())
    with pytest.raises(OSError, match=r"sweep\.yaml is not there on .*; the sweep.s folder"):
        pv.sweep(SMALL | {"engine": "eager", "seed": [0, 1]}, "a", ray=cluster)
    assert list(Path("a").iterdir()) == []
