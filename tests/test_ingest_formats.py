"""Which formats are recognised, by content alone, and what is read from each of them."""

import gzip
import unicodedata
import zipfile
from collections.abc import Callable, Iterable
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.ingest import Report, ingest
from batch.ingest.parsing import Reading, unique_key
from batch.store.database import Database
from tables import Films, Write, by, films, flags, ratings, rows, with_tables

T = 978_300_760  # seconds since 1970: the first rating of MovieLens 1M


def quoted(titles: Iterable[str]) -> list[str]:
    return ['"' + title.replace('"', '""') + '"' for title in titles]


class Known(NamedTuple):
    """A file of a known format with two rows."""

    text: str
    format: str
    why: str
    rows: list[tuple[str, str, float, int | None]] | Films  # ratings, or films of a catalogue


KNOWN = {
    "wide": Known(
        ",User,Heat,Alien\n0,Ann,4.0,0.0\n1,Bob,,2.5\n",
        "wide ratings matrix",
        "its header is an unnamed index, User and 2 films",
        [("Ann", "Heat", 4.0, None), ("Bob", "Alien", 2.5, None)],
    ),
    "wide, no index": Known(
        "User,Heat,Alien\nAnn,4,0\nBob,000, 2.5 \n",
        "wide ratings matrix",
        "its header is User and 2 films",
        [("Ann", "Heat", 4.0, None), ("Bob", "Alien", 2.5, None)],
    ),
    "latest": Known(
        f"userId,movieId,rating,timestamp\n1,31,2.5,{T}\n7,31,0.5,{T + 1}\n",
        "MovieLens ratings.csv",
        "its header is userId,movieId,rating,timestamp",
        [("1", "31", 2.5, T), ("7", "31", 0.5, T + 1)],
    ),
    "1M": Known(
        f"1::1193::5::{T}\n1::661::3::{T + 1}\n",
        "MovieLens ratings.dat",
        "its lines are user::movie::rating::time",
        [("1", "1193", 5.0, T), ("1", "661", 3.0, T + 1)],
    ),
    "10M": Known(
        f"1::122::4.5::{T}\n2::122::5::{T}\n",
        "MovieLens ratings.dat",
        "its lines are user::movie::rating::time",
        [("1", "122", 4.5, T), ("2", "122", 5.0, T)],
    ),
    "100K": Known(
        f"196\t242\t3\t{T}\n186\t302\t1\t{T}\n",
        "MovieLens u.data",
        "its lines are user, movie, rating and time between tabs",
        [("186", "302", 1.0, T), ("196", "242", 3.0, T)],
    ),
    "long": Known(
        f'user,movie,rating,timestamp\nAnn,"Net, The",4,{T}\nBob,Heat,-3.25,\n',
        "long file",
        "its header names user = user, movie = movie, rating = rating, time = timestamp",
        [("Ann", "Net, The", 4.0, T), ("Bob", "Heat", -3.25, None)],
    ),
    "wide films": Known(
        ",movie_title,genre_drama,genre_sci-fi\n0,Heat,1,0\n1,Alien,1.0,1\n",
        "wide genre matrix",
        "its header is movie_title and 2 columns genre_...",
        {"Heat": ("Heat", ["drama"]), "Alien": ("Alien", ["drama", "sci-fi"])},
    ),
    "wide films, no index": Known(
        "movie_title,genre_drama\nHeat,1\nUp,0.0\n",
        "wide genre matrix",
        "its header is movie_title and 1 columns genre_...",
        {"Heat": ("Heat", ["drama"]), "Up": ("Up", [])},
    ),
    "latest films": Known(
        "movieId,title,genres\n"
        '11,"American President, The (1995)",Comedy|Drama\n'
        '12,"""Up""",(no genres listed)\n',
        "MovieLens movies.csv",
        "its header is movieId,title,genres",
        {
            "11": ("American President, The (1995)", ["Comedy", "Drama"]),
            "12": ('"Up"', []),
        },
    ),
    "1M films": Known(
        "260::Star Wars: Episode IV - A New Hope (1977)::Action|Sci-Fi\n"
        "557::Mamma Roma (1962)::Drama\n",
        "MovieLens movies.dat",
        "its lines are movie::title::genres",
        {
            "260": ("Star Wars: Episode IV - A New Hope (1977)", ["Action", "Sci-Fi"]),
            "557": ("Mamma Roma (1962)", ["Drama"]),
        },
    ),
    "100K films": Known(
        f"1|Toy Story (1995)|01-Jan-1995||http://a|{flags(3, 4, 5)}\n267|unknown||||{flags(0)}\n",
        "MovieLens u.item",
        "its lines are movie|title|...|19 genre flags",
        {
            "1": ("Toy Story (1995)", ["Animation", "Children's", "Comedy"]),
            "267": ("unknown", []),
        },
    ),
}

ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "mark": lambda text: text.encode("utf-8-sig"),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "mark and CRLF": lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
    "open end": lambda text: text.removesuffix("\n").encode(),
    "blank lines": lambda text: ("\n" + text.replace("\n", "\n\n")).encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
}
"""The same file as other programs may write it."""


