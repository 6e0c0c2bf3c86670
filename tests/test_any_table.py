"""Tables of any kind, as they may be written: read as what they are or refused, never as another.

The kind of each table is known here, so that what must be stored of it is known too.
"""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.ingest import ingest
from batch.store.database import open_database
from tables import Films, by, films, ratings, with_tables

USER_NAMES = ["user_id", "userId", "User-ID", "username", "reviewerID", "member", "customer_id"]
MOVIE_NAMES = ["movie_id", "movieId", "ISBN", "item", "anime", "asin", "film", "product_id"]
RATING_NAMES = ["rating", "Rating", "Book-Rating", "stars", "overall", "score"]
TIME_NAMES = ["timestamp", "time", "date", "rated_at", "unixReviewTime"]
TITLE_NAMES = ["title", "name", "movie_title"]
OTHER_NAMES = ["helpful", "text", "verified", "kind", "price", "x1"]
T = 1_700_000_000  # seconds since 1970
SEPARATORS = [",", ";", "\t", "|", "::"]


class Ids(NamedTuple):
    """How a program numbers its users or films."""

    prefix: str
    first: int

    def of(self, number: int) -> str:
        return f"{self.prefix}{self.first + number}"


class Table(NamedTuple):
    """A table, and what it is."""

    rows: list[list[str]]  # with its header
    has_header: bool
    stored: list[tuple[str, str, float, int | None]]  # of ratings
    films: Films | None  # of a catalogue
    must_merge: bool


ids = st.builds(Ids, st.sampled_from(["", "", "u", "A0", "tt00", "6f-"]), st.integers(0, 3000))
scales = st.sampled_from([[1, 2, 3, 4, 5], [0.5, 1, 2, 2.5, 4, 4.5, 5], [*range(1, 11)]])
Draw = st.DrawFn


