"""Wide tables: a user x film matrix of ratings, and a film x genre matrix of flags -> rows."""

from collections.abc import Iterator
from functools import partial

from batch.ingest.columns import INDEX_NAMES, MOVIE_NAMES, USER_NAMES, fold, is_name_of
from batch.ingest.errors import BadRowError, RefusedError
from batch.ingest.file_format import Format, Layout, NearMiss, Sample
from batch.ingest.long import MAX_LONG_COLUMNS, is_rating
from batch.ingest.parsing import (
    MovieRow,
    RatingRow,
    Reading,
    Reject,
    key,
    rejected,
    require_field_count,
    unique_key,
)
from batch.ingest.rows import TableRows, most, parse_rows
from batch.ingest.times import NOTHING
from batch.ingest.wide_doubts import cells_by_column, doubt

WIDE = Format("wide ratings matrix", family="wide", kind="ratings", usual_name="user_reviews.csv")
WIDE_GENRES = Format(
    "wide genre matrix", family="wide", kind="movies", usual_name="movie_genres.csv"
)

USUAL_UNRATED = {"", "0", "0.0", "NaN", "nan", "NA"}  # checked first: most cells are these
UNRATED = NOTHING | {"false"}
TRUE = {"1", "true", "t", "yes", "y", "x"}
FALSE = NOTHING | {"0", "false", "f", "no", "n"}
GENRE_PREFIX = "genre_"


def recognise_ratings(sample: Sample) -> Layout | NearMiss | None:
    """A matrix whose first column, or the one after an index, names users or films."""
    header = sample.header
    named = _named_place(header)
    if named is None or len(header) < named + 2:
        return None
    n_columns = len(header) - named - 1
    films_are_rows = header[named] != "" and not is_name_of(header[named], USER_NAMES)
    if not _cells_are_ratings(sample, named):
        return None
    if sample.choices.format != "wide":
        reason = doubt(sample, named, films_are_rows)
        if reason is not None:
            remedy = _remedy(films_are_rows, is_named=header[named] != "")
            message = (
                f"it may be a matrix of ratings, but {reason}; {remedy} "
                "or name the columns of a long file in ingest.columns"
            )
            return NearMiss("LONG_OR_WIDE", message)
    index = "an unnamed index, " if named == 1 and not header[0] else ""
    name = header[named] or "an unnamed column of users"
    if films_are_rows:
        why = f"its header is {index}{name} and {n_columns:,} users"
    else:
        why = f"its header is {index}{name} and {n_columns:,} films"
    parse = partial(read_ratings, sample.header, named, films_are_rows)
    return Layout(WIDE, why, parse, len(header))


def recognise_movies(sample: Sample) -> Layout | None:
    """A matrix of films whose other columns begin with genre_."""
    header = sample.header
    title = 1 if len(header) > 1 and fold(header[0]) in INDEX_NAMES else 0
    genres = header[title + 1 :]
    if not genres or not is_name_of(header[title], MOVIE_NAMES):
        return None
    if not all(name.casefold().startswith(GENRE_PREFIX) for name in genres):
        return None
    why = f"its header is {header[title]} and {len(genres)} columns {GENRE_PREFIX}..."
    return Layout(WIDE_GENRES, why, partial(read_movies, header, title), len(header))


def _remedy(films_are_rows: bool, is_named: bool) -> str:
    """What to do with a table that is a matrix: whether its rows are users or films counts."""
    wide = "set ingest.format: wide"
    if films_are_rows:
        return (
            f"{wide} if its columns are users, "
            f"begin their names with {GENRE_PREFIX} if they are genres,"
        )
    if is_named:
        return f"{wide} if it is one,"
    return (
        f"{wide} if it is one whose rows are users; "
        "if its rows are films, also name the first column movie_title;"
    )


def _named_place(header: list[str]) -> int | None:
    """The place of the column that names the rows, or None."""
    if len(header) > 1 and fold(header[0]) in INDEX_NAMES and _names_rows(header[1]):
        return 1
    return 0 if header[0] == "" or _names_rows(header[0]) else None


def _names_rows(name: str) -> bool:
    return is_name_of(name, USER_NAMES) or is_name_of(name, MOVIE_NAMES)


def _cells_are_ratings(sample: Sample, named: int) -> bool:
    """Whether half of the cells are ratings or mean "not rated", in each column of a few."""
    columns = cells_by_column(sample, named)
    if len(columns) > MAX_LONG_COLUMNS:
        columns = [[cell for cells in columns for cell in cells]]
    return not any(most(map(_is_other_text, cells)) for cells in columns)


def _is_other_text(cell: str) -> bool:
    return not _is_unrated(cell) and not is_rating(cell)


