"""Files that are broken in every way, or made to do harm: nothing is lost, guessed or half taken, and limits hold."""

import gzip
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.ingest import Report, ingest
from batch.store.database import Database
from tables import by, ratings, rows, with_tables

HEADER = "user,movie,rating,timestamp"
TEXTS = [("Ann", True), ("u 1", True), ("é", True), ("x" * 400, True), ("", False), ("  ", False), ("x" * 401, False),
         ("a\0b", False), ("a\udcffb", False)]  # fmt: skip
STARS = [("4", True), ("0.5", True), (" 3 ", True), ("-1", True), ("5.000000", True), ("", False), ("1e3", False),
         ("nan", False), ("٤", False), ("4.", False), ("0x", False), ("99999", False),
         ("1.0000001", False)]  # fmt: skip
TIMES = [("100", True), ("", True), ("2020-02-29", True), ("2020-02-29T01:02:03+05:30", True), ("2019-02-29", False),
         ("-5", False), ("9999999999999", False), ("later", False), ("1970-01-01T00:00:00+10:00", False)]  # fmt: skip
ROW = st.tuples(
    *(st.sampled_from(pool) for pool in (TEXTS, TEXTS, STARS, TIMES)),
    st.sampled_from([0, 0, 0, 0, -1, 1]),
)
CODES = re.compile(r"[A-Z_]+\Z")
MANY = settings(
    deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
EXAMPLES = 1000
"""Of each of the two kinds."""


@pytest.fixture
def empty(sqlite_url: str) -> Database:
    """Tables, and nothing in them that stays."""
    return with_tables(sqlite_url)


def ingested(database: Database, path: Path) -> Report:
    """What would become of a file; nothing is merged."""
    [report] = ingest(database, [path], by(share=1.0), dry_run=True)
    return report


def conserved(report: Report) -> None:
    """Each row is somewhere, each reject has its place, code and remedy, and a refusal says what to do."""
    assert report.read == report.accepted + report.rejected + report.duplicate
    assert len(report.rejects) == report.rejected or report.status == "refused"
    for reject in report.rejects:
        assert reject.line >= 2
        assert CODES.match(reject.code)
        assert re.search(r"; (fix|save|remove|quote)", reject.message), reject.message
    if report.status == "refused":
        assert report.why.startswith(report.file)
        assert not report.accepted


@pytest.mark.promise("C1")
@pytest.mark.promise("C5")
def test_rows_of_all_kinds(empty: Database, tmp_path: Path, figure: Callable[[int], None]) -> None:
    """Exactly the rows with a bad field, or one too many or too few, are rejected, each by the line it stands on."""
    path = tmp_path / "x.csv"

    @settings(MANY, max_examples=EXAMPLES)
    @given(st.lists(ROW, min_size=1, max_size=30))
    def check(table: list[tuple[tuple[str, bool], ...]]) -> None:
        lines, bad, pairs = [HEADER], [], set()
        for line, (*fields, extra) in enumerate(table, 2):
            told = [field for field, _ in fields][: len(fields) + min(int(extra), 0)]  # type: ignore[call-overload]
            told += [""] * max(int(extra), 0)  # type: ignore[call-overload]
            lines.append(",".join(told))
            if extra or not all(valid for _, valid in fields):
                bad.append(line)
            else:
                pairs.add((fields[0][0], fields[1][0]))
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
        report = ingested(empty, path)
        conserved(report)
        if (len(bad) == len(table) or len(bad) > 10) and report.status == "refused":
            assert report.rejected == report.read
            return
        assert (report.status, report.read, report.accepted) == (
            "would be merged",
            len(table),
            len(pairs),
        )
        assert [reject.line for reject in report.rejects] == bad

    check()
    figure(EXAMPLES)


PARTS = st.sampled_from([
    b",", b'"', b'""', b"\n", b"\r", b"\r\n", b"\0", b";", b"\t", b"::", b"|", b"\xff", b"\xef\xbb\xbf", "é".encode(),
    b"\x1a", b"1", b"4.5", b"nan", b"1e999", b"-", b"Ann", b"Heat", HEADER.encode(), b"userId,movieId,rating,timestamp",
    b",User,Heat,Up", b",movie_title,genre_a", b"1::2::3::4", b"1\t2\t3\t4", b"\xe2\x80\xa8", b"\x85", b" ", b"#",
])  # fmt: skip


@pytest.mark.promise("C1")
@pytest.mark.promise("C2")
@pytest.mark.promise("C4")
def test_bytes_of_all_kinds(empty: Database, tmp_path: Path, figure: Callable[[int], None]) -> None:
    """Whatever bytes a file holds, it is taken, refused with a reason, or known and not needed; and no row is lost."""
    path = tmp_path / "x.csv"
    good = [
        HEADER.encode(),
        b"userId,movieId,rating,timestamp",
        b",User,Heat,Up",
        b",movie_title,genre_a,genre_b",
    ]

    @settings(MANY, max_examples=EXAMPLES)
    @given(st.sampled_from(good), st.lists(st.lists(PARTS, max_size=12), max_size=12))
    def check(first: bytes, others: list[list[bytes]]) -> None:
        path.write_bytes(b"\n".join([first, *map(b"".join, others)]))
        report = ingested(empty, path)
        assert report.status in ("would be merged", "refused", "skipped")
        conserved(report)

    check()
    assert ratings(empty) == []
    assert rows(empty, "SELECT * FROM ingest_batches") == []
    figure(EXAMPLES)


MB = 1 << 20
LIMIT_MB = 300
LAUNCH = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
child = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(child, 0)
print(os.waitstatus_to_exitcode(status), used.ru_maxrss)
"""
"""A small program that starts another: whoever starts one hands on its own size as the most that was held."""


def bomb(path: Path, size: int) -> Path:
    """A .gz that unpacks to so many MB, a thousand times its size."""
    with gzip.open(path.with_suffix(".csv.gz"), "wb") as file:
        file.write(HEADER.encode() + b"\n")
        for _ in range(size):
            file.write(b"\n" * MB)
    return path.with_suffix(".csv.gz")


def zip_bomb(path: Path, size: int) -> Path:
    """The same in a .zip."""
    packed = zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED)
    with packed as archive, archive.open("x.csv", "w", force_zip64=True) as file:
        file.write(HEADER.encode() + b"\n")
        for _ in range(size):
            file.write(b"\n" * MB)
    return path.with_suffix(".zip")


def pieces(path: Path, first: str, piece: bytes, count: int) -> Path:
    """A file of one text and then the same bytes again and again."""
    with path.open("wb") as file:
        file.write(first.encode())
        for _ in range(count):
            file.write(piece)
    return path


def texts(path: Path, count: int) -> Path:
    """One pair again and again, rated by texts of which none comes twice."""
    with path.open("w") as file:
        file.write(HEADER)
        file.writelines(
            f"\na,b,{number // 1_000_000}.{number % 1_000_000:06},1" for number in range(count)
        )
    return path


HOSTILE: dict[str, tuple[Callable[[Path, int], Path], int, int, str]] = {  # MB on commit and with --soak, what is said
    "gzip bomb": (bomb, 200, 10_000, r"it unpacks to more than 500 times its size; .+"),
    "zip bomb": (zip_bomb, 200, 10_000, r"it unpacks to more than 500 times its size; .+"),
    "one line": (lambda p, n: pieces(p, HEADER + "\n", b"x" * MB, n), 100, 1000, r"a line of more than 8 MB; .+"),
    "open quote": (
        lambda p, n: pieces(p, HEADER + '\nAnn,"', b"Heat,4,1\n" * (MB // 9), n), 50, 200, r"not CSV \(field larger .+",
    ),
    "no columns": (lambda p, n: pieces(p, HEADER + "\n", b"x\n" * (MB // 2), n), 20, 20, r"10,001 of 10,001 rows .+"),
    "many columns": (
        lambda p, n: pieces(p, ",User", b",Heat" * (MB // 5), n), 5, 5, r"1,048,577 columns, more than 200,000; .+",
    ),
    "many texts": (lambda p, n: texts(p, n * 40_000), 40, 100, ""),
}  # fmt: skip


@pytest.mark.promise("C6")
@pytest.mark.parametrize("what", HOSTILE)
def test_files_that_mean_harm(
    what: str, tmp_path: Path, often: Callable[[int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is made to fill memory or time is refused, or taken, within 300 MB and a minute of processor time."""
    monkeypatch.chdir(tmp_path)
    make, small, large, said = HOSTILE[what]
    path = make(tmp_path / "x.csv", often(small, large))
    words = [sys.executable, "-c", LAUNCH, sys.executable, "-m", "batch", "-q", "ingest", str(path)]
    ended = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    told, code, held_kb = ended.stdout.rsplit(maxsplit=2)
    assert int(code) == (1 if said else 0), told
    assert int(held_kb) / 1024 < LIMIT_MB
    assert re.search(said, told), told
