"""Paths -> files: plain, .gz, or members of a .zip, read as bytes or as lines of text."""

import codecs
import errno
import gzip
import hashlib
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedReader, RawIOBase, TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from batch.ingest.parsing import RefusedError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SUFFIXES = {".csv", ".tsv", ".dat", ".data", ".item", ".zip", ".gz"}
"""Endings of the files that are read from a folder; any other is left alone."""
UTF8 = "utf-8-sig"
"""UTF-8, with or without a byte order mark."""

CHUNK_BYTES = 1 << 20
BUFFER_BYTES = 1 << 16
HEAD_BYTES = 8 << 20
"""Bytes by which a format is recognised, and the longest line that any file may have.

The header of a wide matrix of 100,000 films fits.
"""
UNCHECKED_BYTES = 64 << 20
"""Any file may unpack to this size, whatever its packed size."""
MAX_RATIO = 500
"""A larger file may unpack to this multiple of its packed size; sparse matrices stay below."""

FILE_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "device",
    stat.S_IFCHR: "device",
}
BROKEN_ARCHIVE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    KeyError,  # a member that the archive no longer has
    ValueError,  # a name that is not valid in its encoding
)
"""Errors that Python raises for damaged archives, besides OSError without a number."""


@dataclass(frozen=True)
class Source:
    """One file, which may be a member of a .zip."""

    path: Path
    member: str | None
    label: str | None = None  # shown instead of the path of a temporary file

    @property
    def name(self) -> str:
        """The path as it is shown in messages and stored in tables."""
        if self.label is not None:
            return self.label
        return path_text(self.path / self.member if self.member else self.path)

    @property
    def folder(self) -> str:
        """The folder or archive; files in the same one may belong together."""
        return str(Path(self.name).parent)

    @property
    def base_name(self) -> str:
        """The file's own name in lower case, without .gz."""
        return Path(self.member or self.path).name.lower().removesuffix(".gz")

    @property
    def modified_at(self) -> int:
        """Seconds since 1970 UTC. Raises RefusedError."""
        return int(_status(self.path).st_mtime)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The unpacked bytes. Opening and reading raise RefusedError for a broken file."""
        with ExitStack() as stack:
            with _refusing(self.path):
                require_regular(self.path)  # opening a pipe would wait for ever
                unpacked = self._unpacked(stack)
            yield BufferedReader(_Checked(self.path, unpacked), BUFFER_BYTES)

    def _unpacked(self, stack: ExitStack) -> IO[bytes]:
        """The file, opened and unpacked; the stack closes it."""
        if self.member is not None:
            archive = stack.enter_context(zipfile.ZipFile(self.path))
            return stack.enter_context(archive.open(self.member))
        if _suffix(self.path) == ".gz":
            return cast("IO[bytes]", stack.enter_context(gzip.open(self.path)))
        return stack.enter_context(self.path.open("rb"))

    def head(self) -> bytes:
        """The first bytes, by which the format is recognised. Raises RefusedError."""
        with self.open() as file:
            return file.read(HEAD_BYTES)

    def fingerprint(self) -> tuple[str, int]:
        """The sha256 and the size in bytes of the unpacked content.

        The whole file is read here for the first time. Raises RefusedError where it unpacks to
        more than MAX_RATIO times its packed size, or has a line longer than HEAD_BYTES.
        """
        digest = hashlib.sha256()
        size = 0
        line = 1
        line_bytes = 0  # of the line so far, which continues in the next chunk
        with self.open() as file:
            packed_size = self._packed_size()
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                if size > UNCHECKED_BYTES and size > MAX_RATIO * packed_size:
                    message = (
                        f"it unpacks to more than {MAX_RATIO} times its size; "
                        "unpack it yourself if you trust it"
                    )
                    raise RefusedError("BOMB", message)
                last_end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r"))
                if last_end < 0:
                    line_bytes += len(chunk)
                else:
                    line_bytes = len(chunk) - last_end - 1
                if line_bytes > HEAD_BYTES:
                    message = f"a line of more than {HEAD_BYTES >> 20} MB; no format has those"
                    raise RefusedError("LINE_TOO_LONG", message, line)
                line += chunk.count(b"\n")
        return digest.hexdigest(), size

    def _packed_size(self) -> int:
        if self.member is None:
            return _status(self.path).st_size
        with _refusing(self.path), zipfile.ZipFile(self.path) as archive:
            return archive.getinfo(self.member).compress_size

    def legacy_encoding(self) -> str:
        """UTF-8 if the whole file is valid, else latin-1: old MovieLens files come in either."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        with self.open() as file:
            try:
                while chunk := file.read(CHUNK_BYTES):
                    decoder.decode(chunk)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                return "latin-1"
        return UTF8

    @contextmanager
    def lines(self, encoding: str) -> Iterator[IO[str]]:
        """Lines of text with their ends; an invalid byte becomes a surrogate, its row a reject."""
        with self.open() as file:
            yield TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="")


class _Checked(RawIOBase):
    """An open file whose own errors, and no others, become RefusedError."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        super().__init__()
        self._path = path
        self._file = cast(
            "BufferedReader", file
        )  # gzip's and zipfile's files have readinto as well

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        with _refusing(self._path):
            return self._file.readinto(buffer)


def find(path: Path) -> list[Source]:
    """The file that a path names, or a folder's data files, in order of name.

    Raises RefusedError where there is none, or the folder cannot be read.
    """
    if not stat.S_ISDIR(_status(path).st_mode):
        return [Source(path, None)]
    with _refusing(path):
        entries = sorted(path.iterdir())
    sources = [Source(entry, None) for entry in entries if _suffix(entry) in SUFFIXES]
    if not sources:
        endings = ", ".join(sorted(SUFFIXES))
        message = f"no file in it ends in {endings}; name the files"
        raise RefusedError("NOTHING_FOUND", message)
    return sources


def members(source: Source) -> list[Source]:
    """The data files in a .zip, in order of name; for any other file, the file itself.

    Raises RefusedError for what is not a regular file, or a broken archive.
    """
    require_regular(source.path)
    if _suffix(source.path) != ".zip":
        return [source]
    with _refusing(source.path), zipfile.ZipFile(source.path) as archive:
        names = sorted(archive.namelist())
    suffixes = SUFFIXES - {".zip", ".gz"}
    return [Source(source.path, name) for name in names if _suffix(Path(name)) in suffixes]


def path_text(path: Path) -> str:
    """A path as text: file names are bytes, and need not be valid UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def require_regular(path: Path) -> None:
    """Raise RefusedError unless the path is, or links to, a regular file."""
    mode = _status(path).st_mode
    if not stat.S_ISREG(mode):
        kind = FILE_KINDS.get(stat.S_IFMT(mode), "special file")
        message = f"a {kind}, not a regular file; name regular files only"
        raise RefusedError("NOT_REGULAR", message)


def _status(path: Path) -> os.stat_result:
    with _refusing(path):
        try:
            return path.stat()
        except ValueError:  # a NUL character, which no file name contains
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
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


def _suffix(path: Path) -> str:
    return path.suffix.lower()
