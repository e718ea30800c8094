"""Several ranks leave the run folder of one process, whatever happens to one of them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyro_vae.checkpoints import load_checkpoint
from pyro_vae.cli.main import main
from tests.support.processes import start_ranks, statuses
from tests.support.runs import metrics
from tests.support.training import assert_same_weights

pytestmark = [pytest.mark.usefixtures("elsewhere"), pytest.mark.slow]

DYNAMIC = [
    *("train", "--hidden", "8", "--latent-dim", "2", "--precision", "float64"),
    *("--binarize", "dynamic", "--likelihood", "bernoulli", "--patience", "1000", "--resume"),
    *("--engine", "eager"),
]


def torchrun(*arguments, **options):
    """The command on two ranks; the ranks' own processes are the launcher's children."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", "-m", "pyro_vae", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **options)


def complaints(text):
    return [line for line in text.splitlines() if line.startswith("pyro-vae: ")]


def test_the_number_of_ranks_may_change_on_the_way():
    """Two under torchrun, then one, then two: the folder of a single process, to rounding."""
    process = torchrun(*DYNAMIC, "--out", "a", "--epochs", "2", stdout=subprocess.PIPE)
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    assert printed.count("2 ranks") == printed.count("Look at  a/report.html") == 1
    assert main([*DYNAMIC, "--out", "a", "--epochs", "4"]) == 0
    assert statuses(start_ranks(main, [*DYNAMIC, "--out", "a", "--epochs", "6"])) == [0, 0]
    printed = Path("printed").read_text()
    assert printed.count("Resuming a after step 40, epoch 4") == 1
    assert Path("complaints").read_text() == ""
    assert main([*DYNAMIC, "--out", "whole", "--epochs", "6"]) == 0
    for file in ("last", "best"):
        one, other = (load_checkpoint(f"{run}/checkpoints/{file}.pt") for run in ("a", "whole"))
        assert_same_weights(one["model"], other["model"], 1e-12)
    for a, b in zip(metrics("a"), metrics("whole"), strict=True):
        assert a.keys() == b.keys()
        expected = [float(value) for value in b.values()]
        assert [float(value) for value in a.values()] == pytest.approx(expected, rel=1e-12)
    names = [{p.relative_to(run) for p in Path(run).rglob("*")} for run in ("a", "whole")]
    assert names[0] == names[1]


def ranks_of(launcher):
    """The processes of the ranks, by number."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return sorted(map(int, children))


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the ranks in /proc")
def test_a_killed_rank_ends_the_job_with_a_message():
    process = torchrun(*DYNAMIC, "--out", "a", "--epochs", "99999", stdout=subprocess.DEVNULL)
    while not Path("a/checkpoints/last.pt").exists():
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(ranks_of(process.pid)[1], signal.SIGKILL)
    killed = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and time.monotonic() - killed < 30
    (message,) = complaints(errors)
    assert "one of 2 processes was lost: it was killed" in message
    assert "the last checkpoint stays: pyro-vae train --resume --out a" in message
    step = load_checkpoint("a/checkpoints/last.pt")["step"]
    assert main([*DYNAMIC, "--out", "a", "--epochs", str(step // 10 + 1)]) == 0


def test_a_signal_to_one_rank_stops_all_after_the_same_step():
    processes = start_ranks(main, [*DYNAMIC, "--out", "a", "--epochs", "99999"])
    while not Path("a/checkpoints/last.pt").exists():
        assert all(process.is_alive() for process in processes)
        time.sleep(0.05)
    os.kill(processes[1].pid, signal.SIGTERM)
    os.kill(processes[1].pid, signal.SIGTERM)  # as torchrun passes on what Slurm gave to all
    assert statuses(processes) == [143, 143]
    (message,) = complaints(Path("complaints").read_text())
    step = load_checkpoint("a/checkpoints/last.pt")["step"]
    assert f"after step {step}; all is saved: pyro-vae train --resume --out a" in message


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["train", "--beta", "-1"], 2, "beta: expected"),
        (["train", "--batch-size", "15"], 2, "batch_size: expected a multiple of 2"),
        (["train", "--out", "file/run"], 1, "Not a directory"),  # which the first rank finds
        (["sweep", "--out", "a"], 2, "sweep: runs in one process; leave torchrun out"),
    ],
)
def test_all_ranks_end_alike_and_one_says_why(arguments, status, message):
    Path("file").touch()
    assert statuses(start_ranks(main, arguments)) == [status, status]
    (complaint,) = complaints(Path("complaints").read_text())
    assert message in complaint


def test_a_diverging_run_ends_all_ranks_in_one_folder():
    assert statuses(start_ranks(main, ["train", "--hidden", "8", "--learning-rate", "1e300"])) == [
        1,
        1,
    ]
    (complaint,) = complaints(Path("complaints").read_text())
    assert "is not finite at epoch 1" in complaint
    assert "last finite checkpoint: none yet" in complaint
    assert [p.name for p in Path("runs").iterdir()] == ["digits-gaussian_shared_sigma-1"]
