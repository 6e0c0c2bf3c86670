"""Ratings read in blocks against the reader that goes row by row: no file differs."""

import io
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.ingest import fast_ratings, ingest, movielens, movielens_100k, movielens_dat
from batch.ingest.encoding import UTF8
from batch.ingest.errors import RefusedError
from batch.ingest.fast_ratings import Block, read_ratings
from batch.ingest.file_format import Choices, Layout, Sample
from batch.ingest.parsing import Reading
from batch.ingest.separated import Dialect
from batch.ingest.tables import read_lines
from batch.store.database import Database
from tables import by, ratings, rows

NOW = 1_000_000  # seconds since 1970
HEADER = "userId,movieId,rating,timestamp"
PLAIN = [
    ("1", "31", "2.5", "100"),
    ("9" * 16, "7", "5", "0"),
    ("12", "0", "0.5", "086400"),
    ("1", "31", "3.0", "1086400"),
]
"""Rows that can be read in a block."""
ODD = [
    *("", "0", "00", "007", "1" * 17, "x", "-1", "+1", "1 ", " 1"),
    *("1.", ".5", "2.55", "25.", "2,5", "5.5", "0.0", "1e2", "nan"),
    *("1086401", "9" * 13, "1970-01-02"),
    *('"1"', '"', '"1\n2"', "é", "\0", "\r", "1\r2", "\ufeff1", "::", ":", "\t", "\udcff"),
]
"""Fields that cannot, or only in some columns."""
ENDS = ["\n", "\n", "\n", "\r\n", "\r", "\n\n", "", ",\n"]
HEADER_ENDS = ["\n", "\r\n", "\r", " \n", "\n\n"]


class Kind(NamedTuple):
    """A kind of MovieLens ratings, and how its lines are split."""

    layout: Layout
    dialect: Dialect

    @property
    def separator(self) -> str:
        return self.dialect.separator

    @property
    def header(self) -> str | None:
        assert self.layout.plain is not None
        header = self.layout.plain.header
        return None if header is None else header.decode()


def kind_of(layout: Layout | None, dialect: Dialect) -> Kind:
    assert layout is not None
    return Kind(layout, dialect)


LATEST = kind_of(
    movielens.recognise_ratings(Sample([movielens.RATINGS_HEADER], Choices())), Dialect(",")
)
DAT = kind_of(movielens_dat.recognise_ratings(["1::2::3::4"]), movielens_dat.DIALECT)
U_DATA = kind_of(movielens_100k.recognise_ratings(["1\t2\t3\t4"]), movielens_100k.RATINGS_DIALECT)
KINDS = [LATEST, DAT, U_DATA]


@st.composite
def files(draw: st.DrawFn) -> tuple[Kind, bytes]:
    """A file of plain lines, some of which have an odd field or line end."""
    kind = draw(st.sampled_from(KINDS))
    separator = kind.separator
    lines = []
    for _ in range(draw(st.integers(0, 8))):
        fields = list(draw(st.sampled_from(PLAIN)))
        end = "\n"
        if draw(st.integers(0, 3)) == 0:
            fields[draw(st.integers(0, 3))] = draw(st.sampled_from(ODD))
            end = draw(st.sampled_from(ENDS))
        if draw(st.integers(0, 15)) == 0:
            fields = draw(st.sampled_from([fields[:3], [*fields, "1"], [""], []]))
        lines.append(separator.join(fields) + end)
    header = ""
    starts = ["", "", "\ufeff", ""]
    if kind.header is not None:
        header = kind.header + draw(st.sampled_from(HEADER_ENDS))
        starts = ["", "", "\ufeff", "\n"]
    start = draw(st.sampled_from(starts))
    text = start + header + "".join(lines)
    return kind, text.encode("utf-8", "surrogateescape")


class Result(NamedTuple):
    """The output of a reader."""

    rows: list[Any]  # a row of a block has None for its line
    error: tuple[str, str, int | None] | None


def result_of(reader: Iterator[Any]) -> Result:
    """All rows of a reader, and the error that it ends with, if any."""
    result: list[Any] = []
    try:
        for row in reader:
            if isinstance(row, Block):
                result += [(None, *rating[1:]) for rating in row.ratings()]
            else:
                result.append(tuple(row))
    except RefusedError as error:
        return Result(result, (error.code, str(error), error.line))
    return Result(result, None)


def both_ways(
    kind: Kind, content: bytes, limits: tuple[float, float] | None = (0.5, 5.0)
) -> tuple[Result, Result]:
    """The results of reading in blocks and row by row; rows of blocks have no line in either."""
    layout = kind.layout
    assert layout.plain is not None

    def read_slowly(lines: Iterable[str]) -> Iterator[Any]:
        return read_lines(lines, kind.dialect, layout, Reading(limits, NOW))

    reading = Reading(limits, NOW)
    file = io.BytesIO(content)
    fast = result_of(read_ratings(file, layout.plain, read_slowly, reading, lambda _: None))
    text = io.TextIOWrapper(io.BytesIO(content), UTF8, "surrogateescape", newline="")
    slow = result_of(read_slowly(text))
    in_blocks = sum(row[0] is None for row in fast.rows)
    without_lines = [(None, *row[1:]) for row in slow.rows[:in_blocks]]
    return fast, Result(without_lines + slow.rows[in_blocks:], slow.error)


