"""What is not taken, row or file: each with its place, its reason and its remedy, and none at another's cost."""

import gzip
import io
import re
import zipfile
from pathlib import Path

import pytest

from batch.ingest import Report, ingest
from batch.store.database import Database
from tables import Write, by, films, flags, ratings, rows, with_tables

LATEST, LATEST_FILMS = "userId,movieId,rating,timestamp\n", "movieId,title,genres\n"
LONG = "user,movie,rating,timestamp\n"
GOOD = "".join(f"u{n},Heat,4,100\n" for n in range(1100))


def rejects(database: Database) -> list[tuple[object, ...]]:
    return rows(
        database, "SELECT line, field, code, text FROM ingest_rejects ORDER BY batch_id, reject_no"
    )


def counts(report: Report) -> tuple[int, int, int, int]:
    return report.read, report.accepted, report.rejected, report.duplicate


def only_records(database: Database) -> bool:
    """Whether the tables that ingest fills are empty but for the records of files."""
    tables = ("users", "movies", "genres", "movie_genres", "ratings")
    return not any(rows(database, f"SELECT * FROM {table}") for table in tables)


@pytest.mark.promise("C1")
@pytest.mark.parametrize(
    ("content", "expected", "lines"),
    [
        (
            LONG + 'Ann,Heat,4,100\nAnn,"The\nNet",5,100\nBob,Heat,x,100\nBob,Heat,4\nAnn,Heat,4,100\nAnn,Heat,3,100\n'
            '\n ,Heat,3,100\n"B\nob",Heat,3,noon\nBob,Heat,4,100,\n',
            (9, 2, 5, 2),
            [(5, "rating", "BAD_RATING", "Bob,Heat,x,100"), (6, None, "FIELD_COUNT", "Bob,Heat,4"),
             (10, "user", "EMPTY_KEY", " ,Heat,3,100"), (12, "timestamp", "BAD_TIME", "B\nob,Heat,3,noon"),
             (13, None, "FIELD_COUNT", "Bob,Heat,4,100,")],
        ),
        (
            ',User,Heat,"The\nNet",Up\n0,Ann,4.0,x,0.0\n1,"B\nob",0,99999,5\n2,,3,4,0\n3,Cid,3\n4,Dee,,0.0,\n5,Eve,1,2,3,4\n6,Fay\n',
            (12, 2, 10, 0),
            [(3, "The\nNet", "BAD_RATING", "x"), (5, "The\nNet", "BAD_RATING", "99999"), (6, "User", "EMPTY_KEY", "3"),
             (6, "User", "EMPTY_KEY", "4"), (7, None, "FIELD_COUNT", "3"), (9, None, "FIELD_COUNT", "1"),
             (9, None, "FIELD_COUNT", "2"), (9, None, "FIELD_COUNT", "3"), (9, None, "FIELD_COUNT", "4"),
             (10, None, "FIELD_COUNT", "")],
        ),
        (
            LATEST + "1,31,2.5,100\n1,31,2.5,100\n1,x,3,100\n-1,31,3,100\n1,32,5.5,100\n1,31,0,100\n",
            (6, 1, 4, 1),
            [(4, "movieId", "BAD_ID", "1,x,3,100"), (5, "userId", "BAD_ID", "-1,31,3,100"),
             (6, "rating", "RATING_RANGE", "1,32,5.5,100"), (7, "rating", "RATING_RANGE", "1,31,0,100")],
        ),
        (
            "1::31::5::100\n" * 10 + "1::31::5\n1::32::5.5::100\n",
            (12, 1, 2, 9),
            [(11, None, "FIELD_COUNT", "1::31::5"), (12, "rating", "RATING_RANGE", "1::32::5.5::100")],
        ),
        (
            "1\t31\t5\t100\n" * 10 + "1\t32\t6\t100\n1\t33\t5\t1e3\n",
            (12, 1, 2, 9),
            [(11, "rating", "RATING_RANGE", "1\t32\t6\t100"), (12, "timestamp", "BAD_TIME", "1\t33\t5\t1e3")],
        ),
        (
            LATEST_FILMS + "31,Heat,Crime\n31,Heat,Crime\n31,Heat,Drama\nx,Up,\n32,,\n33,The, Net,Drama\n",
            (6, 1, 4, 1),
            [(4, None, "CONFLICTING_DUPLICATE", "Heat"), (5, "movieId", "BAD_ID", "x,Up,"),
             (6, "title", "EMPTY_KEY", "32,,"), (7, None, "FIELD_COUNT", "33,The, Net,Drama")],
        ),
        (
            ",movie_title,genre_a,genre_b\n0,Heat,1,0\n1,Up,0,2\n2,,0,0\n3,Net,1\n",
            (4, 1, 3, 0),
            [(3, "genre_b", "BAD_FLAG", "1,Up,0,2"), (4, "movie_title", "EMPTY_KEY", "2,,0,0"),
             (5, None, "FIELD_COUNT", "3,Net,1")],
        ),
        (
            f"31|Heat||||{flags(6)}\n" * 10 + f"32|Up||||{flags()[:-1]}x\n33|Up||\n",
            (12, 1, 2, 9),
            [(11, "genres", "BAD_FLAG", f"32|Up||||{flags()[:-1]}x"), (12, None, "FIELD_COUNT", "33|Up||")],
        ),
    ],
    ids=["long", "wide", "latest", "1M", "100K", "latest films", "wide films", "100K films"],
)  # fmt: skip
def test_every_row_is_accounted_for(
    database: Database,
    write: Write,
    content: str,
    expected: tuple[int, int, int, int],
    lines: list[tuple[object, ...]],
) -> None:
    """Read = accepted + rejected + duplicate, row by row; each reject is kept with its line, field, code and text."""
    path = write("x.csv", content)
    (report,) = ingest(database, [path], by())
    assert (report.status, counts(report)) == ("merged", expected)
    assert rejects(database) == lines
    assert [(r.line, r.field, r.code, r.text) for r in report.rejects] == lines
    assert rows(database, "SELECT DISTINCT file FROM ingest_rejects") == [(str(path),)]
    kept = "status, rows_read, rows_accepted, rows_rejected, rows_duplicate"
    assert rows(database, f"SELECT {kept} FROM ingest_batches") == [("merged", *expected)]


