"""How often statements on pages and in tables are wrong, by simulation with known truth.

    python benchmarks/statements.py --write benchmarks/statements.md

It takes some minutes. Each table says first what its statement promises.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator

from pyro_vae.evaluation.ais import Annealed, log_mean_weight, shortfall
from pyro_vae.evaluation.convergence import end_of_curve
from pyro_vae.evaluation.significance import all_differences, confidence_set

IMAGES, DIMENSIONS = 50, 784
LOUD, QUIET = 0.3, 0.06  # standard deviations of seeds
CHAINS, MEANS_OF = 16, 20  # of annealing, and images of a mean
IMAGE_ERROR = 0.07  # of a difference, over images alone
WORDS = ("converged", "still climbs", "past its best", "cannot tell")
Deviations = Sequence[float]

EQUAL = {  # settings that are all equal: the numbers of their seeds, and how much those vary
    "6 x 2": ([2] * 6, [LOUD] * 6),
    "12 x 2": ([2] * 12, [LOUD] * 12),
    "6 x 3": ([3] * 6, [LOUD] * 6),
    "12 x 3": ([3] * 12, [LOUD] * 12),
    "6 x 5": ([5] * 6, [LOUD] * 6),
    "2 noisy seeds, 10 quiet ones": ([2, 10], [LOUD, LOUD / 10]),
    "2 noisy seeds, 5 x 10 quiet ones": ([2, *[10] * 5], [LOUD, *[QUIET] * 5]),
    "6 x 3, one noisy": ([3] * 6, [LOUD, *[QUIET] * 5]),
    "12 x 3, two noisy": ([3] * 12, [LOUD] * 2 + [QUIET] * 10),
    "12 x 5, two noisy": ([5] * 12, [LOUD] * 2 + [QUIET] * 10),
}
SETS = {  # the first setting is the best, by next to nothing
    "5 x 3": ([3] * 5, [QUIET] * 5),
    "5 x 3, the best noisy": ([3] * 5, [LOUD, *[QUIET] * 4]),
    "5 x 3, the others noisy": ([3] * 5, [QUIET, *[LOUD] * 4]),
    "5 x 3, three noisy": ([3] * 5, [QUIET] * 2 + [LOUD] * 3),
    "5 x 2, the best noisy": ([2] * 5, [LOUD, *[QUIET] * 4]),
    "5 x 5, three noisy": ([5] * 5, [QUIET] * 2 + [LOUD] * 3),
    "2 noisy seeds, 10 quiet ones": ([2, 10], [LOUD, QUIET]),
}
CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # nats, by the epochs from 1 on
    "flat": lambda t: 0.0 * t,
    "climbs by 0.5 an epoch": lambda t: 0.5 * t,
    "falls by 0.5 an epoch": lambda t: -0.5 * t,
    "flat, falls in the last 20": lambda t: -0.5 * np.maximum(t - len(t) + 20, 0),
    "like 1 / epoch, 10 nats left": lambda t: -10.0 * len(t) / t,
}
LENGTHS, CORRELATIONS = (30, 100, 200), (0.0, 0.5, 0.8)  # epochs, and of the noise of neighbours


def main(arguments: list[str] | None = None) -> None:
    """Simulate what the command line asks for, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--write", type=Path, metavar="FILE", help="the page, as Markdown")
    asked = parser.parse_args(arguments)
    page = f"# How often statements are wrong\n\n{asked.repeats:,} repeats of each line.\n"
    for section in SECTIONS:
        page += "\n" + section(asked.repeats)
    print(page)
    if asked.write:
        asked.write.write_text(page)


# --- differences and sets of settings --------------------------------------------------------------


def differences(repeats: int) -> str:
    """Return the section on differences between settings that are equal."""
    rows = [
        [name, percent(share(framed, repeats, *case)), percent(share(framed, repeats, *case, True))]
        for name, case in EQUAL.items()
    ]
    return f"""\
## Differences of settings

A frame in the matrix of a comparison marks a difference that holds at 5% after Holm's adjustment. All
settings are equal here, and any frame is wrong. Seeds vary by {LOUD} nats, or by less where they are
quiet; images leave an error of a difference of {IMAGE_ERROR} nats. The last column has the share of
differences to the first setting that are framed where it is ten errors better.

{table(["settings x seeds", "a wrong frame, %", "right frames, %"], rows)}"""


def sets(repeats: int) -> str:
    """Return the section on confidence sets of the best setting."""
    rows = [[name, percent(share(left_out, repeats, *case))] for name, case in SETS.items()]
    return f"""\
## Sets of best settings

The 95% set, from one number for each seed, should leave the truly best setting out in 5% of repeats
at most. Noisy seeds vary five times as much as the others.

{table(["settings x seeds", "the best is left out, %"], rows)}"""


