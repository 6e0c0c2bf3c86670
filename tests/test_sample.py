"""The sample data: its format, its counts, and that there is something in it to learn."""

import csv
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from batch.cli.sample_data import SampleFiles, write_sample

Floats = npt.NDArray[np.float64]

GENRES = (
    "action adventure animation biography comedy crime documentary drama family fantasy "
    "film-noir history horror music musical mystery news reality-tv romance sci-fi short "
    "sport thriller war western"
)
DIGESTS = [
    "986f6aacd7ad15a024ddb9e9716e72de72c3ac8d92262bb826b0ed555ce2a807",
    "763625cb37810a43fdbd8866bb91e34a8f210677dcbf63e80e10109e5fc39f4c",
]
"""sha256 of user_reviews.csv and movie_genres.csv as `write_sample` writes them by default."""


def read_table(path: Path) -> tuple[list[str], list[str], Floats]:
    """A wide CSV file -> its column names, its row names and its numbers, (n_rows, n_columns)."""
    with path.open(encoding="utf-8", newline="") as file:
        (unnamed, _, *columns), *rows = csv.reader(file)
    assert unnamed == ""
    assert [row[0] for row in rows] == [str(number) for number in range(len(rows))]
    return columns, [row[1] for row in rows], np.array([row[2:] for row in rows], dtype=float)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SampleFiles:
    return write_sample(tmp_path_factory.mktemp("sample") / "made" / "here")


@pytest.fixture(scope="module")
def ratings(files: SampleFiles) -> Floats:
    return read_table(files.ratings)[2]  # (n_users, n_items)


@pytest.fixture(scope="module")
def genres(files: SampleFiles) -> Floats:
    return read_table(files.genres)[2]  # (n_items, n_genres)


def test_header_and_shape(files: SampleFiles) -> None:
    """600 named users, 2000 titled films in the same order in both files, and 25 genres."""
    titles, users, ratings = read_table(files.ratings)
    columns, titles_of_genres, genres = read_table(files.genres)
    assert ratings.shape == (600, 2000)
    assert len(set(users)) == 600
    assert len(set(titles)) == 2000
    assert titles_of_genres == titles
    assert columns == [f"genre_{name}" for name in GENRES.split()]
    assert genres.shape == (2000, 25)


def test_bytes_of_the_format(files: SampleFiles) -> None:
    """Ratings are written as `4.0`, unrated as `0.0`, genres as `0` and `1`; lines end in LF."""
    text = files.ratings.read_bytes().decode("utf-8")
    genre_text = files.genres.read_bytes().decode("utf-8")
    assert text.startswith(",User,")
    assert genre_text.startswith(",movie_title,genre_action,")
    assert "\r" not in text + genre_text
    rows = list(csv.reader(text.splitlines()))[1:]
    genre_rows = list(csv.reader(genre_text.splitlines()))[1:]
    assert {cell for row in rows for cell in row[2:]} == {"0.0", "1.0", "2.0", "3.0", "4.0", "5.0"}
    assert {cell for row in genre_rows for cell in row[2:]} == {"0", "1"}


def test_awkward_titles(files: SampleFiles) -> None:
    """Some titles break careless reading: only digits, a comma, a quote, letters outside ASCII."""
    titles = read_table(files.ratings)[0]
    assert any(title.isdigit() for title in titles)
    assert any("," in title for title in titles)
    assert any('"' in title for title in titles)
    assert any(not title.isascii() for title in titles)


def test_counts_and_mean(files: SampleFiles, ratings: Floats) -> None:
    """About 16,500 ratings with mean 3.4, and 23 to 39 of them from each user."""
    n_ratings = int(np.count_nonzero(ratings))
    per_user = np.count_nonzero(ratings, axis=1)
    assert n_ratings == files.n_ratings
    assert 16_000 <= n_ratings <= 17_000
    assert ratings.sum() / n_ratings == pytest.approx(3.4, abs=0.05)
    assert per_user.min() >= 23
    assert per_user.max() <= 39
    assert len(set(per_user)) > 10


def test_long_tail(ratings: Floats, genres: Floats) -> None:
    """A tenth of the films has over 40 % of the ratings, few have none, and all have a genre."""
    per_film = np.sort(np.count_nonzero(ratings, axis=0))[::-1]
    assert per_film[:200].sum() > 0.4 * per_film.sum()
    assert 0 < np.count_nonzero(per_film == 0) < 200
    assert genres.sum(axis=1).min() >= 1


