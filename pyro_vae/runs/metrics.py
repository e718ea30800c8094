"""`metrics.csv`: a row for each epoch, appended while training and read as records or columns."""

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TextIO

from pyro_vae.files import RESTORE, read_file, replace_file
from pyro_vae.training.epochs import Record

COLUMNS = [f.name for f in fields(Record)]
MAY_LACK = {f.name: None for f in fields(Record) if f.default is None}
Columns = dict[str, list[float | None]]


def append_row(path: Path, record: Record) -> None:
    """Append a record to the rows of metrics."""
    with open(path, "a", newline="") as file:
        _write(file, [record])


def _write(file: TextIO, records: Sequence[Record]) -> None:
    table = csv.DictWriter(file, COLUMNS)
    if file.tell() == 0:
        table.writeheader()
    for record in records:
        row = dataclasses.asdict(record).items()
        table.writerow({k: "" if v is None or math.isnan(v) else v for k, v in row})


def read_records(path: Path) -> list[Record]:
    """Return the rows of metrics, without a last row that was cut off; none without a file.

    Raises:
        ValueError: a file that is not a table of metrics.
    """
    try:
        content = read_file(path)
        whole = content[: content.rfind(b"\n") + 1]
        return [_record(row) for row in csv.DictReader(whole.decode().splitlines(keepends=True))]
    except FileNotFoundError:
        return []
    except (csv.Error, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"metrics: {path} is no table of metrics; {RESTORE}") from error


def _record(row: dict[str, str]) -> Record:
    values = {name: float(row[name] or math.nan) for name in COLUMNS}
    counts = {name: int(values[name]) for name in ("epoch", "step")}
    if min(counts.values()) < 1:
        raise ValueError("expected an epoch and a step")
    measured = {name: value for name, value in values.items() if math.isfinite(value)}
    return Record(**dict.fromkeys(COLUMNS, math.nan) | MAY_LACK | measured | counts)


def columns_of(records: Sequence[Record]) -> Columns:
    """Return the columns of records by name, with None where no finite number was measured."""
    columns = {name: [getattr(record, name) for record in records] for name in COLUMNS}
    return {
        name: [None if value is None or math.isnan(value) else value for value in values]
        for name, values in columns.items()
    }


def drop_rows_after(path: Path, epoch: int) -> None:
    """Delete the rows of later epochs.

    Raises:
        ValueError: a file that is not a table of metrics; nothing is changed then.
    """
    text = io.StringIO(newline="")
    _write(text, [record for record in read_records(path) if record.epoch <= epoch])
    replace_file(path, text.getvalue())
