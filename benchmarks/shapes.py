"""A shape and a seed -> made-up ratings in MovieLens format, with long tails and latent tastes.

    python benchmarks/shapes.py 1m FOLDER      # ratings.csv and movies.csv; a few minutes for 25m

Users belong to groups of taste. Users of a group draw films with chances proportional to
popularity times exp(taste . film) times attention, each film at most once. Attention is 0 before a
film's release, 1 then, and halves every half a year down to a small part that stays. Half of the
films are older than the first rating; the others are released over the 22 years in which users
come. Stars are a mean, the effects of user and film, the user's own taste, and noise. Popularity
falls with rank as (rank + n_items / 200) ^ -1.8, so that the most rated film of `25m` has about
57,000 ratings and half of all films less than 31. The number of ratings of a user is lognormal
above 20, with a median of 81. MovieLens 25M has 81,000, 6 and 71.
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

GENRE_NAMES = (
    "Action Adventure Animation Children Comedy Crime Documentary Drama Fantasy "
    "Film-Noir Horror IMAX Musical Mystery Romance Sci-Fi Thriller War Western"
)
GENRES = GENRE_NAMES.split()
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
FIRST_YEAR = 1996
FIRST_DAY = 820_454_400  # its first, seconds since 1970
DAY = 86_400  # seconds
YEAR = 365.25  # days
DAYS = 8000
BREAK = 60 * DAY  # seconds, on average
"""Between two of a user's sessions."""
OLD = 0.5
"""Share of films that were released before the first day."""
OLDEST_YEAR = 1930
HALF_LIFE = 180  # days
FLOOR = 0.03
"""Part of a film's chance at its release that stays for ever; the rest halves every HALF_LIFE."""
ROUNDS = 40
"""How often a film is drawn that the user has rated before; then the rating is left out."""


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
    group_tastes: Floats  # (GROUPS, FACTORS)
    released: Floats  # (n_items,) days since the first, ascending
    steady: Floats  # (GROUPS, n_items) chance to be drawn by a group that stays, cumulative
    fading: Floats  # (GROUPS, n_items) chance that fades, as on day 0, cumulative


def films(shape: Shape, seed: int) -> Films:
    """Draw genres, tastes, popularity and quality of all films."""
    random = np.random.default_rng([seed, 0])
    n = shape.n_items
    order = random.random((n, len(GENRES))).argsort(axis=1)
    n_genres = random.integers(1, 4, n)
    genres = order < n_genres[:, None]
    genre_tastes = random.normal(0, 0.5, (len(GENRES), FACTORS))
    tastes = genres @ genre_tastes + random.normal(0, 0.35, (n, FACTORS))
    popularity = (random.permutation(n) + max(n / 200, 50)) ** -1.8
    logarithm = np.log(popularity)
    effect = 0.15 * (logarithm - logarithm.mean()) / logarithm.std() + random.normal(0, 0.35, n)
    group_tastes = random.normal(0, 0.45, (GROUPS, FACTORS))
    chances = popularity * np.exp(group_tastes @ tastes.T)  # (GROUPS, n_items)
    is_old = random.random(n) < OLD
    ends = np.where(is_old, (OLDEST_YEAR - FIRST_YEAR) * YEAR, DAYS)
    released = np.sort(random.random(n) * ends)  # (n_items,)
    # 2 ** (-age / HALF_LIFE) is 2 ** (released / HALF_LIFE), which does not depend on the day,
    # times 2 ** (-day / HALF_LIFE), which does not depend on the film: one sum serves all days.
    steady = np.cumsum(FLOOR * chances, axis=1)
    fading = np.cumsum((1 - FLOOR) * chances * 2 ** (released / HALF_LIFE), axis=1)
    return Films(genres, tastes, effect, group_tastes, released, steady, fading)


def ratings(shape: Shape, seed: int) -> Iterator[tuple[Ints, Ints, Floats, Ints]]:
    """User, film, stars and time of each rating, (n,) each, block by block of users."""
    all_films = films(shape, seed)
    for block, start in enumerate(range(0, shape.n_users, USERS_A_BLOCK)):
        n_users = min(USERS_A_BLOCK, shape.n_users - start)
        random = np.random.default_rng([seed, 1, block])
        group = random.integers(0, GROUPS, n_users)  # (n_users,)
        user, item, times = _rated(shape, all_films, group, random)
        taste = all_films.group_tastes[group] + random.normal(0, 0.3, (n_users, FACTORS))
        stars = BASE + random.normal(0, 0.4, n_users)[user] + all_films.effect[item]
        affinity = (taste[user] * all_films.tastes[item]).sum(axis=1)
        stars += 0.6 * affinity + random.normal(0, 0.75, len(user))
        half_stars = np.clip(np.round(stars * 2) / 2, 0.5, 5.0)
        yield user + start, item, half_stars, times


