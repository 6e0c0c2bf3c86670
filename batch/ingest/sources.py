"""One file, plain, packed or a member of an archive -> its bytes, or lines of text."""

import bz2
import gzip
import hashlib
import lzma
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedReader, RawIOBase, TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from batch.ingest.encoding import ESCAPE, Encoding, EncodingCheck
from batch.ingest.errors import RefusedError
from batch.ingest.file_errors import path_text, refusing, require_regular, status

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PACKERS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    ".gz": lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file)),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
"""Endings of packed files, and what unpacks them."""
PACKED_MARKS = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\0": ".xz"}
"""The first bytes of packed files, whatever their names end in."""
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


@dataclass(frozen=True)
class Content:
    """What one pass over the bytes of a file tells."""

    sha256: str  # of the unpacked content
    size: int  # bytes, unpacked
    encoding: Encoding
    long_line: int | None  # the first line of more than HEAD_BYTES, from 1


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
        return int(status(self.path).st_mtime)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The unpacked bytes. Opening and reading raise RefusedError for a broken file."""
        with ExitStack() as stack:
            with refusing(self.path):
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
        packing = packing_by_name(Path(self.member)) if self.member else packing_of(self.path)
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
            with refusing(self.path), zipfile.ZipFile(self.path) as archive:
                return archive.getinfo(self.member).compress_size
        return status(self.path).st_size

    @contextmanager
    def lines(self, encoding: str) -> Iterator[IO[str]]:
        """Lines of text with their ends; an invalid byte becomes a surrogate, its row a reject."""
        with self.open() as file:
            yield TextIOWrapper(file, encoding=encoding, errors=ESCAPE, newline="")


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
        with refusing(self._path):
            return self._file.readinto(buffer)


def packing_of(path: Path) -> str | None:
    """How a file is packed, by its ending or its first bytes; None for one that is not."""
    by_name = packing_by_name(path)
    if by_name is not None:
        return by_name
    with path.open("rb") as file:
        start = file.read(6)
    for mark, packing in PACKED_MARKS.items():
        if start.startswith(mark):
            return packing
    return None


def packing_by_name(path: Path) -> str | None:
    return suffix_of(path) if suffix_of(path) in PACKERS else None


def suffix_of(path: Path) -> str:
    return path.suffix.lower()
