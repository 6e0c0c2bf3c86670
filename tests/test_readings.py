"""The same table in every way in which people write it: the same rows, or refused by name."""

import csv
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.ingest import Report, ingest
from batch.ingest.times import recognise_times
from batch.store.database import Database
from tables import Write, by, films, ratings, with_tables

T = 1_700_000_000  # seconds since 1970: 2023-11-14 22:13:20 UTC
DAY = 86_400
STARS = (4, 2.5, 1, 5, 3.5)
Cells = list[list[str]]


@pytest.fixture
def sqlite(sqlite_url: str) -> Database:
    """An empty database, where the kind of database does not matter."""
    return with_tables(sqlite_url)


class Rating(NamedTuple):
    """One row of the table that all these tests write."""

    user: str
    film: str
    stars: float
    time: int


def some_ratings(n_users: int = 6, n_films: int = 5) -> list[Rating]:
    """Users `u0`... and films `f0`..., each pair once; some users lack a film."""
    pairs = itertools.product(range(n_users), range(n_films))
    table = []
    for number, (user, film) in enumerate(pairs):
        if (user + film) % 4:
            stars = STARS[number % len(STARS)]
            table.append(Rating(f"u{user}", f"f{film}", stars, T + number * DAY))
    return table


TABLE = some_ratings()
STORED = sorted(tuple(rating) for rating in TABLE)
UNTIMED = [(*row[:3], None) for row in STORED]


def ingested(database: Database, path: Path, **choices: object) -> Report:
    """The report of a file."""
    (report,) = ingest(database, [path], by(**choices))  # type: ignore[arg-type]
    return report


class Writing(NamedTuple):
    """One way to write a table."""

    separator: str
    quotes: str  # none, all
    mark: str  # between a number and its decimals
    encoding: str
    line_end: str
    header: bool
    order: tuple[int, ...]  # of the columns, only under a header


def written(writing: Writing, rows: list[Rating]) -> bytes:
    """The ratings as a program writes them."""
    lines = []
    names = ["User-ID", "ISBN", "Book-Rating", "timestamp"]
    table = [names] if writing.header else []
    for rating in rows:
        stars = f"{rating.stars:g}".replace(".", writing.mark)
        table.append([rating.user, rating.film, stars, str(rating.time)])
    for fields in table:
        cells = [fields[place] for place in writing.order] if writing.header else fields
        if writing.quotes == "all":
            cells = [f'"{cell}"' for cell in cells]
        lines.append(writing.separator.join(cells) + writing.line_end)
    return "".join(lines).encode(writing.encoding)


@st.composite
def writings(draw: st.DrawFn) -> Writing:
    separator = draw(st.sampled_from([",", ";", "\t", "|", "::", " "]))
    quoted = len(separator) == 1 and separator != " "
    quotes = draw(st.sampled_from(["none", "all"])) if quoted else "none"
    marks = [".", ","] if separator != "," or quotes == "all" else ["."]
    header = draw(st.booleans())
    order = tuple(draw(st.permutations(range(4))))
    return Writing(
        separator,
        quotes,
        draw(st.sampled_from(marks)),
        draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])),
        draw(st.sampled_from(["\n", "\r\n"])),
        header,
        order,
    )