@pytest.fixture
def sqlite(sqlite_url: str) -> Database:
    """An empty database, where the kind of database does not matter."""
    return with_tables(sqlite_url)


def stored(database: Database, known: Known) -> object:
    """The films or the ratings of the database, whichever the file has."""
    return films(database) if isinstance(known.rows, dict) else ratings(database)


@pytest.mark.parametrize("name", ["export", "users.csv", "movies.dat"])
@pytest.mark.parametrize("kind", KNOWN)
def test_formats_are_recognised_by_content(
    sqlite: Database, write: Write, kind: str, name: str
) -> None:
    """A file of any name is recognised by its content, with the reason, and is read whole."""
    known = KNOWN[kind]
    path = write(name, known.text)
    expected = Report(str(path), known.format, known.why, "merged", read=2, accepted=2, batch_id=1)
    assert ingest(sqlite, [path], by()) == [expected]
    assert stored(sqlite, known) == known.rows


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", KNOWN)
def test_encodings_of_files(sqlite: Database, tmp_path: Path, kind: str, encoding: str) -> None:
    """Byte order mark, CRLF, blank lines, no last line end, and gzip do not change what is read."""
    known = KNOWN[kind]
    path = tmp_path / ("x.gz" if encoding == "gzip" else "x.csv")
    path.write_bytes(ENCODINGS[encoding](known.text))
    (report,) = ingest(sqlite, [path], by())
    assert (report.status, report.read, report.accepted, report.rejects) == ("merged", 2, 2, ())
    assert stored(sqlite, known) == known.rows


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("wide", "2,Cid,x,0"),
        ("latest", f"2,x,5,{T}"),
        ("1M", f"2::x::5::{T}"),
        ("10M", "2::7"),
        ("100K", f"2\tx\t5\t{T}"),
        ("1M films", "x::Up::Drama"),
        ("100K films", "2|Up||"),
    ],
)
def test_bad_row_near_the_top(sqlite: Database, write: Write, kind: str, bad: str) -> None:
    """One bad row among the first ten hides neither the file's format nor its other rows."""
    known = KNOWN[kind]
    (report,) = ingest(sqlite, [write("x.csv", known.text + bad + "\n")], by())
    assert (report.format, report.status) == (known.format, "merged")
    assert (report.read, report.accepted, report.rejected) == (3, 2, 1)
    last_line = known.text.count("\n") + 1
    assert [reject.line for reject in report.rejects] == [last_line]
    assert stored(sqlite, known) == known.rows


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
@pytest.mark.parametrize(
    "content",
    [
        "73::Misérables, Les (1995)::Drama|Musical\n",
        f"73|Misérables, Les (1995)||||{flags(8, 12)}\n",
    ],
)
def test_old_movielens_encodings(
    sqlite: Database, write: Write, content: str, encoding: str
) -> None:
    """The catalogues of MovieLens 1M and 100K are read right in latin-1 and in UTF-8."""
    ingest(sqlite, [write("movies.dat", content, encoding)], by())
    assert films(sqlite) == {"73": ("Misérables, Les (1995)", ["Drama", "Musical"])}


@pytest.mark.parametrize(
    "header",
    [
        "user_key,movie_key,rating,rated_at",
        "user_id,movie_id,stars,time",
        "UserID,MovieID,Score,Date",
        " user , film , rating , timestamp ",
        "user,item_id,rating,timestamp",
        "user,film_id,rating,timestamp",
    ],
)
def test_usual_names_of_long_files(sqlite: Database, write: Write, header: str) -> None:
    """The usual names of columns are recognised in any case and with spaces around them."""
    ingest(sqlite, [write("x.csv", f"{header}\nAnn,Heat,4,{T}\n")], by())
    assert ratings(sqlite) == [("Ann", "Heat", 4.0, T)]


