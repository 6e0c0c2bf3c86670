"""Rejected rows and refused files: each has its place, reason and remedy, and costs no other."""

import gzip
import io
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from batch.ingest import Report, ingest
from batch.ingest.archives import TABLES
from batch.ingest.other_files import EXPECTED
from batch.store.database import Database
from tables import Write, by, films, flags, ratings, rows, with_tables

LATEST = "userId,movieId,rating,timestamp\n"
LATEST_FILMS = "movieId,title,genres\n"
LONG = "user,movie,rating,timestamp\n"
GOOD = [f"u{n},Heat,4,978300760\n" for n in range(1100)]


class Counts(NamedTuple):
    """The counts of a file's rows."""

    read: int
    accepted: int
    rejected: int
    duplicate: int


def stored_rejects(database: Database) -> list[tuple[object, ...]]:
    columns = "line, field, code, text"
    return rows(database, f"SELECT {columns} FROM ingest_rejects ORDER BY batch_id, reject_no")


def counts(report: Report) -> Counts:
    return Counts(report.read, report.accepted, report.rejected, report.duplicate)


def nothing_merged(database: Database) -> bool:
    """Whether the tables of users, films and ratings are empty."""
    tables = ("users", "movies", "genres", "movie_genres", "ratings")
    return not any(rows(database, f"SELECT * FROM {table}") for table in tables)


class Case(NamedTuple):
    """A file with bad rows, the counts of its rows, and its rejects."""

    content: str
    counts: Counts
    rejects: list[tuple[int, str | None, str, str]]  # line, field, code, text


BAD_FLAG = flags()[:-1] + "x"
CASES = {
    "long": Case(
        LONG + "Ann,Heat,4,100\n"
        'Ann,"The\nNet",5,100\n'
        "Bob,Heat,x,100\n"
        "Bob,Heat,4\n"
        "Ann,Heat,4,100\n"
        "Ann,Heat,3,100\n"
        "\n"
        " ,Heat,3,100\n"
        '"B\nob",Heat,3,noon\n'
        "Bob,Heat,4,100,x\n",
        Counts(9, 2, 5, 2),
        [
            (5, "rating", "BAD_RATING", "Bob,Heat,x,100"),
            (6, None, "FIELD_COUNT", "Bob,Heat,4"),
            (10, "user", "EMPTY_KEY", " ,Heat,3,100"),
            (12, "timestamp", "BAD_TIME", "B\nob,Heat,3,noon"),
            (13, None, "FIELD_COUNT", "Bob,Heat,4,100,x"),
        ],
    ),
    "wide": Case(
        ',User,Heat,"The\nNet",Up\n'
        "0,Ann,4.0,x,0.0\n"
        '1,"B\nob",0,99999,5\n'
        "2,,3,4,0\n"
        "3,Cid,3\n"
        "4,Dee,,0.0,\n"
        "5,Eve,1,2,3,4\n"
        "6,Fay\n",
        Counts(12, 2, 10, 0),
        [
            (3, "The\nNet", "BAD_RATING", "x"),
            (5, "The\nNet", "BAD_RATING", "99999"),
            (6, "User", "EMPTY_KEY", "3"),
            (6, "User", "EMPTY_KEY", "4"),
            (7, None, "FIELD_COUNT", "3"),
            (9, None, "FIELD_COUNT", "1"),
            (9, None, "FIELD_COUNT", "2"),
            (9, None, "FIELD_COUNT", "3"),
            (9, None, "FIELD_COUNT", "4"),
            (10, None, "FIELD_COUNT", ""),
        ],
    ),
    "latest": Case(
        LATEST + "1,31,2.5,100\n1,31,2.5,100\n1,x,3,100\n-1,31,3,100\n1,32,5.5,100\n1,31,0,100\n",
        Counts(6, 1, 4, 1),
        [
            (4, "movieId", "BAD_ID", "1,x,3,100"),
            (5, "userId", "BAD_ID", "-1,31,3,100"),
            (6, "rating", "RATING_RANGE", "1,32,5.5,100"),
            (7, "rating", "RATING_RANGE", "1,31,0,100"),
        ],
    ),
    "1M": Case(
        "1::31::5::978300760\n" * 10 + "1::31::5\n1::32::5.5::100\n",
        Counts(12, 1, 2, 9),
        [
            (11, None, "FIELD_COUNT", "1::31::5"),
            (12, "rating", "RATING_RANGE", "1::32::5.5::100"),
        ],
    ),
    "100K": Case(
        "1\t31\t5\t978300760\n" * 10 + "1\t32\t6\t100\n1\t33\t5\t1e3\n",
        Counts(12, 1, 2, 9),
        [
            (11, "rating", "RATING_RANGE", "1\t32\t6\t100"),
            (12, "timestamp", "BAD_TIME", "1\t33\t5\t1e3"),
        ],
    ),
    "latest films": Case(
        LATEST_FILMS + "31,Heat,Crime\n"
        "31,Heat,Crime\n"
        "31,Heat,Drama\n"
        "x,Up,\n"
        "32,,\n"
        "33,The, Net,Drama\n",
        Counts(6, 1, 4, 1),
        [
            (4, None, "CONFLICTING_DUPLICATE", "Heat"),
            (5, "movieId", "BAD_ID", "x,Up,"),
            (6, "title", "EMPTY_KEY", "32,,"),
            (7, None, "FIELD_COUNT", "33,The, Net,Drama"),
        ],
    ),
    "wide films": Case(
        ",movie_title,genre_a,genre_b\n0,Heat,1,0\n1,Up,0,2\n2,,0,0\n3,Net,1\n",
        Counts(4, 1, 3, 0),
        [
            (3, "genre_b", "BAD_FLAG", "1,Up,0,2"),
            (4, "movie_title", "EMPTY_KEY", "2,,0,0"),
            (5, None, "FIELD_COUNT", "3,Net,1"),
        ],
    ),
    "100K films": Case(
        f"31|Heat||||{flags(6)}\n" * 10 + f"32|Up||||{BAD_FLAG}\n33|Up||\n",
        Counts(12, 1, 2, 9),
        [
            (11, "genres", "BAD_FLAG", f"32|Up||||{BAD_FLAG}"),
            (12, None, "FIELD_COUNT", "33|Up||"),
        ],
    ),
}


