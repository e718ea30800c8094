"""A writer that replaces a file completely or not at all."""

import os
from pathlib import Path


def replace_file(path: str | Path, content: bytes | str) -> None:
    """Write `content` to `path` atomically.

    A reader finds the old file or the new one, even after a crash.

    Raises:
        OSError: if the file cannot be written (a full disk, a read-only folder). The old file then
            stays.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".part")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, f"{path} cannot be written: {error.strerror}") from error
