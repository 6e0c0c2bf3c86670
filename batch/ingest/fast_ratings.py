"""Bytes of ratings or films seen -> blocks of numbers, up to the first line that is not plain."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from itertools import chain
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from batch.ingest.encoding import UTF8
from batch.ingest.errors import RefusedError
from batch.ingest.parsing import RatingRow, Reading, Reject
from batch.ingest.times import DAY_SECONDS
from batch.ratings import Bools, Floats, Ints

Bytes = npt.NDArray[np.uint8]
SlowReader = Callable[[Iterable[str]], Iterator[Any]]  # of RatingRow and Reject

CHUNK_BYTES = 4 << 20
"""Bytes read at a time, before the rest of the last line: about 200,000 ratings."""
ID_DIGITS = 16
"""Maximum digits of an id, as in `parsing.MOVIELENS_ID`."""
TIME_DIGITS = 12
"""Maximum digits of a time, as in `parsing.EPOCH`."""
RATING_WIDTH = 3
"""Characters of a rating with a decimal, such as 2.5; without one it is a single digit."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
COMMA = ord(",")
LINE_END = ord("\n")
POINT = ord(".")
ZERO = ord("0")


@dataclass(frozen=True)
class PlainLayout:
    """Lines of user, movie, rating and time without quotes: their separator, and the header."""

    separator: bytes
    header: bytes | None = None
    has_rating: bool = True
    has_time: bool = True

    @property
    def width(self) -> int:
        """Fields of a line."""
        return 2 + self.has_rating + self.has_time


class Column(NamedTuple):
    """The keys of k ratings."""

    keys: list[str]  # the different ones, in order of appearance
    places: Ints  # (k,) the place of each rating's key in `keys`

    def only(self, chosen: Bools) -> "Column":
        """The keys of the ratings for which `chosen`, (k,), is true."""
        used, places = np.unique(self.places[chosen], return_inverse=True)
        return Column([self.keys[place] for place in used], places)


class Block(NamedTuple):
    """Ratings of k rows, none of which is rejected."""

    users: Column
    movies: Column
    stars: Floats  # (k,), nan for a film that was seen
    times: Floats  # (k,) seconds since 1970 UTC, or nan for a rating without a time

    def ratings(self) -> Iterator[RatingRow]:
        """The ratings one by one; their lines are not known."""
        columns = (self.users.places, self.movies.places, self.stars, self.times)
        for user, movie, stars, time in zip(*[column.tolist() for column in columns], strict=True):
            rated_at = None if time != time else int(time)
            yield 0, self.users.keys[user], self.movies.keys[movie], stars, rated_at

    def only(self, chosen: Bools) -> "Block":
        """The ratings for which `chosen`, (k,), is true."""
        return Block(
            self.users.only(chosen),
            self.movies.only(chosen),
            self.stars[chosen],
            self.times[chosen],
        )


def read_ratings(
    file: IO[bytes],
    layout: PlainLayout,
    read_slowly: SlowReader,
    reading: Reading,
    advance: Callable[[int], None],
) -> Iterator[Block | RatingRow | Reject]:
    """Blocks of ratings, and from the first line that is not plain on the rows of the slow reader.

    Both readers agree on plain lines, so that the result does not depend on where the switch
    happens. `advance` is called with the number of bytes that are done. Raises RefusedError.
    """
    lines_done = 0
    repeated = []  # the header, which the slow reader needs again
    chunk = b""
    plain = True
    if layout.header is not None:
        chunk = file.readline()
        first_line = chunk.removeprefix(BYTE_ORDER_MARK).rstrip(b"\r\n")
        plain = first_line == layout.header
        if plain:
            lines_done = 1
            repeated = [layout.header.decode() + "\n"]
    while plain and (chunk := file.read(CHUNK_BYTES)):
        chunk += file.readline()
        block = parse_block(chunk, layout, reading)
        if block is None:
            break
        yield block
        lines_done += len(block.stars)
        advance(len(chunk))
    # Only the start of a file may have a byte order mark.
    encoding = UTF8 if lines_done == 0 else "utf-8"
    with _text(BytesIO(chunk), encoding) as rest_of_chunk, _text(file, "utf-8") as rest:
        rows = read_slowly(chain(repeated, rest_of_chunk, rest))
        yield from _renumbered(rows, lines_done - len(repeated))


def _renumbered(
    rows: Iterator[Block | RatingRow | Reject], offset: int
) -> Iterator[Block | RatingRow | Reject]:
    """The same rows and errors, with `offset` added to their line numbers."""
    try:
        for row in rows:
            if isinstance(row, Block):
                yield row
            elif isinstance(row, Reject):
                yield row._replace(line=row.line + offset)
            else:
                line, user_key, movie_key, stars, time = row
                yield line + offset, user_key, movie_key, stars, time
    except RefusedError as error:
        line_of_error = None if error.line is None else error.line + offset
        raise RefusedError(error.code, str(error), line_of_error) from None