def test_column_map_of_long_files(sqlite: Database, write: Write) -> None:
    """Columns named in the settings go before usual names, and other columns are ignored."""
    path = write("x.csv", "rating,when,who,note,what,points\n9,1970-01-02,Ann,hm,Heat,4\n")
    columns = {"user": "who", "movie": "what", "rating": "points", "time": "when"}
    (report,) = ingest(sqlite, [path], by(**columns))
    assert report.why == "its header names user = who, movie = what, rating = points, time = when"
    assert ratings(sqlite) == [("Ann", "Heat", 4.0, 86_400)]


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("0", 0),
        ("978300760", T),
        (" 978300760 ", T),
        ("2000-12-31T22:12:40Z", T),
        ("2000-12-31T22:12:40", T),
        ("2000-12-31 22:12:40", T),
        ("2000-12-31T23:12:40+01:00", T),
        ("2000-12-31T22:12:40.9", T),
        ("2000-12-31", T - 79_960),
        ("", None),
        ("  ", None),
    ],
)
def test_times(sqlite: Database, write: Write, time: str, seconds: int | None) -> None:
    """A time is seconds since 1970 or ISO 8601, in UTC without an offset; it may be empty."""
    ingest(sqlite, [write("x.csv", f"user,movie,rating,time\nAnn,Heat,4,{time}\n")], by())
    assert ratings(sqlite) == [("Ann", "Heat", 4.0, seconds)]


def test_zip_as_downloaded(database: Database, tmp_path: Path) -> None:
    """A MovieLens zip is read as it is: ratings and films are merged, other parts are skipped."""
    path = tmp_path / "ml-mini.zip"
    parts = {
        "README.txt": "Summary\n=======\n",
        "ratings.csv": KNOWN["latest"].text,
        "movies.csv": "movieId,title,genres\n31,Dangerous Minds (1995),Drama\n",
        "tags.csv": "userId,movieId,tag,timestamp\n2,60756,funny,1445714994\n",
        "links.csv": "movieId,imdbId,tmdbId\n1,0114709,862\n",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("ml-mini")
        for name, text in parts.items():
            archive.writestr(f"ml-mini/{name}", text)
    reports = ingest(database, [path], by())
    assert [(report.file, report.status) for report in reports] == [
        (f"{path}/ml-mini/README.txt", "skipped"),
        (f"{path}/ml-mini/links.csv", "skipped"),
        (f"{path}/ml-mini/tags.csv", "skipped"),
        (f"{path}/ml-mini/movies.csv", "merged"),
        (f"{path}/ml-mini/ratings.csv", "merged"),
    ]
    assert ratings(database) == KNOWN["latest"].rows
    assert films(database) == {"31": ("Dangerous Minds (1995)", ["Drama"])}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x", "userId,movieId,tag,timestamp\n2,60756,funny,1445714994\n"),
        ("x", "movieId,imdbId,tmdbId\n1,2,3\n"),
        ("x", "movieId,tagId,relevance\n1,1,0.025\n"),
        ("x", "tagId,tag\n1,007\n"),
        ("users.dat", "1::F::1::10::48067\n"),
        ("tags.dat", "15::4973::excellent!::1215184630\n"),
    ],
)
def test_parts_that_are_not_needed(sqlite: Database, write: Write, name: str, content: str) -> None:
    """Parts of MovieLens with neither ratings nor films are skipped with a reason, not refused."""
    path = write(name, content)
    why = "a part of MovieLens that is not needed"
    assert ingest(sqlite, [path], by()) == [Report(str(path), None, why, "skipped")]


def test_folder(sqlite: Database, write: Write) -> None:
    """A folder means its tables, by their endings in any case; other files are named."""
    first = write("in/A.CSV", "user,movie,rating\nAnn,Heat,1\n")
    second = write("in/b.tsv", KNOWN["100K"].text)
    readme = write("in/README.txt", "nothing")
    program = write("in/load.py", "nothing")
    write("in/.DS_Store", "nothing")
    write("in/below/c.csv", "user,movie,rating\nAnn,Heat,2\n")
    reports = ingest(sqlite, [first.parent], by())
    statuses = {report.file: (report.status, report.why) for report in reports}
    assert {file: status for file, (status, _) in statuses.items()} == {
        str(first): "merged",
        str(second): "merged",
        str(readme): "skipped",
        str(program): "skipped",
    }
    assert statuses[str(program)][1] == "not looked at, because of its ending"


