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

from batch.ingest.parsing import RefusedError

SUFFIXES = {".csv", ".tsv", ".dat", ".data", ".item", ".zip", ".gz"}
"""What is looked at in a folder; anything else there is not ours."""
UTF8 = "utf-8-sig"
"""UTF-8, with or without a byte order mark."""
PIECE = 1 << 20
HEAD = 8 << 20
"""Bytes from which a file is recognised: the header of a wide matrix of 100,000 films fits. No line may be longer."""
SMALL, MOST_TIMES = 64 << 20, 500
"""Bytes that anything may unpack to, and how often its own size a larger file may: matrices of zeros stay below."""


@dataclass(frozen=True)
class Source:
    """One file, which may lie inside a .zip."""

    path: Path
    member: str | None
    known_as: str | None = None  # where the file is a passing one

    @property
    def name(self) -> str:
        """The file as people may find it again."""
        return self.known_as or shown(self.path / self.member if self.member else self.path)

    @property
    def folder(self) -> str:
        """Where the file lies: files that lie together belong together."""
        return str(Path(self.name).parent)

    @property
    def base_name(self) -> str:
        """The file's own name, without .gz."""
        return Path(self.member or self.path).name.lower().removesuffix(".gz")

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
            elif _ending(self.path) == ".gz":
                with gzip.open(self.path) as file:
                    yield file  # type: ignore[misc]  # a GzipFile reads like any binary file
            else:
                with self.path.open("rb") as file:
                    yield file
        except EOFError:
            raise RefusedError("TRUNCATED", "the file ends too early; copy it again") from None
        except (gzip.BadGzipFile, zlib.error, zipfile.BadZipFile) as error:
            raise RefusedError(
                "BAD_ARCHIVE", f"broken archive ({error}); copy the file again"
            ) from None
        except (
            NotImplementedError,
            RuntimeError,
        ) as error:  # zipfile's words for compressions and passwords
            raise RefusedError(
                "BAD_ARCHIVE", f"cannot be unpacked ({error}); unpack it, and name the files"
            ) from None
        except OSError as error:
            raise RefusedError("UNREADABLE", f"{error.strerror or error}") from None

    def head(self) -> bytes:
        """The first bytes, for telling the format."""
        with self.open() as file:
            return file.read(HEAD)

    def candidate_features(self) -> tuple[str, int]:
        """The sha256 of the unpacked content, so that packing does not matter, and its size in bytes.

        This is the first look at the whole file. Raises RefusedError for one that is made to fill memory or time.
        """
        digest, size, lines, unended = hashlib.sha256(), 0, 1, 0
        with self.open() as file:
            packed = self._packed_size()
            while piece := file.read(PIECE):
                digest.update(piece)
                size += len(piece)
                if size > SMALL and size > MOST_TIMES * packed:
                    message = f"it unpacks to more than {MOST_TIMES} times its size; unpack it, if you know what it is"
                    raise RefusedError("BOMB", message)
                ended = max(piece.rfind(b"\n"), piece.rfind(b"\r")) + 1
                unended = len(piece) - ended if ended else unended + len(piece)
                if unended > HEAD:
                    raise RefusedError(
                        "LINE_TOO_LONG",
                        f"a line of more than {HEAD >> 20} MB; no format has those",
                        lines,
                    )
                lines += piece.count(b"\n")
        return digest.hexdigest(), size

    def _packed_size(self) -> int:
        if self.member is None:
            return self.path.stat().st_size
        with zipfile.ZipFile(self.path) as archive:
            return archive.getinfo(self.member).compress_size

    def legacy_encoding(self) -> str:
        """UTF-8 if the whole file is that, else latin-1: old MovieLens files came in either."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        with self.open() as file:
            try:
                while piece := file.read(PIECE):
                    decoder.decode(piece)
                decoder.decode(b"", final=True)
            except UnicodeDecodeError:
                return "latin-1"
        return UTF8

    @contextmanager
    def lines(self, encoding: str) -> Iterator[IO[str]]:
        """Lines of text, line ends kept; a byte that is no text becomes a surrogate, so that it costs one row only."""
        with self.open() as file:
            yield TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="")


def shown(path: Path) -> str:
    """A path as text: file names are bytes, and need not be text."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def find(path: Path) -> list[Source]:
    """The files that a path names: itself, or a folder's files, in order of name. Raises RefusedError for none."""
    if path.is_dir():
        found = [
            Source(file, None)
            for file in sorted(path.iterdir())
            if file.is_file() and _ending(file) in SUFFIXES
        ]
    elif path.is_file():
        found = [Source(path, None)]
    elif path.exists():
        raise RefusedError("NOT_REGULAR", "not a regular file")
    else:
        raise RefusedError("NO_SUCH_FILE", "no such file or folder")
    if not found:
        raise RefusedError(
            "NOTHING_FOUND",
            f"nothing in there ends in {', '.join(sorted(SUFFIXES))}; name the files",
        )
    return found


def members(source: Source) -> list[Source]:
    """The data files in a .zip, in order of name; any other file is its own. Raises RefusedError."""
    path = source.path
    if _ending(path) != ".zip":
        return [source]
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(archive.namelist())
    except (zipfile.BadZipFile, OSError) as error:
        raise RefusedError(
            "BAD_ARCHIVE", f"broken archive ({error}); copy the file again"
        ) from None
    return [
        Source(path, name) for name in names if _ending(Path(name)) in SUFFIXES - {".zip", ".gz"}
    ]


def _ending(path: Path) -> str:
    return path.suffix.lower()
