"""`compare`: a table and a page of finished runs; the page needs no other file."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from pyro_vae.comparison.matrix import Matrix, matrix
from pyro_vae.comparison.pictures import Pictures, pictures, report_address
from pyro_vae.comparison.plots import Group, learning_curves, over, plane
from pyro_vae.comparison.table import (
    ROWS,
    SCALES,
    Comparison,
    Finished,
    Paths,
    bits_column,
    csv_of_runs,
    groups,
    is_run,
    lines,
    rank_by_bits,
    read_runs,
    uneven_parts,
    varying,
)
from pyro_vae.files import replace_file
from pyro_vae.pages.frame import Section, render
from pyro_vae.pages.wording import Row, figure_text
from pyro_vae.runs.baselines import NAMES as BASELINES
from pyro_vae.runs.config import RunConfig
from pyro_vae.settings import setting_text

GENERATOR = "pyro-vae compare"
MOST_VALUES = 20  # of a setting that are listed one by one
LOOK_AT_TABLE = (
    "The run with the fewest bits per dimension stands first. They share their images, so that"
    " standard errors over images do not tell which differences hold: the matrix of settings does."
    " Look at what the runs cost in parameters and seconds."
)
NO_BITS = {  # the reason, by model and scale
    ("vae", "none"): "their score is no likelihood of these grey levels",
    ("vae", "density"): "their pixels lie on no known grid of grey levels",
    ("vae", "levels"): "they were not measured",
}


class TableRow(NamedTuple):
    """A run in the table: its rank, bits, settings, other figures and name."""

    rank: str
    bits: str
    settings: list[str]
    figures: list[str]
    name: str
    report: str


class Table(NamedTuple):
    """The table of runs on the same data, with its explanation and its warnings."""

    look: str
    warnings: list[str]
    bits: Row
    settings: list[str]
    columns: list[Row]
    rows: list[TableRow]


class GroupPage(NamedTuple):
    """The part of the page about runs on the same data."""

    name: str
    table: Table
    matrix: Matrix | None
    pictures: Pictures | None
    sections: list[Section]


def write_comparison(runs: Paths, out: str | Path | None = None) -> tuple[Path, Comparison]:
    """Write `compare.csv` and `report.html` of runs; return the page's path and the comparison.

    Args:
        runs: run folders and folders that hold run folders, or one of them.
        out: the folder to write to (default: the given one if that is a single folder of runs,
            else `comparison`).

    Raises:
        ValueError: what `compare` refuses; a folder that holds another report. Nothing has been
            written in this case.
        OSError: the files cannot be written.
    """
    given = [Path(runs)] if isinstance(runs, (str, Path)) else [Path(run) for run in runs]
    comparison = read_runs(given)
    single = len(given) == 1 and not is_run(given[0])
    folder = Path(out) if out is not None else given[0] if single else Path("comparison")
    check_place(folder)
    page, table = _page(comparison, folder), csv_of_runs(comparison.finished)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "compare.csv", table)
    replace_file(folder / "report.html", page)
    return folder / "report.html", comparison


def check_place(folder: Path) -> None:
    """Check that a comparison may be written to the folder.

    Raises:
        ValueError: a path that is not a folder, a run folder, or a folder whose `report.html` or
            `compare.csv` is not a comparison's.
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


# --- the page --------------------------------------------------------------------------------------


def _page(comparison: Comparison, folder: Path) -> str:
    runs, together = comparison.finished, groups(comparison.finished)
    settings = varying(runs)
    alike = [f.name for f in fields(RunConfig) if f.name not in settings]
    return render(
        "comparison.html",
        generator=GENERATOR,
        title=f"Comparison of {len(runs)} runs",
        words=_words(runs, settings),
        varying=[(name, _values(runs, name)) for name in settings],
        shared=[(name, setting_text(getattr(runs[0].config, name))) for name in alike],
        others={
            "Not finished": comparison.unfinished,
            "Failed": comparison.failed,
            "Repeated": comparison.repeated,
        },
        groups=[_group_page(runs, n, folder) for n, runs in enumerate(together, 1)],
    )


def _words(runs: Sequence[Finished], settings: list[str]) -> str:
    data = " and ".join(dict.fromkeys(_data(run.config) for run in runs))
    if not settings:
        return f"{len(runs)} finished runs on {data}. They agree in all settings."
    return (
        f"{len(runs)} finished runs on {data}. They differ in {', '.join(settings)}, and agree in"
        " all other settings."
    )


def _data(config: RunConfig) -> str:
    name = config.data_name
    name += "" if config.binarize == "none" else f", binarized ({config.binarize})"
    return name + ("" if config.levels is None else f", {config.levels} grey levels")


def _values(runs: Sequence[Finished], name: str) -> str:
    alike = lines(runs, [name]).values()
    values = [setting_text(getattr(group[0].config, name)) for group in alike]
    return ", ".join(values) if len(values) <= MOST_VALUES else f"{len(values)} values"


