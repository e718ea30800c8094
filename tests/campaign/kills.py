"""Processes that are killed, and processes that meet: in one folder, and on a cluster."""

import contextlib
import importlib.util
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from tests.campaign.campaign import Campaign
from tests.campaign.promises import difference, killed, sweep_difference
from tests.campaign.trial import (
    SWEEP,
    TRAIN,
    Child,
    Ended,
    run,
    stacked,
    stacked_arguments,
)
from tests.support.seams import do_without_pictures

HEARD = 10  # seconds in which a signal must be heard: a scheduler kills after 30


def kills_of_train(campaign: Campaign) -> None:
    """SIGKILL and SIGTERM at random moments; the run resumes to the same bits."""
    expected, start = campaign.new(), time.monotonic()
    assert run([*TRAIN, "--out", str(expected)], do_without_pictures).status == 0
    whole = time.monotonic() - start
    for name, numbers, count in (
        ("train: SIGKILL", (signal.SIGKILL,), 12),
        ("train: SIGTERM, SIGINT", (signal.SIGTERM, signal.SIGINT), 6),
    ):
        for _ in campaign.trials(count):
            out, start = campaign.new(), time.monotonic()
            command = [*TRAIN, "--resume"]
            complaint = killed(command, out, campaign.rng, whole, do_without_pictures, numbers)
            campaign.note(name, complaint or difference(out, expected), start)
            shutil.rmtree(out, ignore_errors=True)


def kills_of_sweeps(campaign: Campaign) -> None:
    """The same of sweeps, whose runs are trained one by one or in one batched step."""
    for name, arguments, setup in (
        ("sweep: SIGKILL", SWEEP, do_without_pictures),
        ("stacked sweep: SIGKILL", stacked_arguments(), stacked),
    ):
        expected, start = campaign.new(), time.monotonic()
        assert run([*arguments, "--out", str(expected)], setup).status == 0
        whole = time.monotonic() - start
        for _ in campaign.trials(4):
            out, start = campaign.new(), time.monotonic()
            complaint = killed(arguments, out, campaign.rng, whole, setup)
            campaign.note(name, complaint or sweep_difference(out, expected), start)
            shutil.rmtree(out, ignore_errors=True)


def pairs(campaign: Campaign) -> None:
    """Two processes in one folder: one works, the other says who does."""
    alone, together = campaign.new(), campaign.new()
    assert run([*TRAIN, "--out", str(alone)], do_without_pictures).status == 0
    assert run([*SWEEP, "--out", str(together)], do_without_pictures).status == 0
    for name, arguments, expected, compared, count in (
        ("pair of train", [*TRAIN, "--resume"], alone, difference, 4),
        ("pair of sweep", SWEEP, together, sweep_difference, 2),
    ):
        for _ in campaign.trials(count):
            out, start = campaign.new(), time.monotonic()
            command = [*arguments, "--out", str(out)]
            first = Child(command, do_without_pictures)
            time.sleep(campaign.rng.choice([0, 0.01, 0.1, 0.4]))
            both = [Child(command, do_without_pictures), first]
            complaint = _pair_complaint([child.wait() for child in both])
            if not complaint and (again := run(command, do_without_pictures)).status != 0:
                complaint = f"afterwards: {again.err[:200]}"
            campaign.note(name, complaint or compared(out, expected), start)
            shutil.rmtree(out, ignore_errors=True)
    _readers_beside_a_training(campaign, alone)


def _pair_complaint(ends: list[Ended]) -> str:
    statuses = sorted(ended.status for ended in ends)
    for ended in ends:
        if ended.complaint():
            return ended.complaint()
        named = os.uname().nodename in ended.err or "which has ended" in ended.err
        if ended.status == 2 and not named:
            return f"the second does not say who is there: {ended.err[:200]}"
    return "" if statuses in ([0, 2], [0, 0]) else f"statuses {statuses}"


def _readers_beside_a_training(campaign: Campaign, expected: Path) -> None:
    for _ in campaign.trials(2):
        out, start = campaign.new(), time.monotonic()
        command = [*TRAIN, "--epochs", "300", "--resume", "--out", str(out)]
        child = Child(command, do_without_pictures)
        time.sleep(campaign.rng.uniform(0.4, 0.8))
        complaints = []
        for command in (["report", str(out)], ["compare", str(out), str(expected)]):
            complaints.append(run(command).complaint())
        ended = run(["evaluate", str(out), "--only", "latents", "--quick"])
        still = os.waitpid(child.pid, os.WNOHANG)[0] == 0
        if still and ended.status != 2:
            complaints.append(f"evaluate beside a training ended with {ended.status}")
        if still:
            child.kill()
            child.wait()
        campaign.note("readers beside a training", "; ".join(filter(None, complaints)), start)
        shutil.rmtree(out, ignore_errors=True)


def signals_while_compiling(campaign: Campaign) -> None:
    """SIGTERM while inductor compiles is heard within seconds, and the run resumes."""
    command = [*TRAIN[: TRAIN.index("--engine")], "--engine", "compiled", *TRAIN[-4:]]
    for _ in campaign.trials(1):
        out, cache, start = campaign.new(), campaign.new(), time.monotonic()
        setup = lambda cache=cache: _compile_anew(cache)  # noqa: E731
        child = Child([*command, "--out", str(out)], setup)
        time.sleep(campaign.rng.uniform(0.5, 6))
        sent = time.monotonic()
        child.kill(signal.SIGTERM)
        ended = child.wait()
        seconds = time.monotonic() - sent
        complaint = "" if ended.status in (0, 143) else f"status {ended.status}: {ended.err[:160]}"
        if seconds > HEARD:
            complaint = f"heard after {seconds:.0f} s"
        if not complaint:
            ended = run([*command, "--resume", "--out", str(out)], setup)
            complaint = ended.complaint() or ended.err[:160] * (ended.status != 0)
        campaign.note("SIGTERM while compiling", complaint, start)


def _compile_anew(cache: Path) -> None:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
    do_without_pictures()


def kills_on_a_cluster(campaign: Campaign) -> None:
    """SIGKILL of Ray's workers and of the process that started them; the sweep ends the same."""
    if importlib.util.find_spec("ray") is None:
        print("kills on a cluster: left out, since Ray is not installed", file=sys.stderr)
        return
    expected = campaign.new()
    command = [*SWEEP, "--epochs", "40"]
    assert run([*command, "--out", str(expected)], do_without_pictures).status == 0
    for _ in campaign.trials(1):
        out, start = campaign.new(), time.monotonic()
        for _ in range(campaign.rng.randint(1, 3)):
            child = Child([*command, "--out", str(out), "--ray", "local"])
            time.sleep(campaign.rng.uniform(4, 14))
            if campaign.rng.random() < 0.5:
                child.kill()
            else:
                _kill_a_worker(campaign)
            child.wait()
        ended = run([*command, "--out", str(out), "--ray", "local"])
        complaint = ended.complaint() or ended.err[:160] * (ended.status != 0)
        campaign.note("Ray: SIGKILL", complaint or sweep_difference(out, expected), start)
        shutil.rmtree(out, ignore_errors=True)


def _kill_a_worker(campaign: Campaign) -> None:
    """Kill a process that trains for Ray, if there is one."""
    workers = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(b"ray::_train"):
                workers.append(int(path.parent.name))
    if workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(campaign.rng.choice(sorted(workers)), signal.SIGKILL)
