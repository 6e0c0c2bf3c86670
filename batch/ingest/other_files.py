"""The first bytes of a file that is no table -> what it is, and what to do."""

from batch.ingest.errors import RefusedError

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
