"""The first rows of a table -> its one layout, or why there is none."""

from collections.abc import Callable
from itertools import takewhile

from batch.ingest import catalogue, letterboxd, long, movielens, seen_files, wide
from batch.ingest.columns import RATING_NAMES, is_name_of
from batch.ingest.errors import RefusedError
from batch.ingest.file_format import Layout, NearMiss, Sample

BY_HEADER: tuple[Callable[[Sample], Layout | None], ...] = (
    wide.recognise_movies,
    movielens.recognise_ratings,
    movielens.recognise_movies,
    letterboxd.recognise,
)
"""Formats with a header of their own."""
MAX_COLUMNS = 200_000
"""Twice the films of the largest public data sets; a file with more is transposed, or hostile."""
MAX_LEVELS = 4
"""Rows that the header of a data frame may have."""


def layout_of_table(sample: Sample) -> Layout | NearMiss | None:
    """The one layout of a table, or what is missing. Raises RefusedError where it fits two."""
    n_columns = len(sample.header)
    if n_columns > MAX_COLUMNS:
        message = f"{n_columns:,} columns, more than {MAX_COLUMNS:,}; write a long file instead"
        raise RefusedError("TOO_MANY_COLUMNS", message, 1)
    n_header_rows = _n_header_rows(sample)
    if n_header_rows > 1:
        message = (
            f"its first {n_header_rows} rows are a header of several levels, as pandas writes it; "
            "make it one row, such as user,movie,rating, or for a matrix user and then the films"
        )
        raise RefusedError("SEVERAL_HEADERS", message, 1)
    if not sample.choices.seen:
        return _ratings_or_films(sample)
    as_seen = seen_files.recognise(sample)
    if isinstance(as_seen, Layout):
        return as_seen
    other = _ratings_or_films(sample)
    return other if isinstance(other, Layout) else as_seen


def _ratings_or_films(sample: Sample) -> Layout | NearMiss | None:
    """The layout of a table that does not list films that were seen."""
    for layout_of in BY_HEADER:
        layout = layout_of(sample)
        if layout is not None:
            return layout
    n_columns = len(sample.header)
    as_long: Layout | NearMiss | None = None
    as_wide: Layout | NearMiss | None = None
    if sample.choices.format != "wide":
        as_long = long.recognise(sample)
    if sample.choices.format != "long":
        as_wide = wide.recognise_ratings(sample)
    if isinstance(as_long, Layout):
        many = as_long.has_header and n_columns > long.MAX_LONG_COLUMNS
        if many and isinstance(as_wide, Layout):
            raise _long_or_wide(as_long.why, as_wide)
        return as_long
    as_catalogue = catalogue.recognise(sample)
    if as_catalogue is not None:
        return as_catalogue
    if as_long is not None and isinstance(as_wide, Layout):
        raise _long_or_wide(as_long.message, as_wide)
    return as_wide if isinstance(as_wide, Layout) else as_long or as_wide


def _n_header_rows(sample: Sample) -> int:
    """The rows of a header that pandas wrote for columns of several levels, else 1.

    The first repeats a name such as rating behind the blank fields of the index; the last names
    the index, and has no other field.
    """
    header = sample.header
    n_blank = len(list(takewhile(lambda name: name == "", header)))
    names = header[n_blank:]
    if not n_blank or len(names) < 2 or not is_name_of(names[0], RATING_NAMES):
        return 1
    if len(set(names)) == len(names):
        return 1
    for number, row in enumerate(sample.rows[1:MAX_LEVELS], 2):
        if all(row[:n_blank]) and not any(row[n_blank:]):
            return number
    return 1


def _long_or_wide(as_long: str, as_wide: Layout) -> RefusedError:
    message = (
        f"it may be a long file ({as_long}) or a wide matrix ({as_wide.why}); "
        "set ingest.format to long or wide"
    )
    return RefusedError("LONG_OR_WIDE", message, 1)
