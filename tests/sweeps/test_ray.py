"""A sweep on a Ray cluster leaves what it leaves in one process, whatever happens to the workers."""

import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

import pyro_vae as pv
from pyro_vae.checkpoints import load_checkpoint
from pyro_vae.cli.main import main
from pyro_vae.runs.interrupts import Interrupted, Interrupts
from pyro_vae.sweeps.cluster import HEAD, StartedCluster
from pyro_vae.sweeps.ray import LOSSES, ClusterTrainer, _Watched
from pyro_vae.sweeps.trainer import Unit
from tests.support.runs import assert_same_run
from tests.support.sweeps import SMALL, Noting

ray = pytest.importorskip("ray")
import psutil  # noqa: E402  # which Ray brings along

SWEEP_WITHOUT_END = [
    *("sweep", "--hidden", "8", "--latent-dim", "2", "--epochs", "999999", "--engine", "eager"),
]
pytestmark = [pytest.mark.usefixtures("small_sweeps"), pytest.mark.slow]


# --- without a cluster ----------------------------------------------------------------------------


def test_a_worker_on_a_gpu_gives_its_memory_back_and_may_take_a_part_of_it():
    """Ray keeps the processes of its workers, and with them their hold on a GPU, unless told."""
    said = []
    fake = SimpleNamespace(
        remote=lambda **options: lambda function: said.append(options),
        cluster_resources=lambda: {"GPU": 2},
    )
    trainer = ClusterTrainer(fake, pv.SweepObserver(), gpu_share=0.25)
    on_cpu, on_gpu = said
    assert on_gpu["max_calls"] == 1 and on_gpu["num_gpus"] == 0.25
    assert "max_calls" not in on_cpu and "num_gpus" not in on_cpu
    assert trainer.device_type("auto") == "cuda" and trainer.device_type("cpu") == "cpu"


@pytest.mark.parametrize("share", ["0", "1.5", "-1", "nan"])
def test_a_share_of_a_gpu_is_a_share_and_goes_with_ray(share, capsys):
    assert main(["sweep", "--out", "x", "--ray", "local", "--gpu-share", share]) == 2
    assert "--gpu-share: expected a number over 0 and up to 1" in capsys.readouterr().err
    assert main(["sweep", "--out", "x", "--gpu-share", "0.5"]) == 2
    assert "gpu_share: goes with ray" in capsys.readouterr().err
    with pytest.raises(ValueError, match="gpu_share: expected a number over 0 and up to 1"):
        pv.sweep({"beta": [1, 2]}, "x", ray="local", gpu_share=float(share))
    assert not Path("x").exists()


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


def test_runs_whose_workers_are_lost_without_progress_have_failed():
    observer, names = Noting(), ["0", "1"]
    configs = [pv.RunConfig(**SMALL, seed=int(name)) for name in names]
    unit = Unit([pv.Run(Path("a", n), config) for n, config in zip(names, configs)], True, 2)
    watched = _Watched(unit, observer)
    for _ in range(LOSSES - 1):
        assert not watched.lost_too_often("Lost")
    watched.epochs[unit.runs[1]] = 7  # progress: its losses are counted anew
    for _ in range(LOSSES - 1):
        assert not watched.lost_too_often("Lost")
    assert observer.told == []
    assert watched.lost_too_often("Lost")
    assert observer.told == [("ended", name, True) for name in names]
    reasons = [Path("a", name, "failed.txt").read_text() for name in names]
    assert reasons == ["its worker was lost 3 times in a row (Lost)\n"] * 2


def test_the_command_starts_a_cluster_and_ends_it(capfd):
    before = signal.getsignal(signal.SIGTERM), set(Path("/tmp").glob("pyro-vae-*"))
    assert main(["sweep", "--out", "a", "--dataset", "absent.npy", "--ray", "local"]) == 1
    out, err = capfd.readouterr()
    assert out.splitlines()[0] == "1 runs in a, 1 of them to train" and out.count("\n") == 2
    assert "1 of 1 runs failed" in err and err.count("\n") == 1, "Ray is quiet"
    assert not ray.is_initialized()
    assert before == (signal.getsignal(signal.SIGTERM), set(Path("/tmp").glob("pyro-vae-*")))


def test_a_ray_whose_local_clusters_ask_for_no_token_starts_none(monkeypatch, capsys):
    monkeypatch.setattr(ray, "__version__", "2.58.1")
    assert main(["sweep", "--out", "a", "--ray", "local"]) == 2
    error = capsys.readouterr().err
    assert "ray: a local cluster of Ray 2.58.1 obeys everybody" in error and error.count("\n") == 1
    assert not Path("a").exists() and not ray.is_initialized()


def test_a_cluster_is_alive_while_its_whole_head_is(monkeypatch):
    monkeypatch.setattr("pyro_vae.sweeps.cluster.HEAD", ("sleep",))
    with subprocess.Popen(["sleep", "60"]) as one, subprocess.Popen(["sleep", "60"]) as other:
        started = StartedCluster()
        started.look()
        assert {process.pid for process in started.head} == {one.pid, other.pid}
        one.kill()
        while started.alive:
            time.sleep(0.01)
        with pytest.raises(OSError, match="the cluster's head has ended"):
            started.look()
        started.end()
        assert not psutil.pid_exists(other.pid)


