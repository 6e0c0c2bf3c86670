"""A table that could be a wide matrix -> why it may be something else."""

import re

from batch.ingest.columns import fold, name_set
from batch.ingest.file_format import Sample
from batch.ingest.long import MAX_LONG_COLUMNS, is_rating

MAX_SAMPLED = 200
"""Columns whose cells are looked at to recognise a matrix."""
MIN_ROWS = 5
"""Rows from which on repeated users in a narrow matrix mean that it is a long file."""
NARROW = 4
"""Films of a matrix that is so narrow that it may be a long file."""
SUMMARIES = name_set(
    "all total sum mean average avg median std min max count n nratings numratings ratingcount "
    "meanrating avgrating averagerating"
)
"""Headers, folded, of columns that programs add at either end of a matrix."""
SUMS = name_set("all total sum mean average avg median")
"""Names, folded, of a last row that programs add to a matrix; Max and Min may be users.

Only the last row that is sampled is looked at, which is the file's last if it is short.
"""
NUMBERED_USER = re.compile(
    r"(u|user|person|reviewer|critic|customer|member|viewer)[ _-]?[0-9]+", re.IGNORECASE
)
"""A header as people name users by number."""
ATTRIBUTES = name_set(
    "age gender sex male female zip zipcode postcode year birthyear yearofbirth income height "
    "weight lat lon latitude longitude visits purchases orders friends followers active isactive "
    "premium member days sessions clicks spend spent"
)
"""Headers, folded, of columns that describe people."""
WORD = re.compile(r"[a-z_]+")
"""A header as programs name the columns of a table: titles and keys have capitals or digits."""
USUAL_MAXIMUM = 10.0  # stars: scales up to 5 and 10 are the usual ones


def doubt(sample: Sample, named: int, films_are_rows: bool) -> str | None:
    """Why a table that could be a matrix may be something else; None for a plain matrix.

    `named` is the place of the column that names the rows.
    """
    header = sample.header
    name = header[named] or "the first column"
    columns = header[named + 1 :]
    if len(columns) == 1 and named == 0:
        return f"it has one column beside {name}"
    if len(columns) <= NARROW and _repeats(sample.column(named)):
        return f"its rows repeat what {name} has"
    for column in (columns[0], columns[-1]):
        if fold(column) in SUMMARIES:
            return (
                f"its column {column} may sum up each row (remove it then, "
                "and the last row if that sums up each column)"
            )
    last_row = sample.column(named)[-1] if sample.column(named) else ""
    if fold(last_row) in SUMS:
        return f"its row {last_row} may sum up each column (remove it then)"
    if not header[named] and all(map(NUMBERED_USER.fullmatch, columns)):
        return f"its columns, such as {columns[0]}, may be users"
    if len(columns) <= MAX_LONG_COLUMNS:
        return _doubt_of_few(sample, named, films_are_rows)
    if films_are_rows and not _has_other_ratings(sample, named):
        return "its cells are 0 and 1 as in a matrix of genres, whose columns begin with genre_"
    return None


def cells_by_column(sample: Sample, named: int) -> list[list[str]]:
    """The cells of the first columns behind the one that names the rows."""
    places = range(named + 1, len(sample.header))
    return [sample.column(place) for place in places[:MAX_SAMPLED]]


def _doubt_of_few(sample: Sample, named: int, films_are_rows: bool) -> str | None:
    """The same for a table of so few columns that they may describe what its rows name."""
    header = sample.header
    name = header[named] or "the first column"
    if films_are_rows:
        return f"{name} names films, and so few columns are rarely users"
    columns = header[named + 1 :]
    for column in columns:
        if fold(column) in ATTRIBUTES:
            return f"its column {column} may describe {name}"
    if all(map(WORD.fullmatch, columns)):
        return f"its columns, such as {columns[0]}, may describe {name} and be no films"
    highest = {
        column: max(map(_number, cells))
        for column, cells in zip(columns, cells_by_column(sample, named), strict=True)
        if cells
    }
    large = [column for column in highest if highest[column] > USUAL_MAXIMUM]
    small = [column for column in highest if 0 < highest[column] <= USUAL_MAXIMUM]
    if large and small:
        return (
            f"its columns have ranges of their own ({small[0]} up to {highest[small[0]]:g}, "
            f"{large[0]} up to {highest[large[0]]:g})"
        )
    return None


def _has_other_ratings(sample: Sample, named: int) -> bool:
    """Whether some cell is neither 0 nor 1: flags of genres are no ratings of users."""
    cells = [cell for cells in cells_by_column(sample, named) for cell in cells]
    return any(_number(cell) not in (0, 1) for cell in cells)


def _number(cell: str) -> float:
    """The rating in a cell, 0 where there is none."""
    return float(cell.replace(",", ".")) if is_rating(cell) else 0.0


def _repeats(names: list[str]) -> bool:
    return len(names) >= MIN_ROWS and len(set(names)) * 2 < len(names)