NO_NUMBERS = ["1e400", "1e3", "nan", "inf", "-inf", "1_0", "٤", "４", "''", "4.", ".5", "+4", "", " ", "4 5", "0x4",
              "True", "--4", "12345", "1.1234567", '"4,5"', "x" * 99]  # fmt: skip
NO_TIMES = ["noon", "1e9", "-1", "97830076.5", "31/12/2000", "2000-13-01", "1234567890123", "٤"]
OTHER_TIMES = ["999999999999", "9999-12-31T23:59:59-23:59", "1969-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59",
               "2999-01-01\x0002:30"]  # fmt: skip


@pytest.mark.promise("C5")
def test_ratings_that_are_no_numbers(database: Database, write: Write) -> None:
    """A rating is digits with a point, as people write them: what could merely be turned into a number is rejected."""
    path = write(
        "x.csv",
        LONG + "Ann,Heat,4,100\n" + "".join(f"Ann,Up,{rating},100\n" for rating in NO_NUMBERS),
    )
    (report,) = ingest(database, [path], by(share=1.0))
    shown = [repr(text.strip('"') if len(text) < 99 else "x" * 40 + "...") for text in NO_NUMBERS]
    ascii_only = [text.encode("ascii", "backslashreplace").decode() for text in shown]
    assert [(reject.line, reject.code, reject.message) for reject in report.rejects] == [
        (line, "BAD_RATING", f"rating {text} is not a number such as 4 or 3.5; fix the row")
        for line, text in enumerate(ascii_only, 3)
    ]
    assert ratings(database) == [("Ann", "Heat", 4.0, 100)]


def test_bad_times(database: Database, write: Write) -> None:
    """A time that is no time, before 1970 or in the future costs its row and no other, on both databases."""
    path = write(
        "x.csv",
        LONG
        + "Ann,Heat,4,100\n"
        + "".join(f"Ann,Up,4,{time}\n" for time in NO_TIMES + OTHER_TIMES),
    )
    (report,) = ingest(database, [path], by(share=1.0))
    codes = ["BAD_TIME"] * len(NO_TIMES) + ["TIME_RANGE"] * len(OTHER_TIMES)
    assert [(reject.line, reject.code) for reject in report.rejects] == list(enumerate(codes, 3))
    assert ratings(database) == [("Ann", "Heat", 4.0, 100)]


