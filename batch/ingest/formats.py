"""A file -> its table and layout, and why; this is the only list of formats."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from batch.ingest import (
    catalogue,
    letterboxd,
    movielens,
    movielens_100k,
    movielens_dat,
    netflix,
)
from batch.ingest.archives import ZIP_MARK
from batch.ingest.catalogue import QUERY_MOVIES
from batch.ingest.columns import column_number
from batch.ingest.encoding import ESCAPE, Encoding
from batch.ingest.errors import RefusedError
from batch.ingest.file_format import Choices, Format, Layout, Sample
from batch.ingest.layouts import layout_of_table
from batch.ingest.letterboxd import LETTERBOXD
from batch.ingest.long import LONG, QUERY
from batch.ingest.movielens import MOVIELENS, MOVIELENS_MOVIES
from batch.ingest.movielens_100k import U_DATA, U_ITEM
from batch.ingest.movielens_dat import DAT, DAT_MOVIES
from batch.ingest.netflix import NETFLIX, NETFLIX_MOVIES
from batch.ingest.other_files import (
    ONE_OBJECT_A_LINE,
    require_table,
    unknown_table,
    unknown_text,
)
from batch.ingest.rows import Rows, has_width, most
from batch.ingest.seen_files import SEEN, SEEN_QUERY, require_seen
from batch.ingest.separated import (
    BLANKS,
    SEPARATOR_LINE,
    Dialect,
    require_usual_quotes,
    table_rows,
)
from batch.ingest.sources import HEAD_BYTES, Content, Source
from batch.ingest.tables import ReadFile, TextTable, reader
from batch.ingest.value_tables import (
    PARQUET_MARK,
    Excel,
    JsonLines,
    Parquet,
    is_table_in_an_object,
    looks_like_json,
)
from batch.ingest.wide import WIDE, WIDE_GENRES

BY_LINES: tuple[tuple[Dialect, Callable[[list[str]], Layout | None]], ...] = (
    (movielens_dat.DIALECT, movielens_dat.recognise_ratings),
    (movielens_dat.DIALECT, movielens_dat.recognise_movies),
    (movielens_100k.RATINGS_DIALECT, movielens_100k.recognise_ratings),
    (movielens_100k.MOVIES_DIALECT, movielens_100k.recognise_movies),
    (netflix.DIALECT, netflix.recognise_ratings),
)
"""Formats whose lines have one form, and how they are split; tried in this order."""
FORMATS = (
    *(DAT, DAT_MOVIES, U_DATA, U_ITEM, NETFLIX, NETFLIX_MOVIES),
    *(WIDE, WIDE_GENRES, MOVIELENS, MOVIELENS_MOVIES, LETTERBOXD),
    *(LONG, QUERY, QUERY_MOVIES, catalogue.CATALOGUE, SEEN, SEEN_QUERY),
)
USUAL_FAMILIES = {
    format_.usual_name: format_.family
    for format_ in FORMATS
    if format_.usual_name is not None and format_.kind == "ratings"
}
"""Usual name of a file of ratings -> family: where one that cannot be read would have belonged."""

LINE = re.compile(r"[^\r\n]*(\r\n|\r|\n|\Z)")
"""A line with its end; str.splitlines also splits at characters that occur in titles."""
SEPARATORS = (",", ";", "\t", "|", movielens_dat.SEPARATOR)
SEPARATOR_NAMES = {
    ",": "commas",
    ";": "semicolons",
    "\t": "tabs",
    "|": "vertical bars",
    movielens_dat.SEPARATOR: "double colons",
    BLANKS: "blanks",
}
JSON_ARRAY = re.compile(r"\s*\[\s*(\{|\Z)")
SAMPLE_LINES = 1000
MIN_SAMPLE_LINES = 10
SAMPLE_CHARACTERS = 1 << 20
"""Characters after which a sample ends that has MIN_SAMPLE_LINES lines."""
NOT_NEEDED = "a part of {} that is not needed"


@dataclass(frozen=True)
class Recognised:
    """A file's format, how it was recognised, and what reads it."""

    format: Format
    why: str
    read: ReadFile


