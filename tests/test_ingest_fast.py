"""Ratings read by blocks, against the reader that goes row by row: no file may mean anything else."""

import io
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.ingest import fast_ratings, ingest
from batch.ingest.fast_ratings import Block, read_ratings
from batch.ingest.formats import DAT, MOVIELENS, U_DATA, Format
from batch.ingest.parsing import Reading, RefusedError
from batch.ingest.sources import UTF8
from batch.store.database import Database
from tables import by, ratings, rows

NOW = 1_000_000
PLAIN = [
    ("1", "31", "2.5", "100"),
    ("9" * 16, "7", "5", "0"),
    ("12", "0", "0.5", "086400"),
    ("1", "31", "3.0", "1086400"),
]
"""Fields that are read by blocks."""
ODD = [
    "", "0", "00", "007", "1" * 17, "x", "-1", "+1", "1 ", " 1", "1.", ".5", "2.55", "25.", "2,5", "5.5", "0.0", "1e2",
    "nan", "1086401", "9" * 13, "1970-01-02", '"1"', '"', '"1\n2"', "é", "\0", "\r", "1\r2", "\ufeff1", "::", ":", "\t",
    "\udcff",
]  # fmt: skip
"""Fields that are not, or only in some places."""
ENDS = ["\n", "\n", "\n", "\r\n", "\r", "\n\n", "", ",\n"]
FORMATS = [MOVIELENS, DAT, U_DATA]


@st.composite
def files(draw: st.DrawFn) -> tuple[Format, bytes]:
    """A file of plain lines, of which some have an odd field or end."""
    format_ = draw(st.sampled_from(FORMATS))
    assert format_.plain is not None
    lines = []
    for _ in range(draw(st.integers(0, 8))):
        fields = list(draw(st.sampled_from(PLAIN)))
        end = "\n"
        if draw(st.integers(0, 3)) == 0:
            fields[draw(st.integers(0, 3))] = draw(st.sampled_from(ODD))
            end = draw(st.sampled_from(ENDS))
        if draw(st.integers(0, 15)) == 0:
            fields = draw(st.sampled_from([fields[:3], [*fields, "1"], [""], []]))
        lines.append(format_.plain.separator.decode().join(fields) + end)
    head = "" if format_.plain.header is None else format_.plain.header.decode()
    head += draw(st.sampled_from(["\n", "\r\n", "\r", " \n", "\n\n"])) if head else ""
    start = draw(st.sampled_from(["", "", "\ufeff", "\n" if head else ""]))
    return format_, (start + head + "".join(lines)).encode("utf-8", "surrogateescape")


def told(reader: Iterator[Any]) -> tuple[list[Any], Any]:
    """What a reader gives, blocks as rows without a line, and the error it ends with, if any."""
    found: list[Any] = []
    try:
        for row in reader:
            if isinstance(row, Block):
                users, movies, stars, times = (column.tolist() for column in row)
                found += [
                    (None, str(u), str(m), s, t)
                    for u, m, s, t in zip(users, movies, stars, times, strict=True)
                ]
            else:
                found.append(tuple(row))
    except RefusedError as error:
        return found, (error.code, str(error), error.line)
    return found, None


def both_ways(
    format_: Format, content: bytes, limits: tuple[float, float] | None = (0.5, 5.0)
) -> tuple[Any, Any]:
    """What is read by blocks, and what row by row, without the lines that a block does not tell."""

    def careful(lines: Iterable[str]) -> Iterator[Any]:
        return format_.read(lines, Reading(limits, {}, NOW))

    assert format_.plain is not None
    reading = Reading(limits, {}, NOW)
    found, error = told(
        read_ratings(io.BytesIO(content), format_.plain, careful, reading, lambda _: None)
    )
    expected = told(
        careful(io.TextIOWrapper(io.BytesIO(content), UTF8, "surrogateescape", newline=""))
    )
    by_block = sum(row[0] is None for row in found)
    return (found, error), (
        [(None, *row[1:]) for row in expected[0][:by_block]] + expected[0][by_block:],
        expected[1],
    )