def test_bytes_that_are_no_text(database: Database, tmp_path: Path) -> None:
    """A NUL byte and invalid UTF-8 cost one row each, and the record shows them as escapes."""
    path = tmp_path / "x.csv"
    path.write_bytes(
        LONG.encode()
        + b"A\0nn,Heat,4,1\nAnn,H\xe9at,4,1\nAnn,Up,4\xff,1\nAnn,Up,4,1\xff\nAnn,Heat,4,1\n"
    )
    (report,) = ingest(database, [path], by())
    assert counts(report) == (5, 1, 4, 0)
    assert rejects(database) == [
        (2, "user", "NUL_BYTE", r"A\0nn,Heat,4,1"), (3, "movie", "BAD_ENCODING", r"Ann,H\udce9at,4,1"),
        (4, "rating", "BAD_RATING", r"Ann,Up,4\udcff,1"), (5, "timestamp", "BAD_TIME", r"Ann,Up,4,1\udcff"),
    ]  # fmt: skip
    assert ratings(database) == [("Ann", "Heat", 4.0, 1)]


def test_long_rows_are_cut(database: Database, write: Write) -> None:
    """A key of more than 400 characters is rejected, and of a rejected row 1024 characters are kept."""
    ingest(database, [write("x.csv", f"{LONG}Ann,Heat,4,1\nAnn,{'x' * 2000},4,1\n")], by())
    assert rejects(database) == [(3, "movie", "KEY_TOO_LONG", "Ann," + "x" * 1020)]


@pytest.mark.promise("C7")
@pytest.mark.parametrize(
    ("bad", "good", "limits", "refused_at"),
    [
        (10, 1, {}, None), (10, 90, {}, None), (11, 1089, {}, None), (11, 1088, {}, 1099), (11, 90, {}, 101),
        (1, 0, {}, 1), (3, 0, {}, 3), (11, 90, {"share": 0.2}, None), (30, 1000, {"share": 1.0, "rejects": 20}, 21),
        (20, 1000, {"share": 1.0, "rejects": 20}, None), (11, 1000, {"share": 1.0, "rejects": 0}, 11),
    ],
)  # fmt: skip
def test_limits(
    database: Database,
    write: Write,
    bad: int,
    good: int,
    limits: dict[str, float],
    refused_at: int | None,
) -> None:
    """Ten rejects are tolerated, then a share of the rows; max_rejects stops a file early, all rejects refuse it."""
    path = write(
        "x.csv", LONG + "Ann,Heat,x,100\n" * bad + "".join(GOOD.splitlines(keepends=True)[:good])
    )
    (report,) = ingest(database, [path], by(**limits))
    kept = "status, rows_read, rows_accepted, rows_rejected, rows_duplicate"
    found = rows(database, f"SELECT {kept}, error FROM ingest_batches")
    if refused_at is None:
        assert found == [("merged", bad + good, good, bad, 0, None)]
        assert len(ratings(database)) == good
        return
    n = min(bad, refused_at)
    first = "rating 'x' is not a number such as 4 or 3.5; fix the row"
    why = f"{path}:2: {n} of {refused_at:,} rows cannot be read; the first: {first}"
    assert (report.status, report.why, counts(report)) == (
        "refused",
        why,
        (refused_at, 0, refused_at, 0),
    )
    assert found == [("refused", refused_at, 0, refused_at, 0, why)]
    assert rejects(database) == [
        (line, "rating", "BAD_RATING", "Ann,Heat,x,100") for line in range(2, n + 2)
    ]
    assert only_records(database)


def test_conflicts_count_as_rejects(database: Database, write: Write) -> None:
    """A catalogue that describes its films twice is refused by the same limits as any other file."""
    content = LATEST_FILMS + "".join(f"{n},Heat,\n{n},Up,\n" for n in range(30))
    (report,) = ingest(database, [write("x.csv", content)], by(share=1.0, rejects=20))
    assert report.status == "refused"
    assert only_records(database)