def framed(
    rng: Generator, seeds: Sequence[int], deviations: Deviations, leads: bool = False
) -> float:
    """Return whether a difference of equal settings holds, or the share of right ones that do."""
    seeds_error = np.sqrt(deviations[0] ** 2 / seeds[0] + deviations[1] ** 2 / seeds[1])
    lead = 10 * np.hypot(seeds_error, IMAGE_ERROR) if leads else 0.0
    matrix = all_differences(settings_of(rng, seeds, deviations, lead))
    p_values = [[cell.p_value for cell in row if cell is not None] for row in matrix]
    return float(np.mean(np.array(p_values[0]) < 0.05) if leads else np.min(p_values) < 0.05)


def left_out(rng: Generator, seeds: Sequence[int], deviations: Deviations) -> bool:
    """Return whether the 95% set lacks the first setting, which is the best."""
    each = zip(seeds, deviations)
    numbers = [deviation * rng.normal(size=count) for count, deviation in each]
    return not confidence_set([numbers[0] + 1e-6, *numbers[1:]])[0]


def settings_of(
    rng: Generator, seeds: Sequence[int], deviations: Deviations, lead: float = 0.0
) -> list[np.ndarray]:
    """Return measures (S, N) of settings, of which the first is better by `lead`."""
    common, settings = 5 * rng.normal(size=IMAGES), []
    for count, deviation in zip(seeds, deviations):
        own = IMAGE_ERROR * np.sqrt(IMAGES / 2) * rng.normal(size=IMAGES)
        settings.append(common + own + deviation * rng.normal(size=(count, 1)))
    settings[0] += lead
    return settings


# --- the end of a curve ----------------------------------------------------------------------------


def curves(repeats: int) -> str:
    """Return the section on what is said of the end of a learning curve."""
    rows = []
    for name, curve in CURVES.items():
        for epochs in LENGTHS:
            for correlation in CORRELATIONS:
                counts = words(curve, epochs, correlation, repeats)
                shares = [percent(counts[word] / repeats) for word in WORDS]
                rows.append([name, str(epochs), str(correlation), *shares])
    return f"""\
## The end of a learning curve

Curves of {DIMENSIONS} dimensions with noise of 1 nat, whose neighbours are correlated. In 5% of repeats
or fewer should a flat curve be said to climb or to be past its best, or a curve that moves be said to
have converged.

{table(["curve", "epochs", "correlation", *(f"{word}, %" for word in WORDS)], rows)}"""


def words(curve: Callable, epochs: int, correlation: float, repeats: int) -> Counter[str]:
    """Return how often each word is said of a curve with noise."""
    rng, counts = np.random.default_rng(0), Counter()
    for _ in range(repeats):
        noise = rng.normal(size=epochs)
        for epoch in range(1, epochs):
            fresh = np.sqrt(1 - correlation**2) * noise[epoch]
            noise[epoch] = correlation * noise[epoch - 1] + fresh
        end = end_of_curve(curve(np.arange(1, epochs + 1)) + noise, DIMENSIONS)
        counts[end.word] += 1
    return counts


# --- annealed importance sampling ------------------------------------------------------------------


def annealing(repeats: int) -> str:
    """Return the section on errors of log P(x) by annealed importance sampling."""
    rows = []
    for deviation in (0.3, 1.0, 2.0, 3.0):
        rng = np.random.default_rng(0)
        drawn = deviation * rng.normal(size=(CHAINS, MEANS_OF * repeats)) - deviation**2 / 2
        log_weights = torch.from_numpy(drawn)
        log_mean, error, size = log_mean_weight(log_weights)
        found = Annealed(log_mean, error, size, size, *shortfall(log_weights, log_mean, error))
        covered = [within(log_mean, error) for error in (error, found.error)]
        mean, bias, square = (
            v.reshape(repeats, -1).mean(1) for v in (log_mean, found.bias, error.square())
        )
        means = within(mean, (square / MEANS_OF).sqrt() + bias)
        shares = [*covered, means, found.unsure.double().mean().item()]
        rows.append(
            [str(deviation), f"{mean.mean().item():.2f}", *(percent(share) for share in shares)]
        )
    names = ["deviation", "bias, nats", "by draws, %", "with bias, %", "means, %", "warned, %"]
    return f"""\
## Annealed importance sampling

Log weights of {CHAINS} chains are Normal with this deviation, and the truth is 0. The estimate should
lie within two errors of it in 90% of images or more, with the estimate of the bias added, as it is
shown; the error of the draws alone leaves the bias out. Then the same of means over {MEANS_OF} images,
and the share of images with a warning.

{table(names, rows)}"""


def within(values: torch.Tensor, errors: torch.Tensor) -> float:
    """Return the share of values that lie within two errors of 0."""
    return (values.abs() < 2 * errors).double().mean().item()


# --- the page --------------------------------------------------------------------------------------


SECTIONS = (differences, sets, curves, annealing)


def share(happens: Callable, repeats: int, *case: object) -> float:
    """Return the share of repeats in which something happens."""
    rng = np.random.default_rng(0)
    return float(np.mean([happens(rng, *case) for _ in range(repeats)]))


def percent(value: float) -> str:
    """Return a share in percent, with one decimal."""
    return f"{100 * value:.1f}"


def table(names: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