@settings(max_examples=400, derandomize=True, deadline=None)
@given(files(), st.integers(1, 60), st.sampled_from([(0.5, 5.0), (1.0, 5.0), None]))
def test_blocks_say_what_rows_say(
    file: tuple[Format, bytes], piece: int, limits: tuple[float, float] | None
) -> None:
    """Wherever a file is cut, blocks and row by row give the same ratings, rejects, line numbers and refusals."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_ratings, "PIECE", piece)
        found, expected = both_ways(*file, limits)
    assert repr(found) == repr(expected)


@pytest.mark.parametrize("format_", FORMATS, ids=lambda format_: format_.name)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_plain_files_are_read_by_blocks(format_: Format, end: str) -> None:
    """A file as MovieLens makes them, whichever its line ends, is never read row by row, its last line neither."""
    assert format_.plain is not None
    lines = [format_.plain.separator.decode().join(fields) for fields in PLAIN]
    head = [format_.plain.header.decode()] if format_.plain.header else []
    (found, _), expected = both_ways(format_, end.join(head + lines).encode())
    assert [row[0] for row in found] == [None] * len(PLAIN)
    assert found == expected[0]


@pytest.mark.parametrize("field", range(4))
@pytest.mark.parametrize("odd", ODD)
def test_no_odd_field_is_taken(field: int, odd: str) -> None:
    """Each odd field among plain ones, at the beginning and at the end of a file, is read as it always was."""
    for place in (0, len(PLAIN)):
        lines = [list(fields) for fields in PLAIN]
        lines.insert(place, ["1", "2", "3", "4"])
        lines[place][field] = odd
        text = (
            "\n".join(",".join(fields) for fields in [["userId,movieId,rating,timestamp"], *lines])
            + "\n"
        )
        found, expected = both_ways(MOVIELENS, text.encode("utf-8", "surrogateescape"))
        assert repr(found) == repr(expected)


def test_blocks_are_merged_as_rows_are(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of many blocks, its pairs in any order and some of them more than once, gives the rows the rule names."""
    monkeypatch.setattr(fast_ratings, "PIECE", 200)
    draw = random.Random(0)  # noqa: S311  not a secret
    cells = [
        (draw.randint(1, 9), draw.randint(1, 9), draw.randint(1, 10) / 2, draw.randint(0, 50))
        for _ in range(400)
    ]
    for number, part in enumerate((cells[:200], cells[200:])):
        path = tmp_path / f"{number}.csv"
        path.write_text(
            "userId,movieId,rating,timestamp\n"
            + "".join(f"{u},{m},{s},{t}\n" for u, m, s, t in part)
        )
        ingest(database, [path], by())
    best: dict[tuple[str, str], tuple[int, float]] = {}
    for user, movie, stars, at in cells:
        best[str(user), str(movie)] = max(
            (at, stars), best.get((str(user), str(movie)), (at, stars))
        )
    assert ratings(database) == sorted((*pair, stars, at) for pair, (at, stars) in best.items())
    counted = rows(
        database,
        "SELECT rows_read, rows_accepted, scale_min, all_timed FROM ingest_batches ORDER BY batch_id",
    )
    assert counted[0] == (200, len({cell[:2] for cell in cells[:200]}), 0.5, 1)


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
    """Pairs out of order, or twice, in one block or in two, are merged like any others."""
    monkeypatch.setattr(fast_ratings, "PIECE", piece)
    path = tmp_path / "ratings.csv"
    path.write_text(
        "\n".join(["userId,movieId,rating,timestamp", "1,1,1,0", "1,2,1,0", "2,1,1,0", *lines])
        + "\n"
    )
    (report,) = ingest(database, [path], by())
    assert (report.read, report.accepted, report.duplicate) == (5, 3, 2)
    later = {tuple(line.split(",")[:2]): float(line.split(",")[2]) for line in lines}
    assert ratings(database) == [
        (*pair, later.get(pair, 1.0), 1 if pair in later else 0)
        for pair in (("1", "1"), ("1", "2"), ("2", "1"))
    ]