def test_file_name_that_is_no_text(database: Database, tmp_path: Path) -> None:
    """A file whose name is not valid UTF-8 is ingested like any other, with its rejects."""
    path = tmp_path / "caf\udce9.csv"
    path.write_bytes(b"user,movie,rating\nAnn,Heat,4\nAnn,Up,x\n")
    (report,) = ingest(database, [path], by())
    assert (report.status, report.accepted, report.rejected) == ("merged", 1, 1)


TITLES = [
    *("NA", "None", "null", "nan", "1984", "007", "1e5", "TRUE"),
    *("9½ Weeks", "4 Months, 3 Weeks and 2 Days", '"Up"', "'Til", "Amélie", "羅生門", "🙂"),
    *("-", "=1+1", "Robert'); DROP TABLE movies;--", "a\\b", "%s", "x" * 400),
]
NUMBERED = list(enumerate(TITLES))
NUMBERED_QUOTED = list(enumerate(quoted(TITLES)))


@pytest.mark.promise("E1")
@pytest.mark.parametrize(
    ("header", "lines", "keyed_by_title"),
    [
        (
            ",User," + ",".join(quoted(TITLES)),
            ["0,Ann" + ",4" * len(TITLES)],
            True,
        ),
        (
            ",movie_title,genre_a",
            [f"{number},{title},0" for number, title in NUMBERED_QUOTED],
            True,
        ),
        (
            "movieId,title,genres",
            [f"{number},{title}," for number, title in NUMBERED_QUOTED],
            False,
        ),
        (None, [f"{number}::{title}::" for number, title in NUMBERED], False),
        (None, [f"{number}|{title}||||{flags()}" for number, title in NUMBERED], False),
        ("user,movie,rating", [f"Ann,{title},4" for _, title in NUMBERED_QUOTED], True),
    ],
    ids=["wide", "wide films", "latest films", "1M films", "100K films", "long"],
)
def test_titles_are_text(
    database: Database, write: Write, header: str | None, lines: list[str], keyed_by_title: bool
) -> None:
    """A title is the exact text in every format, be it a number, "NA" or SQL."""
    all_lines = lines if header is None else [header, *lines]
    ingest(database, [write("x.csv", "\n".join(all_lines) + "\n")], by())
    expected = {}
    for number, title in NUMBERED:
        expected[title if keyed_by_title else str(number)] = (title, [])
    assert films(database) == expected


@pytest.mark.promise("C8")
def test_one_unicode_form(database: Database, write: Write) -> None:
    """Keys and titles that look the same are the same: both forms of é are one user and film."""
    composed = unicodedata.normalize("NFC", "Amélie")
    decomposed = unicodedata.normalize("NFD", "Amélie")
    assert composed != decomposed
    write("in/ratings.csv", f",User,{decomposed}\n0,{decomposed},4\n")
    catalogue = write("in/genres.csv", f",movie_title,genre_{decomposed}\n0,{composed},1\n")
    long = write("long.csv", f"user,movie,rating,time\n{composed}, {decomposed} ,3,{T}\n")
    ingest(database, [catalogue.parent, long], by(), snapshot_at=T - 1)
    assert films(database) == {composed: (composed, [composed])}
    assert ratings(database) == [(composed, composed, 3.0, T)]


@pytest.mark.promise("C8")
def test_repeated_names_in_wide_files(database: Database, write: Write) -> None:
    """Films of one title and users of one name stay apart, in both files alike, with a warning."""
    genres = ",movie_title,genre_a,genre_b\n0,Heat,1,0\n1,Up,0,0\n2,Heat,0,1\n3,Heat #2,1,1\n"
    write("in/genres.csv", genres)
    matrix = write("in/ratings.csv", ",User,Heat,Up,Heat,Heat #2\n0,Ann,1,2,3,4\n1,Ann,5,,,\n")
    of_genres, of_matrix = ingest(database, [matrix.parent], by())
    warnings = (
        "film 'Heat' is repeated; this one gets the key 'Heat #2'",
        "film 'Heat #2' is repeated; this one gets the key 'Heat #2 #2'",
    )
    user_warning = "user 'Ann' is repeated; this one gets the key 'Ann #2'"
    assert of_genres.warnings == warnings
    assert of_matrix.warnings == (*warnings, user_warning)
    assert films(database) == {
        "Heat": ("Heat", ["a"]),
        "Up": ("Up", []),
        "Heat #2": ("Heat", ["b"]),
        "Heat #2 #2": ("Heat #2", ["a", "b"]),
    }
    assert [row[:3] for row in ratings(database)] == [
        ("Ann", "Heat", 1),
        ("Ann", "Heat #2", 3),
        ("Ann", "Heat #2 #2", 4),
        ("Ann", "Up", 2),
        ("Ann #2", "Heat", 5),
    ]
    users = sorted(rows(database, "SELECT user_key, name FROM users"))
    assert users == [("Ann", "Ann"), ("Ann #2", "Ann")]