@pytest.mark.promise("C9")
def test_one_table_written_in_any_way(
    sqlite: Database,
    tmp_path: Path,
    often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:
    """Separator, quotes, decimal mark, encoding, header and order of columns change no row."""
    counter = itertools.count()
    examples = often(60, 600)

    @settings(max_examples=examples, derandomize=True, deadline=None, database=None)
    @given(writings(), st.sampled_from(["", "é"]))
    def check(writing: Writing, sign: str) -> None:
        prefix = f"{next(counter)}{sign}"  # users of their own for each file
        rows = [rating._replace(user=prefix + rating.user) for rating in TABLE]
        path = tmp_path / "x.csv"
        path.write_bytes(written(writing, rows))
        report = ingested(sqlite, path)
        assert report.status == "merged", report.why
        assert (report.accepted, report.rejected) == (len(rows), 0)
        stored = [row for row in ratings(sqlite) if row[0].startswith(prefix + "u")]
        assert stored == sorted(tuple(rating) for rating in rows)
        guessed = writing.encoding == "cp1252" and sign != ""
        assert ("read as Windows-1252" in report.why) == guessed

    check()
    figure(examples)


BROKEN_TEXTS = {
    "UTF-16 cut in a character": lambda text: text.encode("utf-16")[:-1],
    "UTF-16 without a mark, cut": lambda text: text.encode("utf-16-le")[:-1],
    "half a surrogate pair": lambda text: text.encode("utf-16").replace(b"9\0", b"\0\xd8", 1),
    "UTF-32 cut in a character": lambda text: text.encode("utf-32")[:-1],
}


@pytest.mark.parametrize("what", BROKEN_TEXTS)
def test_bytes_that_are_no_text_cost_one_row(sqlite: Database, tmp_path: Path, what: str) -> None:
    """Invalid bytes cost their row, in encodings of several bytes a character too."""
    text = "user,movie,rating\n" + "".join(f"u{n},f{n},4\n" for n in range(9)) + "u9,f9,3"
    path = tmp_path / "x.csv"
    path.write_bytes(BROKEN_TEXTS[what](text))
    report = ingested(sqlite, path)
    assert (report.status, report.accepted, report.rejected) == ("merged", 9, 1)
    assert report.rejects[0].line == 11


def lines_of(table: Cells, separator: str = ",") -> str:
    output = io.StringIO()
    csv.writer(output, delimiter=separator, lineterminator="\n").writerows(table)
    return output.getvalue()


def long_table(*names: str, time: Callable[[int], str] = str) -> Cells:
    rows = [[r.user, r.film, f"{r.stars:g}", time(r.time)] for r in TABLE]
    return [list(names), *[row[: len(names)] for row in rows]]


def as_matrix(first: list[str], blank: str = "") -> Cells:
    """A user x film matrix under these first headers; the first of two numbers the rows."""
    films_ = sorted({r.film for r in TABLE})
    users = sorted({r.user for r in TABLE})
    cells = {(r.user, r.film): f"{r.stars:g}" for r in TABLE}
    table = [[*first, *films_]]
    for number, user in enumerate(users):
        row = [cells.get((user, film), blank) for film in films_]
        table.append([*([str(number)] if len(first) == 2 else []), user, *row])
    return table


def transposed(table: Cells) -> Cells:
    return [list(column) for column in zip(*table, strict=True)]


class File(NamedTuple):
    """A file that people have, the settings that it needs, and what is stored of it."""

    content: str | bytes | Cells | None  # Cells: rows of a data frame
    stored: list[tuple[object, ...]] | dict[str, tuple[str, list[str]]]
    name: str = "x.csv"
    choices: dict[str, object] = {}  # noqa: RUF012  a constant


CATALOGUE = {
    "tt1": ("Heat, The (1995)", ["Crime", "Drama"]),
    "tt2": ("Up", []),
}
LETTERBOXD = (
    "Date,Name,Year,Letterboxd URI,Rating\n"
    "2023-11-14,Heat,1995,https://boxd.it/2ab,4.5\n"
    '2023-11-15,"Net, The",1995,https://boxd.it/2ac,3\n'
)
IMDB = (
    "Const,Your Rating,Date Rated,Title,Original Title,URL,Title Type,IMDb Rating,Runtime (mins),"
    "Year,Genres,Num Votes,Release Date,Directors\n"
    "tt1,9,2023-11-14,Heat,Heat,https://x,Movie,8.3,170,1995,Crime,700000,1995-12-15,Mann\n"
    "tt2,7,2023-11-15,Up,Up,https://x,Movie,8.3,96,2009,Drama,700000,2009-05-16,Docter\n"
)
NETFLIX = "1:\n30878,4,2005-12-26\n823519,3,2004-05-03\n10:\n30878,5,2005-12-27\n"
ONE_PERSON: dict[str, object] = {"one_user": "Ann"}
NOON = 1_699_920_000  # 2023-11-14 00:00 UTC


def json_lines(table: Cells) -> str:
    header, *rows = table
    return "".join(json.dumps(dict(zip(header, row, strict=True))) + "\n" for row in rows)


def excel_csv() -> bytes:
    rows = [[r.user, r.film, f"{r.stars:g}".replace(".", ",")] for r in TABLE]
    return lines_of([["sep=;"], ["user", "movie", "rating"], *rows], ";").encode("utf-8-sig")


LONG = long_table("user_id", "movie_id", "rating", "timestamp")
FILES = {
    "a row a rating, under a header": File(
        lines_of(long_table("reviewerID", "asin", "overall", "unixReviewTime")), STORED
    ),
    "columns with other names": File(
        lines_of(long_table("who", "what", "liking", "moment")),
        STORED,
        choices={"user": "who", "movie": "what", "rating": "liking", "time": "moment"},
    ),
    "no header: user, film, rating, time": File(lines_of(LONG[1:], "\t"), STORED),
    "no header, another order": File(
        lines_of([[row[1], row[2], row[0]] for row in LONG[1:]]),
        UNTIMED,
        choices={"user": 3, "movie": 1, "rating": 2},
    ),
    "CSV of Excel, `;` and decimal commas": File(excel_csv(), UNTIMED),
    "`to_csv()` of a data frame": File(
        lines_of([["", *LONG[0]], *[[str(n), *row] for n, row in enumerate(LONG[1:])]]), STORED
    ),
    "a wide matrix, users x films": File(lines_of(as_matrix(["", "User"], "0")), UNTIMED),
    "a pivot table": File(lines_of(as_matrix(["user_id"], "NaN")), UNTIMED),
    "a matrix with films as rows": File(
        lines_of(transposed(as_matrix(["movie_title"]))), UNTIMED, choices={"layout": "wide"}
    ),
    "a matrix of films x genres": File(
        ",movie_title,genre_crime,genre_drama\n0,Heat,True,1\n1,Up,,x\n",
        {"Heat": ("Heat", ["crime", "drama"]), "Up": ("Up", ["drama"])},
    ),
    "a catalogue: key, title, genres": File(
        'imdb_id,title,genres\ntt1,"Heat, The (1995)",Crime|Drama\ntt2,Up,\n', CATALOGUE
    ),
    "Letterboxd's export": File(
        LETTERBOXD,
        [("Ann", "Heat (1995)", 4.5, NOON), ("Ann", "Net, The (1995)", 3.0, NOON + DAY)],
        choices=ONE_PERSON,
    ),
    "IMDb's export": File(
        IMDB,
        [("Ann", "tt1", 9.0, NOON), ("Ann", "tt2", 7.0, NOON + DAY)],
        choices=ONE_PERSON,
    ),
    "Netflix Prize": File(
        NETFLIX,
        [
            ("30878", "1", 4.0, 1_135_555_200),
            ("30878", "10", 5.0, 1_135_641_600),
            ("823519", "1", 3.0, 1_083_542_400),
        ],
    ),
    "JSON lines": File(json_lines(LONG), STORED, "x.jsonl"),
    "Parquet": File(LONG, STORED, "x.parquet"),
    "an Excel workbook": File(LONG, STORED, "x.xlsx"),
    "0 or -1 for what is not rated": File(
        lines_of([*LONG, ["u0", "f9", "-1", ""], ["u9", "f9", "0", ""]]),
        STORED,
        choices={"unrated": (0.0, -1.0)},
    ),
}
"""The rows of the table in docs/ingest.md, by their first column, except MovieLens."""


def write_frame(path: Path, table: Cells) -> None:
    """A table as pandas saves it, with numbers as numbers."""
    import pandas as pd

    frame = pd.DataFrame(table[1:], columns=table[0])
    for name in ("rating", "timestamp"):
        frame[name] = pd.to_numeric(frame[name])
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_excel(path, index=False)


@pytest.mark.parametrize("what", FILES)
def test_files_that_people_have(sqlite: Database, tmp_path: Path, what: str) -> None:
    """Each kind of file of the documentation comes in whole, by the settings that it names."""
    file = FILES[what]
    path = tmp_path / file.name
    if isinstance(file.content, list):
        write_frame(path, file.content)
    else:
        content = file.content or ""
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    report = ingested(sqlite, path, **file.choices)
    assert (report.status, report.rejected) == ("merged", 0), report.why
    assert (films(sqlite) if isinstance(file.stored, dict) else ratings(sqlite)) == file.stored


def test_the_documented_kinds_are_tested() -> None:
    """The table of docs/ingest.md has a row for each kind, in the order of the tests."""
    text = (Path(__file__).parent.parent / "docs" / "ingest.md").read_text()
    table = text.partition("| the file I have |")[2].partition("\n\n")[0]
    kinds = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()[2:]]
    assert [kind for kind in kinds if not kind.startswith("MovieLens")] == list(FILES)


