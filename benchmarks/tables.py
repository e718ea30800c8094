"""From timings to a page: ratios within rounds, their medians and quartiles, Markdown."""

import statistics
from typing import NamedTuple

REFERENCES = ("stock_pyro", "handwritten_eager", "numpyro")  # whom the ratios are to


class Measured(NamedTuple):
    """A peer's figures in one case.

    Args:
        milliseconds: per step and model, one for each round.
        first_epoch: seconds, with all that is compiled then.
        loss: of the warm-up's last epoch, nats per image.
    """

    peer: str
    models: int
    milliseconds: list[float]
    first_epoch: float
    loss: float


def table(rows: list[Measured]) -> str:
    """A Markdown table, a line for each row; several models at once get a column of their own."""
    several = any(row.models > 1 for row in rows)
    head = ["peer", *(["models"] if several else []), "ms per step"]
    head += [f"ratio to {name}" for name in REFERENCES] + ["first epoch, s", "loss"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for row in rows:
        numbers = [spread(row.milliseconds), *(ratio(row, rows, name) for name in REFERENCES)]
        models = [str(row.models)] if several else []
        lines.append([row.peer, *models, *numbers, number(row.first_epoch), f"{row.loss:.2f}"])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def ratio(row: Measured, rows: list[Measured], name: str) -> str:
    """The row's time over the reference's in the same round; nothing where that was not measured.

    The reference is that with as many models, or with one where it trains no more.
    """
    known = {(r.peer, r.models): r for r in rows}
    reference = known.get((name, row.models)) or known.get((name, 1))
    if reference is None:
        return ""
    if reference is row:
        return "1"
    return spread([a / b for a, b in zip(row.milliseconds, reference.milliseconds)])


def spread(values: list[float]) -> str:
    """Median [first and third quartile]."""
    low, median, high = quartiles(values)
    return f"{number(median)} [{number(low)}, {number(high)}]"


def quartiles(values: list[float]) -> list[float]:
    """Quartiles by linear interpolation, the extremes being the ends; of one value, itself."""
    if len(values) == 1:
        return values * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def number(x: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{x:#.3g}".rstrip(".") if 0.001 <= x < 999.5 else f"{x:.0f}"


def section(name: str, description: str, warm_up: int, rows: list[Measured], skipped: dict) -> str:
    """A case under its heading: its table, and who was skipped with the reason."""
    lines = [f"## {name}", "", f"{description}. Loss: epoch {warm_up}.", ""]
    lines += [table(rows), ""] if rows else []
    lines += [f"- {peer}: skipped, {why}" for peer, why in skipped.items()]
    return "\n".join(lines).rstrip() + "\n"