@dataclass(frozen=True)
class NotNeeded:
    """A known file with neither ratings nor films."""

    why: str


def recognise(source: Source, content: Content, choices: Choices) -> Recognised | NotNeeded:
    """Recognise a file by its content. Raises RefusedError where it fits none or two readings.

    So it is where the choices ask for films that were seen, and it has ratings or describes films.
    """
    recognised = _recognise(source, content, choices)
    if choices.seen and isinstance(recognised, Recognised):
        require_seen(recognised.format, recognised.why)
    return recognised


def _recognise(source: Source, content: Content, choices: Choices) -> Recognised | NotNeeded:
    if source.base_name in movielens.UNUSED_NAMES:
        return NotNeeded(NOT_NEEDED.format("MovieLens"))
    head = source.head()
    if head.startswith(PARQUET_MARK):
        return _of_values(Parquet(source), choices)
    if head.startswith(ZIP_MARK):
        return _of_values(Excel(source), choices)
    require_table(head)
    lines = _first_lines(head, content)
    if source.base_name.endswith(".csv") and lines[0].startswith(letterboxd.LIST_START):
        return NotNeeded(NOT_NEEDED.format("Letterboxd's export"))
    if JSON_ARRAY.match(lines[0]):
        message = f"an array of JSON; {ONE_OBJECT_A_LINE}"
        raise RefusedError("JSON_ARRAY", message, 1)
    if is_table_in_an_object(lines):
        message = f"one object of JSON with the whole table; {ONE_OBJECT_A_LINE}"
        raise RefusedError("JSON_ARRAY", message, 1)
    if looks_like_json(lines):
        return _of_values(JsonLines(source, content.encoding), choices)
    text_lines = partial(TextTable, source, content.encoding)
    if source.base_name in netflix.TITLES_NAMES:
        return _of_text(text_lines(netflix.DIALECT), netflix.titles())
    if not any(map(column_number, choices.columns.values())):
        for dialect, layout_of in BY_LINES:
            layout = layout_of(lines)
            if layout is not None:
                return _of_text(text_lines(dialect), layout)
    return _separated(source, content.encoding, lines, choices)


def recognise_query(
    source: Source, content: Content, layout_of: Callable[[Sample], Layout], choices: Choices
) -> Recognised:
    """The layout of the rows of a query, which are stored as CSV. Raises RefusedError."""
    dialect = Dialect(",")
    rows = _sample_rows(_first_lines(source.head(), content), dialect)
    layout = layout_of(Sample(rows, choices))
    return _of_text(TextTable(source, content.encoding, dialect), layout)


def _of_text(table: TextTable, layout: Layout) -> Recognised:
    guess = table.encoding.guess
    why = layout.why if guess is None else f"{layout.why}; {guess}"
    return Recognised(layout.format, why, reader(table, layout))


def _of_values(table: JsonLines | Parquet | Excel, choices: Choices) -> Recognised:
    """A table that is no text. Raises RefusedError."""
    rows = [fields for fields in table.sample() if any(text.strip() for text in fields)]
    if not rows:
        raise RefusedError("EMPTY", "the file is empty")
    layout = layout_of_table(Sample(rows, choices))
    if isinstance(layout, Layout):
        return Recognised(layout.format, layout.why, reader(table, layout))
    raise unknown_table(rows[0], layout)


def _first_lines(head: bytes, content: Content) -> list[str]:
    """The first lines that are not blank, without their ends. Raises RefusedError."""
    if content.long_line is not None:
        message = f"a line of more than {HEAD_BYTES >> 20} MB; no format has those"
        raise RefusedError("LINE_TOO_LONG", message, content.long_line)
    text = head.decode(content.encoding.name, errors=ESCAPE)
    if not text.strip():
        raise RefusedError("EMPTY", "the file is empty")
    lines = []
    n_characters = 0
    for match in LINE.finditer(text):
        line = match.group().rstrip("\r\n")
        if not line.strip():
            continue
        lines.append(line)
        n_characters += len(line)
        if len(lines) == SAMPLE_LINES:
            break
        if n_characters > SAMPLE_CHARACTERS and len(lines) >= MIN_SAMPLE_LINES:
            break
    if content.size > len(head) and len(lines) > 1 and match.end() == len(text):
        lines.pop()  # the head ends within it
    return lines


