"""Which files are known, by their content alone, and what is read from each of them."""

import gzip
import unicodedata
import zipfile
from collections.abc import Callable, Iterable
from itertools import chain, count
from pathlib import Path

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


# text -> format, why, and what is read: ratings as a list, a catalogue as a dict
KNOWN: dict[str, tuple[str, str, str, list[tuple[str, str, float, int | None]] | Films]] = {
    "wide": (
        ",User,Heat,Alien\n0,Ann,4.0,0.0\n1,Bob,,2.5\n",
        "wide ratings matrix", "its header is an unnamed index, User and 2 films",
        [("Ann", "Heat", 4.0, None), ("Bob", "Alien", 2.5, None)],
    ),
    "wide, no index": (
        "User,Heat,Alien\nAnn,4,0\nBob,000, 2.5 \n",
        "wide ratings matrix", "its header is User and 2 films",
        [("Ann", "Heat", 4.0, None), ("Bob", "Alien", 2.5, None)],
    ),
    "latest": (
        f"userId,movieId,rating,timestamp\n1,31,2.5,{T}\n7,31,0.5,{T + 1}\n",
        "MovieLens ratings.csv", "its header is userId,movieId,rating,timestamp",
        [("1", "31", 2.5, T), ("7", "31", 0.5, T + 1)],
    ),
    "1M": (
        f"1::1193::5::{T}\n1::661::3::{T + 1}\n",
        "MovieLens ratings.dat", "its lines are user::movie::rating::time",
        [("1", "1193", 5.0, T), ("1", "661", 3.0, T + 1)],
    ),
    "10M": (
        f"1::122::4.5::{T}\n2::122::5::{T}\n",
        "MovieLens ratings.dat", "its lines are user::movie::rating::time",
        [("1", "122", 4.5, T), ("2", "122", 5.0, T)],
    ),
    "100K": (
        f"196\t242\t3\t{T}\n186\t302\t1\t{T}\n",
        "MovieLens u.data", "its lines are user, movie, rating and time between tabs",
        [("186", "302", 1.0, T), ("196", "242", 3.0, T)],
    ),
    "long": (
        f'user,movie,rating,timestamp\nAnn,"Net, The",4,{T}\nBob,Heat,-3.25,\n',
        "long CSV", "its header names user = user, movie = movie, rating = rating, time = timestamp",
        [("Ann", "Net, The", 4.0, T), ("Bob", "Heat", -3.25, None)],
    ),
    "wide films": (
        ",movie_title,genre_drama,genre_sci-fi\n0,Heat,1,0\n1,Alien,1.0,1\n",
        "wide genre matrix", "its header is movie_title and 2 columns genre_...",
        {"Heat": ("Heat", ["drama"]), "Alien": ("Alien", ["drama", "sci-fi"])},
    ),
    "wide films, no index": (
        "movie_title,genre_drama\nHeat,1\nUp,0.0\n",
        "wide genre matrix", "its header is movie_title and 1 columns genre_...",
        {"Heat": ("Heat", ["drama"]), "Up": ("Up", [])},
    ),
    "latest films": (
        'movieId,title,genres\n11,"American President, The (1995)",Comedy|Drama\n12,"""Up""",(no genres listed)\n',
        "MovieLens movies.csv", "its header is movieId,title,genres",
        {"11": ("American President, The (1995)", ["Comedy", "Drama"]), "12": ('"Up"', [])},
    ),
    "1M films": (
        "260::Star Wars: Episode IV - A New Hope (1977)::Action|Sci-Fi\n557::Mamma Roma (1962)::Drama\n",
        "MovieLens movies.dat", "its lines are movie::title::genres",
        {"260": ("Star Wars: Episode IV - A New Hope (1977)", ["Action", "Sci-Fi"]),
         "557": ("Mamma Roma (1962)", ["Drama"])},
    ),
    "100K films": (
        f"1|Toy Story (1995)|01-Jan-1995||http://a|{flags(3, 4, 5)}\n267|unknown||||{flags(0)}\n",
        "MovieLens u.item", "its lines are movie|title|...|19 genre flags",
        {"1": ("Toy Story (1995)", ["Animation", "Children's", "Comedy"]), "267": ("unknown", [])},
    ),
}  # fmt: skip

