"""Bytes of MovieLens ratings -> blocks of numbers, up to the first line that is not plain."""

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
    stars: Floats  # (k,)
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
        block = parse_block(chunk, layout.separator, reading)
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


def _renumbered(rows: Iterator[RatingRow | Reject], offset: int) -> Iterator[RatingRow | Reject]:
    """The same rows and errors, with `offset` added to their line numbers."""
    try:
        for row in rows:
            if isinstance(row, Reject):
                yield row._replace(line=row.line + offset)
            else:
                line, user_key, movie_key, stars, time = row
                yield line + offset, user_key, movie_key, stars, time
    except RefusedError as error:
        line_of_error = None if error.line is None else error.line + offset
        raise RefusedError(error.code, str(error), line_of_error) from None


def _text(file: IO[bytes], encoding: str) -> IO[str]:
    return TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="")


def parse_block(chunk: bytes, separator: bytes, reading: Reading) -> Block | None:
    """The ratings of k whole lines such as `1,31,2.5,1260759144`, or None.

    None means that some line is not plain, or is to be rejected. Plain lines have ids without
    leading zeros, ratings of one digit and at most one decimal, and times in seconds.
    """
    if separator != b",":
        if b"," in chunk:
            return None
        chunk = chunk.replace(separator, b",")
    chunk = chunk.replace(b"\r\n", b"\n")
    if not chunk.endswith(b"\n"):
        chunk += b"\n"
    text = np.frombuffer(chunk, np.uint8)  # (n_bytes,)
    separators = np.flatnonzero((text == COMMA) | (text == LINE_END))
    if len(separators) % 4:
        return None
    # (k, 4) each; the columns are user, movie, rating, time
    ends = separators.reshape(-1, 4)
    starts = np.concatenate([[0], separators[:-1] + 1]).reshape(-1, 4)
    widths = ends - starts
    digits = text - np.uint8(ZERO)  # (n_bytes,), any other character wraps round to more than 9
    if not _is_plain(text, digits, starts, ends, widths):
        return None
    has_decimal = widths[:, 2] == RATING_WIDTH  # (k,) `2.5`, not `2`
    tenths = digits[starts[:, 2]] * 10.0 + np.where(has_decimal, digits[ends[:, 2] - 1], 0)
    block = Block(
        users=_column(_numbers(digits, ends[:, 0], widths[:, 0])),
        movies=_column(_numbers(digits, ends[:, 1], widths[:, 1])),
        stars=tenths / 10,  # a quotient of whole numbers is the number nearest to the text
        times=_numbers(digits, ends[:, 3], widths[:, 3]).astype(np.float64),
    )
    low, high = reading.limits or (0.0, 10.0)
    if block.stars.min() < low or block.stars.max() > high:
        return None
    if block.times.max() > reading.now + DAY_SECONDS:
        return None
    return block


def _is_plain(text: Bytes, digits: Bytes, starts: Ints, ends: Ints, widths: Ints) -> bool:
    """Whether each line is plain: its separators, widths, digits and decimal points."""
    has_decimal = widths[:, 2] == RATING_WIDTH  # (k,)
    if not (text[ends] == (COMMA, COMMA, COMMA, LINE_END)).all():
        return False
    if widths.min() <= 0:
        return False
    if (widths.max(axis=0) > (ID_DIGITS, ID_DIGITS, RATING_WIDTH, TIME_DIGITS)).any():
        return False
    if not (has_decimal | (widths[:, 2] == 1)).all():
        return False
    points = starts[has_decimal, 2] + 1
    if not (text[points] == POINT).all():
        return False
    if np.count_nonzero(digits > 9) != ends.size + len(points):
        return False
    ids = starts[:, :2]
    return bool(((digits[ids] > 0) | (widths[:, :2] == 1)).all())  # no leading zeros


def _numbers(digits: Bytes, ends: Ints, widths: Ints) -> Ints:
    """The whole numbers, (k,), whose last digits are right before `ends`."""
    numbers = np.zeros(len(ends), dtype=np.int64)
    for place in range(int(widths.max())):
        place_digits = np.where(widths > place, digits[ends - 1 - place], 0)
        numbers += place_digits * np.int64(10**place)
    return numbers


def _column(numbers: Ints) -> Column:
    """Numbers (k,) as keys, which are their texts."""
    sorted_numbers, first, places = np.unique(numbers, return_index=True, return_inverse=True)
    in_order = np.argsort(first)
    place_of_sorted = np.empty(len(first), dtype=np.int64)
    place_of_sorted[in_order] = np.arange(len(first))
    return Column([str(number) for number in sorted_numbers[in_order]], place_of_sorted[places])