def _separated(
    source: Source, encoding: Encoding, lines: list[str], choices: Choices
) -> Recognised | NotNeeded:
    """The one reading of lines of fields. Raises RefusedError where there is none, or two."""
    readings: list[tuple[Dialect, Layout]] = []
    misses: list[RefusedError] = []
    for dialect, sample in _tables(lines, choices):
        if sample.header in movielens.UNUSED_HEADERS:
            return NotNeeded(NOT_NEEDED.format("MovieLens"))
        if letterboxd.is_unused(sample.header):
            return NotNeeded(NOT_NEEDED.format("Letterboxd's export"))
        try:
            layout = layout_of_table(sample)
        except RefusedError as error:
            misses.append(error)
            continue
        if isinstance(layout, Layout):
            readings.append((dialect, layout))
        elif layout is not None:
            misses.append(RefusedError(layout.code, layout.message, 1 + dialect.skipped))
    if len(readings) > 1:
        raise _two_separators(readings)
    if readings:
        dialect, layout = readings[0]
        require_usual_quotes(_sample_rows(lines, dialect))
        return _of_text(TextTable(source, encoding, dialect), layout)
    raise misses[0] if misses else unknown_text(lines[0])


def _tables(lines: list[str], choices: Choices) -> list[tuple[Dialect, Sample]]:
    """The ways to split these lines so that most rows have as many fields as the first.

    Where there is none, the ways that give the first row several fields.
    """
    separators: tuple[str, ...] = SEPARATORS
    skipped = 0
    separator_line = SEPARATOR_LINE.match(lines[0])
    if separator_line is not None and len(lines) > 1:
        separators = (separator_line.group(1),)
        skipped = 1
    even: list[tuple[Dialect, Sample]] = []
    uneven: list[tuple[Dialect, Sample]] = []
    for separator in (*separators, BLANKS):
        if separator == BLANKS and even:
            break  # blanks occur in most texts
        dialect = Dialect(separator, len(separator) == 1, skipped)
        sample = Sample(_with_row_names(_sample_rows(lines, dialect)), choices)
        if sample.rows and len(sample.header) > 1:
            of_kind = even if _is_even(sample) else uneven
            of_kind.append((dialect, sample))
    return even or uneven


def _sample_rows(lines: list[str], dialect: Dialect) -> list[list[str]]:
    """The fields of the first rows that are not blank and have no broken quotes."""
    sample: list[list[str]] = []
    with_ends = [line + "\n" for line in lines]
    for block in table_rows(with_ends, dialect, None):
        if isinstance(block, Rows):
            sample += [fields for fields in block.fields if any(map(str.strip, fields))]
        elif not sample:
            return []  # nobody can tell how many columns there are
    return sample


def _with_row_names(rows: list[list[str]]) -> list[list[str]]:
    """The rows as R writes them: their first fields number them, under no name in the header."""
    numbers = [fields[0] for fields in rows[1:] if len(fields) == len(rows[0]) + 1]
    is_numbered = numbers == [str(number) for number in range(1, len(rows))]
    return [["", *rows[0]], *rows[1:]] if numbers and is_numbered else rows


def _is_even(sample: Sample) -> bool:
    """Whether most rows have as many fields as the first."""
    width = len(sample.header)
    rows = sample.rows[1:]
    return not rows or most(has_width(fields, width) for fields in rows)


def _two_separators(readings: list[tuple[Dialect, Layout]]) -> RefusedError:
    names = [SEPARATOR_NAMES.get(dialect.separator, "") for dialect, _ in readings[:2]]
    message = (
        f"its fields may be separated by {' or '.join(names)}; "
        "begin the file with a line that says which, such as sep=; (sep= and then the character)"
    )
    return RefusedError("AMBIGUOUS_SEPARATOR", message, 1)