PACKED = {
    "x.csv.gz": "gzip",
    "x.csv.bz2": "bz2",
    "x.csv.xz": "lzma",
}


@pytest.mark.parametrize("name", [*PACKED, "x.bin"])
def test_packed_files(sqlite: Database, tmp_path: Path, name: str) -> None:
    """A packed file is unpacked by its ending, or without one by its first bytes."""
    import importlib

    path = tmp_path / name
    module = importlib.import_module(PACKED.get(name, "gzip"))
    path.write_bytes(module.compress(lines_of(LONG).encode()))
    assert ingested(sqlite, path).status == "merged"
    assert ratings(sqlite) == STORED


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tgz"])
def test_archives(sqlite: Database, tmp_path: Path, kind: str) -> None:
    """The tables of an archive are read, files of the system are not, and others are named."""
    import tarfile
    import zipfile

    folder = tmp_path / "in"
    (folder / "__MACOSX").mkdir(parents=True)
    (folder / "ratings.txt").write_text(lines_of(LONG[1:], " "))
    (folder / "__MACOSX" / "._ratings.txt").write_text("junk")
    (folder / "load.py").write_text("print()")
    path = tmp_path / f"x.{kind}"
    names = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in names:
                archive.write(file, file.relative_to(folder))
    else:
        with tarfile.open(path, "w" if kind == "tar" else "w:gz") as tar:
            for file in names:
                tar.add(file, str(file.relative_to(folder)))
    reports = {Path(report.file).name: report for report in ingest(sqlite, [path], by())}
    assert {name: report.status for name, report in reports.items()} == {
        "ratings.txt": "merged",
        "load.py": "skipped",
    }
    assert reports["load.py"].why == "not looked at, because of its ending"
    assert ratings(sqlite) == STORED


