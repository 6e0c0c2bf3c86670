"""Folders and archives -> the tables in them, and the files that are passed over."""

import re
import stat
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from batch.ingest.errors import RefusedError
from batch.ingest.file_errors import path_text, refusing, require_regular, status
from batch.ingest.sources import PACKERS, Source, suffix_of

TABLES = {
    *(".csv", ".tsv", ".txt", ".dat", ".data", ".item", ".inter"),
    *(".json", ".jsonl", ".ndjson", ".parquet", ".xlsx"),
}
"""Endings of tables that are looked for in folders and archives."""
ARCHIVES = re.compile(r"\.(zip|tar|tgz|tbz2|txz|tar\.gz|tar\.bz2|tar\.xz)\Z", re.IGNORECASE)
HIDDEN = (".", "~$")
"""How names of hidden files begin, and those of workbooks that are open in Excel."""
ZIP_MARK = b"PK\x03\x04"
WORKBOOK = "xl/workbook.xml"
"""The member by which a .zip is an Excel file."""
DOCUMENTATION = re.compile(
    r"(readme|licen[cs]e|copying|changelog|authors|citation)\b", re.IGNORECASE
)
"""Names of texts that accompany tables in folders and archives."""


class Passed(NamedTuple):
    """A file of a folder or archive that is not looked at, and why."""

    name: str
    why: str


def find(path: Path) -> tuple[list[Source], list[Passed]]:
    """The file that a path names, or a folder's files in order of name, and those passed over.

    Raises RefusedError where there is none, or the folder cannot be read.
    """
    if not stat.S_ISDIR(status(path).st_mode):
        return [Source(path, None)], []
    with refusing(path):
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith(HIDDEN))
    sources = []
    passed = []
    for entry in entries:
        if (why := _why_passed_over(entry)) is None or ARCHIVES.search(entry.name):
            sources.append(Source(entry, None))
        elif entry.is_file():
            passed.append(Passed(path_text(entry), why))
    if not sources:
        names = (path_text(entry.relative_to(path)) for entry in entries)
        raise _nothing_found(names, "name the files, or the folders with them")
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
        if name.endswith("/") or "__MACOSX" in path.parts or path.name.startswith(HIDDEN):
            continue
        if (why := _why_passed_over(path)) is None:
            sources.append(Source(source.path, name))
        else:
            passed.append(Passed(Source(source.path, name).name, why))
    if not sources:
        raise _nothing_found(names, "unpack it, and name the files")
    return sources, passed


def _member_names(path: Path) -> list[str] | None:
    """The names in an archive, or None for a file that is none."""
    with refusing(path):
        with path.open("rb") as file:
            is_zip = file.read(len(ZIP_MARK)) == ZIP_MARK
        if is_zip or suffix_of(path) == ".zip":
            with zipfile.ZipFile(path) as archive:
                return archive.namelist()
        if ARCHIVES.search(path.name):
            with tarfile.open(path) as tar:
                return [member.name for member in tar if member.isfile()]
    return None


def _why_passed_over(path: Path) -> str | None:
    """Why a file in a folder or archive is not looked at; None for a table."""
    unpacked = path.with_suffix("") if suffix_of(path) in PACKERS else path
    if DOCUMENTATION.match(path.name):
        return "documentation, by its name"
    if suffix_of(unpacked) not in TABLES and unpacked == path:
        return "not looked at, because of its ending"
    return None


def _nothing_found(names: Iterable[str], remedy: str) -> RefusedError:
    """The error for a folder or archive without a table, which lists what it has."""
    shown = ", ".join(islice(names, 5))
    only = f", only {shown}" if shown else ""
    message = f"it has no file that ends in {', '.join(sorted(TABLES))}{only}; {remedy}"
    return RefusedError("NOTHING_FOUND", message)
