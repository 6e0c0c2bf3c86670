"""The errors of the system and of archives -> RefusedError, with the reason and a remedy."""

import errno
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batch.ingest.errors import RefusedError

FILE_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "device",
    stat.S_IFCHR: "device",
}
BROKEN_ARCHIVE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    KeyError,  # a member that the archive no longer has
    ValueError,  # a name that is not valid in its encoding
)
"""Errors that Python raises for damaged archives, besides OSError without a number."""


def path_text(path: Path) -> str:
    """A path as text: file names are bytes, and need not be valid UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def require_regular(path: Path) -> None:
    """Raise RefusedError unless the path is, or links to, a regular file."""
    mode = status(path).st_mode
    if not stat.S_ISREG(mode):
        kind = FILE_KINDS.get(stat.S_IFMT(mode), "special file")
        message = f"a {kind}, not a regular file; name regular files only"
        raise RefusedError("NOT_REGULAR", message)


def status(path: Path) -> os.stat_result:
    with refusing(path):
        try:
            return path.stat()
        except ValueError:  # a NUL character, which no file name contains
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn the errors of reading a file or an archive into RefusedError."""
    try:
        yield
    except EOFError:
        message = "the file ends too early; copy it again"
        raise RefusedError("TRUNCATED", message) from None
    except RuntimeError as error:  # zipfile: unknown compression, or a password
        message = f"cannot be unpacked ({error}); unpack it, and name the files"
        raise RefusedError("BAD_ARCHIVE", message) from None
    except BROKEN_ARCHIVE as error:
        raise _broken_archive(error) from None
    except OSError as error:
        raise _refusal(path, error) from None


def _broken_archive(error: Exception) -> RefusedError:
    return RefusedError("BAD_ARCHIVE", f"broken archive ({error}); copy the file again")


def _refusal(path: Path, error: OSError) -> RefusedError:
    if error.errno is None:  # raised by gzip or bz2, not by the system
        return _broken_archive(error)
    if isinstance(error, FileNotFoundError):
        if path.is_symlink():
            message = "a link to a file that does not exist; fix or remove the link"
        else:
            message = "no such file or folder; check the path"
        return RefusedError("NO_SUCH_FILE", message)
    reason = f"cannot be read ({error.strerror})"
    if isinstance(error, PermissionError):
        remedy = "give the user that runs recbatch the right to read it"
    else:
        remedy = "check the path and the disk"
    return RefusedError("UNREADABLE", f"{reason}; {remedy}")