def pairs_of(draw: Draw) -> list[tuple[int, int, float]]:
    """(user, film, stars) of a few users and films, in order of the user."""
    n_users = draw(st.integers(5, 12))
    n_films = draw(st.integers(6, 14))
    scale = draw(scales)
    random = draw(st.randoms(use_true_random=False))
    every = list(itertools.product(range(n_users), range(n_films)))
    chosen = sorted(random.sample(every, draw(st.integers(len(every) // 3, len(every)))))
    return [(user, film, float(random.choice(scale))) for user, film in chosen]


@st.composite
def long_tables(draw: Draw) -> Table:
    """A row a rating, with other columns or without, under any names or none."""
    pairs = pairs_of(draw)
    users = draw(ids)
    movies = draw(ids)
    timed = draw(st.booleans())
    usual = draw(st.booleans())
    has_header = draw(st.integers(0, 3)) > 0
    names = [draw(st.sampled_from(n)) for n in (USER_NAMES, MOVIE_NAMES, RATING_NAMES, TIME_NAMES)]
    if not usual:
        place = draw(st.integers(0, 2))
        names[place] = ["who", "what", "liking"][place]
    others = draw(st.lists(st.sampled_from(OTHER_NAMES), unique=True, max_size=3))
    if not has_header:
        others = []
    width = 4 if timed else 3
    places = [*range(width + len(others))]
    if has_header:
        places = draw(st.permutations(places))
    rows = [names[:width] + others] if has_header else []
    for number, (user, film, stars) in enumerate(pairs):
        row = [users.of(user), movies.of(film), f"{stars:g}", str(T + 86_400 * number)]
        rows.append(row[:width] + [str(number * 7 % 5) for _ in others])
    rows = [[row[place] for place in places] for row in rows]
    stored = [
        (users.of(user), movies.of(film), stars, T + 86_400 * number if timed else None)
        for number, (user, film, stars) in enumerate(pairs)
    ]
    return Table(rows, has_header, stored, None, usual and has_header)


@st.composite
def wide_tables(draw: Draw) -> Table:
    """A matrix of users x films."""
    pairs = pairs_of(draw)
    users = draw(ids)
    movies = draw(st.builds(Ids, st.sampled_from(["Film ", "F", "tt", ""]), st.integers(0, 30)))
    blank = draw(st.sampled_from(["0", "", "NaN", "0.0", "NA"]))
    first = draw(st.sampled_from([["", "User"], ["user_id"], ["userId"], [""], ["index", "user"]]))
    cells = {(user, film): f"{stars:g}" for user, film, stars in pairs}
    n_users = 1 + max(user for user, _, _ in pairs)
    n_films = 1 + max(film for _, film, _ in pairs)
    rows = [[*first, *(movies.of(film) for film in range(n_films))]]
    for user in range(n_users):
        index = [str(user)] if len(first) == 2 else []
        of_user = [cells.get((user, film), blank) for film in range(n_films)]
        rows.append([*index, users.of(user), *of_user])
    stored = [(users.of(user), movies.of(film), stars, None) for user, film, stars in pairs]
    return Table(rows, True, stored, None, len(first) == 2 or first[0] != "")


@st.composite
def catalogues(draw: Draw) -> Table:
    """A film a row, with other columns or without."""
    movies = draw(ids)
    genres = draw(st.booleans())
    others = draw(st.lists(st.sampled_from(["year", "runtime", "votes"]), unique=True, max_size=2))
    names = [draw(st.sampled_from(MOVIE_NAMES)), draw(st.sampled_from(TITLE_NAMES))]
    rows = [names + (["genres"] if genres else []) + others]
    described: Films = {}
    for film in range(draw(st.integers(5, 12))):
        title = f"Film {film} (19{film + 50})"
        of_film = ["Crime", "Drama"][: film % 3]
        described[movies.of(film)] = (title, of_film if genres else [])
        row = [movies.of(film), title] + (["|".join(of_film)] if genres else [])
        rows.append(row + [str(1950 + film) for _ in others])
    places = draw(st.permutations(range(len(rows[0]))))
    rows = [[row[place] for place in places] for row in rows]
    return Table(rows, True, [], described, False)


@st.composite
def other_tables(draw: Draw) -> Table:
    """A table without ratings, as they lie beside them: of people, tags, sales, averages."""
    users = draw(ids)
    movies = draw(ids)
    random = draw(st.randoms(use_true_random=False))

    def number(low: int, high: int) -> str:
        return str(random.randint(low, high))

    columns: dict[str, Callable[[int], str]] = {
        "age": lambda _: number(14, 80),
        "zip": lambda _: number(10_000, 99_999),
        "gender": lambda _: random.choice("MF"),
        "occupation": lambda _: number(0, 20),
        "logins": lambda _: number(0, 9),
        "kilometres": lambda _: number(11, 90),
        "tag": lambda _: random.choice(["funny", "dark", "slow"]),
        "quantity": lambda _: number(1, 3),
        "mean_rating": lambda _: f"{random.randint(10, 50) / 10}",
        "n_ratings": lambda _: number(1, 900),
        "imdbId": lambda row: f"0{row + 1000}",
        "timestamp": lambda row: str(T + row),
    }
    kinds = {
        "people": (["user"], ["age", "gender", "occupation", "zip", "logins", "kilometres"]),
        "tags": (["user", "movie"], ["tag", "timestamp"]),
        "sales": (["user", "movie"], ["quantity", "timestamp"]),
        "averages": (["movie"], ["mean_rating", "n_ratings", "imdbId"]),
    }
    keys, values = kinds[draw(st.sampled_from(sorted(kinds)))]
    chosen = draw(st.permutations(values))[: draw(st.integers(2, len(values)))]
    names = {"user": draw(st.sampled_from(USER_NAMES)), "movie": draw(st.sampled_from(MOVIE_NAMES))}
    rows = [[names[key] for key in keys] + list(chosen)]
    for row in range(draw(st.integers(6, 30))):
        of_row = {"user": users.of(row // len(keys)), "movie": movies.of(row)}
        rows.append([of_row[key] for key in keys] + [columns[name](row) for name in chosen])
    return Table(rows, True, [], {}, False)


def written(rows: list[list[str]], separator: str, quoted: bool) -> str:
    """The table as lines, with quotes around all fields, or those that need them."""

    def field(text: str) -> str:
        return f'"{text}"' if quoted or separator in text else text

    return "".join(separator.join(map(field, row)) + "\n" for row in rows)


@pytest.mark.promise("C10")
def test_tables_are_read_as_themselves_or_refused(
    tmp_path: Path,
    often: Callable[[int, int], int],
    figure: Callable[[int], None],
) -> None:
    """A table is read as what it is or refused, never as another; plain ones are read."""
    template = tmp_path / "template.db"
    with_tables(f"sqlite:///{template}").writer.dispose()
    examples = often(75, 3000)
    tables = st.one_of(long_tables(), wide_tables(), catalogues(), other_tables())

    @settings(max_examples=examples, derandomize=True, deadline=None, database=None)
    @given(tables, st.sampled_from(SEPARATORS), st.booleans())
    def check(table: Table, separator: str, quoted: bool) -> None:
        path = tmp_path / "x.csv"
        path.write_text(written(table.rows, separator, quoted and len(separator) == 1))
        database = open_database(f"sqlite:///{shutil.copy(template, tmp_path / 'x.db')}")
        (report,) = ingest(database, [path], by())
        if report.status == "merged":
            assert ratings(database) == sorted(table.stored), report.why
            assert table.films is None or films(database) == table.films, report.why
        else:
            assert not table.must_merge or report.code == "SCALE_OUTLIERS", report.why
            assert (ratings(database), films(database)) == ([], {})
        for engine in (database.writer, database.reader):
            engine.dispose()

    check()
    figure(examples)
