"""`compare`: a table and a page of finished runs, in files that need nothing beside them."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import fields
from html import escape
from pathlib import Path

from pyro_vae.comparison.plots import Group, learning_curves, over, plane
from pyro_vae.comparison.table import (
    ROWS,
    SCALES,
    Comparison,
    Finished,
    Paths,
    bits_column,
    groups,
    is_run,
    lines,
    ranked,
    read_runs,
    rows_of_runs,
    setting,
    uneven_parts,
    varying,
)
from pyro_vae.files import replace_file
from pyro_vae.pages.frame import page, section
from pyro_vae.pages.wording import shown
from pyro_vae.runs.config import RunConfig

GENERATOR = "pyro-vae compare"
COLUMNS = (  # of the page's table, after bits per dimension
    "test.elbo_nats",
    "test.rate_nats",
    "test.distortion_nats",
    "test.active_units",
    "test.collapsed_units",
    "likelihood.ladder.log_prob_nats",
    "samples.frechet_distance_samples",
    "samples.frechet_distance_real",
    "samples.sharpness_ratio_samples",
    "samples.sharpness_ratio_reconstructions",
    "samples.verdict.word",
    "parameters",
    "seconds",
)

LOOK_AT_TABLE = (
    "The run with the fewest bits per dimension stands first. Look whether the next ones lie within"
    " a standard error of it, and what they cost in parameters and seconds."
)
NO_BITS = {  # why, by model and scale
    ("vae", "none"): "their score is no likelihood of these grey levels",
    ("vae", "density"): "their pixels lie on no known grid of grey levels",
    ("vae", "levels"): "they were not measured",
}


def write_comparison(runs: Paths, out: str | Path | None = None) -> tuple[Path, Comparison]:
    """Write `compare.csv` and `report.html` of runs; gives the page's path and what was compared.

    Args:
        runs: run folders, and folders that hold run folders; or one of them.
        out: the folder to write to; the given one where that is a single folder of runs, else
            `comparison`, unless told.

    Raises:
        ValueError: what `comparison.compare` raises; a folder that holds another report. Nothing
            has been written then.
        OSError: the files cannot be written.
    """
    given = [Path(runs)] if isinstance(runs, (str, Path)) else [Path(run) for run in runs]
    found = read_runs(given)
    single = len(given) == 1 and not is_run(given[0])
    folder = Path(out) if out is not None else given[0] if single else Path("comparison")
    check_place(folder)
    body, table = _body(found), _csv(rows_of_runs(found.finished))
    text = page(f"Comparison of {len(found.finished)} runs", body, GENERATOR)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "compare.csv", table)
    replace_file(folder / "report.html", text)
    return folder / "report.html", found


def check_place(folder: Path) -> None:
    """See that a comparison may be written to the folder.

    Raises:
        ValueError: it is no folder, a run's, or holds files of these names that are others'.
    """
    report, table = folder / "report.html", folder / "compare.csv"
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out: {folder} is not a folder")
    if is_run(folder):
        raise ValueError(f"out: {folder} is a run folder; name another one")
    mark = f'content="{GENERATOR}"'
    if report.exists() and mark not in report.read_text(errors="replace")[:1000]:
        raise ValueError(
            f"out: {report} is there already, and no comparison's; name another folder"
        )
    if table.exists() and not table.read_text(errors="replace").startswith("folder,"):
        raise ValueError(f"out: {table} is there already, and no comparison's; name another folder")


def _csv(rows: list[dict]) -> str:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(rows[0]))
    table.writeheader()
    for row in rows:
        table.writerow({k: setting(v) if isinstance(v, tuple) else v for k, v in row.items()})
    return text.getvalue()


# --- the page --------------------------------------------------------------------------------------


def _body(found: Comparison) -> str:
    together = groups(found.finished)
    parts = [_compared(found)]
    if len(together) > 1:
        parts.append(
            "<p><b>These runs are of different data</b>, and their figures are not on one scale:"
            " each data set has a part of its own, and no figure is compared across them.</p>"
        )
    for n, runs in enumerate(together, 1):
        name = _data(runs[0].config)
        heading = f"<h1>{escape(name)}</h1>" if len(together) > 1 else ""
        parts.append(heading + "\n".join(_group(Group(runs, f"{name}, part {n}"))))
    return "\n".join(parts)


def _group(group: Group) -> list[str]:
    parts = [_Table(group).page(), plane(group), over(group, "beta"), over(group, "latent_dim")]
    return [part for part in [*parts, learning_curves(group)] if part]


def _data(config: RunConfig) -> str:
    name = Path(config.dataset).stem
    name += "" if config.binarize == "none" else f", binarized ({config.binarize})"
    return name + ("" if config.levels is None else f", {config.levels} grey levels")


def _compared(found: Comparison) -> str:
    runs, settings = found.finished, varying(found.finished)
    alike = [f.name for f in fields(RunConfig) if f.name not in settings]
    data = " and ".join(dict.fromkeys(_data(run.config) for run in runs))
    words = f"{len(runs)} finished runs on {data}. " + (
        f"They differ in {', '.join(settings)}, and agree in all other settings."
        if settings
        else "They agree in all settings."
    )
    rows = "".join(_cells([name, _values(runs, name)]) for name in settings)
    same = "".join(_cells([name, setting(getattr(runs[0].config, name))]) for name in alike)
    others = "".join(
        f"<p><b>{title}</b>, and not compared:</p><ul>"
        + "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in which.items())
        + "</ul>"
        for title, which in (("Not finished", found.unfinished), ("Failed", found.failed))
        if which
    )
    return (
        f"<p>{escape(words)}</p>\n<table>{rows}</table>\n{others}"
        f"<details><summary>Settings that all runs share</summary><table>{same}</table></details>"
    )


def _values(runs: Sequence[Finished], name: str) -> str:
    found = lines(runs, [name])
    values = [setting(getattr(group[0].config, name)) for group in found.values()]
    return ", ".join(values) if len(values) <= 20 else f"{len(values)} values"


def _cells(values: Iterable[str]) -> str:
    """A row of a table."""
    return "<tr>" + "".join(f"<td>{escape(value)}</td>" for value in values) + "</tr>"


class _Table:
    """The table of runs on the same data, and what is to be known of it."""

    def __init__(self, group: Group):
        self.runs, self.scales, self.group = group.runs, group.scales, group

    def page(self) -> str:
        bits, settings = bits_column(self.runs), varying(self.runs)
        columns = [
            column
            for column in (bits, *COLUMNS)
            if any(run.measures.get(column) is not None for run in self.runs)
        ]
        first, *heads = (_head(column) for column in columns)
        names = [name.replace("_", " ") for name in settings]
        names += ["ELBO is of"] if len(self.scales) > 1 else []
        settings_heads = "".join(f"<th>{escape(name)}</th>" for name in names)
        head = f"<th></th>{first}{settings_heads}{''.join(heads)}<th>run</th>"
        rows = "".join(self._row(rank, run, settings, columns) for rank, run in ranked(self.runs))
        words = "".join(f"<p>{escape(sentence)}</p>" for sentence in self._warnings(bits))
        table = f'<div class="wide" tabindex="0"><table><tr>{head}</tr>{rows}</table></div>'
        return section("All runs", LOOK_AT_TABLE, words + table)

    def _row(self, rank: int | None, run: Finished, settings: list[str], columns: list[str]) -> str:
        words = [setting(getattr(run.config, name)) for name in settings]
        words += [SCALES[run.scale]] if len(self.scales) > 1 else []
        cells = "".join(f"<td>{escape(word)}</td>" for word in words)
        first, *numbers = (
            f'<td class="number">{escape(_cell(run.measures, column))}</td>' for column in columns
        )
        place = "-" if rank is None else str(rank)
        name = escape(self.group.name_of(run))
        return (
            f'<tr><td class="number">{place}</td>{first}{cells}{"".join(numbers)}'
            f'<td class="name">{name}</td></tr>'
        )

    def _warnings(self, bits: str) -> list[str]:
        draws = {r.measures.get(bits + "_samples") for r in self.runs} - {None}
        unit = f" ({', '.join(map(str, sorted(draws)))} draws)" if draws else ""
        found = []
        if any(rank for rank, _ in ranked(self.runs)):
            found.append(
                f"Ranked by bits per dimension{unit}, an upper bound on the one measure on which"
                " all families compare."
            )
        without = [run for rank, run in ranked(self.runs) if rank is None]
        for kind in dict.fromkeys((run.config.model, run.scale) for run in without):
            these = [run for run in without if (run.config.model, run.scale) == kind]
            families = ", ".join(dict.fromkeys(run.config.likelihood for run in these))
            why = NO_BITS.get(kind, "an autoencoder gives images no probability")
            found.append(f"Without a rank: {len(these)} of {families}; {why}.")
        if len(self.scales) > 1:
            scales = "; ".join(SCALES[scale] for scale in self.scales)
            found.append(
                f"ELBO and distortion are on {len(self.scales)} scales here ({scales}) and compare"
                " within one only: figures of them have a panel each."
            )
        if uneven := uneven_parts(self.runs):
            found.append(
                f"Evaluated at different effort (--quick, or another number of images):"
                f" {', '.join(uneven)}. Do not compare these figures between runs."
            )
        return found


def _head(column: str) -> str:
    row = ROWS[column]
    unit = f'<br><span class="look">{escape(row.unit)}</span>' if row.unit else ""
    return f'<th class="number">{escape(row.name)}{unit}</th>'


def _cell(measures: dict, column: str) -> str:
    value, error = measures.get(column), measures.get(f"{column}.standard_error")
    return "" if value is None else shown({"mean": value, "standard_error": error})
