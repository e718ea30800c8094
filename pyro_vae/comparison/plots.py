"""The plots of a comparison; its template says how to read them."""

from collections.abc import Callable, Sequence
from functools import partial
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
    varying,
)
from pyro_vae.evaluation.significance import SIGNS
from pyro_vae.figures import many_runs
from pyro_vae.figures.many_runs import Curve
from pyro_vae.likelihoods import LIKELIHOODS, Likelihood
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


class Group:
    """Runs on the same data: a name for them, the runs by folder, and their table.

    The table has the columns `run`, a short name, and `scale`, a key of `SCALES`, beside those of
    `table_of`. `scales` are those that there are. `has_seeds` is whether settings have several.
    """

    def __init__(self, name: str, runs: Sequence[Run], table: pd.DataFrame):
        self.name, self.runs = name, {str(run.folder): run for run in runs}
        names = [run.name for run in runs]
        short = [n if names.count(n) == 1 else folder for folder, n in zip(self.runs, names)]
        self.table = table.assign(run=short, scale=table.apply(_scale_of, axis="columns"))
        self.scales = [scale for scale in SCALES if scale in set(self.table["scale"])]
        self.has_seeds = len(lines(table, line_settings(table))) < len(table)

    def that_have(self, setting: str) -> "Group":
        """Return the runs that have a setting; an autoencoder has no beta."""
        table = self.table[self.table[setting].notna()]
        return Group(self.name, [self.runs[folder] for folder in table.index], table)


def _scale_of(row: pd.Series) -> str:
    """Return the scale of a run's ELBO and distortion, a key of `SCALES`."""
    has_bits = row["test.bits_per_dim"] is not None
    return LIKELIHOODS.get(row["likelihood"], Likelihood).scored_on(row["score"], has_bits)


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
    means = over_seeds(table, "beta", [RATE, DISTORTION])
    means = means.dropna(subset=[RATE, DISTORTION]).sort_index()
    betas = [f"{beta:g}" for beta in means.index]
    x, x_error, y, y_error = (means[column].tolist() for column in means)
    ends = (betas[0], betas[-1]) if betas else None
    return Curve("", 0, 0, x, y, y_error, x_error, ends=ends)


# --- panels ----------------------------------------------------------------------------------------


class Panel(NamedTuple):
    """A panel of a figure: the words that its title adds, and its lines with their names.

    Of very many lines, those with the best runs are drawn, and `words` say so.
    """

    title: str
    lines: list[tuple[str, pd.DataFrame]]
    words: str


def panels(group: Group, settings: Sequence[str], own_scale: bool = True) -> list[Panel]:
    """Return the panels of a figure whose lines differ in `settings`.

    Args:
        own_scale: whether each scale has a panel of its own.
    """
    if not own_scale or len(group.scales) == 1:
        return [_panel("", group.table, settings)]
    each = group.table["scale"]
    return [
        _panel(f": {SCALES[scale]}", group.table[each == scale], settings) for scale in group.scales
    ]


def _panel(title: str, runs: pd.DataFrame, settings: Sequence[str]) -> Panel:
    found = lines(runs, settings)
    if len(found) <= MOST_LINES:
        return Panel(title, found, "")
    order = ranked(runs).index
    best_first = sorted(found, key=lambda line: order.get_indexer(line[1].index).min())
    best = {name for name, _ in best_first[:MOST_LINES]}
    shown = [(name, line) for name, line in found if name in best]
    words = f" Of {len(found)} lines, the {MOST_LINES} with the best runs are drawn."
    return Panel(title, shown, words)


Styles = dict[str, tuple[int, int]]  # the numbers of colour and dashes, by the name of a line


def styles(table: pd.DataFrame, settings: Sequence[str]) -> Styles:
    """Return the numbers of the colour and the dashes of each line.

    Settings other than the family give the colour, and the family gives the dashes. Where only one
    of the two varies, it gives both.
    """
    rest = [name for name in settings if name != "likelihood"]
    families = [name for name, _ in lines(table, ["likelihood"])]
    others = [name for name, _ in lines(table, rest)]
    found = {}
    for name, line in lines(table, settings):
        row = line.iloc[0]
        dash, colour = families.index(label(row, ["likelihood"])), others.index(label(row, rest))
        found[name] = (
            colour if len(others) > 1 else dash,
            dash if len(families) > 1 else colour,
        )
    return found


def _curves(panel: Panel, placed: Styles, curve_of: Callable[[pd.DataFrame], Curve]) -> list[Curve]:
    """Return the curves of a panel that have points, in the style of their lines."""
    curves = []
    for name, line in panel.lines:
        colour, dash = placed[name]
        curves.append(curve_of(line)._replace(label=name, colour=colour, dash=dash))
    return [curve for curve in curves if curve.x]


