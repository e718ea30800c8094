"""How the cost of a training step grows with the model and the batch, beside what it cannot do without.

    python benchmarks/growth.py --write benchmarks/growth.md --figure benchmarks/growth.png

One size changes at a time, from those of `BASE`. Times are those of the processor, with one thread.
The floor is what the step's products and Adam's traffic take by themselves on the same machine, at
the pace of a large product and of a copy, by the clock.
"""

import argparse
import datetime
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import floors
import matplotlib.pyplot as plt
import torch
from speed import machine, versions
from tables import number, quartiles, spread

import pyro_vae as pv

BASE = {"latent": 16, "batch": 128, "side": 28, "hidden": 400}
DIGITS = {"latent": 8, "batch": 64, "side": 8, "hidden": 128}  # for models at once
ONE_MODEL = {
    "latent": (2, 8, 32, 128, 512),
    "batch": (16, 64, 256, 1024, 4096),
    "side": (8, 16, 32, 64, 128),
    "hidden": (64, 256, 1024, 4096),
}
MODELS = (1, 4, 16, 64, 256)
NAMES = {
    "latent": "latent size",
    "batch": "images in a batch",
    "side": "side of the images in pixels",
    "hidden": "hidden units",
    "models": "models at once",
}


class Point(NamedTuple):
    """Milliseconds of a step at one size, by round, and those that it cannot do without."""

    axis: str
    size: int
    milliseconds: list[float]
    floor: float

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return quartiles(self.milliseconds)[1]


def main(arguments: list[str] | None = None) -> None:
    """Measure every size, print the page, and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--axis", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="of an epoch")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the page, as Markdown")
    parser.add_argument("--figure", type=Path, metavar="FILE")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    about = machine("cpu")
    points = list(measured(asked))
    page = "\n".join([heading(asked, about), *table(points), ""])
    print(page)
    if asked.write:
        asked.write.write_text(page)
    if asked.figure:
        draw(points, asked.figure)


def measured(asked: argparse.Namespace) -> Iterator[Point]:
    """Every size of every axis."""
    for axis in asked.axis:
        for size in MODELS if axis == "models" else ONE_MODEL[axis]:
            if axis == "models":
                sizes, count = DIGITS, size
            else:
                sizes, count = BASE | {axis: size}, 1
            point = Point(axis, size, *step_times(sizes, count, asked))
            print(axis, size, spread(point.milliseconds), file=sys.stderr, flush=True)
            yield point


def step_times(sizes: dict, count: int, asked: argparse.Namespace) -> tuple[list[float], float]:
    """Milliseconds of a step by round, after an epoch to warm up, and the floor."""
    torch.manual_seed(0)
    vaes = [new_vae(sizes) for _ in range(count)]
    images = torch.rand(sizes["batch"] * asked.steps, *vaes[0].image_shape).round()
    epochs = {"epochs": asked.rounds + 1, "batch_size": sizes["batch"]}
    together = count > 1 or sizes is DIGITS
    training = (
        pv.fit_many(vaes, images, **epochs, seeds=range(count))
        if together
        else pv.fit(vaes[0], images, **epochs, engine="eager")
    )
    next(training)
    seconds = []
    for _ in range(asked.rounds):
        start = time.process_time()
        next(training)
        seconds.append((time.process_time() - start) / asked.steps)
    floor = count * floors.least_seconds(vaes[0], images[: sizes["batch"]])
    return [1e3 * s for s in seconds], 1e3 * floor


def new_vae(sizes: dict) -> pv.VAE:
    """A model of binary images with one hidden layer each way."""
    shape = 1, sizes["side"], sizes["side"]
    return pv.VAE(shape, sizes["latent"], "bernoulli", hidden=(sizes["hidden"],), levels=2)


def heading(asked: argparse.Namespace, about: str) -> str:
    """What is measured, where, and when."""
    pace = floors.products_per_second(torch.device("cpu")) / 1e9
    return f"""# How a training step grows

`python benchmarks/growth.py --rounds {asked.rounds} --steps {asked.steps}`

{datetime.date.today()}, {about}; {versions()}.

Milliseconds of processor time per step, with one thread, median [quartiles] over {asked.rounds}
rounds of {asked.steps} steps. One size changes at a time: binary images of 28x28 pixels,
784-400-16-400-784, batch 128, `engine=eager`. Models at once are those of the digits
(64-128-8-128-64, batch 64) by `fit_many`, which compiles. The floor is what the products and Adam's
traffic take by themselves, at the pace of a large product ({pace:.0f} billion operations a
second) and of a copy of that size.

![Milliseconds per step over each size, beside the floor](growth.png)

An eager step of the smallest size takes milliseconds, for its calls and for the end of the epoch, so that
small steps are far above the floor; the largest take one to three times as long. The floor leaves out the
likelihood with its gradient. Models at once share the calls among up to sixteen; more go into
further stacks, so that the cost per model stays the same.
"""


def table(points: list[Point]) -> list[str]:
    """The lines of the table."""
    lines = ["| size | | ms per step | floor, ms | ratio |", "| --- | ---: | ---: | ---: | ---: |"]
    for point in points:
        cells = spread(point.milliseconds), number(point.floor), number(point.median / point.floor)
        lines.append(f"| {NAMES[point.axis]} | {point.size:,} | {' | '.join(cells)} |")
    return lines


def draw(points: list[Point], file: Path) -> None:
    """A panel for each axis: what was measured, and the floor."""
    axes_names = list(dict.fromkeys(point.axis for point in points))
    size = 3.2 * len(axes_names), 3.4
    figure, panels = plt.subplots(1, len(axes_names), figsize=size, sharey=True, squeeze=False)
    for panel, axis in zip(panels[0], axes_names):
        here = [point for point in points if point.axis == axis]
        sizes = [point.size for point in here]
        panel.loglog(sizes, [point.median for point in here], "o-", label="measured")
        panel.loglog(sizes, [point.floor for point in here], "k--", label="floor")
        panel.set_xticks(sizes, [f"{n:,}" for n in sizes], rotation=45, minor=False)
        panel.minorticks_off()
        panel.set_xlabel(NAMES[axis])
    panels[0, 0].set_ylabel("milliseconds per step")
    panels[0, 0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main()
