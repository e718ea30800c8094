"""Names of figures, and how they are written; this module does not import torch."""

import math
from typing import Any, NamedTuple

NATS = "nats per image"
SMALL = 1e-5  # an error under which figures are written with an exponent


class Compared(NamedTuple):
    """The comparison of runs by a figure: its long name, unit and best value, and what to look for."""

    name: str
    unit: str
    look: str
    best: str = ""  # `highest`, `lowest` or `nearest 1`; empty where no value is best
    own_scale: bool = False  # true if nats of densities and of probabilities do not compare
    floor: str = ""  # the key of the row with the value that real images have


class Row(NamedTuple):
    """A figure of a JSON file: its dotted key, its name and unit, and its kind.

    The kind is `main` for the figures of a part that a report shows first, `figure` for others, or
    `words`, which are shown as a paragraph. `in_table` is `result` or `cost`
    for columns of a comparison's table. `heading` stands over the rows that share it.
    """

    key: str
    name: str
    unit: str = ""
    kind: str = "figure"
    in_table: str = ""
    compared: Compared | None = None
    heading: str = ""


def under(heading: str, *rows: Row) -> tuple[Row, ...]:
    """Return the rows with a heading over them."""
    return tuple(row._replace(heading=heading) for row in rows)


class Shown(NamedTuple):
    """A row as it is shown: its name, its value as text, its unit and its kind."""

    name: str
    value: str
    unit: str
    kind: str


def lookup(figures: dict[str, Any], key: str) -> Any:
    """Return the figure at a dotted key, or None where there is none."""
    value: Any = figures
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def figure_text(value: Any) -> str:
    """Return a figure as text; an estimate has its standard error."""
    if isinstance(value, dict):
        mean, error = value.get("mean"), value.get("standard_error")
        return figure_text(mean) if mean is None or error is None else number_text(mean, error)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _rounded(value) if isinstance(value, float) else str(value)


def _rounded(value: float) -> str:
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.2g}"
    return f"{value:.{max(0, 3 - max(0, math.floor(math.log10(abs(value) or 1))))}f}"


def number_text(mean: float, error: float, sign: str = "") -> str:
    """Return a number with two digits of its error, as in 1.23 ± 0.04, or alone where it has none.

    Args:
        sign: `+` to write the sign of positive numbers too.
    """
    if math.isnan(error) or error == 0:
        return f"{mean:{sign},.0f}" if float(mean).is_integer() else f"{mean:{sign}.4g}"
    if error < SMALL:
        return f"{mean:{sign}.3g} ± {error:.1g}"
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{mean:{sign},.{places}f} ± {error:,.{places}f}"


def shown_rows(rows: tuple[Row, ...], figures: dict[str, Any]) -> list[Shown]:
    """Return the rows that have a value, as they are shown, and the headings over them."""
    shown, heading = [], ""
    for row in rows:
        value = lookup(figures, row.key)
        if value is None:
            continue
        if row.heading not in ("", heading):
            heading = row.heading
            shown.append(Shown(heading, "", "", "heading"))
        shown.append(Shown(row.name, figure_text(value), row.unit, row.kind))
    return shown


PARAMETERS = Row("parameters", "parameters", in_table="cost")
SUMMARY = (  # the rows of `summary.json`
    Row(
        "test.elbo_nats",
        "test ELBO",
        NATS,
        in_table="result",
        compared=Compared(
            "test ELBO",
            NATS,
            "Higher is better, at beta = 1 whatever beta was trained with. Look for where a line"
            " turns down.",
            best="highest",
            own_scale=True,
        ),
    ),
    Row(
        "test.rate_nats",
        "test rate",
        NATS,
        in_table="result",
        compared=Compared(
            "test rate",
            NATS,
            "The information that a code has about its image. Where a line reaches 0, the decoder"
            " ignores the codes.",
        ),
    ),
    Row(
        "test.distortion_nats",
        "test distortion",
        NATS,
        in_table="result",
        compared=Compared(
            "test distortion",
            NATS,
            "The error of reconstructions; lower is closer. Look for how much of it a larger rate"
            " buys.",
            own_scale=True,
        ),
    ),
    Row(
        "test.bits_per_dim",
        "bits per dimension",
        compared=Compared(
            "bits per dimension",
            "upper bound",
            "Lower is better, and families can be compared. Look for the lowest line, and for how"
            " flat it is.",
            best="lowest",
        ),
    ),
    Row("test.bits_per_dim_samples", "draws of its bound"),
    Row("test.images", "test images"),
    Row("test.bits_per_dim_effective_samples", "effective draws of its bound"),
    Row("validation.elbo_nats", "validation ELBO", NATS),
    Row("validation.bits_per_dim", "bits per dimension", "validation images"),
    Row("validation.bits_per_dim_samples", "draws of its bound, validation"),
    Row(
        "test.active_units",
        "active components",
        in_table="result",
        compared=Compared(
            "active components",
            "of the latent size",
            "Components whose mean varies over images. Look for where they fall short of the"
            " latent size.",
        ),
    ),
    Row("test.collapsed_units", "collapsed components", in_table="result"),
    Row("train.elbo_nats", "training ELBO", NATS),
    Row("linear_optimum.elbo_nats", "ELBO of the optimum", NATS),
    Row("baselines.independent_pixels.bits_per_dim", "bits, independent pixels"),
    Row("baselines.one_gaussian.bits_per_dim", "bits, one Gaussian", "pixel by pixel"),
    Row("baselines.ppca.bits_per_dim", "bits, pPCA", "sigma for levels"),
    Row("generalisation.gap_nats", "train minus test ELBO", NATS),
    Row("generalisation.drawn_gap_nats", "train minus validation ELBO, drawn at random", NATS),
    Row("convergence.word", "converged?", kind="words", in_table="result"),
    Row("convergence.moved_nats", "moved by the last tenth", NATS),
    Row("convergence.left_nats", "left to gain by its trend", NATS),
    Row("epochs", "epochs"),
    Row("best_epoch", "best epoch"),
    Row("seconds", "training", "seconds", in_table="cost"),
    Row("device", "device", kind="words"),
    Row("engine", "engine", kind="words"),
)
