"""The start of a file that is no known table -> what it is, and what to do."""

from batch.ingest.columns import shown
from batch.ingest.errors import RefusedError
from batch.ingest.file_format import NearMiss
from batch.ingest.separated import SEPARATOR_LINE

DATABASE = "a database of SQLite; name it in ingest.query_url, and its ratings in ingest.query"
HTML = "a page of HTML; open it in a spreadsheet or browser, and save the table as CSV"
MARKS: dict[bytes, str] = {
    b"Rar!": "an archive of RAR; unpack it, and name the files",
    b"7z\xbc\xaf\x27\x1c": "an archive of 7-Zip; unpack it, and name the files",
    b"\x28\xb5\x2f\xfd": "packed by zstd; unpack it",
    b"SQLite format 3\0": DATABASE,
    b"ARROW1": "a Feather file; save it as Parquet or CSV",
    b"FEA1": "a Feather file; save it as Parquet or CSV",
    b"\x89HDF": "an HDF5 file; save the table as Parquet or CSV",
    b"\x80\x04\x95": "a pickle of Python; save the table as Parquet or CSV",
    b"\x80\x05\x95": "a pickle of Python; save the table as Parquet or CSV",
    b"%PDF-": "a PDF; save the table as CSV",
}
"""The first bytes of files that people take for tables, and what to do with them."""
MAX_QUOTED = 60
"""Characters of a first line that a message quotes."""
ONE_OBJECT_A_LINE = "write one object on each line, without commas between them (JSON lines)"
EXPECTED = (
    "expected, from the first line on, a long file with columns for user, movie and rating "
    "(name them in ingest.columns, or number them there if no line has their names), "
    "a wide matrix (',User,Film,...'), a catalogue (movie_id, title, genres), a genre matrix "
    "(',movie_title,genre_...') or a known export; docs/ingest.md lists them"
)
OLD_EXCEL_MARK = b"\xd0\xcf\x11\xe0"
HTML_MARKS = (b"<!doctype html", b"<html", b"<table")


def require_table(head: bytes) -> None:
    """Raise RefusedError for a file of another kind, which no text of a table begins like."""
    if head.startswith(OLD_EXCEL_MARK):
        message = "a file of Excel before 2007; save it as .xlsx"
        raise RefusedError("OLD_EXCEL", message)
    for mark, message in MARKS.items():
        if head.startswith(mark):
            raise RefusedError("NO_TABLE", message)
    start = head[:100].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(HTML_MARKS):
        raise RefusedError("NO_TABLE", HTML)


def unknown_table(header: list[str], miss: NearMiss | None) -> RefusedError:
    """The error for rows with these columns, which are no known table."""
    if miss is not None:
        return RefusedError(miss.code, miss.message)
    message = f"not a format that is known (its columns are {shown(header)}); {EXPECTED}"
    return RefusedError("UNKNOWN_FORMAT", message)


def unknown_text(first_line: str) -> RefusedError:
    """The error for lines that are no known table."""
    shown_line = first_line if len(first_line) <= MAX_QUOTED else first_line[:MAX_QUOTED] + "..."
    if first_line.count('"') % 2:
        message = f"the header is not CSV ({shown_line!r} has an open quote); fix its quotes"
        return RefusedError("CSV_SYNTAX", message, 1)
    if first_line.lstrip().startswith(("{", "[")):
        message = f"not JSON lines ({shown_line!r}); {ONE_OBJECT_A_LINE}"
        return RefusedError("BAD_JSON", message, 1)
    separator_line = SEPARATOR_LINE.match(first_line)
    if separator_line is not None:
        message = (
            f"its first line says that {separator_line.group(1)!r} separates the fields, "
            "but it does not; correct the line, or remove it"
        )
        return RefusedError("WRONG_SEPARATOR", message, 1)
    message = f"not a format that is known ({shown_line!r}); {EXPECTED}"
    return RefusedError("UNKNOWN_FORMAT", message, 1)
