"""The plots of a comparison; its template says how to read them."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from pyro_vae.comparison.seeds import over_seeds
from pyro_vae.comparison.table import (
    COMPARED,
    ROWS,
    SCALES,
    label,
    line_settings,
    lines,
    ranked,
    scale_of,
    varying,
)
from pyro_vae.evaluation.significance import SIGNS
from pyro_vae.figures import many_runs
from pyro_vae.figures.many_runs import Curve
from pyro_vae.pages.frame import Drawing, drawn
from pyro_vae.pages.wording import Compared
from pyro_vae.runs.measure import ERROR
from pyro_vae.runs.run import Run
from pyro_vae.settings import setting_text

RATE, DISTORTION = "test.rate_nats", "test.distortion_nats"
FEW = 12  # runs whose learning curves can be told apart
MOST_LINES = 24  # of a panel
AXES = {"beta": "beta", "latent_dim": "latent size"}
UNITS = {"beta": "", "latent_dim": " (components)"}
LOOK_AT_ENDS = (
    "The numbers are the smallest and the largest beta of a line. Where training has found the best"
    " trade, the slope of the line is minus beta."
)


class Panel(NamedTuple):
    """The runs of a panel: the words that its title adds, and its lines by name.

    Of very many lines, those with the best runs are drawn, and `words` say so.
    """

    title: str
    runs: pd.DataFrame
    lines: dict[str, pd.DataFrame]
    words: str


class Group:
    """Runs on the same data: a name for them, the runs by folder, and their table.

    The table has the columns `run`, a short name, and `scale`, a key of `SCALES`, beside those of
    `table_of`. `scales` are those that there are. `has_seeds` is whether settings have several.
    """

    def __init__(self, name: str, runs: Sequence[Run], table: pd.DataFrame):
        self.name, self.runs = name, {str(run.folder): run for run in runs}
        names = [run.folder.name for run in runs]
        short = [n if names.count(n) == 1 else folder for folder, n in zip(self.runs, names)]
        scales = table.apply(scale_of, axis="columns")
        self.table = table.assign(run=short, scale=scales)
        self.scales = [scale for scale in SCALES if scale in set(scales)]
        self.has_seeds = len(lines(table, line_settings(table))) < len(table)
        self._places: dict[tuple[str, ...], dict[str, int]] = {}

    def placed(self, curve: Curve, row: pd.Series, settings: list[str]) -> Curve:
        """Return the curve with the name, colour and dashes of a run's line.

        Settings other than the family give the colour, and the family gives the dashes. Where only
        one of the two varies, it gives both.
        """
        rest = tuple(name for name in settings if name != "likelihood")
        families, others = self._places_of(("likelihood",)), self._places_of(rest)
        dash, colour = families[row["likelihood"]], others[label(row, rest)]
        return curve._replace(
            label=label(row, settings),
            colour=colour if len(others) > 1 else dash,
            dash=dash if len(families) > 1 else colour,
        )

    def _places_of(self, names: tuple[str, ...]) -> dict[str, int]:
        """Return the place of each line, by the settings that distinguish lines."""
        if names not in self._places:
            self._places[names] = {name: n for n, name in enumerate(lines(self.table, names))}
        return self._places[names]

    def panels(self, own_scale: bool, settings: Sequence[str]) -> list[Panel]:
        """Return the panels of a figure whose lines differ in `settings`."""
        if not own_scale or len(self.scales) == 1:
            return [_panel("", self.table, settings)]
        each = self.table["scale"]
        return [
            _panel(f": {SCALES[scale]}", self.table[each == scale], settings)
            for scale in self.scales
        ]


def _panel(title: str, runs: pd.DataFrame, settings: Sequence[str]) -> Panel:
    found = lines(runs, settings)
    if len(found) <= MOST_LINES:
        return Panel(title, runs, found, "")
    best_first = ranked(runs)[list(settings)].to_dict("records")
    names = list(dict.fromkeys(label(row, settings) for row in best_first))[:MOST_LINES]
    words = f" Of {len(found)} lines, the {MOST_LINES} with the best runs are drawn."
    return Panel(title, runs, {n: line for n, line in found.items() if n in names}, words)


# --- curves ----------------------------------------------------------------------------------------


def curve_over(table: pd.DataFrame, setting: str, column: str, best: str = "") -> Curve:
    """Return the curve of a measure over a setting: means over seeds, with their errors as bars.

    Args:
        table: a row for each run.
        setting: what the curve runs over, such as `beta`.
        column: the measure.
        best: `highest`, `lowest` or `nearest 1`, to ring the best of several points (default: no
            ring).

    Raises:
        ValueError: a column that the table does not have.
    """
    means = over_seeds(table, setting, column).dropna(subset=column).sort_index()
    x, y, errors = means.index.tolist(), means[column].tolist(), means[column + ERROR].tolist()
    values = -(means[column] - 1).abs() if best == "nearest 1" else means[column]
    ring = int((SIGNS.get(best, 1.0) * values).argmax()) if best and len(x) > 1 else None
    return Curve("", 0, 0, x, y, errors, best=ring)


def rate_distortion_curve(table: pd.DataFrame) -> Curve:
    """Return the curve of test distortion over test rate of runs with several betas.

    It leads from the smallest beta to the largest, and both are written at its ends.

    Args:
        table: a row for each run, with the figures of `Runs.table`.
    """
    means = over_seeds(table, "beta", [RATE, DISTORTION]).dropna(subset=[RATE, DISTORTION])
    means = means.sort_index()
    betas = means.index.tolist()
    return Curve(
        "",
        colour=0,
        dash=0,
        x=means[RATE].tolist(),
        y=means[DISTORTION].tolist(),
        x_error=means[RATE + ERROR].tolist(),
        y_error=means[DISTORTION + ERROR].tolist(),
        ends=(f"{betas[0]:g}", f"{betas[-1]:g}") if betas else None,
    )


# --- drawings --------------------------------------------------------------------------------------


def _drawing(group: Group, figure: Figure, title: str, look: str) -> Drawing:
    return Drawing(drawn(figure, f"{title} ({group.name})"), look)


def plane(group: Group) -> list[Drawing]:
    """Return the drawings of distortion over rate, where beta varies."""
    settings, drawings = line_settings(group.table, "beta"), []
    for panel in group.panels(True, settings):
        curves = []
        for line in panel.lines.values():
            curve = rate_distortion_curve(line)
            if len(curve.x) > 1:
                curves.append(group.placed(curve, line.iloc[0], settings))
        if curves:
            title = f"Rate and distortion{panel.title}"
            figure = many_runs.rate_distortion(curves, title)
            drawings.append(_drawing(group, figure, title, LOOK_AT_ENDS + panel.words))
    return drawings


def over(group: Group, axis: str) -> list[Drawing]:
    """Return the drawings of every measure over a setting of `AXES`, where that varies."""
    settings, drawings = line_settings(group.table, axis), []
    if axis not in varying(group.table):
        return []
    panels = {own_scale: group.panels(own_scale, settings) for own_scale in (True, False)}
    for column, measure in COMPARED.items():
        for panel in panels[measure.own_scale]:
            curves = []
            for line in panel.lines.values():
                curve = curve_over(line, axis, column, measure.best)
                if curve.x:
                    curves.append(group.placed(curve, line.iloc[0], settings))
            if any(len(curve.x) > 1 for curve in curves):
                name = f"{measure.name}{panel.title}"
                figure, ringed = _over(axis, column, name, panel.runs, curves)
                look = measure.look + ringed + panel.words
                drawings.append(_drawing(group, figure, f"{name} over {AXES[axis]}", look))
    return drawings


def _over(
    axis: str, column: str, title: str, runs: pd.DataFrame, curves: list[Curve]
) -> tuple[Figure, str]:
    """Return the figure of a measure over a setting, and where its lines are best."""
    measure = COMPARED[column]
    level, level_name = _level(measure, runs)
    zero = any(0 in curve.x for curve in curves)
    every = (axis, column) == ("latent_dim", "test.active_units")
    figure = many_runs.over_setting(
        curves,
        title,
        f"{AXES[axis]}{UNITS[axis]}, log scale{', 0 apart' if zero else ''}",
        f"{measure.name.split(' of ')[0]} ({measure.unit})",
        level,
        level_name,
        "all in use" if every else "",
    )
    ringed = [(setting_text(c.x[c.best]), c.label) for c in curves if c.best is not None]
    best = f" Best ({measure.best}) at {AXES[axis]} {_listed(ringed)}." if ringed else ""
    return figure, best


def _level(measure: Compared, runs: pd.DataFrame) -> tuple[float | None, str]:
    """Return the value that real images reach, and its name, or None where it is not known."""
    floors = runs[measure.floor].dropna() if measure.floor else []
    if len(floors):
        return float(floors.mean()), ROWS[measure.floor].name
    return (1.0, "the data") if measure.best == "nearest 1" else (None, "")


def _listed(ringed: list[tuple[str, str]]) -> str:
    """Return where lines are best, with their names if they are few, else in the legend's order."""
    if len(ringed) > 2:
        return f"{', '.join(x for x, _ in ringed)}, in the legend's order"
    return " and ".join(f"{x} ({name})" if name else x for x, name in ringed)


def learning_curves(group: Group) -> list[Drawing]:
    """Return the drawings of the test ELBO of every run over epochs, if the runs are few."""
    if len(group.runs) > FEW:
        return []
    drawings = []
    for panel in group.panels(True, line_settings(group.table)):
        if curves := _learning_curves(group, panel):
            title = f"Test ELBO over epochs{panel.title}"
            figure = many_runs.elbo_over_epochs(curves, title)
            look = "Higher is better, within this panel."
            drawings.append(_drawing(group, figure, title, look))
    return drawings


def _learning_curves(group: Group, panel: Panel) -> list[Curve]:
    """Return a curve for each run, with a colour for its settings and dashes for its seed."""
    settings, curves = varying(group.table), []
    for colour, line in enumerate(panel.lines.values()):
        for dash, (folder, row) in enumerate(line.sort_values("seed", kind="stable").iterrows()):
            metrics = group.runs[folder].metrics
            both = zip(metrics["epoch"], metrics["test_elbo"])
            known = [(epoch, value) for epoch, value in both if value is not None]
            if known:
                name = label(row, settings) or row["run"]
                curves.append(Curve(name, colour, dash, *zip(*known)))
    return curves
