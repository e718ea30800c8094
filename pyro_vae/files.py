"""Files: read only where they are regular ones, and written completely or not at all."""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PART = ".part"  # the ending of a file that is being written
RESTORE = "restore it from a copy, or delete the folder and train the run again"


def replace_file(path: str | Path, content: bytes | str, lasting: bool = True) -> None:
    """Write `content` to `path` atomically; see `replacing`."""
    with replacing(path, lasting) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: str | Path, lasting: bool = True) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` at the end of the block, unless it fails.

    A reader finds the old file or the new one, even after a crash, and so do two writers.

    Args:
        lasting: whether the file must survive a crash of the machine. To wait for a busy disk can
            take seconds.

    Raises:
        OSError: if the file cannot be written (a full disk, a read-only folder). The old file then
            stays.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}{PART}")  # no two writers share one
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise OSError(error.errno, f"{path} cannot be written: {error.strerror}") from error


def read_file(path: str | Path, most: int | None = None, within: str | Path | None = None) -> bytes:
    """Return the content of a regular file.

    Args:
        most: the largest number of bytes that is read (default: no limit).
        within: a folder out of which no link may lead (default: links lead anywhere).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a folder, a pipe, a device, a larger file or one elsewhere, which is not opened.
        OSError: the file cannot be read.
    """
    check_regular(path, within)
    size = Path(path).stat().st_size
    if most is not None and size > most:
        raise ValueError(f"{path} has {size:,} bytes; expected at most {most:,}")
    return Path(path).read_bytes()


def check_regular(path: str | Path, within: str | Path | None = None) -> None:
    """Check that a path leads to a regular file; pipes and devices would never end.

    Args:
        within: a folder out of which no link may lead (default: links lead anywhere).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: something else is there, or a link that leads out of the folder.
        OSError: the path cannot be followed.
    """
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise ValueError(f"{path} is no regular file")
    if within is not None and not Path(path).resolve().is_relative_to(Path(within).resolve()):
        raise ValueError(f"{path} is a link that leads out of {within}")


@contextmanager
def mended_by(way_out: str) -> Iterator[None]:
    """Add to the message of a damaged file, a ValueError inside the block, what to do about it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error}; {way_out}") from error


def exists(path: str | Path) -> bool:
    """Return whether something is there; a path that cannot be followed leads nowhere."""
    try:
        return Path(path).exists()
    except OSError:  # a name that is too long, a loop of links
        return False


def check_path_name(argument: str, path: str | Path) -> None:
    """Raise a ValueError unless a path can be written into a text file, as valid Unicode can."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = str(path).encode(errors="replace").decode()
        raise ValueError(f"{argument}: expected a name in UTF-8, got {shown}") from None
