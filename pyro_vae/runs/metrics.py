"""`metrics.csv`: a row for each epoch, appended while training and read as columns or records."""

import csv
import dataclasses
import io
import math
from dataclasses import fields
from pathlib import Path

from pyro_vae.files import RESTORE, read_file, replace_file
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
    return _rows_from(path, 0)[0]


def _rows_from(path: Path, start: int) -> tuple[list[dict[str, str]], int]:
    """Return the rows from a byte on, and the byte where the last whole one ends."""
    try:
        content = read_file(path, start=start)
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.decode().splitlines(keepends=True)
        rows = list(csv.DictReader(lines, COLUMNS if start else None))
        for row in rows:
            values = {key: float(row[key] or 0) for key in COLUMNS}
            if int(values["epoch"]) < 1 or int(values["step"]) < 1:
                raise ValueError("expected an epoch and a step")
    except FileNotFoundError:
        return [], 0
    except (csv.Error, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"metrics: {path} is no table of metrics; {RESTORE}") from error
    return rows, start + len(whole)


class GrowingTable:
    """A table of metrics that another process writes, of which each row is read once."""

    def __init__(self, path: Path):
        self.path = path
        self.file = self.end = 0  # the number of the file, and what has been read of it, in bytes
        self.newest: list[Record] = []

    def records(self, ended: bool) -> list[Record]:
        """Return the records that are new since the last call, or all if the table was replaced.

        Args:
            ended: whether no more rows come; until then the newest record, which may be the last
                one, is held back.

        Raises:
            OSError: there is no table that can be read.
            ValueError: a file that is not a table of metrics.
        """
        now = self.path.stat()
        if now.st_ino != self.file or now.st_size < self.end:  # a run that resumes writes it anew
            self.file, self.end, self.newest = now.st_ino, 0, []
        rows, self.end = _rows_from(self.path, self.end)
        found = self.newest + records_of(columns_of(rows))
        self.newest = [] if ended else found[-1:]
        return found if ended else found[:-1]


def columns_of(rows: list[dict[str, str]]) -> Columns:
    """Return the columns of rows by name, with None where no finite number was measured."""
    return {name: [_number(row[name]) for row in rows] for name in COLUMNS}


def _number(text: str) -> float | None:
    value = float(text or math.nan)
    return value if math.isfinite(value) else None


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
