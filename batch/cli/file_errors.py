"""An error of the system about a file -> one line with the remedy, and an exit code."""

import errno

from batch.cli.arguments import FAILED
from batch.cli.help import WRONG_USE

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MISPLACED = {
    errno.EEXIST: "a file is where a folder is needed; name another path",
    errno.ENOTDIR: "a file is where a folder is needed; name another path",
    errno.EISDIR: "a folder is where a file is needed; name a file",
    errno.ENOENT: "no such file or folder; make the folder first, or name another path",
    errno.ENAMETOOLONG: "the name is too long; name another path",
}
"""Errors of a path that an argument or a setting names."""
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def file_error(error: OSError) -> tuple[int, str]:
    """The exit code, and what is wrong with which file."""
    file = error.filename or "output"
    number = error.errno or 0
    if number in MISPLACED:
        return WRONG_USE, f"{file}: {MISPLACED[number]}"
    reason = error.strerror or str(error)
    if number in FULL:
        return FAILED, f"{file}: the disk is full ({reason}); make room, or name another place"
    if number in FORBIDDEN:
        remedy = "give the user that runs recbatch the right to use it, or name another place"
        return FAILED, f"{file}: {reason}; {remedy}"
    return FAILED, f"{file}: {reason}"