def zipped(change: dict[int, int]) -> bytes:
    """A zip of one CSV file; bytes at these places of both its headers are changed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.csv", LONG + "Ann,Heat,4,100\n")
    content = bytearray(file.getvalue())
    for start in (0, content.index(b"PK\x01\x02") + 2):
        for place, value in change.items():
            content[start + place] = value
    return bytes(content)


PACKED = gzip.compress((LONG + GOOD).encode(), mtime=0)
UNKNOWN = re.escape(
    "expected a wide matrix (',User,Film,...'), a genre matrix (',movie_title,genre_...'), MovieLens files, or a long "
    "CSV with columns for user, movie and rating (name them in ingest.columns)"
)
REFUSED: dict[
    str, tuple[str, bytes | str, str]
] = {  # ending, content, and what is said after the path
    "truncated": (".gz", PACKED[:-20], r": the file ends too early; copy it again"),
    "flipped": (
        ".gz",
        PACKED[:-8] + b"\0" + PACKED[-7:],
        r": broken archive \(CRC check .*\); copy the file again",
    ),
    "no gzip": (".gz", LONG, r": broken archive \(Not a gzipped file .*\); copy the file again"),
    "after gzip": (
        ".gz",
        PACKED + b"rest",
        r": broken archive \(Not a gzipped file .*\); copy the file again",
    ),
    "cut zip": (
        ".zip",
        zipped({})[:-9],
        r": broken archive \(File is not a zip file\); copy the file again",
    ),
    "flipped zip": (
        ".zip",
        zipped({14: 0}),
        r"/x\.csv: broken archive \(Bad CRC-32 .*\); copy the file again",
    ),
    "encrypted": (".zip", zipped({6: 1}), r"/x\.csv: .*(encrypted|password).*; .+"),
    "compression": (".zip", zipped({8: 99}), r"/x\.csv: .*compression.*; .+"),
    "UTF-16": (".csv", LONG.encode("utf-16"), r":1: the file is UTF-16; save it as UTF-8"),
    "empty": (".csv", "", r": the file is empty"),
    "blank": (".csv", "\ufeff \r\n\r\n", r": the file is empty"),
    "empty gzip": (".gz", "", r": the file is empty"),
    "semicolons": (
        ".csv",
        "user;movie;rating\n",
        r":1: separated by semicolons \('user;movie;rating'\); .+",
    ),
    "tabs": (
        ".csv",
        "user\tmovie\trating\n",
        r":1: separated by tabs \('user\\tmovie\\trating'\); .+",
    ),
    "unknown": (
        ".csv",
        "name,age\nAnn,7\n",
        rf":1: not a format that is known \('name,age'\); {UNKNOWN}",
    ),
    "no names": (".csv", " , \nAnn,7\n", rf":1: not a format that is known \(' , '\); {UNKNOWN}"),
    "one empty name": (".csv", '""\n1\n', rf":1: not a format that is known \('\"\"'\); {UNKNOWN}"),
    "header": (
        ".csv",
        'user,"movie,rating\n',
        r":1: the header is not CSV \(unexpected end of data\); .+",
    ),
    "columns": (
        ".csv",
        "user,movie,rating,rating\n",
        r":1: two columns have the same name; rename one",
    ),
    "genres": (
        ".csv",
        ",movie_title,genre_a,genre_a\n",
        r":1: two columns have the same genre; remove one",
    ),
    "empty genre": (".csv", ",movie_title,genre_a,genre_\n0,Up,1,1\n", r":1: genre .*is empty; .+"),
    "latin-1 genre": (
        ".csv",
        b",movie_title,genre_com\xe9die\n0,Up,1\n",
        r":1: genre .* is not valid UTF-8; .+",
    ),
    "empty title": (".csv", ",User,Heat,\n0,Ann,1,2\n", r":1: film 2 is empty; .+"),
    "NUL": (".csv", ",User,He\0at\n0,Ann,1\n", r":1: film 1 'He\\x00at' holds a NUL byte; .+"),
    "open quote": (
        ".csv",
        f'{LONG}Ann,Up,4,1\nAnn,"Net,4,1\n{GOOD}',
        r":3: not CSV \(unexpected end of data\); .+",
    ),
    "stray quote": (
        ".csv",
        f'{LONG}Ann,"N"et,4,1\n{GOOD}',
        r":2: not CSV \(',' expected after '\"'\); .+",
    ),
}


@pytest.mark.promise("C4")
@pytest.mark.parametrize("what", REFUSED)
def test_files_that_are_refused(sqlite_url: str, tmp_path: Path, what: str) -> None:
    """A file that cannot be taken leaves no row behind, and one line that says where, what and what to do."""
    summary, content, why = REFUSED[what]
    database = with_tables(sqlite_url)
    path = tmp_path / f"x{summary}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (report,) = ingest(database, [path], by())
    assert report.status == "refused"
    assert re.fullmatch(re.escape(str(path)) + why, report.why)
    assert only_records(database)


def test_nothing_there(database: Database, tmp_path: Path) -> None:
    """A missing file and an empty folder are refused by name, and the files beside them are merged."""
    (tmp_path / "in").mkdir()
    (tmp_path / "x.csv").write_text(LONG + "Ann,Heat,4,100\n")
    missing, empty, good = ingest(
        database, [tmp_path / "no.csv", tmp_path / "in", tmp_path / "x.csv"], by()
    )
    assert missing == Report(
        f"{tmp_path}/no.csv", None, f"{tmp_path}/no.csv: no such file or folder", "refused"
    )
    endings = ".csv, .dat, .data, .gz, .item, .tsv, .zip"
    why = f"{tmp_path}/in: nothing in there ends in {endings}; name the files"
    assert empty == Report(f"{tmp_path}/in", None, why, "refused")
    assert (good.status, ratings(database)) == ("merged", [("Ann", "Heat", 4.0, 100)])


BROKEN: dict[str, tuple[str, bytes]] = {
    "rejects": ("movies.csv", (LATEST_FILMS + "31,Heat,\n" + "x,Heat,\n" * 11).encode()),
    "quote": ("movies.csv", (LATEST_FILMS + '31,"Heat,\n').encode()),
    "empty": ("movies.csv", b""),
    "UTF-16": ("movies.csv", LATEST_FILMS.encode("utf-16")),
    "truncated": ("movies.csv.gz", gzip.compress(LATEST_FILMS.encode())[:-9]),
}


@pytest.mark.promise("C2")
@pytest.mark.parametrize("how", BROKEN)
def test_groups_are_whole(database: Database, write: Write, how: str) -> None:
    """Files that belong together come in together or not at all; other groups do not mind."""
    name, content = BROKEN[how]
    folder = write("a/ratings.csv", LATEST + "1,31,4,100\n").parent
    (folder / name).write_bytes(content)
    other = write("b/ratings.csv", LATEST + "2,32,4,100\n").parent
    found = {report.file: report for report in ingest(database, [folder, other], by())}
    assert {file: report.status for file, report in found.items()} == {
        str(folder / name): "refused", str(folder / "ratings.csv"): "refused", str(other / "ratings.csv"): "merged",
    }  # fmt: skip
    why = f"{folder}/ratings.csv: not merged, because it belongs with {folder}/{name}"
    assert found[f"{folder}/ratings.csv"].why == why
    assert ratings(database) == [("2", "32", 4.0, 100)]
    assert films(database) == {"32": ("32", [])}
    (folder / name).unlink()
    (folder / "movies.csv").write_text(LATEST_FILMS + "31,Heat,\n")
    assert [report.status for report in ingest(database, [folder], by())] == ["merged", "merged"]


def test_broken_zip_in_a_folder(database: Database, write: Write) -> None:
    """A broken archive in a folder is refused under its own name, and costs the other files nothing."""
    folder = write("in/ratings.csv", LATEST + "1,31,4,100\n").parent
    (folder / "y.zip").write_bytes(b"PK\x03\x04")
    found = {report.file: report.status for report in ingest(database, [folder], by())}
    assert found == {str(folder / "ratings.csv"): "merged", str(folder / "y.zip"): "refused"}
    assert ratings(database) == [("1", "31", 4.0, 100)]


def test_refused_group_with_a_copy(database: Database, write: Write) -> None:
    """A copy of a file of a refused group is refused with it: nothing is reported as ingested that is not."""
    folder = write("in/ratings.csv", LATEST + '1,31,"4,100\n').parent
    catalogue = write("in/movies.csv", LATEST_FILMS + "31,Heat,\n")
    catalogue.with_name("movies.csv.gz").write_bytes(gzip.compress(catalogue.read_bytes()))
    assert [report.status for report in ingest(database, [folder], by(), snapshot_at=100)] == [
        "refused"
    ] * 3
    assert only_records(database)
