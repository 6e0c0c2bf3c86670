"""Files broken in every way, or made to do harm: no row is lost or guessed, and limits hold."""

import gzip
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.ingest import Report, ingest
from batch.ingest.movielens_100k import U_DATA, U_ITEM
from batch.ingest.movielens_dat import DAT, DAT_MOVIES
from batch.store.database import Database
from tables import by, ratings, rows, with_tables


class Field(NamedTuple):
    """The text of a field, and whether it is valid."""

    text: str
    valid: bool


def fields(valid: list[str], bad: list[str]) -> st.SearchStrategy[Field]:
    pool = [Field(text, True) for text in valid] + [Field(text, False) for text in bad]
    return st.sampled_from(pool)


HEADER = "user,movie,rating,timestamp"
KEY = fields(
    valid=["Ann", "u 1", "é", "x" * 400],
    bad=["", "  ", "x" * 401, "a\0b", "a\udcffb"],
)
STARS = fields(
    valid=["4", "0.5", " 3 ", "-1", "5.000000", "1.0000001"],
    bad=["1e3", "٤", "4.", "0x", "99999"],
)
TIME = fields(
    valid=["978300760", "", "2020-02-29", "2020-02-29T01:02:03+05:30"],
    bad=["2019-02-29", "-5", "9999999999999", "later", "1970-01-01T00:00:00+10:00"],
)
ROW = st.tuples(
    st.tuples(KEY, KEY, STARS, TIME),
    st.sampled_from([0, 0, 0, 0, -1, 1]),  # fields too few or too many
)
WITHOUT_HEADER = {format_.name for format_ in (DAT, DAT_MOVIES, U_DATA, U_ITEM)}
CODE = re.compile(r"[A-Z_]+")
MANY = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
EXAMPLES = 100, 1000
"""Of each of the two kinds, on a commit and with --soak."""


@pytest.fixture
def empty(sqlite_url: str) -> Database:
    """A database with empty tables, which dry runs leave empty."""
    return with_tables(sqlite_url)


def dry_run(database: Database, path: Path) -> Report:
    """The outcome for a file; nothing is merged."""
    [report] = ingest(database, [path], by(share=1.0, unrated=()), dry_run=True)
    return report


def check_report(report: Report) -> None:
    """All rows are counted; rejects have place, code and remedy; a refusal has its file."""
    assert report.read == report.accepted + report.rejected + report.duplicate
    assert len(report.rejects) == report.rejected or report.status == "refused"
    no_header = report.format in WITHOUT_HEADER or report.why.startswith("it has no header")
    first_line = 1 if no_header else 2
    for reject in report.rejects:
        assert reject.line >= first_line
        assert CODE.fullmatch(reject.code)
        assert re.search(r"; (fix|save|remove|quote|write)", reject.message), reject.message
    if report.status == "refused":
        assert report.why.startswith(report.file)
        assert report.code is not None
        assert CODE.fullmatch(report.code)
        assert not report.accepted