def test_seed_decides_the_bytes(files: SampleFiles, tmp_path: Path) -> None:
    """The same seed gives the same bytes, another seed other films and other ratings."""
    again = write_sample(tmp_path / "again")
    other = write_sample(tmp_path / "other", seed=1)
    for first, second, third in zip(files[:2], again[:2], other[:2], strict=True):
        assert first.read_bytes() == second.read_bytes()
        assert first.read_bytes() != third.read_bytes()


def test_bytes_stay(files: SampleFiles) -> None:
    """The files of the default seed are those that figures in the documentation come from."""
    digests = [sha256(file.read_bytes()).hexdigest() for file in (files.ratings, files.genres)]
    assert digests == DIGESTS


def precision_at_5(scores: Floats, train: Floats, test: Floats) -> float:
    """Mean share of held-out likes (4 stars or more) in the top five, over users who have any.

    Users without a rating in `train` are not judged.
    """
    top = np.argsort(np.where(train > 0, np.inf, -scores), axis=1, kind="stable")[:, :5]
    hits = np.take_along_axis(test >= 4, top, axis=1).mean(axis=1)  # (n_users,)
    is_judged = (test >= 4).any(axis=1) & (train > 0).any(axis=1)  # (n_users,)
    return float(hits[is_judged].mean())


def log_affinity(watched: Floats, genres: Floats) -> Floats:
    """How much more of a film's genres each user watches than all do, (n_users, n_items)."""
    n_watched = np.maximum(watched.sum(axis=1, keepdims=True), 1)  # (n_users, 1)
    share = watched @ genres / n_watched  # (n_users, n_genres)
    usual = watched.sum(axis=0) @ genres / watched.sum()  # (n_genres,)
    affinity = np.log((share + 0.3 * usual) / (1.3 * usual + 0.001) + 0.05)  # (n_users, n_genres)
    unit_genres = genres / np.sqrt(genres.sum(axis=1, keepdims=True))  # (n_items, n_genres)
    scores: Floats = affinity @ unit_genres.T
    return scores


def test_preferences_can_be_learnt(ratings: Floats, genres: Floats) -> None:
    """Popularity within a user's genres beats plain popularity by over a quarter, held out."""
    held_out = np.random.default_rng(0).random(ratings.shape) < 0.2
    train = np.where(held_out, 0, ratings)
    test = np.where(held_out, ratings, 0)
    watched = (train > 0).astype(float)  # (n_users, n_items)
    popular = np.log(watched.sum(axis=0) + 0.5)  # (n_items,)
    personal = popular + log_affinity(watched, genres)  # (n_users, n_items)
    everyone = precision_at_5(np.tile(popular, (len(ratings), 1)), train, test)
    assert everyone > 0.02
    assert precision_at_5(personal, train, test) > 1.25 * everyone


class Timed(NamedTuple):
    """A sample with times: its files, and the table of its ratings."""

    files: SampleFiles
    users: list[str]  # (n,)
    films: list[str]  # (n,)
    stars: Floats  # (n,)
    days: Floats  # (n,) since 1970


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Timed:
    files = write_sample(tmp_path_factory.mktemp("timed"), times=True)
    return read_rows(files)


def read_rows(files: SampleFiles) -> Timed:
    """A sample with times, as a strict reader of CSV sees it."""
    assert files.ratings.name == "ratings.csv"
    with files.ratings.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert header == ["user", "movie", "rating", "timestamp"]
    users, films, stars, times = (list(column) for column in zip(*rows, strict=True))
    assert all(time.isdigit() for time in times)
    return Timed(files, users, films, np.array(stars, float), np.array(times, float) / 86_400)


def test_ratings_with_times(timed: Timed, files: SampleFiles) -> None:
    """With times there are as many ratings of the same form, in order of time, of two years."""
    assert len(timed.stars) == timed.files.n_ratings == files.n_ratings
    assert len(set(zip(timed.users, timed.films, strict=True))) == len(timed.stars)
    assert set(timed.stars) == {1, 2, 3, 4, 5}
    assert timed.stars.mean() == pytest.approx(3.4, abs=0.05)
    _, per_user = np.unique(timed.users, return_counts=True)
    assert len(per_user) == 600
    assert per_user.min() >= 23
    assert per_user.max() <= 39
    assert (np.diff(timed.days) >= 0).all()
    start, end = np.array(["2024-01-01", "2026-01-01"], dtype="datetime64[D]").astype(float)
    assert start <= timed.days[0] < start + 30
    assert end - 1 <= timed.days[-1] < end
    assert b"\r" not in timed.files.ratings.read_bytes()
    assert not (timed.files.ratings.parent / "user_reviews.csv").exists()