# the same file as other programs may write it
DRESSES: dict[str, Callable[[str], bytes]] = {
    "mark": lambda content: content.encode("utf-8-sig"),
    "CRLF": lambda content: content.replace("\n", "\r\n").encode(),
    "mark and CRLF": lambda content: content.replace("\n", "\r\n").encode("utf-8-sig"),
    "open end": lambda content: content.removesuffix("\n").encode(),
    "blank lines": lambda content: ("\n" + content.replace("\n", "\n\n")).encode(),
    "gzip": lambda content: gzip.compress(content.encode()),
}


@pytest.fixture
def sqlite(sqlite_url: str) -> Database:
    """For what no database has a say in."""
    return with_tables(sqlite_url)


@pytest.mark.parametrize("name", ["export", "users.csv", "movies.dat"])
@pytest.mark.parametrize("kind", KNOWN)
def test_files_are_told_by_content(sqlite: Database, write: Write, kind: str, name: str) -> None:
    """Whatever its name, a file is told by its content, says what gave it away, and is read whole."""
    content, form, why, expected = KNOWN[kind]
    path = write(name, content)
    assert ingest(sqlite, [path], by()) == [
        Report(str(path), form, why, "merged", read=2, accepted=2, batch_id=1)
    ]
    assert (films(sqlite) if isinstance(expected, dict) else ratings(sqlite)) == expected


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("kind", KNOWN)
def test_dress_of_files(sqlite: Database, tmp_path: Path, kind: str, dress: str) -> None:
    """A byte order mark, CRLF, blank lines, a missing last newline and gzip change nothing in what is read."""
    content, _, _, expected = KNOWN[kind]
    path = tmp_path / ("x.gz" if dress == "gzip" else "x.csv")
    path.write_bytes(DRESSES[dress](content))
    (report,) = ingest(sqlite, [path], by())
    assert (report.status, report.read, report.accepted, report.rejects) == ("merged", 2, 2, ())
    assert (films(sqlite) if isinstance(expected, dict) else ratings(sqlite)) == expected


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("wide", "2,Cid,x,0"), ("latest", f"2,x,5,{T}"), ("1M", f"2::x::5::{T}"), ("10M", "2::7"),
        ("100K", f"2\tx\t5\t{T}"), ("1M films", "x::Up::Drama"), ("100K films", "2|Up||"),
    ],
)  # fmt: skip
def test_bad_row_near_the_top(sqlite: Database, write: Write, kind: str, bad: str) -> None:
    """One bad row among the first ten hides neither the file's format nor its other rows."""
    content, form, _, expected = KNOWN[kind]
    (report,) = ingest(sqlite, [write("x.csv", content + bad + "\n")], by())
    assert (report.format, report.status, report.read, report.accepted, report.rejected) == (
        form,
        "merged",
        3,
        2,
        1,
    )
    assert [reject.line for reject in report.rejects] == [content.count("\n") + 1]
    assert (films(sqlite) if isinstance(expected, dict) else ratings(sqlite)) == expected


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
    ["user_key,movie_key,rating,rated_at", "user_id,movie_id,stars,time", "UserID,MovieID,Score,Date",
     " user , film , rating , timestamp ", "user,item_id,rating,timestamp", "user,film_id,rating,timestamp"],
)  # fmt: skip
def test_usual_names_of_long_files(sqlite: Database, write: Write, header: str) -> None:
    """The usual names of columns are found whatever their case and the spaces around them."""
    ingest(sqlite, [write("x.csv", f"{header}\nAnn,Heat,4,{T}\n")], by())
    assert ratings(sqlite) == [("Ann", "Heat", 4.0, T)]


