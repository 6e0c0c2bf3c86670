"""The first lines of a file -> its format, and why; this is the only list of formats."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from batch.ingest import long, movielens, movielens_100k, movielens_dat, wide
from batch.ingest.file_format import Format, Sample
from batch.ingest.long import LONG, QUERY, QUERY_MOVIES
from batch.ingest.movielens import MOVIELENS, MOVIELENS_MOVIES
from batch.ingest.movielens_100k import U_DATA, U_ITEM
from batch.ingest.movielens_dat import DAT, DAT_MOVIES
from batch.ingest.parsing import RefusedError
from batch.ingest.sources import Source
from batch.ingest.wide import WIDE, WIDE_GENRES

__all__ = [
    "DAT",
    "LONG",
    "MOVIELENS",
    "QUERY",
    "QUERY_MOVIES",
    "USUAL_FAMILIES",
    "U_DATA",
    "Format",
    "Recognised",
    "recognise",
]

Recogniser = Callable[[Sample], str | None]
"""The first lines -> why they are of a format, or None."""

BY_LINES: tuple[tuple[Format, Recogniser], ...] = (
    (DAT, movielens_dat.recognise_ratings),
    (DAT_MOVIES, movielens_dat.recognise_movies),
    (U_DATA, movielens_100k.recognise_ratings),
    (U_ITEM, movielens_100k.recognise_movies),
)
"""Formats without a header. Each pair of a format and its recogniser is tried in this order."""
BY_HEADER: tuple[tuple[Format, Recogniser], ...] = (
    (WIDE, wide.recognise_indexed_ratings),
    (WIDE_GENRES, wide.recognise_movies),
    (MOVIELENS, movielens.recognise_ratings),
    (MOVIELENS_MOVIES, movielens.recognise_movies),
    (LONG, long.recognise),
    (WIDE, wide.recognise_ratings),  # last: `User` alone says little
)
"""Formats with a header, tried where no format without one matches."""
USUAL_FAMILIES = {
    format_.usual_name: format_.family
    for format_, _ in BY_LINES + BY_HEADER
    if format_.usual_name is not None
}
"""Usual file name -> family: where a file that cannot be read would have belonged."""

LINE_END = re.compile(r"\r\n|\r|\n")
"""The ends of lines; str.splitlines also splits at characters that occur in titles."""
SAMPLE_LINES = 10
MAX_QUOTED = 60
"""Characters of a first line that a message quotes."""
OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs"}
NOT_NEEDED = "a part of MovieLens that is not needed"
EXPECTED = (
    "expected a wide matrix (',User,Film,...'), a genre matrix (',movie_title,genre_...'), "
    "MovieLens files, or a long CSV with columns for user, movie and rating "
    "(name them in ingest.columns)"
)


@dataclass(frozen=True)
class Recognised:
    """A file's format and the reason; the format is None for a known file that is not needed."""

    format: Format | None
    why: str


def recognise(source: Source, columns: dict[str, str | None]) -> Recognised:
    """Recognise a file by its content. Raises RefusedError where it has no known format.

    `columns` maps user, movie, rating and time to the columns named in the settings.
    """
    if source.base_name in movielens.UNUSED_NAMES:
        return Recognised(None, NOT_NEEDED)
    sample = Sample(_first_lines(source.head()), columns)
    recognised = _first_match(BY_LINES, sample) or _by_header(sample)
    if recognised is None:
        raise _unknown_format(sample)
    return recognised


def _first_lines(head: bytes) -> list[str]:
    """The first lines that are not blank, without their ends. Raises RefusedError."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        message = "the file is UTF-16; save it as UTF-8"
        raise RefusedError("BAD_ENCODING_FILE", message, 1)
    text = head.decode("utf-8-sig", errors="replace")
    if not text.strip():
        raise RefusedError("EMPTY", "the file is empty")
    lines = LINE_END.split(text, 100)  # the last of these is all the rest
    return [line for line in lines if line.strip()][:SAMPLE_LINES]


def _by_header(sample: Sample) -> Recognised | None:
    if sample.header in movielens.UNUSED_HEADERS:
        return Recognised(None, NOT_NEEDED)
    return _first_match(BY_HEADER, sample)


def _first_match(formats: Iterable[tuple[Format, Recogniser]], sample: Sample) -> Recognised | None:
    for format_, recogniser in formats:
        why = recogniser(sample)
        if why:
            return Recognised(format_, why)
    return None


def _unknown_format(sample: Sample) -> RefusedError:
    """The error for a file of no known format: another separator, or what was expected."""
    first = sample.lines[0]
    if len(first) > MAX_QUOTED:
        first = first[:MAX_QUOTED] + "..."
    for separator, plural in OTHER_SEPARATORS.items():
        if _by_header(replace(sample, separator=separator)):
            message = f"separated by {plural} ({first!r}); save it with commas"
            return RefusedError("WRONG_DELIMITER", message, 1)
    message = f"not a format that is known ({first!r}); {EXPECTED}"
    return RefusedError("UNKNOWN_FORMAT", message, 1)