@settings(max_examples=400, derandomize=True, deadline=None)
@given(files(), st.integers(1, 60), st.sampled_from([(0.5, 5.0), (1.0, 5.0), None]))
def test_blocks_have_the_same_rows(
    file: tuple[Kind, bytes], piece: int, limits: tuple[float, float] | None
) -> None:
    """Wherever a file is cut, blocks give the same ratings, rejects, line numbers and refusals."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_ratings, "CHUNK_BYTES", piece)
        fast, slow = both_ways(*file, limits)
    assert repr(fast) == repr(slow)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.layout.format.name)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_plain_files_are_read_in_blocks(kind: Kind, end: str) -> None:
    """A file as MovieLens writes it is read in blocks to its last line, with either line end."""
    lines = [kind.separator.join(fields) for fields in PLAIN]
    if kind.header is not None:
        lines.insert(0, kind.header)
    fast, slow = both_ways(kind, end.join(lines).encode())
    assert [row[0] for row in fast.rows] == [None] * len(PLAIN)
    assert fast.rows == slow.rows


@pytest.mark.parametrize("field", range(4))
@pytest.mark.parametrize("odd", ODD)
def test_odd_fields_are_read_row_by_row(field: int, odd: str) -> None:
    """An odd field in the first or last row of a plain file gives what the slow reader gives."""
    for place in (0, len(PLAIN)):
        table = [list(fields) for fields in PLAIN]
        table.insert(place, ["1", "2", "3", "4"])
        table[place][field] = odd
        lines = [HEADER, *map(",".join, table)]
        text = "\n".join(lines) + "\n"
        fast, slow = both_ways(LATEST, text.encode("utf-8", "surrogateescape"))
        assert repr(fast) == repr(slow)


def test_blocks_are_merged_like_rows(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many blocks with pairs in any order, some repeated, are merged by the rule for ratings."""
    monkeypatch.setattr(fast_ratings, "CHUNK_BYTES", 200)
    draw = random.Random(0)  # noqa: S311  not a secret
    cells = [
        (
            draw.randint(1, 9),
            draw.randint(1, 9),
            draw.randint(1, 10) / 2,
            978_300_760 + draw.randint(0, 50),
        )
        for _ in range(400)
    ]
    for number, part in enumerate((cells[:200], cells[200:])):
        lines = [HEADER, *(f"{user},{movie},{stars},{at}" for user, movie, stars, at in part)]
        path = tmp_path / f"{number}.csv"
        path.write_text("\n".join(lines) + "\n")
        ingest(database, [path], by())
    best: dict[tuple[str, str], tuple[int, float]] = {}
    for user, movie, stars, at in cells:
        pair = (str(user), str(movie))
        rank = (at, stars)
        best[pair] = max(rank, best.get(pair, rank))
    assert ratings(database) == sorted((*pair, stars, at) for pair, (at, stars) in best.items())
    columns = "rows_read, rows_accepted, scale_min, all_timed"
    batches = rows(database, f"SELECT {columns} FROM ingest_batches ORDER BY batch_id")
    pairs_of_first = {cell[:2] for cell in cells[:200]}
    assert batches[0] == (200, len(pairs_of_first), 0.5, 1)


@pytest.mark.parametrize(
    "lines",
    [
        ["2,1,3,1", "1,2,3,1"],
        ["1,1,4.00,1", "1,2,3,1"],
        ["1,1,3,1", "1,1,4,1"],
        ["1,2,3,1", "1,1,4,1"],
    ],
)
@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_order_within_a_file(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[str],
    piece: int,
) -> None:
    """Pairs out of order, or repeated, in one block or in two, are merged like any others."""
    monkeypatch.setattr(fast_ratings, "CHUNK_BYTES", piece)
    path = tmp_path / "ratings.csv"
    first_lines = [HEADER, "1,1,1,0", "1,2,1,0", "2,1,1,0"]
    path.write_text("\n".join(first_lines + lines) + "\n")
    (report,) = ingest(database, [path], by())
    assert (report.read, report.accepted, report.duplicate) == (5, 3, 2)
    expected = {("1", "1"): (1.0, 0), ("1", "2"): (1.0, 0), ("2", "1"): (1.0, 0)}
    for line in lines:
        user, movie, stars, at = line.split(",")
        expected[user, movie] = (float(stars), int(at))
    assert ratings(database) == [(*pair, *rating) for pair, rating in expected.items()]
