"""`compare`: a table and a page of finished runs; the page needs no other file."""

from pathlib import Path
from typing import Any

import pandas as pd

from pyro_vae.comparison.pictures import pictures, report_address
from pyro_vae.comparison.plots import Group, learning_curves, over, plane
from pyro_vae.comparison.runs import FoundRuns, Paths, is_run, runs_to_compare
from pyro_vae.comparison.settings import matrix_of
from pyro_vae.comparison.table import (
    DATA,
    ROWS,
    SCALES,
    SETTINGS,
    bits_column,
    csv_text,
    differing,
    groups,
    lines,
    ranked,
    table_of,
    uneven_parts,
    varying,
)
from pyro_vae.files import read_file, replace_file
from pyro_vae.measures.baselines import NAMES as BASELINES
from pyro_vae.measures.baselines import worse_than
from pyro_vae.pages.frame import render
from pyro_vae.pages.wording import figure_text
from pyro_vae.randomness import one_at_a_time
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.measure import ERROR
from pyro_vae.settings import setting_text

GENERATOR = "pyro-vae compare"
MOST_VALUES = 20  # of a setting that are listed one by one
NO_BITS = {  # the reason, by model and scale
    ("vae", "none"): "their score is no likelihood of these grey levels",
    ("vae", "density"): "their pixels lie on no known grid of grey levels",
    ("vae", "levels"): "they were not measured",
}


@one_at_a_time()
def write_comparison(runs: Paths, out: str | Path | None = None) -> tuple[Path, FoundRuns]:
    """Write `compare.csv` and `report.html` of runs; return the page's path and what was found.

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
    found = runs_to_compare(given)
    single = len(given) == 1 and not is_run(given[0])
    folder = Path(out) if out is not None else given[0] if single else Path("comparison")
    check_place(folder)
    table = table_of(found.finished)
    page = _page(found, table, folder)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "compare.csv", csv_text(differing(table)))
    replace_file(folder / "report.html", page)
    return folder / "report.html", found


def check_place(folder: Path) -> None:
    """Check that a comparison may be written to the folder.

    Raises:
        ValueError: a path that is not a folder, a run folder, or a folder whose `report.html` or
            `compare.csv` is not a comparison's.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out: {folder} is not a folder")
    if is_run(folder):
        raise ValueError(f"out: {folder} is a run folder; name another one")
    for name, mark in ("report.html", f'content="{GENERATOR}"'), ("compare.csv", "folder,"):
        path = folder / name
        if path.exists() and mark not in read_file(path)[:1000].decode(errors="replace"):
            raise ValueError(
                f"out: {path} is there already, and no comparison's; name another folder"
            )


# --- the page --------------------------------------------------------------------------------------


def _page(found: FoundRuns, table: pd.DataFrame, folder: Path) -> str:
    settings = varying(table)
    alike = [name for name in SETTINGS if name not in settings]
    by_folder = {str(run.folder): run for run in found.finished}
    parts = []
    for number, (_, rows) in enumerate(groups(table, DATA), 1):
        runs = [by_folder[name] for name in rows.index]
        name = _data(runs[0].config)
        parts.append(_group_page(name, Group(f"{name}, part {number}", runs, rows), folder))
    return render(
        "comparison.html",
        generator=GENERATOR,
        title=f"Comparison of {len(table)} runs",
        count=len(table),
        data=list(dict.fromkeys(_data(run.config) for run in found.finished)),
        varying=[(name, _values(table, name)) for name in settings],
        shared=[(name, setting_text(table[name].iloc[0])) for name in alike],
        others=found.others,
        groups=parts,
    )


def _data(config: RunConfig) -> str:
    name = config.data_name
    name += "" if config.binarize == "none" else f", binarized ({config.binarize})"
    return name + ("" if config.levels is None else f", {config.levels} grey levels")


def _values(table: pd.DataFrame, name: str) -> str:
    values = [setting_text(line[name].iloc[0]) for _, line in lines(table, [name])]
    return ", ".join(values) if len(values) <= MOST_VALUES else f"{len(values)} values"


def _group_page(name: str, group: Group, folder: Path) -> dict[str, Any]:
    return {
        "name": name,
        "table": _table(group, folder),
        "matrix": matrix_of(group),
        "pictures": pictures(group, folder),
        "plane": plane(group),
        "over_beta": over(group, "beta"),
        "over_latent_size": over(group, "latent_dim"),
        "learning_curves": learning_curves(group),
        "has_seeds": group.has_seeds,
    }


# --- the table -------------------------------------------------------------------------------------


def _table(group: Group, folder: Path) -> dict[str, Any]:
    """Return the runs, best first, and what a reader must know before comparing them."""
    table = ranked(group.table)
    bits, settings = bits_column(table), varying(table)
    known = [column for column in ROWS if table[column].notna().any()]
    columns = [c for kind in ("result", "cost") for c in known if ROWS[c].in_table == kind]
    runs = group.runs.items()
    beaten = [name for name, run in runs if worse_than(run.summary.get("baselines") or {})]
    return {
        "bits": ROWS[bits],
        "is_ranked": table[bits].notna().any(),
        "draws": sorted(table[f"{bits}_samples"].dropna().unique()),
        "unranked": _unranked(table[table["rank"].isna()]),
        "climbing": _named(group.table[group.table["convergence.word"] == "still climbs"]),
        "baselines": _baselines(table),
        "beaten": _named(group.table.loc[beaten]),
        "scales": [SCALES[scale] for scale in group.scales],
        "uneven": uneven_parts(table),
        "settings": settings,
        "columns": [ROWS[column] for column in columns],
        "rows": [
            {
                "rank": row["rank"] or "-",
                "bits": _cell(row, bits),
                "settings": [setting_text(row[name]) for name in settings],
                "scale": SCALES[row["scale"]],
                "figures": [_cell(row, column) for column in columns],
                "name": row["run"],
                "report": report_address(group.runs[name], folder),
            }
            for name, row in table.iterrows()
        ],
    }


def _cell(row: pd.Series, column: str) -> str:
    value, error = row[column], row.get(column + ERROR)
    return "" if value is None else figure_text({"mean": value, "standard_error": error})


def _unranked(table: pd.DataFrame) -> list[str]:
    """Return how many runs of which families have no bits, and why."""
    found = []
    for (model, scale), runs in table.groupby(["model", "scale"], sort=False):
        families = ", ".join(runs["likelihood"].unique())
        why = NO_BITS.get((model, scale), "an autoencoder gives images no probability")
        found.append(f"{len(runs)} of {families}; {why}")
    return found


def _baselines(table: pd.DataFrame) -> str:
    fewest = {
        words: table[f"baselines.{name}.bits_per_dim"].dropna().min()
        for name, words in BASELINES.items()
    }
    return ", ".join(f"{words} {bits:.3f}" for words, bits in fewest.items() if not pd.isna(bits))


def _named(table: pd.DataFrame) -> str:
    return ", ".join(table["run"]) if len(table) <= MOST_VALUES else f"{len(table)} runs"
