"""Several ranks train the model of one process: on the same noise, to rounding."""

import csv
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import pyro_vae as pv
from pyro_vae.cli.main import main
from pyro_vae.runs.checkpoints import load_checkpoint
from pyro_vae.runs.run import resolve_device
from pyro_vae.training.capture import Draw
from pyro_vae.training.distributed import _shares
from pyro_vae.training.processes import RankLost, Ranks
from tests.programs import Warping, images, model

_stores = []  # the launcher's, which outlive the ranks
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["pyro_vae.cli.parser", "sklearn.datasets", "torch._dynamo"])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def start(function, *arguments, count=2):
    """The function in so many ranks, as torchrun starts them, and in no time since they are forked.

    What they print and complain of goes into two files.
    """
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    _stores.append(store)
    each = [(os.getcwd(), n, count, store.port, function, arguments) for n in range(count)]
    processes = [_processes.Process(target=_as_rank, args=args) for args in each]
    for process in processes:
        process.start()
    return processes


def _as_rank(folder, number, count, port, function, arguments):
    os.chdir(folder)
    os.environ |= {"RANK": f"{number}", "WORLD_SIZE": f"{count}", "LOCAL_RANK": f"{number}"}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": f"{port}"}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    torch.set_num_threads(1)
    os.dup2(os.open("complaints", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    os.dup2(os.open("printed", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    sys.exit(function(*arguments))


def statuses(processes):
    for process in processes:
        process.join(100)
    return [process.exitcode for process in processes]


DYNAMIC = {"dynamic": True, "beta_schedule": "linear", "warmup_epochs": 4}
HELD_OUT = {"patience": 3, "validation_images": images(9), "test_images": images(7)}
ANALYTIC = {"family": "gaussian_shared_sigma", "objective": "elbo_analytic"}
HIDDEN = {"linear": (), "mlp": (8,), "conv": (4,)}
PARTICLES = {"num_particles": 3, "learning_rate_schedule": "cosine"}
CASES = {
    "dynamic pixels": DYNAMIC,
    "convolutions, selection": {"network": "conv"} | ANALYTIC | HELD_OUT,
    "particles": {"family": "laplace"} | PARTICLES,
    "importance": {"objective": "iwae", "num_particles": 5, "dynamic": True},
    "a point": {"kind": pv.Autoencoder},
    "own programs": {"kind": Warping},
}


def training(family="bernoulli", kind=pv.VAE, network="mlp", **options):
    """A run of 24 steps, which is what Adam needs to forget its first ones."""
    vae = model(family, kind, network=network, hidden=HIDDEN[network])
    settings = {"epochs": 12, "batch_size": 16, "precision": "float64", "engine": "eager"}
    return pv.fit(vae, images() * 0.7, **(settings | options))


def outcome(run):
    records = [{k: v for k, v in vars(r).items() if v is not None and k != "seconds"} for r in run]
    return records, run.state()


def train_all(cases, device="cpu"):
    ranks = Ranks.launched()
    device = torch.device(device, ranks.local) if device == "cuda" else torch.device(device)
    found = {}
    with ranks.joined(device):
        for name, options in cases.items():
            try:
                found[name] = outcome(training(ranks=ranks, device=device, **options))
            except ValueError as error:
                found[name] = str(error)
    torch.save(found, f"{ranks.number}.pt")


def weights(state):
    return torch.cat([p.flatten() for p in state["model"].values()])


def assert_same(one, other, tolerance):
    for a, b in zip(one[0], other[0], strict=True):
        assert a == pytest.approx(b, rel=tolerance, abs=tolerance, nan_ok=True)
    for key in ("order", "random", "step", "best_epoch"):
        assert str(one[1][key]) == str(other[1][key])
    assert (weights(one[1]) - weights(other[1])).abs().max() <= tolerance


def test_two_ranks_are_one_process():
    """Weights, Adam's averages and records of 24 steps; in float64, since Adam magnifies rounding
    where gradients are tiny: sums in another order differ by 1e-16, and weights by less than 1e-12.
    """
    single = {"precision": "float32", "epochs": 1, "batch_size": 40}
    refused = {"optimal sigma": {"family": "gaussian_optimal_sigma", "engine": "auto"}}
    assert statuses(start(train_all, CASES | refused | {"float32": single})) == [0, 0]
    first, second = (torch.load(f"{n}.pt") for n in (0, 1))
    for name, options in CASES.items():
        assert_same(first[name], second[name], 0)
        assert_same(first[name], outcome(training(**options)), 1e-12)
    assert first["convolutions, selection"][1]["best_epoch"] is not None
    loss, expected = (
        each[0][0]["loss"] for each in (first["float32"], outcome(training(**single)))
    )
    assert loss == pytest.approx(expected, rel=1e-6)
    for found in (first, second):
        assert "is not the mean over its shares" in found["optimal sigma"]
        assert "2 ranks would train another model; train in a single" in found["optimal sigma"]


class HalfDeaf(Ranks):
    """The first of two, who hears nothing of the other and takes its own share for the mean."""

    def gather(self, value=None):
        return [value] * 2

    def average(self, flat):
        pass


def test_both_halves_of_a_step_are_machine_code_too():
    states = [
        outcome(training(network="linear", engine=engine, ranks=HalfDeaf(0, 2), **DYNAMIC))[1]
        for engine in ("compiled", "eager")
    ]
    assert [state["engine"] for state in states] == ["compiled", "eager"]
    assert (weights(states[0]) - weights(states[1])).abs().max() < 1e-12


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 15}, "batch_size: expected a multiple of 2, the number of ranks, got 15"),
        ({"engine": "svi"}, "engine: svi does not divide a minibatch among 2 ranks; use auto"),
    ],
)
def test_what_ranks_cannot_train_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        training(ranks=Ranks(0, 2), **options)