def test_times_leave_users_and_films(timed: Timed, files: SampleFiles) -> None:
    """With times users and films are those of the same seed without, genres byte for byte."""
    titles, users, _ = read_table(files.ratings)
    assert timed.files.genres.read_bytes() == files.genres.read_bytes()
    assert set(timed.users) == set(users)
    assert set(timed.films) <= set(titles)
    assert len(set(timed.films)) > 1700


def test_seed_decides_the_times(tmp_path: Path) -> None:
    """With times the same seed gives the same bytes, another seed other ones."""
    first, again, other = (
        write_sample(tmp_path / name, seed=seed, n_users=40, n_items=90, times=True)
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert again.ratings.read_bytes() == first.ratings.read_bytes()
    assert other.ratings.read_bytes() != first.ratings.read_bytes()


def test_films_rise_and_fade(timed: Timed) -> None:
    """Films have twice the ratings in their first six weeks that they have in the next, and so on.

    Of films that are first rated in the middle of the two years.
    """
    days = timed.days - timed.days[0]
    _, first, film = np.unique(timed.films, return_index=True, return_inverse=True)
    since = days - days[first][film]  # (n,) in order of time, so the first index is the first day
    is_new = (days[first] > 180) & (days[first] < 450)  # (n_films,)
    early, later, late = (
        np.count_nonzero(is_new[film] & (since >= 42 * n) & (since < 42 * (n + 1)))
        for n in (0, 1, 5)
    )
    assert early > 2 * later
    assert later > 2 * late > 0


@pytest.fixture(scope="module")
def newest(timed: Timed) -> tuple[Floats, Floats, Floats]:
    """Stars before the newest 15 % and in it, (n_users, n_items), and ages before it in days."""
    titles = read_table(timed.files.genres)[1]
    users, rows = np.unique(timed.users, return_inverse=True)
    place = {title: column for column, title in enumerate(titles)}
    columns = np.array([place[film] for film in timed.films])
    cut = int(0.85 * len(rows))
    train = np.zeros((len(users), len(titles)))
    test = np.zeros((len(users), len(titles)))
    age = np.full((len(users), len(titles)), np.inf)
    train[rows[:cut], columns[:cut]] = timed.stars[:cut]
    test[rows[cut:], columns[cut:]] = timed.stars[cut:]
    age[rows[:cut], columns[:cut]] = timed.days[cut] - timed.days[:cut]
    return train, test, age


@pytest.mark.parametrize("half_life", [14, 30])
def test_times_and_tastes_can_be_learnt(
    newest: tuple[Floats, Floats, Floats], genres: Floats, half_life: float
) -> None:
    """In the newest 15 % a fading count beats the plain one twofold, and genres add a tenth."""
    train, test, age = newest

    def popular(count: Floats) -> Floats:
        return np.tile(np.log(count + 0.02), (len(train), 1))

    watched = (train > 0).astype(float)  # (n_users, n_items)
    fading = popular((2 ** (-age / half_life)).sum(axis=0))  # (n_users, n_items)
    personal = fading + log_affinity(watched, genres)  # (n_users, n_items)
    plain = precision_at_5(popular(watched.sum(axis=0)), train, test)
    trend = precision_at_5(fading, train, test)
    assert trend > 2 * plain > 0
    assert precision_at_5(personal, train, test) > 1.1 * trend


@pytest.mark.parametrize(("n_users", "n_items"), [(1, 1), (5, 8), (3, 60), (1100, 5)])
def test_small_sizes(tmp_path: Path, n_users: int, n_items: int) -> None:
    """Any size from 1 x 1 on works; a user rates at most half of a small catalogue."""
    timed = read_rows(write_sample(tmp_path, n_users=n_users, n_items=n_items, times=True))
    assert len(set(timed.users)) == n_users
    assert len(set(zip(timed.users, timed.films, strict=True))) == len(timed.stars)
    files = write_sample(tmp_path, n_users=n_users, n_items=n_items)
    assert len(timed.stars) == files.n_ratings
    titles, users, ratings = read_table(files.ratings)
    assert (len(set(users)), len(set(titles))) == ratings.shape == (n_users, n_items)
    assert read_table(files.genres)[2].shape == (n_items, 25)
    per_user = np.count_nonzero(ratings, axis=1)
    assert per_user.min() >= 1
    assert per_user.max() <= max(1, n_items // 2)


def test_empty_sample_is_refused(tmp_path: Path) -> None:
    """A sample without users or films is refused, with the sizes in the message."""
    with pytest.raises(ValueError, match="0 users x 8 films"):
        write_sample(tmp_path, n_users=0, n_items=8)
