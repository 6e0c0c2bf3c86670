"""A seed -> the sample CSV files: ratings, wide or with times, and a one-hot matrix of genres."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from batch.cli.sample_names import film_titles, user_names
from batch.cli.sample_times import draw_calendar, draw_times, log_attention
from batch.files import writing

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

GENRES = {
    "action": 23,
    "adventure": 18,
    "animation": 5,
    "biography": 6,
    "comedy": 38,
    "crime": 16,
    "documentary": 2,
    "drama": 50,
    "family": 10,
    "fantasy": 12,
    "film-noir": 0.2,
    "history": 3.5,
    "horror": 12,
    "music": 4,
    "musical": 3,
    "mystery": 10,
    "news": 0.1,
    "reality-tv": 0.1,
    "romance": 23,
    "sci-fi": 13,
    "short": 0.1,
    "sport": 3.5,
    "thriller": 27,
    "war": 4,
    "western": 2,
}
"""Relative frequencies: a few broad genres, a long tail of rare ones."""
GENRES_PER_FILM = {1: 0.14, 2: 0.27, 3: 0.31, 4: 0.19, 5: 0.07, 6: 0.02}
"""Share of films by number of genres."""

MEAN = 3.4  # stars
MIN_RATED = 23  # films per user
MAX_RATED = 39  # films per user
NOISE = 0.7  # stars, standard deviation; what no model can predict


class SampleFiles(NamedTuple):
    """The two files, and the number of ratings in the first."""

    ratings: Path
    genres: Path
    n_ratings: int


def write_sample(
    folder: Path,
    *,
    seed: int = 20261123,
    n_users: int = 600,
    n_items: int = 2000,
    times: bool = False,
) -> SampleFiles:
    """Write `user_reviews.csv` and `movie_genres.csv`; the same arguments give the same bytes.

    With `times`, write `ratings.csv` instead of `user_reviews.csv`: a row a rating, in order of
    time, by the same users and of the same films, which rise and fade. A user rates 23 to 39 films,
    but never more than half of a small catalogue (one film at least). Raises ValueError if there is
    no user or no film.
    """
    if n_users < 1 or n_items < 1:
        raise ValueError(
            f"a sample of {n_users} users x {n_items} films is empty; ask for at least 1 x 1"
        )
    rng = np.random.default_rng(seed)
    users = user_names(rng, n_users)
    titles = film_titles(rng, n_items)
    genres = _genres(rng, n_items)
    folder.mkdir(parents=True, exist_ok=True)
    if times:
        time_rng = np.random.default_rng([seed, 1])
        calendar = draw_calendar(time_rng, n_users, n_items)
        ratings = _ratings(rng, genres, n_users, log_attention(calendar))
        rows, columns = np.nonzero(ratings)
        rated_at = draw_times(time_rng, calendar, rows, columns)
        file = folder / "ratings.csv"
        _write_rows(file, users, titles, ratings, rated_at)
    else:
        ratings = _ratings(rng, genres, n_users)
        file = folder / "user_reviews.csv"
        _write_table(file, ["User", *titles], users, ratings.tolist())
    genre_file = folder / "movie_genres.csv"
    genre_columns = [f"genre_{genre}" for genre in GENRES]
    _write_table(
        genre_file,
        ["movie_title", *genre_columns],
        titles,
        genres.astype(int).tolist(),
    )
    return SampleFiles(file, genre_file, int(np.count_nonzero(ratings)))


def _genres(rng: np.random.Generator, n_items: int) -> Floats:
    """One-hot genres, (n_items, n_genres): 1 to 6 per film, frequent genres more often."""
    log_weights = np.log(list(GENRES.values()))  # (n_genres,)
    numbers = list(GENRES_PER_FILM)
    shares = list(GENRES_PER_FILM.values())
    n_of_film = rng.choice(numbers, size=n_items, p=shares)  # (n_items,)
    order = _draw_order(rng, np.tile(log_weights, (n_items, 1)))  # (n_items, n_genres)
    return (order < n_of_film[:, None]).astype(float)


def _ratings(
    rng: np.random.Generator, genres: Floats, n_users: int, log_attention: Floats | float = 0.0
) -> Floats:
    """Whole stars, (n_users, n_items), 0 where not rated.

    `log_attention` (n_users, n_items) is added to the log weights of the films to watch.

    Two preferences determine both what a user watches and how the films are rated: one for
    genres, and one for a mood, two numbers per film that no genre shows and that only the films
    rated by the same users reveal. The mood weighs more in watching, the genres more in rating,
    so that both lists and predicted ratings can be learnt: with these weights simple models put
    about twice as many held-out likes into a top five as the most popular films do, and predict
    6 % closer than user and film means (RMSE).
    """
    n_items, n_genres = genres.shape
    genre_taste = rng.normal(size=(n_users, n_genres))
    unit_genres = genres / np.sqrt(genres.sum(axis=1, keepdims=True))  # (n_items, n_genres)
    by_genre = genre_taste @ unit_genres.T  # (n_users, n_items), sd 1
    mood = rng.normal(size=(n_items, 2))
    mood_taste = rng.normal(size=(n_users, 2))
    by_mood = mood_taste @ mood.T / np.sqrt(2)  # (n_users, n_items), sd 1

    # Zipf-Mandelbrot: views fall as (rank + 1) ** -0.8, which leaves some films without ratings.
    popularity = -0.8 * np.log(2 + rng.permutation(n_items))  # (n_items,), log weight
    range_of_rated = MAX_RATED - MIN_RATED + 1
    n_rated = MIN_RATED + range_of_rated * rng.beta(1.2, 2.9, size=n_users)  # (n_users,)
    n_rated = np.minimum(np.floor(n_rated), max(1, n_items // 2))  # mean 27.5
    log_weights = popularity + 1.3 * by_genre + 1.4 * by_mood + log_attention
    order = _draw_order(rng, log_weights)  # (n_users, n_items)
    rated = order < n_rated[:, None]  # (n_users, n_items)

    # Stars: popular films are a little better.
    quality = 0.2 * popularity + rng.normal(scale=0.25, size=n_items)  # (n_items,)
    strictness = rng.normal(scale=0.3, size=(n_users, 1))  # stars
    noise = rng.normal(scale=NOISE, size=(n_users, n_items))  # stars
    opinion = 0.95 * by_genre + 0.3 * by_mood + quality + strictness + noise  # (n_users, n_items)
    ratings = np.zeros((n_users, n_items))
    ratings[rated] = _whole_stars(opinion[rated])
    return ratings


def _draw_order(rng: np.random.Generator, log_weights: Floats) -> npt.NDArray[np.intp]:
    """Position of every column in its row's draw, 0 = first, (n_rows, n_columns).

    Drawn without replacement with probabilities by weight (the Gumbel-top-k method).
    """
    keys = log_weights + rng.gumbel(size=log_weights.shape)
    drawn = np.argsort(-keys, axis=1, kind="stable")
    return np.argsort(drawn, axis=1, kind="stable")


def _whole_stars(opinion: Floats) -> Floats:
    """Opinions -> 1 to 5 stars, shifted so that the mean after rounding and clipping is MEAN."""
    shift = MEAN - opinion.mean()
    for _ in range(20):  # each step leaves a fraction of the error that clipping makes
        shift += MEAN - np.clip(np.rint(opinion + shift), 1, 5).mean()
    stars: Floats = np.clip(np.rint(opinion + shift), 1, 5)
    return stars


def _write_table(
    path: Path, header: Sequence[str], names: Sequence[str], cells: Iterable[Sequence[float]]
) -> None:
    """Rows of (number, name, cells...) under `header`, whose first column has no name."""
    with writing(path), path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["", *header])
        for number, (name, row) in enumerate(zip(names, cells, strict=True)):
            writer.writerow([number, name, *row])


def _write_rows(
    path: Path, users: Sequence[str], titles: Sequence[str], ratings: Floats, rated_at: Ints
) -> None:
    """A row (user, film, stars, seconds since 1970) per rating, in order of time.

    `rated_at` (n_ratings,) has the times of the ratings that are not 0, row by row.
    """
    order = np.argsort(rated_at, kind="stable")  # (n_ratings,)
    rows, columns = np.nonzero(ratings)
    stars = ratings[rows, columns][order].tolist()
    times = rated_at[order].tolist()
    with writing(path), path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["user", "movie", "rating", "timestamp"])
        pairs = zip(rows[order].tolist(), columns[order].tolist(), stars, times, strict=True)
        for row, column, rating, seconds in pairs:
            writer.writerow([users[row], titles[column], rating, seconds])