def _group_page(runs: list[Finished], number: int, folder: Path) -> GroupPage:
    name = _data(runs[0].config)
    group = Group(runs, f"{name}, part {number}")
    sections = (
        plane(group),
        over(group, "beta"),
        over(group, "latent_dim"),
        learning_curves(group),
    )
    drawn = [part for part in sections if part.drawings]
    ranked = [run for _, run in rank_by_bits(runs)]
    return GroupPage(name, _table(group, folder), matrix(group), pictures(ranked, folder), drawn)


# --- the table -------------------------------------------------------------------------------------


def _table(group: Group, folder: Path) -> Table:
    bits, settings = bits_column(group.runs), varying(group.runs)
    results = [column for column, row in ROWS.items() if row.in_table == "result"]
    costs = ["parameters", "seconds"]
    columns = [
        column
        for column in (*results, *costs)
        if any(run.measures.get(column) is not None for run in group.runs)
    ]
    names = [name.replace("_", " ") for name in settings]
    return Table(
        look=LOOK_AT_TABLE,
        warnings=_warnings(group, bits),
        bits=ROWS[bits],
        settings=names + (["ELBO is of"] if len(group.scales) > 1 else []),
        columns=[ROWS[column] for column in columns],
        rows=[
            _row(group, rank, run, bits, settings, columns, report_address(run, folder))
            for rank, run in rank_by_bits(group.runs)
        ],
    )


def _row(
    group: Group,
    rank: int | None,
    run: Finished,
    bits: str,
    settings: list[str],
    columns: list[str],
    report: str,
) -> TableRow:
    words = [setting_text(getattr(run.config, name)) for name in settings]
    words += [SCALES[run.scale]] if len(group.scales) > 1 else []
    return TableRow(
        rank="-" if rank is None else str(rank),
        bits=_cell(run, bits),
        settings=words,
        figures=[_cell(run, column) for column in columns],
        name=group.name_of(run),
        report=report,
    )


def _cell(run: Finished, column: str) -> str:
    value, error = run.measures.get(column), run.measures.get(f"{column}.standard_error")
    return "" if value is None else figure_text({"mean": value, "standard_error": error})


def _warnings(group: Group, bits: str) -> list[str]:
    """Return what a reader must know before comparing the runs of a group."""
    ranks = rank_by_bits(group.runs)
    warnings = []
    if any(rank for rank, _ in ranks):
        draws = {run.measures.get(bits + "_samples") for run in group.runs} - {None}
        unit = f" ({', '.join(map(str, sorted(draws)))} draws)" if draws else ""
        warnings.append(
            f"Ranked by bits per dimension{unit}, an upper bound on the one measure on which"
            " all families can be compared."
        )
    warnings += _without_rank([run for rank, run in ranks if rank is None])
    warnings += _marked(group)
    if len(group.scales) > 1:
        scales = "; ".join(SCALES[scale] for scale in group.scales)
        warnings.append(
            f"ELBO and distortion are on {len(group.scales)} scales here ({scales}). Compare them"
            " within one scale only; their figures have a panel each."
        )
    if uneven := uneven_parts(group.runs):
        warnings.append(
            f"Evaluated at different effort (--quick, or another number of images):"
            f" {', '.join(uneven)}. Do not compare these figures between runs."
        )
    return warnings


def _marked(group: Group) -> list[str]:
    """Return the sentences that mark runs which climb still, or which trivial models beat."""
    sentences = []
    climbing = [run for run in group.runs if run.measures.get("convergence.word") == "still climbs"]
    if climbing:
        sentences.append(
            f"Still climbing when they ended, so not at their best: {_named(group, climbing)}."
        )
    bits = {
        name: [run.measures.get(f"baselines.{name}.bits_per_dim") for run in group.runs]
        for name in BASELINES
    }
    known = {
        BASELINES[name]: min(v for v in values if v is not None)
        for name, values in bits.items()
        if any(values)
    }
    if known:
        listed = ", ".join(f"{name} {value:.3f}" for name, value in known.items())
        sentences.append(f"Bits per dimension of trivial models of the training images: {listed}.")
    beaten = [run for run in group.runs if run.beaten]
    if beaten:
        sentences.append(
            f"Not trained far enough, or worse than a trivial model: {_named(group, beaten)}."
        )
    return sentences


def _named(group: Group, runs: list[Finished]) -> str:
    names = [group.name_of(run) for run in runs]
    return ", ".join(names) if len(names) <= MOST_VALUES else f"{len(names)} runs"


def _without_rank(runs: list[Finished]) -> list[str]:
    sentences = []
    for model, scale in dict.fromkeys((run.config.model, run.scale) for run in runs):
        these = [run for run in runs if (run.config.model, run.scale) == (model, scale)]
        families = ", ".join(dict.fromkeys(run.config.likelihood for run in these))
        why = NO_BITS.get((model, scale), "an autoencoder gives images no probability")
        sentences.append(f"Without a rank: {len(these)} of {families}; {why}.")
    return sentences