def test_more_ranks_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert resolve_device("auto", 2) == torch.device("cuda", 2)
    with pytest.raises(ValueError, match="device: expected a GPU for each rank of a node, got 3"):
        resolve_device("cuda", 3)


def test_noise_is_divided_along_the_images():
    noise = [torch.rand(3, 4, 5), torch.rand(2)]
    parts = [Draw("normal_", torch.Size(s), torch.float32) for s in [(3, 2, 5), (2,)]]
    one, other = _shares(noise, parts, 2)
    assert torch.equal(torch.cat([one[0], other[0]], 1), noise[0])
    assert torch.equal(one[1], noise[1]) and torch.equal(other[1], noise[1])
    for wrong in [(3, 2, 3), (3, 3, 5)]:
        with pytest.raises(ValueError, match=r"model: noise .*expected one dimension of images"):
            _shares(noise[:1], [parts[0]._replace(shape=torch.Size(wrong))], 2)


def disagree():
    ranks = Ranks.launched()
    with ranks.joined(torch.device("cpu")):
        try:
            ranks.agree(ValueError("no compiler") if ranks.number else None)
        except (RuntimeError, ValueError) as error:
            os.write(1, f"{type(error).__name__}: {error}\n".encode())  # a line at once


def test_an_error_of_one_rank_is_everybodys():
    assert statuses(start(disagree)) == [0, 0]
    said = sorted(Path("printed").read_text().splitlines())
    assert said == ["RuntimeError: rank 1: no compiler", "ValueError: no compiler"]


def test_a_step_that_outlasts_a_signal_tells_of_a_lost_rank(monkeypatch):
    """What waiting for NCCL comes to when a rank was killed."""
    ranks, looks = Ranks(0, 2), iter([False, False, True])
    ranks.agreed(lambda: True)
    ranks.wait(lambda: next(looks))
    monkeypatch.setattr("pyro_vae.training.processes.GRACE", -1)
    with pytest.raises(RankLost, match="one of 2 processes was lost"):
        ranks.wait(lambda: False)


# --- the command ----------------------------------------------------------------------------------


QUICK = [
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


def metrics(run):
    with open(f"{run}/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    return [{k: float(v) for k, v in row.items() if k != "seconds"} for row in rows]


def test_the_number_of_ranks_may_change_on_the_way():
    """Two under torchrun, then one, then two: the folder of a single process, to rounding."""
    process = torchrun(*QUICK, "--out", "a", "--epochs", "2", stdout=subprocess.PIPE)
    printed, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    assert printed.count("2 ranks") == printed.count("Look at a/report.html") == 1
    assert main([*QUICK, "--out", "a", "--epochs", "4"]) == 0
    assert statuses(start(main, [*QUICK, "--out", "a", "--epochs", "6"])) == [0, 0]
    printed = Path("printed").read_text()
    assert printed.count("Going on in a after step 40, epoch 4") == 1
    assert Path("complaints").read_text() == ""
    assert main([*QUICK, "--out", "whole", "--epochs", "6"]) == 0
    for file in ("last", "best"):
        one, other = (load_checkpoint(f"{run}/checkpoints/{file}.pt") for run in ("a", "whole"))
        assert (weights(one) - weights(other)).abs().max() < 1e-12
    for a, b in zip(metrics("a"), metrics("whole"), strict=True):
        assert a == pytest.approx(b, rel=1e-12)
    names = ({str(p.relative_to(run)) for p in Path(run).rglob("*")} for run in ("a", "whole"))
    assert next(names) == next(names)


def ranks_of(launcher):
    """The processes of the ranks, by number."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return sorted(map(int, children))


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the ranks in /proc")
def test_a_killed_rank_ends_the_job_with_a_message():
    process = torchrun(*QUICK, "--out", "a", "--epochs", "99999", stdout=subprocess.DEVNULL)
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
    assert main([*QUICK, "--out", "a", "--epochs", str(step // 10 + 1)]) == 0


def test_a_signal_to_one_rank_stops_all_after_the_same_step():
    processes = start(main, [*QUICK, "--out", "a", "--epochs", "99999"])
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
    assert statuses(start(main, arguments)) == [status, status]
    (complaint,) = complaints(Path("complaints").read_text())
    assert message in complaint


def test_a_diverging_run_ends_all_ranks_in_one_folder():
    assert statuses(start(main, ["train", "--hidden", "8", "--learning-rate", "1e300"])) == [1, 1]
    (complaint,) = complaints(Path("complaints").read_text())
    assert "is not finite at epoch 1" in complaint
    assert "last finite checkpoint: none yet" in complaint
    assert [p.name for p in Path("runs").iterdir()] == ["digits-gaussian_shared_sigma-1"]


# --- CUDA -----------------------------------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two GPUs")
def test_two_gpus_are_one():
    """In float64, on the device's own noise; its sums are in no fixed order."""
    assert statuses(start(train_all, CASES, "cuda")) == [0, 0]
    first, second = (torch.load(f"{n}.pt", map_location="cpu") for n in (0, 1))
    for name, options in CASES.items():
        assert torch.equal(*(weights(found[name][1]) for found in (first, second)))
        state = outcome(training(device="cuda", **options))[1]
        assert (weights(first[name][1]) - weights(state).cpu()).abs().max() < 1e-9