def test_column_map_of_long_files(sqlite: Database, write: Write) -> None:
    """Columns named in the settings are used in any place, before usual names, and other columns are left alone."""
    content = "rating,when,who,note,what,points\n9,1970-01-02,Ann,hm,Heat,4\n"
    (report,) = ingest(
        sqlite,
        [write("x.csv", content)],
        by(user="who", movie="what", rating="points", time="when"),
    )
    assert report.why == "its header names user = who, movie = what, rating = points, time = when"
    assert ratings(sqlite) == [("Ann", "Heat", 4.0, 86_400)]


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("0", 0), ("978300760", T), (" 978300760 ", T), ("2000-12-31T22:12:40Z", T), ("2000-12-31T22:12:40", T),
        ("2000-12-31 22:12:40", T), ("2000-12-31T23:12:40+01:00", T), ("2000-12-31T22:12:40.9", T),
        ("2000-12-31", T - 79_960), ("", None), ("  ", None),
    ],
)  # fmt: skip
def test_times(sqlite: Database, write: Write, time: str, seconds: int | None) -> None:
    """A time is seconds since 1970 or ISO 8601, in UTC unless it names an offset; an empty one is unknown."""
    ingest(sqlite, [write("x.csv", f"user,movie,rating,time\nAnn,Heat,4,{time}\n")], by())
    assert ratings(sqlite) == [("Ann", "Heat", 4.0, seconds)]


def test_zip_as_downloaded(database: Database, tmp_path: Path) -> None:
    """A MovieLens zip is read as it came: its ratings and films in, the parts that are not needed skipped and named."""
    path = tmp_path / "ml-mini.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("ml-mini")
        for name, content in {
            "README.txt": "Summary\n=======\n",
            "ratings.csv": KNOWN["latest"][0],
            "movies.csv": "movieId,title,genres\n31,Dangerous Minds (1995),Drama\n",
            "tags.csv": "userId,movieId,tag,timestamp\n2,60756,funny,1445714994\n",
            "links.csv": "movieId,imdbId,tmdbId\n1,0114709,862\n",
        }.items():
            archive.writestr(f"ml-mini/{name}", content)
    assert [(report.file.removeprefix(f"{path}/"), report.status) for report in ingest(database, [path], by())] == [
        ("ml-mini/links.csv", "skipped"), ("ml-mini/tags.csv", "skipped"),
        ("ml-mini/movies.csv", "merged"), ("ml-mini/ratings.csv", "merged"),
    ]  # fmt: skip
    assert ratings(database) == KNOWN["latest"][3]
    assert films(database) == {"31": ("Dangerous Minds (1995)", ["Drama"])}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x", "userId,movieId,tag,timestamp\n2,60756,funny,1445714994\n"), ("x", "movieId,imdbId,tmdbId\n1,2,3\n"),
        ("x", "movieId,tagId,relevance\n1,1,0.025\n"), ("x", "tagId,tag\n1,007\n"),
        ("users.dat", "1::F::1::10::48067\n"), ("tags.dat", "15::4973::excellent!::1215184630\n"),
    ],
)  # fmt: skip
def test_side_files_are_skipped(sqlite: Database, write: Write, name: str, content: str) -> None:
    """The parts of MovieLens that hold neither ratings nor films are skipped with a reason, not refused."""
    path = write(name, content)
    why = "a part of MovieLens that is not needed"
    assert ingest(sqlite, [path], by()) == [Report(str(path), None, why, "skipped")]


def test_folder(sqlite: Database, write: Write) -> None:
    """A folder stands for its data files, whatever the case of their endings; the rest of it is left alone."""
    first, second = (
        write("in/A.CSV", "user,movie,rating\nAnn,Heat,1\n"),
        write("in/b.tsv", KNOWN["100K"][0]),
    )
    write("in/README.txt", "nothing")
    write("in/below/c.csv", "user,movie,rating\nAnn,Heat,2\n")
    found = ingest(sqlite, [first.parent], by())
    assert {report.file: report.status for report in found} == {
        str(first): "merged",
        str(second): "merged",
    }