def test_archives_that_hold_nothing_usable(sqlite: Database, tmp_path: Path) -> None:
    """An archive without a table, or with two members of one name, is refused."""
    import zipfile

    empty = tmp_path / "a.zip"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("a.py", "")
    twice = tmp_path / "b.zip"
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("r.csv", "user,movie,rating\nAnn,Heat,4\n")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("r.csv", "user,movie,rating\nAnn,Heat,2\n")
    parts = tmp_path / "c.zip"
    with zipfile.ZipFile(parts, "w") as archive:
        archive.writestr("links.csv", "movieId,imdbId,tmdbId\n1,2,3\n")
        archive.writestr("README.txt", "ratings\n")
    reports = ingest(sqlite, [empty, twice, parts], by())
    refused = [report for report in reports if report.status == "refused"]
    codes = [report.code for report in refused]
    assert codes == ["NOTHING_FOUND", "REPEATED_MEMBER", "NOTHING_USABLE"]
    assert refused[0].why.endswith("only a.py; unpack it, and name the files")


MATRIX = as_matrix(["user_id"])

TWO_READINGS = {
    "long or wide": (
        "user,movie,rating," + ",".join(f"f{n}" for n in range(12)) + "\n" + "1,2,3" + ",4" * 12,
        "LONG_OR_WIDE",
        r"long file \(.+\) or a wide matrix \(.+\); set ingest.format to long or wide",
    ),
    "no column for the film": (
        "user,thing,rating\n1,2,4\n1,3,5\n",
        "HEADER_MISSING",
        r"its columns are user, thing, rating; none .+ the movie .+ ingest.columns.movie",
    ),
    "two columns for the film": (
        "user_id,movie_id,item_id,rating\n1,2,3,4\n",
        "AMBIGUOUS_COLUMNS",
        "'movie_id' and 'item_id' may both be the movie; .+ ingest.columns.movie",
    ),
    "no user": (
        "movie_id,rating,date\n1,4,2023-01-01\n",
        "HEADER_MISSING",
        "none of them is known to be the user .+ in ingest.user",
    ),
    "days and months": (
        "user,movie,rating,date\n1,2,4,01/02/2023\n1,3,4,05/06/2023\n",
        "AMBIGUOUS_TIMES",
        "dates of date, such as '01/02/2023', fit .+ or .+; write them as year-month-day",
    ),
    "times in 1970": (
        lines_of([["user", "movie", "rating", "time"]])
        + "".join(f"u{n},f,4,{n}\n" for n in range(20)),
        "TIMES_IN_1970",
        "all 20 times are in 1970; .+, or remove this one",
    ),
    "not rated, or 0": (
        "user,movie,rating\n" + "".join(f"u{n},f,{n % 3}\n" for n in range(9)),
        "UNRATED_UNDECIDED",
        r"3 of 9 ratings are 0, .+ set ingest.unrated to \[0\] if so, or to \[\] if",
    ),
    "one typo": (
        "user,movie,rating\nu,f,40\n" + "".join(f"u{n},f,{1 + n % 5}\n" for n in range(800)),
        "SCALE_OUTLIERS",
        r"1 rating is as far out as 40, .+ 1..5: set ingest.scale to \[1, 5\] to reject",
    ),
    "a narrow table that repeats its users": (
        "user,likes,price\n" + "ann,4,5\n" * 6,
        "LONG_OR_WIDE",
        "its rows repeat what user has; set ingest.format: wide if it is one, or name the columns",
    ),
    "films as rows, or a few columns": (
        "title,ann,bob\nHeat,4,5\nUp,3,2\n",
        "LONG_OR_WIDE",
        "so few columns are rarely users; set ingest.format: wide",
    ),
    "people, not films": (
        "customer_id,age,rating_count\n" + "".join(f"c{n},{20 + n},{n}\n" for n in range(9)),
        "LONG_OR_WIDE",
        "its column rating_count may sum up each row",
    ),
    "people by other words": (
        "user_id,age,logins\n" + "".join(f"c{n},{20 + n},{n}\n" for n in range(9)),
        "LONG_OR_WIDE",
        "its column age may describe user_id; set ingest.format: wide",
    ),
    "columns of unlike ranges": (
        "user_id,Kilometres,Logins\n" + "".join(f"c{n},{20 + n},{n}\n" for n in range(9)),
        "LONG_OR_WIDE",
        r"its columns have ranges of their own \(Logins up to 8, Kilometres up to 28\)",
    ),
    "a matrix with its sums": (
        lines_of([[*row, cell] for row, cell in zip(MATRIX, ["All", *"4" * 9], strict=False)]),
        "LONG_OR_WIDE",
        r"its column All may sum up each row \(remove it then, and the last row if",
    ),
    "a matrix with a row of means": (
        lines_of([*MATRIX, ["Mean", *"34343"]]),
        "LONG_OR_WIDE",
        r"its row Mean may sum up each column \(remove it then\)",
    ),
    "a few users or films without a name": (
        ",ann,bob\nHeat,4,5\nUp,3,2\n",
        "LONG_OR_WIDE",
        "wide if it is one whose rows are users; if its rows are films, also name the first",
    ),
    "users as columns behind a column without a name": (
        lines_of([["", *[f"User {n}" for n in range(40)]], ["Heat", *"1234" * 10]]),
        "LONG_OR_WIDE",
        "its columns, such as User 0, may be users; .+ also name the first column movie_title",
    ),
    "a few users or genres": (
        "title,Crime,Drama\nHeat,1,1\nUp,0,1\n",
        "LONG_OR_WIDE",
        "wide if its columns are users, begin their names with genre_ if they are genres",
    ),
    "a pivot table of two levels": (
        ",rating,rating\nmovieId,1,2\nuserId,,\nann,4,\nbob,3,5\n",
        "SEVERAL_HEADERS",
        "its first 3 rows are a header of several levels, .+; make it one row, such as user,movie",
    ),
    "groups with several figures": (
        ",,rating,rating\n,,mean,count\nuserId,movieId,,\nann,1,4,1\nbob,2,3,1\n",
        "SEVERAL_HEADERS",
        "its first 3 rows are a header of several levels",
    ),
    "two columns of one name": (
        "user,movie,rating,rating\n1,2,3,4\n",
        "HEADER_DUPLICATE",
        "two columns have the name 'rating'; give the number of one, from 1, in ingest.col.+rating",
    ),
    "99 for what is not rated": (
        "user,movie,rating\n"
        + "".join(f"u{n},f,{99 if n % 9 else n % 5 + 1}\n" for n in range(90)),
        "UNRATED_UNDECIDED",
        r"80 of 90 ratings are 99, .+ set ingest.unrated to \[99\] if so",
    ),
    "-1 in a matrix": (
        "User,f0,f1,f2\n" + "".join(f"u{n},-1,{n % 5 + 1},-1\n" for n in range(9)),
        "UNRATED_UNDECIDED",
        r"ratings are -1, .+ set ingest.unrated to \[-1\] if so",
    ),
    "single quotes": (
        "'user','movie','rating'\n" + "".join(f"'u{n}','f{n}',4\n" for n in range(9)),
        "SINGLE_QUOTES",
        "fields are in single quotes, such as 'u8'; write double quotes or none",
    ),
    "a header of numbers": (
        "0,1,2,3\nu1,f1,4,1700000000\n",
        "NUMBERED_HEADER",
        "its first row is 0, 1, 2, ..., which names no column; remove or rename it",
    ),
    "an array of JSON": ('[{"user": 1}]', "JSON_ARRAY", "write one object on each line"),
    "a table as one object of JSON": (
        '{"user": {"0": 1}, "movie": {"0": 2}, "rating": {"0": 4}}',
        "JSON_ARRAY",
        "one object of JSON with the whole table; write one object on each line",
    ),
    "objects of JSON with commas between them": (
        '{"user": 1, "movie": 2, "rating": 4},\n{"user": 1, "movie": 3, "rating": 4}\n',
        "BAD_JSON",
        "not JSON lines .+; write one object on each line, without commas between them",
    ),
    "another separator than the first line says": (
        "sep=;\nuser,movie,rating\n1,2,4\n",
        "WRONG_SEPARATOR",
        "its first line says that ';' separates the fields, .+; correct the line, or remove it",
    ),
    "a line above the header": (
        "My ratings\nuser,movie,rating\n1,2,4\n",
        "UNKNOWN_FORMAT",
        "expected, from the first line on, a long file",
    ),
    "a page in place of a table": (
        "\n<!DOCTYPE html><html><body>Sign in</body></html>",
        "NO_TABLE",
        "a page of HTML; .+ save the table as CSV",
    ),
    "an archive of RAR": (b"Rar!\x1a\x07\0" + bytes(20), "NO_TABLE", "RAR; unpack it"),
    "a database": (
        b"SQLite format 3\0" + bytes(84),
        "NO_TABLE",
        "name it in ingest.query_url, and its ratings in ingest.query",
    ),
    "one person's export": (LETTERBOXD, "USER_MISSING", "name the person in ingest.user"),
    "a spreadsheet of 2003": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(20),
        "OLD_EXCEL",
        "save it as .xlsx",
    ),
}