@pytest.mark.promise("C1")
@pytest.mark.parametrize("kind", CASES)
def test_every_row_is_accounted_for(database: Database, write: Write, kind: str) -> None:
    """Read = accepted + rejected + duplicate, and each reject has line, field, code and text."""
    case = CASES[kind]
    path = write("x.csv", case.content)
    (report,) = ingest(database, [path], by())
    assert (report.status, counts(report)) == ("merged", case.counts)
    assert stored_rejects(database) == case.rejects
    reported = [(reject.line, reject.field, reject.code, reject.text) for reject in report.rejects]
    assert reported == case.rejects
    assert rows(database, "SELECT DISTINCT file FROM ingest_rejects") == [(str(path),)]
    columns = "status, rows_read, rows_accepted, rows_rejected, rows_duplicate"
    assert rows(database, f"SELECT {columns} FROM ingest_batches") == [("merged", *case.counts)]


NOT_NUMBERS = [
    *("1e400", "1e3", "nan", "inf", "-inf", "1_0", "٤", "４", "''", "4.", ".5", "+4"),
    *("", " ", "4 5", "0x4", "True", "--4", "12345", '"4,5,1"', "4.5.1", "x" * 99),
]
NOT_TIMES = [
    *("noon", "1e9", "-1", "31/12/2000", "2000-13-01", "1234567890123", "٤"),
]
TIMES_OUT_OF_RANGE = [
    "999999999999",
    "9999-12-31T23:59:59-23:59",
    "1969-12-31T23:59:59Z",
    "0001-01-01T00:00:00+23:59",
    "2999-01-01\x0002:30",
]