def test_file_name_that_is_no_text(database: Database, tmp_path: Path) -> None:
    """A file whose name is not valid UTF-8 is ingested like any other, rejects and all."""
    path = tmp_path / "caf\udce9.csv"
    path.write_bytes(b"user,movie,rating\nAnn,Heat,4\nAnn,Up,x\n")
    (report,) = ingest(database, [path], by())
    assert (report.status, report.accepted, report.rejected) == ("merged", 1, 1)


TITLES = [
    "NA", "None", "null", "nan", "1984", "007", "1e5", "TRUE", "9½ Weeks", "4 Months, 3 Weeks and 2 Days", '"Up"',
    "'Til", "Amélie", "羅生門", "🙂", "-", "=1+1", "Robert'); DROP TABLE movies;--", "a\\b", "%s", "x" * 400,
]  # fmt: skip
N = list(enumerate(TITLES))
NQ = list(enumerate(quoted(TITLES)))


@pytest.mark.promise("E1")
@pytest.mark.parametrize(
    ("content", "keyed_by_title"),
    [
        (",User," + ",".join(quoted(TITLES)) + "\n0,Ann" + ",4" * len(TITLES) + "\n", True),
        (",movie_title,genre_a\n" + "".join(f"{n},{title},0\n" for n, title in NQ), True),
        ("movieId,title,genres\n" + "".join(f"{n},{title},\n" for n, title in NQ), False),
        ("".join(f"{n}::{title}::\n" for n, title in N), False),
        ("".join(f"{n}|{title}||||{flags()}\n" for n, title in N), False),
        ("user,movie,rating\n" + "".join(f"Ann,{title},4\n" for _, title in NQ), True),
    ],
    ids=["wide", "wide films", "latest films", "1M films", "100K films", "long"],
)
def test_titles_are_text(
    database: Database, write: Write, content: str, keyed_by_title: bool
) -> None:
    """A title is text to the letter in every format, be it a number, a missing value elsewhere, or SQL."""
    ingest(database, [write("x.csv", content)], by())
    assert films(database) == {title if keyed_by_title else str(n): (title, []) for n, title in N}


@pytest.mark.promise("C8")
def test_one_unicode_form(database: Database, write: Write) -> None:
    """Keys and titles that look the same are the same: both spellings of é name one user, one film and one genre."""
    one, two = (unicodedata.normalize(form, "Amélie") for form in ("NFC", "NFD"))
    assert one != two
    write("in/ratings.csv", f",User,{two}\n0,{two},4\n")
    folder = write("in/genres.csv", f",movie_title,genre_{two}\n0,{one},1\n").parent
    long = write("long.csv", f"user,movie,rating,time\n{one}, {two} ,3,{T}\n")
    ingest(database, [folder, long], by(), snapshot_at=T - 1)
    assert films(database) == {one: (one, [one])}
    assert ratings(database) == [(one, one, 3.0, T)]


@pytest.mark.promise("C8")
def test_repeated_names_in_wide_files(database: Database, write: Write) -> None:
    """Films of one title and users of one name are kept apart, in both files of the pair alike, with a warning."""
    write(
        "in/genres.csv",
        ",movie_title,genre_a,genre_b\n0,Heat,1,0\n1,Up,0,0\n2,Heat,0,1\n3,Heat #2,1,1\n",
    )
    folder = write(
        "in/ratings.csv", ",User,Heat,Up,Heat,Heat #2\n0,Ann,1,2,3,4\n1,Ann,5,,,\n"
    ).parent
    catalogue, matrix = ingest(database, [folder], by())
    warned = ("Heat", "Heat #2"), ("Heat #2", "Heat #2 #2")
    told = tuple(
        f"film {title!r} is repeated; this one gets the key {key!r}" for title, key in warned
    )
    assert catalogue.warnings == told
    assert matrix.warnings == (*told, "user 'Ann' is repeated; this one gets the key 'Ann #2'")
    assert films(database) == {
        "Heat": ("Heat", ["a"]), "Up": ("Up", []), "Heat #2": ("Heat", ["b"]), "Heat #2 #2": ("Heat #2", ["a", "b"]),
    }  # fmt: skip
    assert [row[:3] for row in ratings(database)] == [
        ("Ann", "Heat", 1), ("Ann", "Heat #2", 3), ("Ann", "Heat #2 #2", 4), ("Ann", "Up", 2), ("Ann #2", "Heat", 5),
    ]  # fmt: skip
    assert sorted(rows(database, "SELECT user_key, name FROM users")) == [
        ("Ann", "Ann"),
        ("Ann #2", "Ann"),
    ]