def read_ratings(
    header: list[str], named: int, films_are_rows: bool, rows: TableRows, reading: Reading
) -> Iterator[RatingRow | Reject]:
    """`0,Ann,0.0,4.0,...`: a row for each cell that is not 0, empty, NaN or another such mark.

    Users are keyed by their name and films by their title; a repeat becomes `name #2`. A line
    that cannot be read as a whole, such as one without a user, is rejected cell by cell.
    """
    of_rows, of_columns = ("film", "user") if films_are_rows else ("user", "film")
    columns = _column_keys(header[named + 1 :], of_columns, reading)
    taken: dict[str, int] = {}
    for block in rows:
        if isinstance(block, Reject):
            yield block
            continue
        for line, fields in zip(block.lines, block.fields, strict=True):
            cells = fields[named + 1 :]
            try:
                require_field_count(fields, len(header))
                name = key(fields[named], header[named] or of_rows)
            except BadRowError as error:
                rated = [cell for cell in cells if not _is_unrated(cell)]
                for cell in rated or [""]:
                    yield rejected(line, error, cell)
                continue
            row = unique_key(name, of_rows, taken, reading)
            ratings = _ratings_of_row(line, columns, cells, reading)
            if films_are_rows:
                reading.titles[row] = name
                for column, rating in ratings:
                    yield (
                        rating if isinstance(rating, Reject) else (line, column, row, rating, None)
                    )
            else:
                for column, rating in ratings:
                    yield (
                        rating if isinstance(rating, Reject) else (line, row, column, rating, None)
                    )
                    reading.names[row] = name


def _ratings_of_row(
    line: int, columns: list[str], cells: list[str], reading: Reading
) -> Iterator[tuple[str, float | Reject]]:
    """The key of each column in which the row has a rating, and the rating in stars."""
    for column, cell in zip(columns, cells, strict=True):
        if cell in USUAL_UNRATED or _is_unrated(cell):
            continue
        try:
            yield column, reading.rating(cell, column)
        except BadRowError as error:
            yield column, rejected(line, error, cell)


def _column_keys(names: list[str], of_columns: str, reading: Reading) -> list[str]:
    """A key for each column; titles of films, or names of users, are kept in `reading`.

    Raises RefusedError.
    """
    try:
        texts = [key(name, f"{of_columns} {number}") for number, name in enumerate(names, 1)]
    except BadRowError as error:
        raise RefusedError("BAD_HEADER", str(error), 1) from None
    taken: dict[str, int] = {}
    keys = [unique_key(text, of_columns, taken, reading) for text in texts]
    kept = reading.titles if of_columns == "film" else reading.names
    kept.update(zip(keys, texts, strict=True))
    return keys


def read_movies(
    header: list[str], title_place: int, rows: TableRows, reading: Reading
) -> Iterator[MovieRow | Reject]:
    """`0,The Net,1,0,...`: one film per row; a repeated title becomes `title #2`."""
    first_flag = title_place + 1
    genres = _genre_names(header[first_flag:])
    taken: dict[str, int] = {}

    def parse(line: int, fields: list[str]) -> MovieRow:
        title = key(fields[title_place], header[title_place])
        # Before the flags are read, so that a rejected row still counts as a repeat.
        film = unique_key(title, "film", taken, reading)
        flags = zip(genres, fields[first_flag:], strict=True)
        has = [genre for genre, flag in flags if _flag(genre, flag)]
        return MovieRow(line, film, title, tuple(sorted(has)))

    return parse_rows(rows, len(header), parse)


def _genre_names(columns: list[str]) -> list[str]:
    """`genre_drama` -> drama, for each column. Raises RefusedError."""
    try:
        names = [key(name.strip()[len(GENRE_PREFIX) :], "genre") for name in columns]
    except BadRowError as error:
        raise RefusedError("BAD_HEADER", str(error), 1) from None
    if len(set(names)) < len(names):
        message = "two columns have the same genre; remove one"
        raise RefusedError("HEADER_DUPLICATE", message, 1)
    return names


def _flag(genre: str, text: str) -> bool:
    flag = text.strip().casefold().removesuffix(".0")
    if flag in TRUE:
        return True
    if flag in FALSE:
        return False
    column = GENRE_PREFIX + genre
    message = f"{column} is {text!r}, not 0 or 1; fix the row"
    raise BadRowError(column, "BAD_FLAG", message)


def _is_unrated(cell: str) -> bool:
    """Whether a cell means "not rated": zero in any form, nothing, NaN, NA and the like."""
    text = cell.strip().casefold()
    if text in UNRATED:
        return True
    return text.strip("-0.,") == "" and "0" in text and is_rating(text)
