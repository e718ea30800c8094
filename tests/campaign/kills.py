"""Processes that are killed, and processes that meet in one folder."""

import os
import signal
import time
from pathlib import Path

from tests.campaign.campaign import Campaign
from tests.campaign.promises import difference, killed, sweep_difference
from tests.campaign.trial import SWEEP, TRAIN, Child, Ended, run, stacked, stacked_arguments
from tests.support.seams import do_without_pictures

HEARD = 10  # seconds in which a signal must be heard: a scheduler kills after 30
COMPILED = [*TRAIN[: TRAIN.index("--engine")], "--engine", "compiled", *TRAIN[-4:]]


def kills_of_train(campaign: Campaign) -> None:
    """SIGKILL and SIGTERM at random moments; the run resumes to the same bits."""
    start = time.monotonic()
    expected = campaign.made(setup=do_without_pictures)
    whole = time.monotonic() - start
    command = [*TRAIN, "--resume"]
    for name, numbers, count in (
        ("train: SIGKILL", (signal.SIGKILL,), 12),
        ("train: SIGTERM, SIGINT", (signal.SIGTERM, signal.SIGINT), 6),
    ):
        for _ in campaign.trials(count):
            with campaign.trial(name) as trial:
                trial.complaint = killed(
                    command, trial.out, campaign.rng, whole, do_without_pictures, numbers
                ) or difference(trial.out, expected)


def kills_of_sweeps(campaign: Campaign) -> None:
    """The same of sweeps, whose runs are trained one by one or in one batched step."""
    for name, arguments, setup in (
        ("sweep: SIGKILL", SWEEP, do_without_pictures),
        ("stacked sweep: SIGKILL", stacked_arguments(), stacked),
    ):
        start = time.monotonic()
        expected = campaign.made(*arguments, setup=setup)
        whole = time.monotonic() - start
        for _ in campaign.trials(4):
            with campaign.trial(name) as trial:
                trial.complaint = killed(arguments, trial.out, campaign.rng, whole, setup)
                trial.complaint = trial.complaint or sweep_difference(trial.out, expected)


def pairs(campaign: Campaign) -> None:
    """Two processes in one folder: one trains and the other says who does, or they share a sweep."""
    alone = campaign.made(setup=do_without_pictures)
    together = campaign.made(*SWEEP, setup=do_without_pictures)
    for name, arguments, expected, compared, count, statuses in (
        ("pair of train", [*TRAIN, "--resume"], alone, difference, 4, ([0, 2], [0, 0])),
        ("pair of sweep", SWEEP, together, sweep_difference, 2, ([0, 0],)),
    ):
        for _ in campaign.trials(count):
            with campaign.trial(name) as trial:
                command = [*arguments, "--out", str(trial.out)]
                first = Child(command, do_without_pictures)
                time.sleep(campaign.rng.choice([0, 0.01, 0.1, 0.4]))
                both = [Child(command, do_without_pictures), first]
                complaint = _pair_complaint([child.wait() for child in both], statuses)
                complaint = complaint or run(command, do_without_pictures).failure()
                trial.complaint = complaint or compared(trial.out, expected)
    for _ in campaign.trials(2):
        with campaign.trial("readers beside a training") as trial:
            trial.complaint = _readers_beside_a_training(campaign, trial.out, alone)


def _pair_complaint(ends: list[Ended], expected: tuple[list[int], ...]) -> str:
    statuses = sorted(ended.status for ended in ends)
    for ended in ends:
        if ended.complaint():
            return ended.complaint()
        named = os.uname().nodename in ended.err or "give the command again" in ended.err
        if ended.status == 2 and not named:
            return f"the second does not say who is there: {ended.err[:200]}"
    return "" if statuses in expected else f"statuses {statuses}"


def _readers_beside_a_training(campaign: Campaign, out: Path, other: Path) -> str:
    command = [*TRAIN, "--epochs", "300", "--resume", "--out", str(out)]
    child = Child(command, do_without_pictures)
    time.sleep(campaign.rng.uniform(0.4, 0.8))
    complaints = []
    for command in (["report", str(out)], ["compare", str(out), str(other)]):
        complaints.append(run(command).complaint())
    ended = run(["evaluate", str(out), "--only", "latents", "--quick"])
    if os.waitpid(child.pid, os.WNOHANG)[0] == 0:
        if ended.status != 2:
            complaints.append(f"evaluate beside a training ended with {ended.status}")
        child.kill()
        child.wait()
    return "; ".join(filter(None, complaints))


def signals_while_compiling(campaign: Campaign) -> None:
    """SIGTERM while inductor compiles is heard within seconds, and the run resumes."""
    for _ in campaign.trials(1):
        cache = campaign.new()
        setup = lambda cache=cache: _compile_anew(cache)  # noqa: E731
        with campaign.trial("SIGTERM while compiling") as trial:
            command = [*COMPILED, "--out", str(trial.out)]
            child = Child(command, setup)
            time.sleep(campaign.rng.uniform(0.5, 6))
            sent = time.monotonic()
            child.kill(signal.SIGTERM)
            ended = child.wait()
            seconds = time.monotonic() - sent
            if seconds > HEARD:
                trial.complaint = f"heard after {seconds:.0f} s"
            elif ended.status not in (0, 143):
                trial.complaint = f"status {ended.status}: {ended.err[:160]}"
            else:
                trial.complaint = run([*command, "--resume"], setup).failure()


def _compile_anew(cache: Path) -> None:
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
    do_without_pictures()