@pytest.mark.parametrize("what", TWO_READINGS)
def test_what_fits_two_readings_is_refused(sqlite: Database, tmp_path: Path, what: str) -> None:
    """A file that may mean two things is refused, with both and with the setting that decides."""
    import re

    content, code, message = TWO_READINGS[what]
    path = tmp_path / "x.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    report = ingested(sqlite, path)
    assert (report.status, report.code) == ("refused", code), report.why
    assert re.search(message, report.why), report.why
    assert ratings(sqlite) == []


def test_a_column_that_the_settings_name_must_be_there(sqlite: Database, write: Write) -> None:
    """A name in ingest.columns that a file lacks is an error with the columns it has."""
    report = ingested(sqlite, write("x.csv", lines_of(LONG)), user="customer")
    assert report.code == "NO_SUCH_COLUMN"
    assert "names the column 'customer', but this file has user_id, movie_id" in report.why


NUMBERS = {
    "one column for two": (
        lines_of(LONG),
        {"user": "user_id", "movie": "user_id"},
        "SAME_COLUMN",
        "ingest.columns.user and ingest.columns.movie both name 'user_id'; correct one of them",
    ),
    "numbers from 0 beside an index": (
        ",0,1,2\n0,7,8,4\n1,7,9,3\n",
        {"user": 0, "movie": 1, "rating": 2},
        "SAME_COLUMN",
        "both name '0'; correct one of them (columns are numbered from 1)",
    ),
    "a header of numbers": (
        "0,1,2\n7,8,4\n7,9,3\n",
        {"user": 1, "movie": 2, "rating": 3},
        "NUMBERED_HEADER",
        "its first row is 0, 1, 2, ..., which names no column; remove or rename it",
    ),
    "a header of numbers beside an index": (
        ",0,1,2\n0,7,8,4\n1,7,9,3\n",
        {"user": 2, "movie": 3, "rating": 4},
        "NUMBERED_HEADER",
        "its first row is 0, 1, 2, ..., which names no column; remove or rename it",
    ),
}


