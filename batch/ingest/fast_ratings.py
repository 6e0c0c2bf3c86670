"""Bytes of MovieLens ratings -> columns of numbers, for as long as each line is beyond doubt; then row by row."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from itertools import chain
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from batch.ingest.parsing import A_DAY, RatingRow, Reading, RefusedError, Reject
from batch.ingest.sources import UTF8
from batch.ratings import Floats, Ints

PIECE = 4 << 20
"""Bytes read at a time, and the rest of the line: about 200,000 ratings."""
ID_DIGITS, TIME_DIGITS = 16, 12
"""At most, as in `rows`."""
BOM = b"\xef\xbb\xbf"
COMMA, LINE_END, POINT, ZERO = b",\n.0"


@dataclass(frozen=True)
class Plain:
    """What stands between user, movie, rating and time where nothing is quoted, and the header, if there is one."""

    separator: bytes
    header: bytes | None = None


class Block(NamedTuple):
    """Ratings of consecutive lines, none of them rejected, (k,) each."""

    users: Ints  # keys, which are these numbers as text
    movies: Ints
    stars: Floats
    times: Ints  # seconds since 1970 UTC


def read_ratings(
    file: IO[bytes],
    plain: Plain,
    careful: Callable[[Iterable[str]], Iterator[RatingRow | Reject]],
    reading: Reading,
    advance: Callable[[int], None],
) -> Iterator[Block | RatingRow | Reject]:
    """The ratings of a file as blocks, and from the first block on with a line of any other look what `careful` reads.

    Both ways have to agree on plain lines only, so that a file means the same whether or not it is read by blocks.
    """
    lines, repeated = 0, []  # lines taken here, and what `careful` has to see again of them
    piece = b"" if plain.header is None else file.readline()
    if plain.header is None or piece.removeprefix(BOM).rstrip(b"\r\n") == plain.header:
        if plain.header is not None:
            lines, repeated = 1, [plain.header.decode() + "\n"]
        while piece := file.read(PIECE):
            piece += file.readline()
            block = parse(piece, plain.separator, reading)
            if block is None:
                break
            yield block
            lines += len(block.stars)
            advance(len(piece))
    encoding = UTF8 if lines == 0 else "utf-8"
    shift = lines - len(repeated)
    with _text(BytesIO(piece), encoding) as first, _text(file, "utf-8") as others:
        try:
            for row in careful(chain(repeated, first, others)):
                yield (
                    row._replace(line=row.line + shift)
                    if isinstance(row, Reject)
                    else (row[0] + shift, *row[1:])
                )
        except RefusedError as error:
            raise RefusedError(
                error.code, str(error), None if error.line is None else error.line + shift
            ) from None


def _text(file: IO[bytes], encoding: str) -> IO[str]:
    return TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="")


def parse(piece: bytes, separator: bytes, reading: Reading) -> Block | None:
    """The ratings of whole lines such as `1,31,2.5,1260759144`; None if any line is not plainly one, or to be rejected.

    Plain are ids without leading zeros, ratings of one digit and at most one decimal, times in seconds.
    """
    if separator != b",":
        if b"," in piece:
            return None
        piece = piece.replace(separator, b",")
    piece = piece.replace(b"\r\n", b"\n")
    text = np.frombuffer(piece if piece.endswith(b"\n") else piece + b"\n", np.uint8)
    separators = np.flatnonzero((text == COMMA) | (text == LINE_END))
    if len(separators) % 4:
        return None
    ends = separators.reshape(-1, 4)  # (k, 4), of user, movie, rating, time
    starts = np.concatenate([[0], separators[:-1] + 1]).reshape(-1, 4)
    widths = ends - starts
    decimal = widths[:, 2] == 3  # (k,) `2.5`, not `2`
    points = starts[decimal, 2] + 1
    digits = text - np.uint8(ZERO)  # what is no digit wraps round to more than 9
    plain = (
        (text[ends] == (COMMA, COMMA, COMMA, LINE_END)).all()
        and widths.min() > 0
        and (widths.max(axis=0) <= (ID_DIGITS, ID_DIGITS, 3, TIME_DIGITS)).all()
        and (decimal | (widths[:, 2] == 1)).all()
        and (text[points] == POINT).all()
        and np.count_nonzero(digits > 9) == ends.size + len(points)
        and ((digits[starts[:, :2]] > 0) | (widths[:, :2] == 1)).all()
    )
    if not plain:
        return None
    users, movies, times = (
        _numbers(digits, ends[:, field], widths[:, field]) for field in (0, 1, 3)
    )
    tenths = digits[starts[:, 2]] * 10.0 + np.where(decimal, digits[ends[:, 2] - 1], 0)
    stars = tenths / 10  # the number nearest to the text, as a quotient of whole numbers is
    low, high = reading.limits or (0.0, 10.0)
    if stars.min() < low or stars.max() > high or times.max() > reading.now + A_DAY:
        return None
    return Block(users, movies, stars, times)


def _numbers(digits: npt.NDArray[np.uint8], ends: Ints, widths: Ints) -> Ints:
    """The whole numbers, (k,), whose digits stand before `ends`."""
    found = np.zeros(len(ends), dtype=np.int64)
    for place in range(int(widths.max())):
        found += np.where(widths > place, digits[ends - 1 - place], 0) * np.int64(10**place)
    return found