def _rated(
    shape: Shape, all_films: Films, group: Ints, random: np.random.Generator
) -> tuple[Ints, Ints, Ints]:
    """Users, films and times of all ratings, (n,) each, by user and time."""
    n_users = len(group)
    n_items = shape.n_items
    activity = np.exp(random.normal(0, SPREAD, n_users) - SPREAD**2 / 2)
    mean_above_least = max(shape.n_ratings / shape.n_users - LEAST_RATED, 1)
    n_rated = LEAST_RATED + (mean_above_least * activity).astype(np.int64)  # (n_users,)
    n_rated = np.minimum(n_rated, max(int(MOST_RATED * n_items), LEAST_RATED))
    user = np.repeat(np.arange(n_users), n_rated)  # (n,)
    times = _times(n_rated, random)  # (n,)
    item = np.empty(len(user), dtype=np.int64)
    again = np.arange(len(user))  # what to draw, at first everything
    for _ in range(ROUNDS):
        days = (times[again] - FIRST_DAY) / DAY
        item[again] = _draw(all_films, group[user[again]], days, random)
        again = _repeats(user * n_items + item)
        if not len(again):
            break
    kept = np.ones(len(user), dtype=bool)
    kept[again] = False
    return user[kept], item[kept], times[kept]


def _times(n_rated: Ints, random: np.random.Generator) -> Ints:
    """Seconds since 1970 of each rating, (n,): sessions, with long breaks, from a random day on.

    What would be later than the last day is moved before it, by shorter breaks.
    """
    n = n_rated.sum()
    pauses = random.exponential(40, n) + (random.random(n) < 0.02) * random.exponential(BREAK, n)
    ends = np.cumsum(n_rated)  # (n_users,)
    since = np.cumsum(pauses)  # (n,)
    since -= np.repeat(since[ends - n_rated], n_rated)
    start = random.random(len(n_rated)) * DAYS * DAY  # (n_users,)
    shorter = np.minimum(1, (DAYS * DAY - start) / np.maximum(since[ends - 1], 1))  # (n_users,)
    times = FIRST_DAY + np.repeat(start, n_rated) + since * np.repeat(shorter, n_rated)
    return times.astype(np.int64)


def _draw(all_films: Films, group: Ints, days: Floats, random: np.random.Generator) -> Ints:
    """A film for each group and day, (n,): among those released, by steady and fading chances."""
    last = np.searchsorted(all_films.released, days, side="right") - 1  # (n,)
    grown = 2 ** (days / HALF_LIFE)  # (n,)
    steady = all_films.steady[group, last]  # (n,)
    fading = all_films.fading[group, last] / grown  # (n,)
    drawn = random.random(len(days)) * (steady + fading)  # (n,)
    is_steady = drawn < steady  # (n,)
    drawn = np.where(is_steady, drawn, (drawn - steady) * grown)
    item = np.empty(len(days), dtype=np.int64)
    by_group = np.argsort(2 * group + is_steady, kind="stable")
    ends = np.cumsum(np.bincount(2 * group + is_steady, minlength=2 * GROUPS))
    for which, mine in enumerate(np.split(by_group, ends[:-1])):
        chances = (all_films.steady if which % 2 else all_films.fading)[which // 2]
        item[mine] = np.searchsorted(chances, drawn[mine], side="right")
    return np.minimum(item, last)  # rounding may reach one film further


def _repeats(cells: Ints) -> Ints:
    """Where a cell is the same as an earlier one."""
    place = np.arange(len(cells))
    ordered = np.sort(cells << 32 | place)  # faster than argsort
    same = ordered[1:] >> 32 == ordered[:-1] >> 32
    return ordered[1:][same] & 0xFFFFFFFF


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
        all_films = films(shape, seed)
        for number, has in enumerate(all_films.genres, 1):
            names = "|".join(name for name, flag in zip(GENRES, has, strict=True) if flag)
            year = int(FIRST_YEAR + all_films.released[number - 1] // YEAR)
            writer.writerow([number, f"Film {number} ({year})", names])
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
