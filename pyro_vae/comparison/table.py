"""The table of runs, with a row for each: its settings and its figures. Everything is read from it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import pandas as pd

from pyro_vae.likelihoods import LIKELIHOODS
from pyro_vae.measures import PARTS
from pyro_vae.notices import notice
from pyro_vae.own_parts import is_import_path, short_name
from pyro_vae.pages.wording import PARAMETERS, SUMMARY, Row, lookup
from pyro_vae.runs.config import IDENTITY, RunConfig
from pyro_vae.runs.measure import ERROR
from pyro_vae.runs.run import Run
from pyro_vae.settings import PLACE, by_name, setting_text

SETTINGS = tuple(field.name for field in fields(RunConfig))
DATA = (
    "dataset",
    "binarize",
    "levels",
    "image_size",
    "channels",
)  # figures of other data are on another scale
NO_MATTER = ("seed", *PLACE)  # settings in which runs may differ that are averaged
EFFORT = ("images", "quick", "bits_per_dim_samples")  # keys that state a part's effort
SUMMARY_OF = "summary: "  # begins the columns of figures that have the name of a setting
SCALES = {  # the terms of ELBO and distortion; a continuous family has its `score` as its key
    "density": "pixel densities",
    "levels": "level probabilities",
    "none": "no likelihood",
}
ROWS: dict[str, Row] = (  # by column
    {row.key: row for row in (PARAMETERS, *SUMMARY)}
    | {f"{name}.{row.key}": row for name, part in PARTS.items() for row in part.rows}
)
COMPARED = {column: row.compared for column, row in ROWS.items() if row.compared}


def table_of(runs: Iterable[Run]) -> pd.DataFrame:
    """Return a row for each run: all its settings, and the figures in its folder.

    The rows are named by the runs' folders. The figures have the columns of `compare`. A cell is as
    it stands in the file, and None where the file has none.

    Raises:
        ValueError: a damaged file.
    """
    runs = list(runs)
    folders = pd.Index([str(run.folder) for run in runs], name="folder")
    table = pd.DataFrame([_row(run) for run in runs], index=folders, dtype=object)
    return table.where(table.notna(), None)


def _row(run: Run) -> dict[str, Any]:
    row, summary = by_name(run.config, RunConfig), run.summary or {}
    if run.config.model == "autoencoder":
        row["beta"] = None  # it has no KL to scale
    row |= {_column(figure.key): lookup(summary, figure.key) for figure in SUMMARY}
    counts = [count for count in summary.get("parameters", {}).values() if isinstance(count, int)]
    row["parameters"] = sum(counts) if summary else None
    for name, part in PARTS.items():
        figures = run.current_parts.get(name) or {}
        for key in dict.fromkeys([*(figure.key for figure in part.rows), *EFFORT]):
            value, column = lookup(figures, key), f"{name}.{key}"
            row[column] = value
            if isinstance(value, dict):
                row[column], row[column + ERROR] = map(value.get, ("mean", "standard_error"))
    return row


def _column(key: str) -> str:
    """Return the column of a figure of `summary.json`, three of which are named like settings."""
    return f"{SUMMARY_OF}{key}" if key in SETTINGS else key


def differing(table: pd.DataFrame) -> pd.DataFrame:
    """Return the settings that vary and the figures that some run has: the columns of `compare`."""
    alike = set(SETTINGS).difference(varying(table))
    return named(table.drop(columns=alike).dropna(axis="columns", how="all"))


def named(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a figure in place of the setting of its name, as users see it."""
    table = table.copy()
    for column in [column for column in table if column.startswith(SUMMARY_OF)]:
        if column.removeprefix(SUMMARY_OF) in table:
            table[column.removeprefix(SUMMARY_OF)] = table.pop(column)
    return table.rename(columns=lambda column: column.removeprefix(SUMMARY_OF))