def as_quoted(text: str) -> str:
    """A field as a message quotes it: cut after 40 characters, in ASCII."""
    shown = text if len(text) <= 40 else text[:40] + "..."
    return repr(shown).encode("ascii", "backslashreplace").decode()


@pytest.mark.promise("C5")
def test_ratings_that_are_no_numbers(database: Database, write: Write) -> None:
    """A rating is digits with a mark; what Python could merely turn into a number is rejected."""
    bad_lines = [f"Ann,Up,{rating},100\n" for rating in NOT_NUMBERS]
    path = write("x.csv", LONG + "Ann,Heat,4,100\n" + "".join(bad_lines))
    (report,) = ingest(database, [path], by(share=1.0))
    expected = []
    for line, text in enumerate(NOT_NUMBERS, 3):
        shown = as_quoted(text.strip('"'))
        message = f"rating {shown} is not a number such as 4 or 3.5; fix the row"
        if text.strip() in ("", "nan"):
            # Beside quotes, blanks before a field do not count.
            message = message.replace("' '", "''")
            message += ", or set ingest.unrated, such as to [0], to leave such rows out"
        expected.append((line, "BAD_RATING", message))
    rejects = [(reject.line, reject.code, reject.message) for reject in report.rejects]
    assert rejects == expected
    assert ratings(database) == [("Ann", "Heat", 4.0, 100)]


def test_bad_times(database: Database, write: Write) -> None:
    """A time that is no time, before 1970 or in the future costs one row, on both databases."""
    bad_lines = [f"Ann,Up,4,{time}\n" for time in NOT_TIMES + TIMES_OUT_OF_RANGE]
    path = write("x.csv", LONG + "Ann,Heat,4,100\n" + "".join(bad_lines))
    (report,) = ingest(database, [path], by(share=1.0))
    codes = ["BAD_TIME"] * len(NOT_TIMES) + ["TIME_RANGE"] * len(TIMES_OUT_OF_RANGE)
    rejects = [(reject.line, reject.code) for reject in report.rejects]
    assert rejects == list(enumerate(codes, 3))
    assert ratings(database) == [("Ann", "Heat", 4.0, 100)]


def test_bytes_that_are_no_text(database: Database, tmp_path: Path) -> None:
    """Beside valid UTF-8, a NUL byte and invalid bytes cost one row each, stored as escapes."""
    lines = [
        LONG.encode(),
        b"A\0nn,Heat,4,1\n",
        b"Ann,H\xe9at,4,1\n",
        b"Ann,Up,4\xff,1\n",
        b"Ann,Up,4,1\xff\n",
        "Ann,Héat,4,1\n".encode(),
    ]
    path = tmp_path / "x.csv"
    path.write_bytes(b"".join(lines))
    (report,) = ingest(database, [path], by())
    assert counts(report) == (5, 1, 4, 0)
    assert stored_rejects(database) == [
        (2, "user", "NUL_BYTE", r"A\0nn,Heat,4,1"),
        (3, "movie", "BAD_ENCODING", r"Ann,H\udce9at,4,1"),
        (4, "rating", "BAD_RATING", r"Ann,Up,4\udcff,1"),
        (5, "timestamp", "BAD_TIME", r"Ann,Up,4,1\udcff"),
    ]
    assert ratings(database) == [("Ann", "Héat", 4.0, 1)]


def test_long_rows_are_cut(database: Database, write: Write) -> None:
    """A key of more than 400 characters is rejected; 1024 characters of the row are stored."""
    ingest(database, [write("x.csv", f"{LONG}Ann,Heat,4,1\nAnn,{'x' * 2000},4,1\n")], by())
    expected = [(3, "movie", "KEY_TOO_LONG", "Ann," + "x" * 1020)]
    assert stored_rejects(database) == expected


