"""A shape and a seed -> made-up ratings in MovieLens format, with long tails and latent tastes.

    python benchmarks/shapes.py 1m FOLDER      # ratings.csv and movies.csv; a few minutes for 25m

Users belong to groups of taste. Users of a group draw films with chances proportional to
popularity times exp(taste . film), each film at most once. Stars are a mean, the effects of user
and film, the user's own taste, and noise. Popularity falls with rank as
(rank + n_items / 200) ^ -1.7, so that the most rated film of `25m` has about 50,000 ratings and
half of all films less than 33. The number of ratings of a user is lognormal above 20, with a
median of 81. MovieLens 25M has 81,000, 6 and 71.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import sparse

from batch.ratings import Floats, Ints, Ratings

GENRES = [
    "Action",
    "Adventure",
    "Animation",
    "Children",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "IMAX",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]
FACTORS = 8
GROUPS = 48
LEAST_RATED = 20
"""Ratings of a user, as in MovieLens."""
SPREAD = 1.24
"""Standard deviation of the logarithm of the number above that: its mean is twice its median."""
BASE = 3.0
"""Stars of an average film; films that users choose to rate are better, 3.6 on average."""
MOST_RATED = 0.5
"""Share of all films that the most active user rates."""
USERS_A_BLOCK = 4000
FIRST_DAY = 820_454_400  # 1996-01-01, seconds since 1970
DAY = 86_400  # seconds


@dataclass(frozen=True)
class Shape:
    """Sizes of a set of ratings."""

    n_users: int
    n_items: int
    n_ratings: int  # about


SHAPES = {
    "100k": Shape(610, 9_742, 100_000),
    "300k": Shape(1_800, 6_000, 300_000),
    "1m": Shape(6_040, 3_706, 1_000_000),
    "3m": Shape(20_000, 8_000, 3_000_000),
    "10m": Shape(69_878, 10_677, 10_000_000),
    "25m": Shape(162_541, 59_047, 25_000_000),
}
"""The first, third, fifth and last are those of MovieLens latest-small, 1M, 10M and 25M."""


@dataclass(frozen=True)
class Films:
    """All films, and what groups of users think of them."""

    genres: npt.NDArray[np.bool_]  # (n_items, 19)
    tastes: Floats  # (n_items, FACTORS)
    effect: Floats  # (n_items,) stars
    chances: Floats  # (GROUPS, n_items) cumulative chance of each film to be drawn by a group
    group_tastes: Floats  # (GROUPS, FACTORS)


def films(shape: Shape, seed: int) -> Films:
    """Draw genres, tastes, popularity and quality of all films."""
    random = np.random.default_rng([seed, 0])
    n = shape.n_items
    order = random.random((n, len(GENRES))).argsort(axis=1)
    n_genres = random.integers(1, 4, n)
    genres = order < n_genres[:, None]
    genre_tastes = random.normal(0, 0.5, (len(GENRES), FACTORS))
    tastes = genres @ genre_tastes + random.normal(0, 0.35, (n, FACTORS))
    popularity = (random.permutation(n) + max(n / 200, 50)) ** -1.7
    logarithm = np.log(popularity)
    effect = 0.15 * (logarithm - logarithm.mean()) / logarithm.std() + random.normal(0, 0.35, n)
    group_tastes = random.normal(0, 0.45, (GROUPS, FACTORS))
    chances = popularity * np.exp(group_tastes @ tastes.T)
    chances = np.cumsum(chances, axis=1)
    return Films(genres, tastes, effect, chances / chances[:, -1:], group_tastes)


def ratings(shape: Shape, seed: int) -> Iterator[tuple[Ints, Ints, Floats, Ints]]:
    """User, film, stars and time of each rating, (n,) each, block by block of users."""
    all_films = films(shape, seed)
    for block, start in enumerate(range(0, shape.n_users, USERS_A_BLOCK)):
        n_users = min(USERS_A_BLOCK, shape.n_users - start)
        random = np.random.default_rng([seed, 1, block])
        group = random.integers(0, GROUPS, n_users)  # (n_users,)
        user, item = _rated(shape, all_films, group, random)
        taste = all_films.group_tastes[group] + random.normal(0, 0.3, (n_users, FACTORS))
        stars = BASE + random.normal(0, 0.4, n_users)[user] + all_films.effect[item]
        affinity = (taste[user] * all_films.tastes[item]).sum(axis=1)
        stars += 0.6 * affinity + random.normal(0, 0.75, len(user))
        half_stars = np.clip(np.round(stars * 2) / 2, 0.5, 5.0)
        times = _times(user, n_users, random)
        yield user + start, item, half_stars, times.astype(np.int64)


def _times(user: Ints, n_users: int, random: np.random.Generator) -> Floats:
    """Seconds since 1970 of each rating: sessions with long breaks, from a random day on."""
    pauses = random.exponential(40, len(user))
    breaks = np.where(random.random(len(user)) < 0.03, 5000, 1)
    times = np.cumsum(pauses * breaks)
    first = np.searchsorted(user, np.arange(n_users))  # (n_users,) first rating of each
    first_times = times[np.minimum(first, len(user) - 1)]
    start_times = FIRST_DAY + random.random(n_users) * 8000 * DAY
    times += (start_times - first_times)[user]
    return times


def in_memory(shape: Shape, seed: int) -> Ratings:
    """The same ratings as the program holds them, with nothing on disk."""
    columns = zip(*ratings(shape, seed), strict=True)
    users, items, stars, times = (np.concatenate(blocks) for blocks in columns)
    order = np.lexsort((items, users))
    user_counts = np.bincount(users, minlength=shape.n_users)
    starts = np.concatenate([[0], np.cumsum(user_counts)]).astype(np.int32)
    cells = (stars[order], items[order].astype(np.int32), starts)
    matrix = sparse.csr_array(cells, shape=(shape.n_users, shape.n_items))
    return Ratings(
        matrix=matrix,
        user_ids=np.arange(shape.n_users),
        movie_ids=np.arange(shape.n_items),
        genres=films(shape, seed).genres.astype(np.float64),
        scale=(0.5, 5.0),
        rated_at=times[order].astype(np.float64),
    )


def _rated(
    shape: Shape, all_films: Films, group: Ints, random: np.random.Generator
) -> tuple[Ints, Ints]:
    """Users and films of all ratings, (n,) each, by user, films in random order."""
    n_users = len(group)
    n_items = shape.n_items
    activity = np.exp(random.normal(0, SPREAD, n_users) - SPREAD**2 / 2)
    mean_above_least = max(shape.n_ratings / shape.n_users - LEAST_RATED, 1)
    n_rated = LEAST_RATED + (mean_above_least * activity).astype(np.int64)  # (n_users,)
    n_rated = np.minimum(n_rated, max(int(MOST_RATED * n_items), LEAST_RATED))
    cells = np.empty(0, dtype=np.int64)  # user * n_items + item
    missing = n_rated
    for _ in range(12):
        n_draws = (missing * 1.5).astype(np.int64) + (missing > 0) * 4
        drawn_by = np.repeat(np.arange(n_users), n_draws)
        drawn = random.random(len(drawn_by))
        items = np.empty(len(drawn_by), dtype=np.int64)
        by_group = np.argsort(group[drawn_by], kind="stable")
        ends = np.cumsum(np.bincount(group[drawn_by], minlength=GROUPS))
        for which, mine in enumerate(np.split(by_group, ends[:-1])):
            items[mine] = np.searchsorted(all_films.chances[which], drawn[mine])
        cells = np.unique(np.concatenate([cells, drawn_by * n_items + items]))
        missing = np.maximum(n_rated - np.bincount(cells // n_items, minlength=n_users), 0)
        if not missing.any():
            break
    user = cells // n_items
    order = random.random(len(cells))
    cells = cells[np.lexsort((order, user))]
    user = cells // n_items
    place = np.arange(len(user)) - np.searchsorted(user, np.arange(n_users))[user]
    kept = place < n_rated[user]
    return user[kept], cells[kept] % n_items


def write(shape: Shape, folder: Path, seed: int = 20261123) -> int:
    """Write ratings.csv and movies.csv; returns how many ratings."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with (folder / "ratings.csv").open("w", encoding="ascii") as out:
        out.write("userId,movieId,rating,timestamp\n")
        for user, item, stars, times in ratings(shape, seed):
            columns = (user + 1, item + 1, stars, times)
            rows = zip(*(column.tolist() for column in columns), strict=True)
            out.writelines(f"{u},{i},{s},{t}\n" for u, i, s, t in rows)
            count += len(user)
    with (folder / "movies.csv").open("w", encoding="ascii", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["movieId", "title", "genres"])
        for number, has in enumerate(films(shape, seed).genres, 1):
            names = "|".join(name for name, flag in zip(GENRES, has, strict=True) if flag)
            writer.writerow([number, f"Film {number} ({1930 + number % 90})", names])
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=20261123)
    arguments = parser.parse_args()
    count = write(SHAPES[arguments.shape], arguments.folder, arguments.seed)
    print(f"{count:,} ratings")