def distinct_rows(table: pd.DataFrame, names: Sequence[str] = ()) -> pd.DataFrame:
    """Return the table without rows that have the settings and the seed of an earlier one.

    They count for no second seed, and a notice names them. A table without seeds stays as it is.

    Args:
        table: a row for each run, with all or some of its settings.
        names: other columns; rows that differ in them are kept.
    """
    if "seed" not in table:
        return table
    repeated = table.duplicated([n for n in dict.fromkeys([*IDENTITY, *names]) if n in table])
    if repeated.any():
        left_out = ", ".join(map(str, table.index[repeated]))
        notice(f"seeds: left out, as another row has their settings and seed: {left_out}")
    return table[~repeated]


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV, with settings as flags take them."""
    tuples = table.map(lambda value: isinstance(value, tuple))
    return table.mask(tuples, table.map(setting_text)).to_csv()


# --- settings --------------------------------------------------------------------------------------


def varying(table: pd.DataFrame) -> list[str]:
    """Return the settings that are not the same in all runs."""
    return [name for name in SETTINGS if table[name].nunique(dropna=False) > 1]


def line_settings(table: pd.DataFrame, axis: str = "") -> list[str]:
    """Return the settings that distinguish lines over `axis`.

    They are those that vary, except `axis` itself and settings like the seed (`NO_MATTER`).
    """
    return [name for name in varying(table) if name not in (axis, *NO_MATTER)]


def groups(table: pd.DataFrame, names: Sequence[str]) -> list[tuple[tuple, pd.DataFrame]]:
    """Return the values of some columns and the runs that agree in them, in the table's order.

    A setting that is unset is None.
    """
    if not names:
        return [((), table)] if len(table) else []
    found = table.groupby(list(names), sort=False, dropna=False)
    return [(tuple(map(or_none, values)), runs) for values, runs in found]


def or_none(value: Any) -> Any:
    """Return a value, and None in place of the NaN that pandas makes of it."""
    return None if value != value else value


def lines(table: pd.DataFrame, names: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """Return the names of lines and their runs, which agree in these settings, in their order."""
    found = groups(table, names)
    found.sort(key=lambda group: [place_of(value) for value in group[0]])
    return [(label(dict(zip(names, values)), names), runs) for values, runs in found]


def place_of(value: Any) -> tuple:
    """Return the sort key of a setting.

    Families come in the package's order, other names by name, and numbers by size.
    """
    if isinstance(value, str):
        return (0, list(LIKELIHOODS).index(value) if value in LIKELIHOODS else -1, value)
    return (2, *value) if isinstance(value, tuple) else (1, value or 0)


def label(settings: Mapping[str, Any] | pd.Series, names: Sequence[str]) -> str:
    """Return some of a run's settings in words; the beta that an autoencoder lacks is left out."""
    words = []
    for name in names:
        if name == "beta" and settings[name] is None:
            continue
        text, own = setting_text(settings[name]), is_import_path(settings[name])
        is_name = isinstance(settings[name], str)
        text = short_name(text) if own else text
        words.append(text if is_name else f"{name.replace('_', ' ')} {text}")
    return ", ".join(words)


# --- what can be compared --------------------------------------------------------------------------


def bits_column(table: pd.DataFrame) -> str:
    """Return the column of the bits per dimension that rank these runs.

    Those of validation images rank runs that all hold some out, since the test images are not to
    choose by. Otherwise the evaluation's bound does, which is tighter, if all that have bits have it
    at the same effort; and else the bound of `summary.json`, whose effort follows from the data.
    """
    known = table[table["test.bits_per_dim"].notna()]
    if known.empty:
        return "test.bits_per_dim"
    if known["validation.bits_per_dim"].notna().all():
        return "validation.bits_per_dim"
    efforts = known[[f"likelihood.{key}" for key in EFFORT]].drop_duplicates()
    everywhere = known["likelihood.bits_per_dim"].notna().all()
    tighter = everywhere and len(efforts) == 1
    return "likelihood.bits_per_dim" if tighter else "test.bits_per_dim"


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with the column `rank`, fewest bits per dimension first.

    Runs without bits are last, and their rank is None.
    """
    column = bits_column(table)
    ordered = table.sort_values(column, kind="stable")
    count = int(ordered[column].notna().sum())
    ranks = [*range(1, count + 1), *[None] * (len(ordered) - count)]
    return ordered.assign(rank=pd.Series(ranks, index=ordered.index, dtype=object))


def uneven_parts(table: pd.DataFrame) -> list[str]:
    """Return the parts of the evaluation that were not measured at the same effort in all runs."""
    uneven = []
    for name in PARTS:
        columns = [column for column in ROWS if column.startswith(f"{name}.")]
        measured = table[table[columns].notna().any(axis="columns")]
        efforts = measured[[f"{name}.images", f"{name}.quick"]].drop_duplicates()
        uneven += [name] if len(efforts) > 1 else []
    return uneven
