"""Annealed importance sampling beside hand-written chains, NumPyro's HMC, and its own products.

    python benchmarks/evaluation.py --write benchmarks/evaluation.md

Each peer (`chains.py`) has a process of its own on one core, which rests between its turns. In every
round each makes transitions for some time, in an order that changes from round to round; a ratio
divides two times of one round.
"""

import argparse
import datetime
import multiprocessing
import os
import shlex
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from chains import PEERS, Problem
from speed import machine, turn, versions
from tables import number, spread

from pyro_vae.evaluation.ais import Annealing, annealed_importance_sampling

NETWORKS = {  # with images for one batch of annealing
    "784-400-16": Problem((1, 28, 28), levels=256, hidden=400, latent_dim=16, images=80),
    "64-128-8": Problem((1, 8, 8), levels=17, hidden=128, latent_dim=8, images=256),
}
CASES = {
    f"{name}, {steps} leapfrog": replace(problem, leapfrogs=steps)
    for name, problem in NETWORKS.items()
    for steps in (1, 5)
}
SLICE = 0.3  # seconds of its core that a turn takes at least

_peer = None  # of a worker


class Worker:
    """A peer in its process, and what it has measured: microseconds for each code and gradient."""

    def __init__(self, name: str, problem: Problem):
        self.name, self.problem, self.microseconds = name, problem, []
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(1, context, _set_up, (name, problem))
        self.transitions = 1
        while self.run() < SLICE:
            self.transitions *= 2

    def run(self) -> float:
        """Return the seconds of a turn."""
        return self.pool.submit(_run, self.transitions).result()

    def take_turn(self) -> None:
        """Keep the microseconds of a turn."""
        gradients = self.transitions * self.problem.leapfrogs
        codes = gradients * self.problem.images * self.problem.chains
        self.microseconds.append(1e6 * self.run() / codes)


def _set_up(name: str, problem: Problem) -> None:
    global _peer
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    _peer = PEERS[name](problem)


def _run(transitions: int) -> float:
    start = time.process_time()
    _peer.move(transitions)
    return time.process_time() - start


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print the page as it grows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--case", nargs="+", metavar="NAME", default=list(CASES), choices=CASES)
    parser.add_argument("--images", type=int, default=100, help="of whole runs; 0 leaves them out")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the page, as Markdown")
    asked = parser.parse_args(arguments)
    page = heading(asked.rounds)
    for name in asked.case:
        page += "\n".join(["", f"## {name}", "", *table(measure(CASES[name], asked.rounds)), ""])
    if asked.images:
        page += "\n".join(["", *whole_runs(asked.images), ""])
    print(page)
    if asked.write:
        asked.write.write_text(page)


def measure(problem: Problem, rounds: int) -> list[Worker]:
    """All peers, measured in turns."""
    workers = [Worker(name, problem) for name in PEERS]
    for number_of_round in range(rounds):
        for worker in turn(workers, number_of_round):
            worker.take_turn()
    for worker in workers:
        worker.pool.shutdown()
    return workers


def heading(rounds: int) -> str:
    """What is measured, where, and when."""
    return f"""# Annealed importance sampling

`python benchmarks/evaluation.py {shlex.join(sys.argv[1:])}`

{datetime.date.today()}, {machine("cpu")}; {versions()}.

Normal with one sigma on grey levels; 80 or 256 images with 8 chains each. Microseconds of one core
for each gradient of log p(x, z) by one code, with all that a transition does beside it: median
[quartiles] over {rounds} rounds. `products` are the decoder's products and those of its gradient by
themselves. The other two subtract cumulative probabilities, which is wrong in far tails.
"""


def table(workers: list[Worker]) -> list[str]:
    """The lines of a table, with our time as a ratio to each peer's."""
    ours = workers[0].microseconds
    lines = ["| peer | µs per gradient | ours, as a ratio to it |", "| --- | ---: | ---: |"]
    for worker in workers:
        ratios = [a / b for a, b in zip(ours, worker.microseconds)]
        lines.append(f"| `{worker.name}` | {spread(worker.microseconds)} | {spread(ratios)} |")
    return lines


def whole_runs(images: int) -> list[str]:
    """The lines of a table of runs from q, with their pilot runs."""
    lines = ["## Whole runs", "", f"{images} images, 8 chains, 300 temperatures, from q.", ""]
    lines += ["| network | seconds | processor seconds |", "| --- | ---: | ---: |"]
    for name, problem in NETWORKS.items():
        vae, x, _ = replace(problem, images=images).build()
        start, used = time.perf_counter(), time.process_time()
        annealed_importance_sampling(vae, x, Annealing(300, 8, start="posterior"))
        seconds = time.perf_counter() - start, time.process_time() - used
        lines.append(f"| {name} | {' | '.join(map(number, seconds))} |")
    return lines


if __name__ == "__main__":
    main()
