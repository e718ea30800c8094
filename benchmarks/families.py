"""A training step of every likelihood family on grey levels, beside what it cannot do without.

    python benchmarks/families.py --write benchmarks/families.md

One process trains all families on random images of MNIST's size, in rounds: an epoch each, in an
order that changes from round to round. Times are those of the processor; a ratio divides two times
of one round. The floor is what the step's products, Adam's traffic and, for `categorical`, one
exponential per grey level and pixel take by themselves on the same machine.
"""

import argparse
import datetime
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from floors import least_seconds
from speed import machine, turn, versions
from tables import number, spread

import pyro_vae as pv
from pyro_vae.compiling.compiler import compile_step
from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.training.engines import choose_engine
from pyro_vae.training.step import numbers_compiled

SHAPE, LEVELS, BATCH, NETWORK = (1, 28, 28), 256, 128, {"hidden": (400,), "latent_dim": 16}
REFERENCE = "gaussian_shared_sigma"
FAMILIES = [name for name in LIKELIHOODS if name != "bernoulli"]  # no likelihood of grey levels
EXPONENTIALS = {"categorical": LEVELS}  # per pixel, where they outweigh the products


class Family:
    """A family that is being trained: its first epoch's seconds, and milliseconds per step."""

    def __init__(self, name: str, images: torch.Tensor, rounds: int, imports: float):
        self.name, self.steps, self.milliseconds = name, len(images) // BATCH, []
        vae, beside = (
            pv.VAE(SHAPE, likelihood=name, levels=LEVELS, score="levels", **NETWORK)
            for _ in range(2)
        )
        self.floor = 1e3 * least_seconds(vae, images[:BATCH], EXPONENTIALS.get(name, 0))
        options = {"batch_size": BATCH, "epochs": rounds + 2}
        self.training = pv.fit(vae, images, engine="compiled", **options)
        start = time.perf_counter()  # since a compiler's time is not this process's
        next(self.training)
        self.first_epoch = imports + time.perf_counter() - start
        self.eager, self.of_eager = pv.fit(beside, images, engine="eager", **options), []
        next(self.training), next(self.eager)  # warm
        self.scored = numbers_compiled(vae, BATCH)

    def take_turn(self) -> None:
        """Train for an epoch with each engine, and keep the milliseconds per step."""
        for training, kept in ((self.training, self.milliseconds), (self.eager, self.of_eager)):
            start = time.process_time()
            next(training)
            kept.append(1e3 * (time.process_time() - start) / self.steps)

    @property
    def pays_from(self) -> float:
        """The steps whose savings are the seconds of the first epoch."""
        return 1e3 * self.first_epoch / (median(self.of_eager) - median(self.milliseconds))

    @property
    def auto_from(self) -> int:
        """The steps from which on `auto` compiles."""
        known = range(1, 20_000)
        compiled = (
            n for n in known if choose_engine("auto", n, "cpu", self.scored)[0] == "compiled"
        )
        return next(compiled)

    @property
    def auto_loses(self) -> float:
        """The share of time that `auto` loses on this machine in the worst case, at its border."""
        eager = self.auto_from * median(self.of_eager) / 1e3
        compiled = self.first_epoch + self.auto_from * median(self.milliseconds) / 1e3
        return max(eager, compiled) / min(eager, compiled) - 1


def main(arguments: list[str] | None = None) -> None:
    """Measure the families that the command line asks for, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", nargs="+", metavar="NAME", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=10, help="of an epoch")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the page, as Markdown")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as empty:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty  # where nothing is compiled already
        imports = seconds_of_imports()
        page = "\n".join([heading(asked, imports), *table(measure(asked, imports)), ""])
    print(page)
    if asked.write:
        asked.write.write_text(page)


def seconds_of_imports() -> float:
    """The seconds until a process has compiled its first kernel, however small."""
    start = time.perf_counter()
    compile_step(lambda x: x.add_(1), torch.device("cpu"))(torch.zeros(8))
    return time.perf_counter() - start


def measure(asked: argparse.Namespace, imports: float) -> list[Family]:
    """All families, trained in turns."""
    torch.manual_seed(0)
    images = torch.randint(LEVELS, (BATCH * asked.steps, *SHAPE)) / (LEVELS - 1)
    images *= torch.rand_like(images) < 0.2  # most of MNIST's pixels are black
    families = []
    for name in asked.family:
        families.append(Family(name, images, asked.rounds, imports))
        print(name, number(families[-1].first_epoch), "s", file=sys.stderr, flush=True)
    for number_of_round in range(asked.rounds):
        for family in turn(families, number_of_round):
            family.take_turn()
    return families


def heading(asked: argparse.Namespace, imports: float) -> str:
    """What is measured, where, and when."""
    network, threads = "784-400-16-400-784", torch.get_num_threads()
    options = f"--rounds {asked.rounds} --steps {asked.steps}"
    return f"""# A training step of every family

`OMP_NUM_THREADS={threads} python benchmarks/families.py {options}`

{datetime.date.today()}, {machine("cpu")}; {versions()}.

{network}, batch {BATCH}, {LEVELS} grey levels, `score=levels`, `engine=compiled`: milliseconds of
processor time per step, median [quartiles] over {asked.rounds} rounds. The first epoch compiles with
an empty cache, and its seconds are those of the clock; {number(imports)} of them are for imports and
a first small kernel, as in a process of its own.
The floor is what the products, Adam's traffic and, for `categorical`, one exponential per grey level
and pixel take by themselves. Compiling pays from the step on at which the difference to `eager` has
made up for the first epoch. `auto` loses most time where it turns to compiling.
"""


def table(families: list[Family]) -> list[str]:
    """The lines of the table, from the fastest family to the slowest."""
    reference = next((f for f in families if f.name == REFERENCE), families[0])
    lines = [
        f"| family | ms per step | ratio to `{reference.name}` | floor, ms | first epoch, s"
        " | eager, ms | compiling pays from, steps | `auto` compiles from | `auto` loses, % |",
        f"| --- |{' ---: |' * 8}",
    ]
    for family in sorted(families, key=lambda f: median(f.milliseconds)):
        ratios = [a / b for a, b in zip(family.milliseconds, reference.milliseconds)]
        figures = (
            spread(family.milliseconds),
            spread(ratios),
            number(family.floor),
            number(family.first_epoch),
            spread(family.of_eager),
            f"{family.pays_from:,.0f}" if family.pays_from > 0 else "never",
            f"{family.auto_from:,}",
            f"{100 * family.auto_loses:.0f}",
        )
        lines.append(f"| `{family.name}` | {' | '.join(figures)} |")
    return lines


if __name__ == "__main__":
    main()