def test_many_repeated_names(sqlite: Database, write: Write) -> None:
    """Of many warnings a hundred are told, and how many more there are."""
    titles = ["Heat"] * 150 + ["Heat #3", "Up"]
    (report,) = ingest(
        sqlite, [write("x.csv", f",User,{','.join(titles)}\n0,Ann{',1' * 152}\n")], by(share=1.0)
    )
    assert len(report.warnings) == 101
    assert report.warnings[-1] == "and 50 more like these"


@given(st.lists(st.sampled_from(["a", "a #2", "a #3", "a #2 #2", "b"]), max_size=12))
def test_keys_of_names(names: list[str]) -> None:
    """Each name gets itself for a key, or the first free number behind it, and no key is given twice."""
    taken: dict[str, int] = {}
    slow: list[str] = []
    for name in names:
        free = (
            key
            for key in chain([name], (f"{name} #{number}" for number in count(2)))
            if key not in slow
        )
        slow.append(next(free))
    assert [unique_key(name, "film", taken, Reading(None, {}, 0)) for name in names] == slow


def test_repeated_title_behind_a_bad_row(sqlite: Database, write: Write) -> None:
    """A row of the genre matrix that is rejected keeps its place among films of one title."""
    ingest(sqlite, [write("x.csv", ",movie_title,genre_a,genre_b\n0,Heat,x,0\n1,Heat,0,1\n")], by())
    assert films(sqlite) == {"Heat #2": ("Heat", ["b"])}


def test_unrated_in_a_wide_matrix(database: Database, write: Write) -> None:
    """A film of a wide matrix that nobody rated is a film all the same; a user who rated nothing is no user."""
    ingest(database, [write("x.csv", ",User,Heat,Up\n0,Ann,4,0\n1,Bob,0,0\n")], by())
    assert films(database) == {"Heat": ("Heat", []), "Up": ("Up", [])}
    assert rows(database, "SELECT user_key FROM users") == [("Ann",)]


def test_movielens_latest_small(database: Database, movielens: Path) -> None:
    """The real ml-latest-small comes in whole: 610 users, 9742 films, 100836 ratings."""
    found = ingest(database, [movielens], by())
    assert [(Path(r.file).name, r.status, r.read, r.accepted, r.rejected, r.duplicate) for r in found] == [
        ("movies.csv", "merged", 9742, 9742, 0, 0), ("ratings.csv", "merged", 100836, 100836, 0, 0),
    ]  # fmt: skip
    counts = [
        rows(database, f"SELECT count(*) FROM {table}")
        for table in ("users", "movies", "ratings", "genres")
    ]
    assert counts == [[(610,)], [(9742,)], [(100836,)], [(19,)]]
    where = "ratings JOIN users USING (user_id) JOIN movies USING (movie_id) WHERE user_key = '1' AND movie_key = '47'"
    found_rating = rows(database, f"SELECT title, rating, rated_at FROM {where}")
    assert found_rating == [("Seven (a.k.a. Se7en) (1995)", 5.0, 964983815)]


def test_real_wide_genre_file(sqlite: Database, movielens: Path) -> None:
    """A real genre file of the wide format comes in whole: 2000 films and 25 genres."""
    (report,) = ingest(sqlite, [movielens.parent / "movie_genres.csv"], by())
    assert (report.format, report.read, report.accepted) == ("wide genre matrix", 2000, 2000)
    assert rows(sqlite, "SELECT count(*) FROM movies UNION ALL SELECT count(*) FROM genres") == [
        (2000,),
        (25,),
    ]
