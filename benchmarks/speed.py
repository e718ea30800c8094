"""Training speed beside other libraries: the same data, network and minibatches, in rounds.

    python benchmarks/speed.py --data-dir data --write benchmarks/speed.md

Each peer (`peers`: what each does is said there) has a process of its own, warms up, and then runs
once in every round, in an order that changes from round to round. Ratios are formed within a round.
The packages of all peers: `pip install -e '.[bench]'`; those that are missing are skipped by name.
"""

import argparse
import datetime
import math
import os
import platform
import sys
import tempfile
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from cases import CASES, Case
from floors import floor
from peers import PEERS, Unavailable
from tables import Measured, section
from workers import Worker

SLICE = 0.3  # seconds that a slice takes at least
PACKAGES = ("torch", "pyro-ppl", "numpyro", "jax", "pyroved", "pythae")
PREFACE = """\
Median [quartiles] over {rounds} rounds. In every round each peer trains for {slice} s at least
(whole epochs), in an order that changes from round to round; a ratio divides two times of one
round: under 1 is faster. The first epoch includes compiling, with an empty cache. The loss is the
mean negative ELBO of a training epoch, nats per image.
"""


def main(arguments: list[str] | None = None) -> None:
    """Measure what the command line asks for, and print the page as it grows."""
    asked = parse(arguments)
    page = ""
    with tempfile.TemporaryDirectory() as empty:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty  # where nothing is compiled already
        for part in parts(asked):
            page += part + "\n"
            print(part, flush=True)
            if asked.write:
                asked.write.write_text(page.rstrip() + "\n")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", default="data", help="folder that holds MNIST")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--case", nargs="+", metavar="NAME", choices=CASES, default=list(CASES))
    parser.add_argument("--peer", nargs="+", metavar="NAME", choices=PEERS, default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", type=Path, metavar="FILE", help="the page, as Markdown")
    asked = parser.parse_args(arguments)
    if asked.rounds < 1:
        parser.error(f"argument --rounds: expected at least 1, got {asked.rounds}")
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("argument --device: torch sees no CUDA device")
    for name in asked.case:
        if problem := CASES[name].problem(asked.data_dir):
            parser.exit(2, f"{parser.prog}: error: {problem}\n")
    return asked


def parts(asked: argparse.Namespace):
    """The page's heading, then a section for every case."""
    yield heading(asked)
    for name in asked.case:
        rows, skipped = measure(name, asked)
        description = CASES[name].description
        if CASES[name].floor:
            description += f". {floor(CASES[name].task(asked.data_dir, asked.device))}"
        yield section(name, description, CASES[name].warm_up, rows, skipped)


def heading(asked: argparse.Namespace) -> str:
    """Command, date, machine and versions."""
    chosen = "".join(
        f" --{name} {' '.join(given)}"
        for name, given, everything in (("case", asked.case, CASES), ("peer", asked.peer, PEERS))
        if given != list(everything)
    )
    command = f"python benchmarks/speed.py --device {asked.device} --rounds {asked.rounds}{chosen}"
    lines = ["# Training speed beside other libraries", "", f"`{command}`", ""]
    lines += [f"{datetime.date.today()}, {machine(asked.device)}; {versions()}.", ""]
    return "\n".join(lines) + "\n" + PREFACE.format(rounds=asked.rounds, slice=SLICE)


def machine(device: str) -> str:
    """Processor, cores that may be used, torch's threads, the load before, and the GPU if asked."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = f", {torch.cuda.get_device_name()}" if device == "cuda" else ""
    threads, load = torch.get_num_threads(), os.getloadavg()[0]
    return (
        f"{processor()}, cores: {cores}, torch's threads: {threads}, load before: {load:.2f}{gpu}"
    )


def processor() -> str:
    """The processor's name, as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> str:
    """Python and the packages that are there."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def measure(name: str, asked: argparse.Namespace) -> tuple[list[Measured], dict[str, str]]:
    """A case's rows, and the peers that were skipped with the reason for each."""
    case, ready, skipped = CASES[name], [], {}
    with ExitStack() as processes:
        for peer in [p for p in case.peers if p in asked.peer]:
            for models in case.peers[peer]:
                print(f"{name}: {peer}, models: {models}", file=sys.stderr, flush=True)
                worker = Worker(name, peer, models, asked.data_dir, asked.device)
                processes.enter_context(worker)
                try:
                    ready.append(Runner(worker, peer, models, case))
                except Unavailable as error:  # and then more models at once are not tried
                    skipped[peer if models == 1 else f"{peer}, models: {models}"] = str(error)
                    break
        for number in range(asked.rounds):
            for runner in turn(ready, number):
                runner.take_turn()
    return [runner.measured() for runner in ready], skipped


def turn(everybody: list, number: int) -> list:
    """The order in a round: back and forth, and then beginning one further on."""
    start = number // 2 % max(1, len(everybody))
    order = everybody[start:] + everybody[:start]
    return order[::-1] if number % 2 else order


class Runner:
    """A worker that is warm, with the times of its turns."""

    def __init__(self, worker: Worker, peer: str, models: int, case: Case):
        self.worker, self.peer, self.models = worker, peer, models
        self.steps, self.milliseconds = worker.receive(), []
        self.first = worker.run(1)
        self.last = worker.run(case.warm_up - 1)
        self.epochs = math.ceil(SLICE / (self.last.seconds / (case.warm_up - 1)))

    def take_turn(self) -> None:
        """One slice."""
        seconds = self.worker.run(self.epochs).seconds
        self.milliseconds.append(1e3 * seconds / (self.epochs * self.steps * self.models))

    def measured(self) -> Measured:
        """What the table shows."""
        figures = self.milliseconds, self.first.seconds, self.last.loss
        return Measured(self.peer, self.models, *figures)


if __name__ == "__main__":
    main()
