"""A file being written -> an error that names it, or a whole file in the place of another."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from stat import S_IMODE
from typing import BinaryIO

OPEN_FILES = "/proc/self/fd"
"""Where Linux shows the open files of a process, those without a name too."""


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Put the name of the file into an OSError without one, as where a disk is full."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(file)
        raise


@contextmanager
def replacing(file: Path) -> Iterator[BinaryIO]:
    """What is written takes the place of `file` in one step, once it is whole and on the disk.

    Until then, and after any error, `file` is as it was. A file that was there keeps its
    permissions, a symbolic link its name. Raises OSError that names `file`.
    """
    target = file.resolve()
    partial = target.with_name(f".recbatch-{token_hex(8)}.part")
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with os.fdopen(_open_new(partial), "wb") as out:
            yield out
            out.flush()
            if target.exists():
                os.fchmod(out.fileno(), S_IMODE(target.stat().st_mode))
            os.fsync(out.fileno())
            if not partial.exists():
                _name(out.fileno(), partial)
            partial.replace(target)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            error.filename = str(file)
        raise


def _open_new(path: Path) -> int:
    """The descriptor of a new file, without a name where the system can do that.

    Whatever ends the process, nothing of such a file is left. Elsewhere it is at `path`.
    """
    if os.path.isdir(OPEN_FILES):
        with suppress(OSError, AttributeError):  # a file system, or a system, that cannot do it
            return os.open(path.parent, os.O_WRONLY | os.O_TMPFILE, 0o666)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def _name(descriptor: int, path: Path) -> None:
    """Give a name to a file without one, by its link in /proc as open(2) describes.

    Python follows that link only if some descriptor is given for the folder of the link, which
    an absolute path makes no use of.
    """
    os.link(f"{OPEN_FILES}/{descriptor}", path, src_dir_fd=descriptor)