@pytest.mark.parametrize("what", NUMBERS)
def test_columns_that_the_settings_get_wrong(sqlite: Database, write: Write, what: str) -> None:
    """Settings that name a column twice, or number columns above a row that does, are refused."""
    content, choices, code, message = NUMBERS[what]
    report = ingested(sqlite, write("x.csv", content), **choices)
    assert (report.status, report.code) == ("refused", code), report.why
    assert message in report.why
    assert ratings(sqlite) == []


TIMES = {
    "milliseconds": lambda time: f"{time}123",
    "microseconds": lambda time: f"{time}123456",
    "floats": lambda time: f"{time}.0",
    "ISO": lambda time: _at(time, "%Y-%m-%dT%H:%M:%SZ"),
    "day.month": lambda time: _at(time, "%d.%m.%Y %H:%M:%S"),
    "month/day": lambda time: _at(time, "%m/%d/%Y %I:%M:%S %p"),
    "day/month": lambda time: _at(time, "%d/%m/%Y %H:%M:%S"),
    "month name": lambda time: _at(time, "%b %d, %Y") + _at(time, " %H:%M:%S"),
    "digits": lambda time: _at(time, "%Y%m%d%H%M%S"),
    "Excel's days": lambda time: f"{time / DAY + 25_569:.6f}",
}


def _at(time: int, pattern: str) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time, UTC).strftime(pattern)


@pytest.mark.parametrize("how", TIMES)
def test_times_in_any_form(sqlite: Database, write: Write, how: str) -> None:
    """A column of times is read as what it is, by all its values together."""
    table = long_table("user", "movie", "rating", "time", time=TIMES[how])
    report = ingested(sqlite, write("x.csv", lines_of(table)))
    assert (report.status, report.rejected) == ("merged", 0), report.why
    assert ratings(sqlite) == STORED


def test_years_are_their_first_day() -> None:
    """A column of years is read as the first of January."""
    assert recognise_times(["1999", "2005"], "year").seconds("1999") == 915_148_800


def test_titles_of_films_that_are_stored(sqlite: Database, write: Write) -> None:
    """Titles of a later file describe films that an earlier file named by their key only."""
    ingest(sqlite, [write("a.csv", "user,movie_id,rating\nann,zz,4\n")], by())
    ingest(sqlite, [write("b.csv", "user,movie_id,title,rating\nbob,zz,zzz,3\n")], by())
    assert films(sqlite) == {"zz": ("zzz", [])}


