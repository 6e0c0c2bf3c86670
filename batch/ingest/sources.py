"""Paths -> the files in them: plain, .gz, or members of a .zip, as bytes and as lines of text."""

import codecs
import gzip
import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import IO

from batch.ingest.rows import RefusedError

SUFFIXES = {".csv", ".tsv", ".dat", ".data", ".item", ".zip", ".gz"}
"""What is looked at in a folder; anything else there is not ours."""
PIECE = 1 << 20
HEAD = 1 << 20
"""Bytes from which a file is recognised: the header of a wide matrix of 20,000 films fits."""


@dataclass(frozen=True)
class Source:
    """One file, which may lie inside a .zip."""

    path: Path
    member: str | None

    @property
    def name(self) -> str:
        """The file as people may find it again."""
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @property
    def folder(self) -> Path:
        """Files that lie together belong together."""
        return self.path if self.member else self.path.parent

    @property
    def base_name(self) -> str:
        """The file's own name, without .gz."""
        return Path(self.member or self.path).name.removesuffix(".gz")

    @property
    def modified_at(self) -> int:
        """Seconds since 1970 UTC."""
        return int(self.path.stat().st_mtime)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The unpacked bytes. Raises RefusedError where the file or its packing is broken."""
        try:
            if self.member is not None:
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                    yield file
            elif self.path.suffix == ".gz":
                with gzip.open(self.path) as file:
                    yield file  # type: ignore[misc]  # a GzipFile reads like any binary file
            else:
                with self.path.open("rb") as file:
                    yield file
        except EOFError:
            raise RefusedError("TRUNCATED", "the file ends too early; copy it again") from None
        except (gzip.BadGzipFile, zlib.error, zipfile.BadZipFile) as error:
            raise RefusedError("BAD_ARCHIVE", f"broken archive ({error}); copy the file again") from None
        except OSError as error:
            raise RefusedError("UNREADABLE", f"{error.strerror or error}") from None

    def head(self) -> bytes:
        """The first bytes, for telling the format."""
        with self.open() as file:
            return file.read(HEAD)

    def sha256(self) -> str:
        """A fingerprint of the unpacked content, so that packing does not matter; reads the file to its end."""
        digest = hashlib.sha256()
        with self.open() as file:
            while piece := file.read(PIECE):
                digest.update(piece)
        return digest.hexdigest()

    def legacy_encoding(self) -> str:
        """utf-8 if the whole file is that, else latin-1: old MovieLens files came in either."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        with self.open() as file:
            try:
                while piece := file.read(PIECE):
                    decoder.decode(piece)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                return "latin-1"
        return "utf-8"

    @contextmanager
    def lines(self, encoding: str) -> Iterator[IO[str]]:
        """Lines of text, line ends kept; a byte that is no text becomes a surrogate, so that it costs one row only."""
        with self.open() as file:
            yield TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="")


def find(path: Path) -> list[Source]:
    """The files that a path names: itself, a folder's files, or a .zip's members, in order of name.

    Raises RefusedError where there is nothing.
    """
    if path.is_dir():
        inside = [file for file in sorted(path.iterdir()) if file.is_file() and file.suffix in SUFFIXES]
        found = [source for file in inside for source in _unpacked(file)]
    elif path.exists():
        found = _unpacked(path)
    else:
        raise RefusedError("NO_SUCH_FILE", "no such file or folder")
    if not found:
        raise RefusedError("NOTHING_FOUND", f"nothing in there ends in {', '.join(sorted(SUFFIXES))}; name the files")
    return found


def _unpacked(path: Path) -> list[Source]:
    if path.suffix != ".zip":
        return [Source(path, None)]
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted(archive.namelist())
    except (zipfile.BadZipFile, OSError) as error:
        raise RefusedError("BAD_ARCHIVE", f"broken archive ({error}); copy the file again") from None
    return [Source(path, member) for member in members if Path(member).suffix in SUFFIXES - {".zip", ".gz"}]
