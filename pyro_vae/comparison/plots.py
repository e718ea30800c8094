"""The plots of a comparison, each with the sentence that says how to read it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from pyro_vae.comparison.table import (
    COMPARED,
    NO_MATTER,
    ROWS,
    SCALES,
    Finished,
    best_point,
    label,
    line_settings,
    lines,
    points,
    varying,
)
from pyro_vae.figures import many_runs
from pyro_vae.figures.many_runs import Curve
from pyro_vae.pages.frame import Drawing, Section, drawn
from pyro_vae.pages.wording import Compared
from pyro_vae.runs.run import Run
from pyro_vae.settings import setting_text

FEW = 12  # runs whose learning curves can be told apart
AXES = {"beta": "beta", "latent_dim": "latent size"}
UNITS = {"beta": "", "latent_dim": " (components)"}

LOOK_AT_PLANE = (
    "Each line is a family, from small to large beta: a larger beta gives a smaller rate and more"
    " distortion. Look for the line nearest to the lower left corner, and for the beta where it turns"
    " steep: beyond it, much distortion is paid for little rate."
)
LOOK_AT_ENDS = (
    "The numbers are the smallest and the largest beta of a line. Where training has found the best"
    " trade, the slope of the line is minus beta."
)
LOOK_AT_AXES = {
    "beta": "Each line is a family, or another setting that varies, over beta on a log scale. A ring"
    " marks the best point of a line. Look for the beta at which measures turn, and whether all lines"
    " agree on it.",
    "latent_dim": "Look for the latent size beyond which nothing improves. Where active components"
    " fall short of the dotted line, the rest is not used.",
}
LOOK_AT_CURVES = (
    "The test ELBO during training; values that only the first tenth of the epochs reaches are cut"
    " off. Look for lines that still climb (train for longer) and for lines that turn down"
    " (over-fitting)."
)


@dataclass(frozen=True)
class Group:
    """The runs on the same data, and a name for them."""

    runs: list[Finished]
    name: str

    @property
    def scales(self) -> list[str]:
        """Return the scales of ELBO and distortion in these runs, as keys of `SCALES`."""
        return [scale for scale in SCALES if any(run.scale == scale for run in self.runs)]

    def name_of(self, run: Finished) -> str:
        """Return the folder's name, or its path where another run has the same name."""
        path = run.folder.path
        alike = sum(path.name == other.folder.path.name for other in self.runs)
        return str(path) if alike > 1 else path.name

    def place_of(self, run: Finished, settings: list[str]) -> tuple[int, int]:
        """Return the numbers of a run's colour and dashes.

        Settings other than the family give the colour, and the family gives the dashes. Where only
        one of the two varies, it gives both.
        """
        rest = [name for name in settings if name != "likelihood"]
        families, others = list(lines(self.runs, ["likelihood"])), list(lines(self.runs, rest))
        dash, colour = families.index(label(run, ["likelihood"])), others.index(label(run, rest))
        return (colour if len(others) > 1 else dash), (dash if len(families) > 1 else colour)

    def panels(self, own_scale: bool) -> list[tuple[str, list[Finished]]]:
        """Return the runs of each panel, with the words that its title adds."""
        if not own_scale or len(self.scales) == 1:
            return [("", self.runs)]
        return [
            (f": {SCALES[scale]}", [run for run in self.runs if run.scale == scale])
            for scale in self.scales
        ]


def _drawing(group: Group, figure: Figure, title: str, look: str) -> Drawing:
    return Drawing(drawn(figure, f"{title} ({group.name})"), look)


def plane(group: Group) -> Section:
    """Return the section with distortion over rate, where beta varies."""
    settings, drawings = line_settings(group.runs, "beta"), []
    for more, runs in group.panels(own_scale=True):
        named = lines(runs, settings).items()
        curves = [_plane_curve(group, name, line, settings) for name, line in named]
        curves = [curve for curve in curves if len(curve.x) > 1]
        if curves:
            title = f"Rate and distortion{more}"
            figure = many_runs.rate_distortion(curves, title)
            drawings.append(_drawing(group, figure, title, LOOK_AT_ENDS))
    return Section("Rate and distortion", LOOK_AT_PLANE + _seeds(group.runs, "beta"), drawings)


def _plane_curve(group: Group, name: str, line: list[Finished], settings: list[str]) -> Curve:
    rate = points(line, "beta", "test.rate_nats")
    distortion = {p.x: p for p in points(line, "beta", "test.distortion_nats")}
    both = [(r, distortion[r.x]) for r in rate if r.x in distortion]
    ends = (f"{both[0][0].x:g}", f"{both[-1][0].x:g}") if both else None
    return Curve(
        name,
        *group.place_of(line[0], settings),
        [r.mean for r, _ in both],
        [d.mean for _, d in both],
        [d.standard_error for _, d in both],
        [r.standard_error for r, _ in both],
        ends=ends,
    )