def test_text_ids_under_the_header_of_movielens(sqlite: Database, write: Write) -> None:
    """A header decides nothing that the rows contradict."""
    table = long_table("userId", "movieId", "rating", "timestamp")
    report = ingested(sqlite, write("ratings.csv", lines_of(table)))
    assert (report.format, report.status) == ("long file", "merged")
    assert ratings(sqlite) == STORED


def test_two_open_quotes_swallow_no_row(sqlite: Database, write: Write) -> None:
    """Rows between two open quotes are not taken for one row of several lines."""
    lines = ["user,movie,rating", 'ann,"Heat,4', "bob,Heat,3", 'cid,Up",5', "dee,Up,4"]
    report = ingested(sqlite, write("x.csv", "\n".join(lines)))
    assert [row[0] for row in ratings(sqlite)] == ["bob", "cid", "dee"], report.rejects


IDS = {f"u{n}": str(n + 1) for n in range(9)} | {f"f{n}": str(1001 + n) for n in range(9)}
"""Numbers as some data sets have them: films of four digits look like years."""
NUMBERED = [[IDS[r.user], IDS[r.film], f"{r.stars:g}", str(r.time)] for r in TABLE]
STORED_NUMBERED = sorted((row[0], row[1], float(row[2]), int(row[3])) for row in NUMBERED)
SWAPPED = [[row[1], row[0], row[2], row[3]] for row in NUMBERED]


class Other(NamedTuple):
    """A file that looks like a known format and is another, and how it is read."""

    content: str
    choices: dict[str, object] = {}  # noqa: RUF012  a constant


LOOK_ALIKES = {
    "film numbers like years": Other(lines_of(NUMBERED)),
    "film numbers like years, under MovieLens' header": Other(
        lines_of([["userId", "movieId", "rating", "timestamp"], *NUMBERED])
    ),
    "u.data under a header": Other(
        lines_of([["item_id", "user_id", "rating", "timestamp"], *SWAPPED], "\t")
    ),
    "RecBole": Other(
        lines_of(
            [["item_id:token", "user_id:token", "rating:float", "timestamp:float"], *SWAPPED], "\t"
        )
    ),
    "u.data with the film first": Other(
        lines_of(SWAPPED, "\t"), {"user": 2, "movie": 1, "rating": 3, "time": 4}
    ),
    "ratings.dat under a header": Other(
        "movie_id::user_id::rating::timestamp\n" + "".join("::".join(r) + "\n" for r in SWAPPED)
    ),
    "R's write.table": Other(
        '"user" "movie" "rating" "time"\n'
        + "".join(f'"{u}" "{f}"  {stars} {time}\n' for u, f, stars, time in NUMBERED)
    ),
    "R's write.table with row names": Other(
        '"user" "movie" "rating" "time"\n'
        + "".join(f'"{n}" "{r[0]}" "{r[1]}" {r[2]} {r[3]}\n' for n, r in enumerate(NUMBERED, 1))
    ),
    "a blank behind each comma": Other(
        '"user", "movie", "rating", "time"\n'
        + "".join(f'"{u}", "{f}", {stars}, {time}\n' for u, f, stars, time in NUMBERED)
    ),
}


@pytest.mark.parametrize("what", LOOK_ALIKES)
def test_tables_that_look_like_other_formats(sqlite: Database, write: Write, what: str) -> None:
    """The header and the settings decide before what lines look like."""
    other = LOOK_ALIKES[what]
    report = ingested(sqlite, write("x.csv", other.content), **other.choices)
    assert (report.status, report.rejected) == ("merged", 0), report.why
    assert ratings(sqlite) == STORED_NUMBERED


TENS = [[row[0], row[1], str(1 + number % 10), row[3]] for number, row in enumerate(NUMBERED)]
ANOTHER_SCALE = {
    "u.data": lines_of(TENS, "\t"),
    "ratings.dat": "".join("::".join(row) + "\n" for row in TENS),
    "ratings.csv": lines_of([["userId", "movieId", "rating", "timestamp"], *TENS]),
    "movies.dat": "".join("::".join(row[:3]) + "\n" for row in TENS),
}


@pytest.mark.parametrize("what", ANOTHER_SCALE)
def test_ratings_on_another_scale_are_not_movielens(
    sqlite: Database, write: Write, what: str
) -> None:
    """Files with the shape of MovieLens' and ratings up to 10 are long files, read whole."""
    report = ingested(sqlite, write(what, ANOTHER_SCALE[what]))
    assert (report.format, report.rejected) == ("long file", 0), report.why
    assert [row[2] for row in ratings(sqlite)] == [
        float(row[2]) for row in sorted(TENS, key=lambda row: (row[0], row[1]))
    ]