@pytest.mark.promise("C7")
@pytest.mark.parametrize(
    ("bad", "good", "limits", "refused_at"),
    [
        (10, 1, {}, None),
        (10, 90, {}, None),
        (11, 1089, {}, None),
        (11, 1088, {}, 1099),
        (11, 90, {}, 101),
        (1, 0, {}, 1),
        (3, 0, {}, 3),
        (11, 90, {"share": 0.2}, None),
        (30, 1000, {"share": 1.0, "rejects": 20}, 21),
        (20, 1000, {"share": 1.0, "rejects": 20}, None),
        (11, 1000, {"share": 1.0, "rejects": 0}, 11),
    ],
)
def test_limits(
    database: Database,
    write: Write,
    bad: int,
    good: int,
    limits: dict[str, float],
    refused_at: int | None,
) -> None:
    """Ten rejects are tolerated, then a share of the rows, and never more than max_rejects."""
    bad_line = "Ann,Heat,x,100"
    path = write("x.csv", LONG + f"{bad_line}\n" * bad + "".join(GOOD[:good]))
    (report,) = ingest(database, [path], by(**limits))
    columns = "status, rows_read, rows_accepted, rows_rejected, rows_duplicate, error"
    batches = rows(database, f"SELECT {columns} FROM ingest_batches")
    if refused_at is None:
        assert batches == [("merged", bad + good, good, bad, 0, None)]
        assert len(ratings(database)) == good
        return
    rejected = min(bad, refused_at)
    first = "rating 'x' is not a number such as 4 or 3.5; fix the row"
    why = f"{path}:2: {rejected} of {refused_at:,} rows cannot be read; the first: {first}"
    assert (report.status, report.code, report.why) == ("refused", "TOO_MANY_REJECTS", why)
    assert counts(report) == (refused_at, 0, refused_at, 0)
    assert batches == [("refused", refused_at, 0, refused_at, 0, why)]
    lines = range(2, rejected + 2)
    expected = [(line, "rating", "BAD_RATING", bad_line) for line in lines]
    assert stored_rejects(database) == expected
    assert nothing_merged(database)


def test_conflicts_count_as_rejects(database: Database, write: Write) -> None:
    """A catalogue that describes its films twice is refused by the same limits."""
    content = LATEST_FILMS + "".join(f"{n},Heat,\n{n},Up,\n" for n in range(30))
    (report,) = ingest(database, [write("x.csv", content)], by(share=1.0, rejects=20))
    assert report.status == "refused"
    assert nothing_merged(database)