def test_a_cluster_ends_with_its_head(tmp_path):
    """In a line of ours; no process and no folder of it is left, and no folder was open to others."""
    words = [*SWEEP_WITHOUT_END, "--out", str(tmp_path / "a"), "--ray", "local"]
    sweep = psutil.Popen([sys.executable, "-m", "pyro_vae", *words], stderr=subprocess.PIPE)
    while not list(tmp_path.glob("a/*/metrics.csv")):
        assert sweep.poll() is None
        time.sleep(0.2)
    started = sweep.children(recursive=True)
    assert {process.name() for process in started} >= set(HEAD)
    head = next(process for process in started if process.name() == HEAD[-1])
    folder = Path(re.search(r"/tmp/pyro-vae-\w+", " ".join(head.cmdline()))[0])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    head.kill()
    _, error = sweep.communicate(timeout=60)
    assert sweep.returncode == 1
    assert error.decode() == (
        "pyro-vae: ray: the cluster's head has ended; the same command resumes the sweep\n"
    )
    assert not [process for process in started if process.is_running()] and not folder.exists()


# --- on a cluster ---------------------------------------------------------------------------------


def prepare_worker():
    """In a worker: no inductor and no pictures; and it is killed if so ordered.

    The one that adds the second epoch of DIR/RUN is killed if there is a file DIR-kill/RUN.
    """
    from pyro_vae.runs.writer import RunWriter
    from tests.support import seams

    add = RunWriter.add

    def add_or_die(writer, record):
        add(writer, record)
        run = writer.run.folder
        order = run.parent.with_name(f"{run.parent.name}-kill") / run.name
        if record.epoch == 2 and order.exists():
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    RunWriter.add = add_or_die
    seams.do_without_inductor()
    seams.do_without_pictures()


@pytest.fixture(scope="module")
def cluster():
    """Two workers on this machine."""
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


def test_a_killed_worker_changes_no_bit(cluster):
    families = ["bernoulli", "gaussian_shared_sigma"]
    grid = SMALL | {"likelihood": families, "beta": [0.5, 4], "binarize": "dynamic"}
    grid |= {"engine": "eager"}
    order, observer = Path("a-kill/likelihood=bernoulli,beta=4"), Noting()
    order.parent.mkdir()
    order.touch()
    summaries = pv.sweep(grid, "a", ray=cluster, observer=observer)
    assert not order.exists(), "no worker was killed"
    expected = pv.sweep(grid, "b")
    assert list(summaries) == list(expected)
    for name, summary in expected.items():
        assert_same_run(f"a/{name}", f"b/{name}")
        assert summaries[name]["test"] == summary["test"]
        epochs = [(name, n, n == 3) for n in (1, 2, 3)]
        assert [each for each in observer.told if name in each] == [*epochs, ("ended", name, True)]
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


class Stopping(pv.SweepObserver):
    """Gets a signal when it is told of an epoch."""

    def epoch(self, name, record, last):
        self.interrupts.pending = signal.SIGINT


def test_a_signal_stops_the_workers_when_they_have_saved(cluster, monkeypatch):
    monkeypatch.setattr("pyro_vae.sweeps.ray.LOOK_EVERY", 0.05)
    grid = SMALL | {"engine": "eager", "epochs": 40, "seed": [0, 1]}
    with pytest.raises(Interrupted, match="all is saved, and the same command resumes"):
        pv.sweep(grid, "a", ray=cluster, observer=Stopping(Interrupts()))
    saved = [load_checkpoint(path)["step"] for path in Path("a").glob("*/checkpoints/last.pt")]
    assert 0 < min(saved) <= max(saved) < 40 * 11 and not list(Path("a").glob("*/summary.json"))
    pv.sweep(grid, "a", ray=cluster)
    pv.train(pv.RunConfig.load("a/seed=1/config.yaml"), "b")
    assert_same_run("a/seed=1", "b")


def test_a_cluster_without_a_gpu_is_told_first(cluster):
    with pytest.raises(ValueError, match="device: cuda asked for, but the Ray cluster has no GPU"):
        pv.sweep({"device": ["cpu", "cuda"]}, "a", ray=cluster)
    assert not Path("a").exists()


def test_a_folder_that_the_workers_do_not_see_ends_the_sweep(cluster, monkeypatch):
    monkeypatch.setattr("pyro_vae.sweeps.sweep.SweepFolder.start", lambda *_: Path("a").mkdir())
    with pytest.raises(OSError, match=r"sweep\.yaml is not there on .*; the sweep.s folder"):
        pv.sweep(SMALL | {"engine": "eager", "seed": [0, 1]}, "a", ray=cluster)
    assert list(Path("a").iterdir()) == []