ZEROS = {
    "MovieLens": ("userId,movieId,rating,timestamp\n1,2,0,{0}\n1,3,4,{0}\n", ","),
    "1M": ("1::2::0::{0}\n1::3::4::{0}\n", "::"),
    "100K": ("1\t2\t0\t{0}\n1\t3\t4\t{0}\n", "\t"),
    "long": ("user,movie,rating,time\n1,2,,{0}\n1,3,4,{0}\n", ","),
}


@pytest.mark.parametrize("what", ZEROS)
def test_marks_for_what_is_not_rated(sqlite: Database, write: Write, what: str) -> None:
    """ingest.unrated leaves its values out in every format, and rows without a rating."""
    report = ingested(sqlite, write("x.csv", ZEROS[what][0].format(T)), unrated=(0.0,))
    assert ratings(sqlite) == [("1", "3", 4.0, T)]
    assert report.warnings == ("ingest.unrated leaves out 1 of its rows",)


NO_USER = {
    "IMDb's export": IMDB,
    "another word for user": "friend,movie_id,title,stars\nann,1,Heat,4\nbob,1,Heat,3\n",
    "people named as films": "Name,Film,Rating\nAnn,Heat,4\nBob,Up,3\n",
    "an average": "movie_id,title,rating\n1,Heat,3.9\n2,Up,4.1\n",
}


@pytest.mark.parametrize("what", NO_USER)
def test_ratings_without_a_user_are_no_catalogue(sqlite: Database, write: Write, what: str) -> None:
    """A table of ratings whose user is not known is refused, and not read as titles."""
    report = ingested(sqlite, write("x.csv", NO_USER[what]))
    assert (report.status, report.code) == ("refused", "HEADER_MISSING")
    assert "ingest.columns.user" in report.why
    assert "ingest.user" in report.why
    assert films(sqlite) == {}


def test_a_time_of_another_name_is_not_lost_in_silence(sqlite: Database, write: Write) -> None:
    """Where no column is known to be the time the report names those that are not used."""
    table = long_table("user", "movie", "rating", "moment")
    report = ingested(sqlite, write("x.csv", lines_of(table)))
    assert report.why.endswith("rating = rating, and no time; not used: moment")
    report = ingested(sqlite, write("y.csv", lines_of([row[:3] for row in table])))
    assert report.why.endswith("rating = rating")


def test_titles_in_a_ratings_file(sqlite: Database, write: Write) -> None:
    """Titles beside the ratings are stored; texts that differ for one film are not titles."""
    titled = "user,movie_id,title,rating\nann,1,Heat,4\nbob,1,Heat,3\nbob,2,Up,5\n"
    ingest(sqlite, [write("a.csv", titled)], by())
    assert films(sqlite) == {"1": ("Heat", []), "2": ("Up", [])}
    reviews = "user,movie_id,title,rating\nann,3,Great!,4\nbob,3,Boring,3\n"
    (report,) = ingest(sqlite, [write("b.csv", reviews)], by())
    assert films(sqlite)["3"] == ("3", [])
    assert "no titles" in report.warnings[0]


def test_catalogues_of_other_keys(sqlite: Database, write: Write) -> None:
    """A catalogue none of whose keys is rated is warned of, and once one is rated no more."""
    ingest(sqlite, [write("r.csv", "user,movie,rating\nann,1,4\n")], by())
    other = write("m.csv", "movie_id,title\ntt1,Heat\n")
    (report,) = ingest(sqlite, [other], by())
    assert "ratings have ids such as '1', catalogues 'tt1'" in report.warnings[0]
    assert "ingest.columns.movie" in report.warnings[0]
    (report,) = ingest(sqlite, [write("n.csv", "movie_id,title\n1,Heat\n")], by())
    assert report.warnings == ()


GENRES = ['["Crime", "Drama"]', "['Crime', 'Drama']", '{Crime,"Drama"}', "Crime|Drama"]
GENRES += [
    "Crime, Drama",
    "Crime;Drama",
    '[{"id": 1, "name": "Crime"}, {"id": 2, "name": "Drama"}]',
]


@pytest.mark.parametrize("text", GENRES)
def test_lists_of_genres(sqlite: Database, write: Write, text: str) -> None:
    """Genres are read from lists of JSON, Python and Postgres, and by usual separators."""
    table = [["id", "name", "genres"], ["tt1", "Heat", text], ["tt2", "Up", ""]]
    ingest(sqlite, [write("x.csv", lines_of(table))], by())
    assert films(sqlite) == {"tt1": ("Heat", ["Crime", "Drama"]), "tt2": ("Up", [])}