def _text(file: IO[bytes], encoding: str) -> IO[str]:
    return TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="")


def parse_block(chunk: bytes, layout: PlainLayout, reading: Reading) -> Block | None:
    """The ratings of k whole lines such as `1,31,2.5,1260759144`, or None.

    None means that some line is not plain, or is to be rejected. Plain lines have ids without
    leading zeros, ratings of one digit and at most one decimal, and times in seconds.
    """
    if layout.separator != b",":
        if b"," in chunk:
            return None
        chunk = chunk.replace(layout.separator, b",")
    chunk = chunk.replace(b"\r\n", b"\n")
    if not chunk.endswith(b"\n"):
        chunk += b"\n"
    text = np.frombuffer(chunk, np.uint8)  # (n_bytes,)
    separators = np.flatnonzero((text == COMMA) | (text == LINE_END))
    width = layout.width
    if len(separators) % width:
        return None
    # (k, width) each; the columns are user, movie, and of rating and time what there is
    ends = separators.reshape(-1, width)
    starts = np.concatenate([[0], separators[:-1] + 1]).reshape(-1, width)
    lines = _Lines(text, text - np.uint8(ZERO), starts, ends, ends - starts)
    if not _is_plain(lines, layout):
        return None
    unknown = np.full(len(ends), np.nan)
    block = Block(
        users=_column(_numbers(lines, 0)),
        movies=_column(_numbers(lines, 1)),
        stars=_stars(lines) if layout.has_rating else unknown,
        times=_numbers(lines, width - 1).astype(np.float64) if layout.has_time else unknown,
    )
    low, high = reading.limits or (0.0, 10.0)
    if layout.has_rating and (block.stars.min() < low or block.stars.max() > high):
        return None
    if layout.has_time and block.times.max() > reading.now + DAY_SECONDS:
        return None
    return block


class _Lines(NamedTuple):
    """k lines of `width` fields."""

    text: Bytes  # (n_bytes,)
    digits: Bytes  # (n_bytes,), any other character wraps round to more than 9
    starts: Ints  # (k, width)
    ends: Ints  # (k, width)
    widths: Ints  # (k, width)


def _is_plain(lines: _Lines, layout: PlainLayout) -> bool:
    """Whether each line is plain: its separators, widths, digits and decimal points."""
    commas = [COMMA] * (layout.width - 1)
    if not (lines.text[lines.ends] == (*commas, LINE_END)).all():
        return False
    if lines.widths.min() <= 0:
        return False
    longest = [ID_DIGITS, ID_DIGITS]
    longest += [RATING_WIDTH] * layout.has_rating + [TIME_DIGITS] * layout.has_time
    if (lines.widths.max(axis=0) > longest).any():
        return False
    n_points = 0
    if layout.has_rating:
        has_decimal = lines.widths[:, 2] == RATING_WIDTH  # (k,)
        if not (has_decimal | (lines.widths[:, 2] == 1)).all():
            return False
        points = lines.starts[has_decimal, 2] + 1
        if not (lines.text[points] == POINT).all():
            return False
        n_points = len(points)
    if np.count_nonzero(lines.digits > 9) != lines.ends.size + n_points:
        return False
    has_lead = lines.digits[lines.starts[:, :2]] > 0  # no leading zeros
    return bool((has_lead | (lines.widths[:, :2] == 1)).all())


def _stars(lines: _Lines) -> Floats:
    """The ratings, (k,)."""
    has_decimal = lines.widths[:, 2] == RATING_WIDTH  # (k,) `2.5`, not `2`
    decimals = np.where(has_decimal, lines.digits[lines.ends[:, 2] - 1], 0)
    tenths = lines.digits[lines.starts[:, 2]] * 10.0 + decimals
    stars: Floats = tenths / 10  # a quotient of whole numbers is the number nearest to the text
    return stars


def _numbers(lines: _Lines, place: int) -> Ints:
    """The whole numbers, (k,), of one column."""
    digits = lines.digits
    ends = lines.ends[:, place]
    widths = lines.widths[:, place]
    numbers = np.zeros(len(ends), dtype=np.int64)
    for power in range(int(widths.max())):
        digits_of_power = np.where(widths > power, digits[ends - 1 - power], 0)
        numbers += digits_of_power * np.int64(10**power)
    return numbers


def _column(numbers: Ints) -> Column:
    """Numbers (k,) as keys, which are their texts."""
    sorted_numbers, first, places = np.unique(numbers, return_index=True, return_inverse=True)
    in_order = np.argsort(first)
    place_of_sorted = np.empty(len(first), dtype=np.int64)
    place_of_sorted[in_order] = np.arange(len(first))
    return Column([str(number) for number in sorted_numbers[in_order]], place_of_sorted[places])