def test_many_repeated_names(sqlite: Database, write: Write) -> None:
    """Of many warnings a hundred are reported, and the number of the others."""
    header = ",".join(["", "User", *["Heat"] * 150, "Heat #3", "Up"])
    path = write("x.csv", f"{header}\n0,Ann{',1' * 152}\n")
    (report,) = ingest(sqlite, [path], by(share=1.0))
    assert len(report.warnings) == 101
    assert report.warnings[-1] == "and 50 more like these"


@given(st.lists(st.sampled_from(["a", "a #2", "a #3", "a #2 #2", "b"]), max_size=12))
def test_keys_of_names(names: list[str]) -> None:
    """Each name is its own key, or gets the first free number, and no key is used twice."""
    expected: list[str] = []
    for name in names:
        candidates = chain([name], (f"{name} #{number}" for number in count(2)))
        expected.append(next(key for key in candidates if key not in expected))
    taken: dict[str, int] = {}
    reading = Reading(None, {}, 0)
    assert [unique_key(name, "film", taken, reading) for name in names] == expected


def test_repeated_title_behind_a_bad_row(sqlite: Database, write: Write) -> None:
    """A rejected row of the genre matrix still counts among the films of one title."""
    path = write("x.csv", ",movie_title,genre_a,genre_b\n0,Heat,?,0\n1,Heat,0,1\n")
    ingest(sqlite, [path], by())
    assert films(sqlite) == {"Heat #2": ("Heat", ["b"])}


def test_unrated_in_a_wide_matrix(database: Database, write: Write) -> None:
    """A film of a wide matrix without ratings is stored; a user without ratings is not."""
    ingest(database, [write("x.csv", ",User,Heat,Up\n0,Ann,4,0\n1,Bob,0,0\n")], by())
    assert films(database) == {"Heat": ("Heat", []), "Up": ("Up", [])}
    assert rows(database, "SELECT user_key FROM users") == [("Ann",)]


def test_movielens_latest_small(database: Database, movielens: Path) -> None:
    """The real ml-latest-small is read whole: 610 users, 9742 films, 100836 ratings."""
    *_, of_films, of_ratings = ingest(database, [movielens], by())
    n_rows = {of_films: 9742, of_ratings: 100_836}
    for report, expected in n_rows.items():
        assert (report.status, report.read, report.accepted) == ("merged", expected, expected)
        assert (report.rejected, report.duplicate) == (0, 0)
    names = [Path(report.file).name for report in n_rows]
    assert names == ["movies.csv", "ratings.csv"]
    tables = ("users", "movies", "ratings", "genres")
    counts = [rows(database, f"SELECT count(*) FROM {table}") for table in tables]
    assert counts == [[(610,)], [(9742,)], [(100836,)], [(19,)]]
    joined = "ratings JOIN users USING (user_id) JOIN movies USING (movie_id)"
    pair = "user_key = '1' AND movie_key = '47'"
    rating = rows(database, f"SELECT title, rating, rated_at FROM {joined} WHERE {pair}")
    assert rating == [("Seven (a.k.a. Se7en) (1995)", 5.0, 964983815)]


def test_real_wide_genre_file(sqlite: Database, movielens: Path) -> None:
    """A real genre file of the wide format is read whole: 2000 films and 25 genres."""
    (report,) = ingest(sqlite, [movielens.parent / "movie_genres.csv"], by())
    assert (report.format, report.read, report.accepted) == ("wide genre matrix", 2000, 2000)
    assert rows(sqlite, "SELECT count(*) FROM movies") == [(2000,)]
    assert rows(sqlite, "SELECT count(*) FROM genres") == [(25,)]