def over(group: Group, axis: str) -> Section:
    """Return the section with every measure over a setting of `AXES`, where that varies."""
    drawings = []
    for column, measure in COMPARED.items():
        for more, runs in group.panels(measure.own_scale):
            curves = _curves_over(group, axis, column, measure, runs)
            if any(len(curve.x) > 1 for curve in curves):
                drawings.append(_over(group, axis, column, measure, more, runs, curves))
    look = LOOK_AT_AXES[axis] + _seeds(group.runs, axis)
    return Section(f"Over {AXES[axis]}", look, drawings)


def _curves_over(
    group: Group, axis: str, column: str, measure: Compared, runs: list[Finished]
) -> list[Curve]:
    settings, curves = line_settings(group.runs, axis), []
    for name, line in lines(runs, settings).items():
        curve = points(line, axis, column)
        best = best_point(curve, measure.best) if len(curve) > 1 else None
        if curve:
            x, y, error, _ = zip(*curve)
            ring = curve.index(best) if best else None
            curves.append(Curve(name, *group.place_of(line[0], settings), x, y, error, best=ring))
    return curves


def _over(
    group: Group,
    axis: str,
    column: str,
    measure: Compared,
    more: str,
    runs: list[Finished],
    curves: list[Curve],
) -> Drawing:
    level, level_name = _level(measure, runs)
    zero = any(0 in curve.x for curve in curves)
    every = (axis, column) == ("latent_dim", "test.active_units")
    figure = many_runs.over_setting(
        curves,
        measure.name + more,
        f"{AXES[axis]}{UNITS[axis]}, log scale{', 0 apart' if zero else ''}",
        f"{measure.name.split(' of ')[0]} ({measure.unit})",
        level,
        level_name,
        "all in use" if every else "",
    )
    ringed = [(setting_text(c.x[c.best]), c.label) for c in curves if c.best is not None]
    best = f" Best ({measure.best}) at {AXES[axis]} {_listed(ringed)}." if ringed else ""
    return _drawing(group, figure, f"{measure.name}{more} over {AXES[axis]}", measure.look + best)


def _level(measure: Compared, runs: list[Finished]) -> tuple[float | None, str]:
    """Return the value that real images reach, and its name, or None where it is not known."""
    floors = [run.measures.get(measure.floor) for run in runs]
    known = [value for value in floors if value is not None]
    if known:
        return float(np.mean(known)), ROWS[measure.floor].name
    return (1.0, "the data") if measure.best == "nearest 1" else (None, "")


def _listed(ringed: list[tuple[str, str]]) -> str:
    """Return where lines are best, with their names if they are few, else in the legend's order."""
    if len(ringed) > 2:
        return f"{', '.join(x for x, _ in ringed)}, in the legend's order"
    return " and ".join(f"{x} ({name})" if name else x for x, name in ringed)


def learning_curves(group: Group) -> Section:
    """Return the section with the test ELBO of every run over epochs, if the runs are few."""
    drawings = []
    for more, runs in group.panels(own_scale=True) if len(group.runs) <= FEW else []:
        if curves := _learning_curves(group, runs):
            title = f"Test ELBO over epochs{more}"
            figure = many_runs.elbo_over_epochs(curves, title)
            look = "Higher is better, within this panel."
            drawings.append(_drawing(group, figure, title, look))
    return Section("Learning curves", LOOK_AT_CURVES, drawings)


def _learning_curves(group: Group, runs: list[Finished]) -> list[Curve]:
    """Return a curve for each run, with a colour for its settings and dashes for its seed."""
    settings, curves = varying(group.runs), []
    alike = lines(runs, [name for name in settings if name not in NO_MATTER])
    for colour, line in enumerate(alike.values()):
        for dash, run in enumerate(sorted(line, key=lambda run: run.config.seed)):
            metrics = Run(run.folder.path).metrics
            both = zip(metrics["epoch"], metrics["test_elbo"])
            known = [(epoch, value) for epoch, value in both if value is not None]
            if known:
                name = label(run, settings) or group.name_of(run)
                curves.append(Curve(name, colour, dash, *zip(*known)))
    return curves


def _seeds(runs: Sequence[Finished], axis: str) -> str:
    """Return the sentence that explains the error bars, where there are any."""
    settings = line_settings(runs, axis)
    means = [p for line in lines(runs, settings).values() for p in points(line, axis, "seconds")]
    several = any(not math.isnan(p.standard_error) for p in means)
    return " Points are means over seeds, bars their standard errors." if several else ""
