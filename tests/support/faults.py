"""What goes wrong on the way, in place of functions of `os`."""

import errno
import os


def full_disk(*arguments):
    """Find the disk full, whatever is to be written."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_disk_after(count, function):
    """The function, which finds the disk full after so many calls."""
    left = iter(range(count))

    def write(*arguments):
        if next(left, None) is None:
            full_disk()
        return function(*arguments)

    return write


def locked_folder(path, *mode):
    """Refuse to make a folder, as where one may not write; root may write anywhere."""
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def unreachable(*arguments, **options):
    """Find no network."""
    raise OSError("Network is unreachable")
