"""The file of a SQLite database has one name, and is not replaced while a job works."""

from pathlib import Path

from sqlalchemy import Connection

from batch import RecbatchError

FILE_IDENTITY = "file_identity"
"""Where a connection keeps which file it opened: a key of its `info`."""


class SecondNameError(RecbatchError):
    """The file has hard links; the message says what to do with them."""


class FileReplacedError(RecbatchError):
    """The file is no longer the one that the job began with."""


def require_one_name(file: Path) -> None:
    """Raise SecondNameError for a file with hard links.

    SQLite's log and its locks are beside the name by which the file was opened: processes that use
    different names do not see each other, and damage the file.
    """
    try:
        n_names = file.stat().st_nlink
    except OSError:  # removed again at this moment
        return
    if n_names > 1:
        raise SecondNameError(
            f"{file} has {n_names} names (hard links), through which SQLite would damage it;"
            " remove the others, or put a copy in its place"
        )


def file_identity(file: Path) -> tuple[int, int] | None:
    """Device and inode, which another file of the same name does not have; None without a file."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def require_same_file(file: Path, connection: Connection) -> None:
    """Raise FileReplacedError if the file is not the one that the connection has open."""
    if connection.info[FILE_IDENTITY] != file_identity(file):
        raise FileReplacedError(
            f"{file} was replaced or removed while this job was at work, so its result is not"
            " published; put a file in place only while no job runs, then 'recbatch run'"
        )