def zipped(changes: dict[int, int]) -> bytes:
    """A .zip of one CSV file, with these bytes of both its headers changed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.csv", LONG + "Ann,Heat,4,100\n")
    content = bytearray(file.getvalue())
    for start in (0, content.index(b"PK\x01\x02") + 2):
        for place, value in changes.items():
            content[start + place] = value
    return bytes(content)


class Refused(NamedTuple):
    """A file that is refused: its ending, its content, and the message behind its path."""

    ending: str
    content: bytes | str
    message: str  # a regular expression


GZIP = gzip.compress((LONG + "".join(GOOD)).encode(), mtime=0)
GZIP_FLIPPED = GZIP[:-8] + b"\0" + GZIP[-7:]
NO_GZIP = r": broken archive \(Not a gzipped file .*\); copy the file again"
UNKNOWN = re.escape(EXPECTED)
REFUSED = {
    "truncated": Refused(".gz", GZIP[:-20], ": the file ends too early; copy it again"),
    "flipped": Refused(
        ".gz", GZIP_FLIPPED, r": broken archive \(CRC check .*\); copy the file again"
    ),
    "no gzip": Refused(".gz", LONG, NO_GZIP),
    "after gzip": Refused(".gz", GZIP + b"rest", NO_GZIP),
    "cut zip": Refused(
        ".zip",
        zipped({})[:-9],
        r": broken archive \(File is not a zip file\); copy the file again",
    ),
    "flipped zip": Refused(
        ".zip",
        zipped({14: 0}),
        r"/x\.csv: broken archive \(Bad CRC-32 .*\); copy the file again",
    ),
    "encrypted": Refused(".zip", zipped({6: 1}), r"/x\.csv: .*(encrypted|password).*; .+"),
    "compression": Refused(".zip", zipped({8: 99}), r"/x\.csv: .*compression.*; .+"),
    "empty": Refused(".csv", "", ": the file is empty"),
    "blank": Refused(".csv", "\ufeff \r\n\r\n", ": the file is empty"),
    "empty gzip": Refused(".gz", "", ": the file is empty"),
    "unknown": Refused(
        ".csv",
        "name,town\nAnn,Ulm\n",
        rf":1: not a format that is known \('name,town'\); {UNKNOWN}",
    ),
    "no names": Refused(
        ".csv", " , \nAnn,7\n", rf":1: not a format that is known \(' , '\); {UNKNOWN}"
    ),
    "one empty name": Refused(
        ".csv", '""\n1\n', rf":1: not a format that is known \('\"\"'\); {UNKNOWN}"
    ),
    "header": Refused(
        ".csv",
        'user,"movie,rating\n',
        r":1: the header is not CSV \(.+ has an open quote\); .+",
    ),
    "columns": Refused(
        ".csv",
        "user,movie,rating,rating\n",
        ":1: two columns have the name 'rating'; give the number .+ ingest.columns.rating",
    ),
    "genres": Refused(
        ".csv",
        ",movie_title,genre_a,genre_a\n",
        ":1: two columns have the same genre; remove one",
    ),
    "empty genre": Refused(
        ".csv", ",movie_title,genre_a,genre_\n0,Up,1,1\n", ":1: genre .*is empty; .+"
    ),
    "empty title": Refused(".csv", ",User,Heat,\n0,Ann,1,2\n", ":1: film 2 is empty; .+"),
    "NUL": Refused(
        ".csv", ",User,He\0at\n0,Ann,1\n", r":1: film 1 'He\\x00at' contains a NUL byte; .+"
    ),
}


@pytest.mark.promise("C4")
@pytest.mark.parametrize("what", REFUSED)
def test_files_that_are_refused(sqlite_url: str, tmp_path: Path, what: str) -> None:
    """A refused file leaves no row behind, and a line with its place, reason and remedy."""
    ending, content, message = REFUSED[what]
    database = with_tables(sqlite_url)
    path = tmp_path / f"x{ending}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (report,) = ingest(database, [path], by())
    assert report.status == "refused"
    assert re.fullmatch("[A-Z_]+", report.code or "")
    assert re.fullmatch(re.escape(str(path)) + message, report.why)
    assert nothing_merged(database)


def test_missing_files(database: Database, tmp_path: Path) -> None:
    """A missing file and an empty folder are refused by name, and other files are merged."""
    missing = tmp_path / "no.csv"
    folder = tmp_path / "in"
    good = tmp_path / "x.csv"
    folder.mkdir()
    good.write_text(LONG + "Ann,Heat,4,100\n")
    no_file, no_files, merged = ingest(database, [missing, folder, good], by())
    why = f"{missing}: no such file or folder; check the path"
    assert no_file == Report(str(missing), None, why, "refused", code="NO_SUCH_FILE")
    endings = ", ".join(sorted(TABLES))
    remedy = "name the files, or the folders with them"
    why = f"{folder}: it has no file that ends in {endings}; {remedy}"
    assert no_files == Report(str(folder), None, why, "refused", code="NOTHING_FOUND")
    assert (merged.status, ratings(database)) == ("merged", [("Ann", "Heat", 4.0, 100)])


BROKEN = {
    "rejects": (LATEST + "1,31,4,978300760\n" + "1,31,x,978300760\n" * 11).encode(),
    "quote": (LATEST + '1,31,"4,100\n').encode(),
    "empty": b"",
    "binary": b"\xd0\xcf\x11\xe0",
}


@pytest.mark.promise("C2")
@pytest.mark.parametrize("how", BROKEN)
def test_ratings_that_belong_together_are_whole(database: Database, write: Write, how: str) -> None:
    """Ratings of one format in a folder are merged together or not at all; other groups are."""
    file = write("a/1.csv", LATEST + "1,31,4,100\n")
    broken = file.with_name("ratings.csv")
    broken.write_bytes(BROKEN[how])
    other = write("b/ratings.csv", LATEST + "2,32,4,100\n")
    folders = [file.parent, other.parent]
    reports = {report.file: report for report in ingest(database, folders, by())}
    assert {path: report.status for path, report in reports.items()} == {
        str(broken): "refused",
        str(file): "refused",
        str(other): "merged",
    }
    assert reports[str(file)].why == f"{file}: not merged, because it belongs with {broken}"
    assert ratings(database) == [("2", "32", 4.0, 100)]
    broken.write_text(LATEST + "1,33,4,100\n")
    again = ingest(database, [file.parent], by())
    assert [report.status for report in again] == ["merged", "merged"]


ODD_CATALOGUES = {
    "rejects": ("movies.csv", (LATEST_FILMS + "31,Heat,\n" + "32,,\n" * 11).encode()),
    "quote": ("movies.csv", (LATEST_FILMS + '31,"Heat,\n').encode()),
    "empty": ("movies.csv", b""),
    "truncated": ("movies.csv.gz", gzip.compress(LATEST_FILMS.encode())[:-9]),
}


@pytest.mark.promise("C2")
@pytest.mark.parametrize("how", ODD_CATALOGUES)
def test_an_odd_catalogue_keeps_no_rating_out(database: Database, write: Write, how: str) -> None:
    """A catalogue that is refused leaves nothing behind, and the ratings beside it are merged."""
    name, content = ODD_CATALOGUES[how]
    file = write("a/ratings.csv", LATEST + "1,31,4,100\n")
    odd = file.with_name(name)
    odd.write_bytes(content)
    reports = {report.file: report.status for report in ingest(database, [file.parent], by())}
    assert reports == {str(odd): "refused", str(file): "merged"}
    assert ratings(database) == [("1", "31", 4.0, 100)]
    assert films(database) == {"31": ("31", [])}
    statuses = rows(database, "SELECT file, status FROM ingest_batches ORDER BY file")
    assert statuses == sorted(reports.items())


ODD_QUOTES = {
    "open": ('Ann,"Net,4,1\n', "CSV_SYNTAX", "unexpected end of data"),
    "stray": ('Ann,"N"et,4,1\n', "CSV_SYNTAX", "',' expected after"),
}


@pytest.mark.parametrize("what", ODD_QUOTES)
def test_broken_quotes_cost_their_line(database: Database, write: Write, what: str) -> None:
    """A line whose quotes are broken is rejected, and the lines behind it are read."""
    line, code, message = ODD_QUOTES[what]
    (report,) = ingest(database, [write("x.csv", LONG + line + "".join(GOOD[:30]))], by())
    assert counts(report) == (31, 30, 1, 0)
    (reject,) = report.rejects
    assert (reject.line, reject.code, reject.text) == (2, code, line.rstrip())
    assert message in reject.message


def test_broken_zip_in_a_folder(database: Database, write: Write) -> None:
    """A broken archive in a folder is refused under its own name, and other files are merged."""
    good = write("in/ratings.csv", LATEST + "1,31,4,100\n")
    archive = good.with_name("y.zip")
    archive.write_bytes(b"PK\x03\x04")
    reports = ingest(database, [good.parent], by())
    statuses = {report.file: report.status for report in reports}
    assert statuses == {str(good): "merged", str(archive): "refused"}
    assert ratings(database) == [("1", "31", 4.0, 100)]


def test_refused_group_with_a_copy(database: Database, write: Write) -> None:
    """A copy of a file of a refused group is refused too, and not reported as ingested before."""
    folder = write("in/ratings.csv", LATEST + '1,31,"4,100\n').parent
    catalogue = write("in/movies.csv", LATEST_FILMS + "31,Heat,\n")
    catalogue.with_name("movies.csv.gz").write_bytes(gzip.compress(catalogue.read_bytes()))
    reports = ingest(database, [folder], by(), snapshot_at=100)
    assert [report.status for report in reports] == ["refused"] * 3
    assert nothing_merged(database)
