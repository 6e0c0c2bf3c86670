"""Paths -> files: plain, packed, or members of an archive, read as bytes or as lines of text."""

import bz2
import errno
import gzip
import hashlib
import lzma
import os
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedReader, RawIOBase, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from batch.ingest.encoding import Encoding, EncodingCheck
from batch.ingest.errors import RefusedError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

TABLES = {
    *(".csv", ".tsv", ".txt", ".dat", ".data", ".item"),
    *(".json", ".jsonl", ".ndjson", ".parquet", ".xlsx"),
}
"""Endings of tables that are looked for in folders and archives."""
PACKERS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    ".gz": lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file)),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
"""Endings of packed files, and what unpacks them."""
PACKED_MARKS = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\0": ".xz"}
"""The first bytes of packed files, whatever their names end in."""
ARCHIVES = re.compile(r"\.(zip|tar|tgz|tbz2|txz|tar\.gz|tar\.bz2|tar\.xz)\Z", re.IGNORECASE)
ZIP_MARK = b"PK\x03\x04"
WORKBOOK = "xl/workbook.xml"
"""The member by which a .zip is an Excel file."""
DOCUMENTATION = re.compile(
    r"(readme|licen[cs]e|copying|changelog|authors|citation)\b", re.IGNORECASE
)
"""Names of texts that accompany tables in folders and archives."""

CHUNK_BYTES = 1 << 20
BUFFER_BYTES = 1 << 16
HEAD_BYTES = 8 << 20
"""Bytes by which a format is recognised, and the longest line that any file may have.

The header of a wide matrix of 100,000 films fits.
"""
HEAD_LINES = 10
"""Lines by which a format is recognised, unless they are very long."""
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
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    KeyError,  # a member that the archive no longer has
    ValueError,  # a name that is not valid in its encoding
)
"""Errors that Python raises for damaged archives, besides OSError without a number."""


@dataclass(frozen=True)
class Content:
    """What one pass over the bytes of a file tells."""

    sha256: str  # of the unpacked content
    size: int  # bytes, unpacked
    encoding: Encoding
    long_line: int | None  # the first line of more than HEAD_BYTES, from 1


class Passed(NamedTuple):
    """A file of a folder or archive that is not looked at, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Source:
    """One file, which may be a member of an archive."""

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
        """The file's own name in lower case, without .gz and the like."""
        name = Path(self.member or self.path).name.lower()
        return Path(name).stem if Path(name).suffix in PACKERS else name

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

    @contextmanager
    def seekable(self) -> Iterator[IO[bytes]]:
        """The unpacked bytes, any part of which can be read at any time. Raises RefusedError."""
        with self.open() as file, tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(file, copy, CHUNK_BYTES)
            copy.seek(0)
            yield copy

    def _unpacked(self, stack: ExitStack) -> IO[bytes]:
        """The file, opened and unpacked; the stack closes it."""
        file = self._stored(stack)
        packing = _packing(Path(self.member)) if self.member else packing_of(self.path)
        if packing is None:
            return file
        return stack.enter_context(PACKERS[packing](file))

    def _stored(self, stack: ExitStack) -> IO[bytes]:
        """The file as it is stored, or as it was before it came into its archive."""
        if self.member is None:
            return stack.enter_context(self.path.open("rb"))
        if zipfile.is_zipfile(self.path):
            archive = stack.enter_context(zipfile.ZipFile(self.path))
            return stack.enter_context(archive.open(self.member))
        tar = tarfile.open(self.path)  # noqa: SIM115  the stack closes it
        stack.enter_context(tar)
        content = tar.extractfile(self.member)
        if content is None:
            raise KeyError(self.member)
        return stack.enter_context(content)

    def head(self) -> bytes:
        """The first bytes, with some lines, by which the format is recognised.

        Raises RefusedError.
        """
        head = b""
        with self.open() as file:
            while len(head) < HEAD_BYTES and head.count(b"\n") < HEAD_LINES:
                chunk = file.read(CHUNK_BYTES)
                if not chunk:
                    break
                head += chunk
        return head

    def content(self) -> "Content":
        """What one pass over the whole file tells. Raises RefusedError.

        A file is refused where it unpacks to more than MAX_RATIO times its packed size.
        """
        digest = hashlib.sha256()
        encoding = EncodingCheck()
        size = 0
        line = 1
        line_bytes = 0  # of the line so far, which continues in the next chunk
        long_line = None
        with self.open() as file:
            packed_size = self._packed_size()
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                encoding.add(chunk)
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
                if line_bytes > HEAD_BYTES and long_line is None:
                    long_line = line
                line += chunk.count(b"\n")
        return Content(digest.hexdigest(), size, encoding.result(), long_line)

    def _packed_size(self) -> int:
        if self.member is not None and zipfile.is_zipfile(self.path):
            with _refusing(self.path), zipfile.ZipFile(self.path) as archive:
                return archive.getinfo(self.member).compress_size
        return _status(self.path).st_size

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


