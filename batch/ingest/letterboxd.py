"""Letterboxd's export of one person: ratings.csv -> rows; its other files are not needed."""

from collections.abc import Iterator
from dataclasses import dataclass

from batch.ingest.errors import RefusedError
from batch.ingest.fast_ratings import Block
from batch.ingest.file_format import Format, Layout, Sample
from batch.ingest.long_rows import LongTable
from batch.ingest.parsing import RatingRow, Reading, Reject
from batch.ingest.rows import TableRows
from batch.ingest.times import ISO

LETTERBOXD = Format("Letterboxd ratings.csv", family="letterboxd", kind="ratings")
HEADER = ["Date", "Name", "Year", "Letterboxd URI", "Rating"]
URI = "Letterboxd URI"
LIST_START = "Letterboxd list export"
"""The first line of each file in the folder of lists."""
UNUSED_STARTS = (["Date Joined", "Username"], ["Date", "Content", "Comment"])
"""The first columns of profile.csv and of comments.csv."""
NAMES = ("Date", "Name", "Rating")


def is_unused(header: list[str]) -> bool:
    """Whether the file is another part of the export, which ratings.csv repeats or lacks."""
    if any(header[: len(start)] == start for start in UNUSED_STARTS):
        return True
    return URI in header and header != HEADER


def recognise(sample: Sample) -> Layout | None:
    """Raises RefusedError where the settings do not name the person."""
    if sample.header != HEADER:
        return None
    user = sample.choices.user
    if user is None:
        message = "the ratings of one person of Letterboxd; name the person in ingest.user"
        raise RefusedError("USER_MISSING", message, 1)
    table = LongTable(NAMES, None, 1, 2, 0, title=None, one_user=user)
    why = f"its header is that of Letterboxd; all ratings are of {user!r}"
    return Layout(LETTERBOXD, why, _Export(table).parse, len(HEADER), times=ISO)


@dataclass(frozen=True)
class _Export:
    """Films are keyed by `Name (Year)`."""

    table: LongTable

    def parse(self, rows: TableRows, reading: Reading) -> Iterator[Block | RatingRow | Reject]:
        return self.table.parse(_with_years(rows), reading)


def _with_years(rows: TableRows) -> TableRows:
    for block in rows:
        if isinstance(block, Reject):
            yield block
        else:
            yield block._replace(fields=[_with_year(fields) for fields in block.fields])


def _with_year(fields: list[str]) -> list[str]:
    if len(fields) != len(HEADER):
        return fields  # rejected later, because of its number of fields
    date, name, year, _, rating = fields
    return [date, f"{name} ({year})" if year.strip() else name, rating]