@pytest.mark.promise("C1")
@pytest.mark.promise("C5")
def test_rows_of_all_kinds(
    empty: Database,
    tmp_path: Path,
    often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:
    """Exactly the rows with a bad field, or one too many or too few, are rejected by their line."""
    path = tmp_path / "x.csv"

    @settings(MANY, max_examples=often(*EXAMPLES))
    @given(st.lists(ROW, min_size=1, max_size=30))
    def check(table: list[tuple[tuple[Field, ...], int]]) -> None:
        lines = [HEADER, "é,é,4,978300760"]  # invalid bytes are no Windows-1252 beside valid UTF-8
        bad_lines = []
        n_rows = 1
        pairs = {("é", "é")}
        for line, (row, extra) in enumerate(table, 3):
            texts = [field.text for field in row]
            if extra < 0:
                texts.pop()
            elif extra > 0:
                texts.append("x")
            lines.append(",".join(texts))
            if not any(text.strip() for text in texts):
                continue  # a blank row counts for nothing
            n_rows += 1
            if extra or not all(field.valid for field in row):
                bad_lines.append(line)
            else:
                pairs.add((row[0].text, row[1].text))
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
        report = dry_run(empty, path)
        check_report(report)
        may_be_refused = len(bad_lines) > 10
        if may_be_refused and report.status == "refused":
            assert report.rejected == report.read
            return
        assert (report.status, report.read) == ("would be merged", n_rows)
        assert report.accepted == len(pairs)
        assert [reject.line for reject in report.rejects] == bad_lines

    check()
    figure(often(*EXAMPLES))


FIRST_LINES = [
    HEADER.encode(),
    b"userId,movieId,rating,timestamp",
    b",User,Heat,Up",
    b",movie_title,genre_a,genre_b",
]
PARTS = [
    *(b",", b'"', b'""', b"\n", b"\r", b"\r\n", b"\0", b";", b"\t", b"::", b"|"),
    *(b"\xff", b"\xef\xbb\xbf", "é".encode(), b"\x1a", b"\xe2\x80\xa8", b"\x85", b" ", b"#"),
    *(b"1", b"4.5", b"nan", b"1e999", b"-", b"Ann", b"Heat", HEADER.encode()),
    *(b"userId,movieId,rating,timestamp", b",User,Heat,Up", b",movie_title,genre_a"),
    *(b"1::2::3::4", b"1\t2\t3\t4"),
]


@pytest.mark.promise("C1")
@pytest.mark.promise("C2")
@pytest.mark.promise("C4")
def test_bytes_of_all_kinds(
    empty: Database,
    tmp_path: Path,
    often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:
    """A file of any bytes is merged, skipped, or refused with a reason, and no row is lost."""
    path = tmp_path / "x.csv"
    lines = st.lists(st.lists(st.sampled_from(PARTS), max_size=12), max_size=12)

    @settings(MANY, max_examples=often(*EXAMPLES))
    @given(st.sampled_from(FIRST_LINES), lines)
    def check(first: bytes, others: list[list[bytes]]) -> None:
        path.write_bytes(b"\n".join([first, *map(b"".join, others)]))
        report = dry_run(empty, path)
        assert report.status in ("would be merged", "refused", "skipped")
        check_report(report)

    check()
    assert ratings(empty) == []
    assert rows(empty, "SELECT * FROM ingest_batches") == []
    figure(often(*EXAMPLES))


MB = 1 << 20
LIMIT_MB = 300
LAUNCH = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
child = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(child, 0)
print(os.waitstatus_to_exitcode(status), used.ru_maxrss)
"""
"""A small program that starts another: the memory of a large parent would count as the child's."""


def gzip_bomb(path: Path, size: int) -> Path:
    """A .gz of many members that unpacks to `size` MB, a thousand times its own size."""
    packed = path.with_suffix(".csv.gz")
    packed.write_bytes(gzip.compress(HEADER.encode() + b"\n") + gzip.compress(b"\n" * MB) * size)
    return packed


def zip_bomb(path: Path, size: int) -> Path:
    """The same in a .zip."""
    packed = path.with_suffix(".zip")
    with (
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.csv", "w", force_zip64=True) as file,
    ):
        file.write(HEADER.encode() + b"\n")
        for _ in range(size):
            file.write(b"\n" * MB)
    return packed


def repeated(path: Path, first: str, piece: bytes, count: int) -> Path:
    """A file of one text and then the same bytes `count` times."""
    with path.open("wb") as file:
        file.write(first.encode())
        for _ in range(count):
            file.write(piece)
    return path


def one_line(path: Path, size: int) -> Path:
    return repeated(path, HEADER + "\n", b"x" * MB, size)


def open_quote(path: Path, size: int) -> Path:
    return repeated(path, HEADER + '\nAnn,"', b"Heat,4,1\n" * (MB // 9), size)


def one_column(path: Path, size: int) -> Path:
    return repeated(path, HEADER + "\n", b"x\n" * (MB // 2), size)


def many_columns(path: Path, size: int) -> Path:
    return repeated(path, ",User", b",Heat" * (MB // 5), size)


def many_texts(path: Path, size: int) -> Path:
    """One pair again and again, rated by long texts that are all different."""
    with path.open("w") as file:
        file.write(HEADER)
        for number in range(size * 40_000):
            file.write(f"\na,b,{number // 1_000_000}.{number % 1_000_000:030},978300760")
    return path


class Hostile(NamedTuple):
    """How a hostile file is made, its size in MB, and the message of its refusal, if any."""

    make: Callable[[Path, int], Path]
    on_commit: int
    on_soak: int
    message: str | None  # a regular expression
    on_commit_mb: int = LIMIT_MB  # less where a small file must show what a large one takes


BOMB = r"it unpacks to more than 500 times its size; .+"
HOSTILE = {
    "gzip bomb": Hostile(gzip_bomb, 200, 10_000, BOMB),
    "zip bomb": Hostile(zip_bomb, 200, 10_000, BOMB),
    "one line": Hostile(one_line, 100, 1000, r"a line of more than 8 MB; .+"),
    "open quote": Hostile(open_quote, 50, 200, r"10,001 of 10,001 rows .+ not CSV .+"),
    "no columns": Hostile(one_column, 20, 20, r"10,001 of 10,001 rows .+"),
    "many columns": Hostile(many_columns, 5, 5, r"1,048,577 columns, more than 200,000; .+"),
    "many texts": Hostile(many_texts, 10, 100, None, 190),
}


@pytest.mark.promise("C6")
@pytest.mark.parametrize("what", HOSTILE)
def test_files_that_mean_harm(
    what: str, tmp_path: Path, often: Callable[[int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file made to fill memory or time takes at most 300 MB and a minute of processor time."""
    monkeypatch.chdir(tmp_path)
    hostile = HOSTILE[what]
    path = hostile.make(tmp_path / "x.csv", often(hostile.on_commit, hostile.on_soak))
    command = [sys.executable, "-m", "batch", "-q", "ingest", str(path)]
    ended = subprocess.run(
        [sys.executable, "-c", LAUNCH, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    output, code, peak_kb = ended.stdout.rsplit(maxsplit=2)
    assert int(peak_kb) / 1024 < often(hostile.on_commit_mb, LIMIT_MB)
    if hostile.message is None:
        assert int(code) == 0, output
    else:
        assert int(code) == 1, output
        assert re.search(hostile.message, output), output
