"""`metrics.csv`: a row for each epoch, appended while training and read as columns or records."""

import csv
import dataclasses
import io
import math
from dataclasses import fields
from pathlib import Path

from pyro_vae.files import read_file, replace_file
from pyro_vae.training.epochs import Record

COLUMNS = [f.name for f in fields(Record)]
Columns = dict[str, list[float | None]]


def append_row(path: Path, record: Record) -> None:
    """Append a record to the rows of metrics."""
    with open(path, "a", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        if file.tell() == 0:
            table.writeheader()
        table.writerow({k: _blank(v) for k, v in dataclasses.asdict(record).items()})


def _blank(value):
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of metrics, without a last row that was cut off; none without a file.

    Raises:
        ValueError: a file that is not a table of metrics.
    """
    try:
        text = read_file(path).decode()
        lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        rows = list(csv.DictReader(lines))
        for row in rows:
            values = {key: float(row[key] or 0) for key in COLUMNS}
            int(values["epoch"]), int(values["step"])
    except FileNotFoundError:
        return []
    except (csv.Error, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"metrics: {path} is no table of metrics") from error
    return rows


def records_of(columns: Columns) -> list[Record]:
    """Return columns of metrics as the records of training."""
    rows = [dict(zip(COLUMNS, values)) for values in zip(*columns.values())]
    counts = [{name: int(row[name]) for name in ("epoch", "step")} for row in rows]
    blank = {f.name: math.nan for f in fields(Record) if f.default is dataclasses.MISSING}
    known = ({k: v for k, v in row.items() if v is not None} for row in rows)
    return [Record(**blank | row | count) for row, count in zip(known, counts)]


def drop_rows_after(path: Path, epoch: int) -> None:
    """Delete the rows of later epochs.

    Raises:
        ValueError: a file that is not a table of metrics; nothing is changed then.
    """
    rows = [row for row in read_rows(path) if int(float(row["epoch"])) <= epoch]
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS)
    table.writeheader()
    table.writerows(rows)
    replace_file(path, text.getvalue())