# --- drawings --------------------------------------------------------------------------------------


def _drawing(group: Group, figure: Figure, title: str, look: str) -> Drawing:
    return Drawing(drawn(figure, f"{title} ({group.name})"), look)


def plane(group: Group) -> list[Drawing]:
    """Return the drawings of distortion over rate, where beta varies."""
    if "beta" not in varying(group.table):
        return []
    group = group.that_have("beta")
    settings, drawings = line_settings(group.table, "beta"), []
    placed = styles(group.table, settings)
    for panel in panels(group, settings):
        curves = _curves(panel, placed, rate_distortion_curve)
        if curves := [curve for curve in curves if len(curve.x) > 1]:
            title = f"Rate and distortion{panel.title}"
            figure = many_runs.rate_distortion(curves, title)
            drawings.append(_drawing(group, figure, title, LOOK_AT_ENDS + panel.words))
    return drawings


def over(group: Group, axis: str) -> list[Drawing]:
    """Return the drawings of every measure over a setting of `AXES`, where that varies."""
    if axis not in varying(group.table):
        return []
    group = group.that_have(axis)
    settings, drawings = line_settings(group.table, axis), []
    placed = styles(group.table, settings)
    either = {own_scale: panels(group, settings, own_scale) for own_scale in (True, False)}
    for column, measure in COMPARED.items():
        curve_of = partial(curve_over, setting=axis, column=column, best=measure.best)
        for panel in either[measure.own_scale]:
            curves = _curves(panel, placed, curve_of)
            if any(len(curve.x) > 1 for curve in curves):
                name = f"{measure.name}{panel.title}"
                figure = _over(group, axis, column, name, curves)
                look = measure.look + _ringed(axis, measure, curves) + panel.words
                drawings.append(_drawing(group, figure, f"{name} over {AXES[axis]}", look))
    return drawings


def _over(group: Group, axis: str, column: str, title: str, curves: list[Curve]) -> Figure:
    """Return the figure of a measure over a setting, with the value that real images reach."""
    measure, level, level_name = COMPARED[column], None, ""
    floors = group.table[measure.floor].dropna() if measure.floor else []
    if len(floors):
        level, level_name = float(floors.mean()), ROWS[measure.floor].name
    elif measure.best == "nearest 1":
        level, level_name = 1.0, "the data"
    zero = any(0 in curve.x for curve in curves)
    every = (axis, column) == ("latent_dim", "test.active_units")
    return many_runs.over_setting(
        curves,
        title,
        f"{AXES[axis]}{UNITS[axis]}, log scale{', 0 apart' if zero else ''}",
        f"{measure.name.split(' of ')[0]} ({measure.unit})",
        level,
        level_name,
        "all in use" if every else "",
    )


def _ringed(axis: str, measure: Compared, curves: list[Curve]) -> str:
    """Return where lines are best, with their names if they are few, else in the legend's order."""
    ringed = [(setting_text(c.x[c.best]), c.label) for c in curves if c.best is not None]
    if not ringed:
        return ""
    places = " and ".join(f"{x} ({name})" if name else x for x, name in ringed)
    if len(ringed) > 2:
        places = f"{', '.join(x for x, _ in ringed)}, in the legend's order"
    return f" Best ({measure.best}) at {AXES[axis]} {places}."


def learning_curves(group: Group) -> list[Drawing]:
    """Return the drawings of the test ELBO of every run over epochs, if the runs are few."""
    if len(group.runs) > FEW:
        return []
    drawings = []
    for panel in panels(group, line_settings(group.table)):
        if curves := _learning_curves(group, panel):
            title = f"Test ELBO over epochs{panel.title}"
            figure = many_runs.elbo_over_epochs(curves, title)
            look = "Higher is better, within this panel."
            drawings.append(_drawing(group, figure, title, look))
    return drawings


def _learning_curves(group: Group, panel: Panel) -> list[Curve]:
    """Return a curve for each run, with a colour for its settings and dashes for its seed."""
    settings, curves = varying(group.table), []
    for colour, (_, line) in enumerate(panel.lines):
        for dash, (folder, row) in enumerate(line.sort_values("seed", kind="stable").iterrows()):
            metrics = group.runs[folder].metrics
            both = zip(metrics["epoch"], metrics["test_elbo"])
            known = [(epoch, value) for epoch, value in both if value is not None]
            if known:
                name = label(row, settings) or row["run"]
                curves.append(Curve(name, colour, dash, *zip(*known)))
    return curves