def find(path: Path) -> tuple[list[Source], list[Passed]]:
    """The file that a path names, or a folder's files in order of name, and those passed over.

    Raises RefusedError where there is none, or the folder cannot be read.
    """
    if not stat.S_ISDIR(_status(path).st_mode):
        return [Source(path, None)], []
    with _refusing(path):
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    sources = []
    passed = []
    for entry in entries:
        if (why := _why_passed_over(entry)) is None or ARCHIVES.search(entry.name):
            sources.append(Source(entry, None))
        elif entry.is_file():
            passed.append(Passed(path_text(entry), why))
    if not sources:
        raise _nothing_found(path_text(entry.relative_to(path)) for entry in entries)
    return sources, passed


def members(source: Source) -> tuple[list[Source], list[Passed]]:
    """The tables in an archive, in order of name, and the members that are passed over.

    For any other file, the file itself. Raises RefusedError for what is not a regular file, a
    broken archive, one without a table, or two members of one name.
    """
    require_regular(source.path)
    names = _member_names(source.path)
    if names is None:
        return [source], []
    if WORKBOOK in names:
        return [source], []
    repeated = [name for name, n_members in Counter(names).items() if n_members > 1]
    if repeated:
        message = f"two members have the name {repeated[0]}; unpack the one that is meant"
        raise RefusedError("REPEATED_MEMBER", message)
    sources = []
    passed = []
    for name in sorted(names):
        path = Path(name)
        if name.endswith("/") or "__MACOSX" in path.parts or path.name.startswith("."):
            continue
        if (why := _why_passed_over(path)) is None:
            sources.append(Source(source.path, name))
        else:
            passed.append(Passed(Source(source.path, name).name, why))
    if not sources:
        raise _nothing_found(names)
    return sources, passed


def _member_names(path: Path) -> list[str] | None:
    """The names in an archive, or None for a file that is none."""
    with _refusing(path):
        with path.open("rb") as file:
            is_zip = file.read(len(ZIP_MARK)) == ZIP_MARK
        if is_zip or _suffix(path) == ".zip":
            with zipfile.ZipFile(path) as archive:
                return archive.namelist()
        if ARCHIVES.search(path.name):
            with tarfile.open(path) as tar:
                return [member.name for member in tar if member.isfile()]
    return None


def _why_passed_over(path: Path) -> str | None:
    """Why a file in a folder or archive is not looked at; None for a table."""
    unpacked = path.with_suffix("") if _suffix(path) in PACKERS else path
    if DOCUMENTATION.match(path.name):
        return "documentation, by its name"
    if _suffix(unpacked) not in TABLES and unpacked == path:
        return "not looked at, because of its ending"
    return None


def _nothing_found(names: Iterable[str]) -> RefusedError:
    """The error for a folder or archive without a table, which lists what it has."""
    shown = ", ".join(islice(names, 5))
    only = f", only {shown}" if shown else ""
    message = f"it has no file that ends in {', '.join(sorted(TABLES))}{only}; name the files"
    return RefusedError("NOTHING_FOUND", message)


def packing_of(path: Path) -> str | None:
    """How a file is packed, by its ending or its first bytes; None for one that is not."""
    by_name = _packing(path)
    if by_name is not None:
        return by_name
    with path.open("rb") as file:
        start = file.read(6)
    for mark, packing in PACKED_MARKS.items():
        if start.startswith(mark):
            return packing
    return None


def _packing(path: Path) -> str | None:
    return _suffix(path) if _suffix(path) in PACKERS else None


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
