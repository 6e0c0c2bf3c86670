"""Ratings -> how often the similar films of a film just liked contain one that is liked later.

    pip install --constraint constraints.txt --editable '.[bench]'
    python benchmarks/similar.py           # MovieLens latest-small and MovieTweetings: a minute
    python benchmarks/similar.py --choose  # the values that NEARBY and SHRINKAGE were chosen from

Held out is the last fifth of each user's ratings (`own`), or the newest 15 % of all ratings, three
times, as in quality.py (`next`). A user is judged who liked a film before and one after the cut.
The film just liked is the last liked before it; it is a hit if one of its ten similar films is
among those that the user liked after it (`hit@10`), or is the very first of those (`the next`).
Intervals are 95 %, by bootstrap over users, of the lead paired by user.

Peers are fitted on the same ratings: the recommenders of `implicit.nearest_neighbours` with
their own defaults, on stars, on ones for every rating, and on ones for films liked. Cosine is
that of likes, with and without shrinkage, as in similar_films.py with all films 0 apart.

`--choose` measures a grid on an inner split: the fitted part is cut again in the same way, and
each user asks for the last five films liked before the cut, so that it is less noisy.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias
from warnings import catch_warnings, simplefilter

import numpy as np
from scipy import sparse

from batch.models import similar_films as ours
from batch.models.similar_films import similar_films
from batch.params import LIKED_SHARE
from batch.ranking.rank import tie_order
from batch.ratings import Floats, Ints, Ratings, Sparse, with_data
from quality_data import MOVIELENS, MOVIETWEETINGS, folds, read

SEED = 20261123
N = 10
ASKED = 5
"""Films that each user asks for on the inner split."""
RESAMPLES = 2000
LEAST_LIKES = 5
"""Every film with so many likes is to have N similar films, where anybody liked so many with it."""
GRID = [
    (nearby, shrinkage) for nearby in (5, 10, 20, 50, np.inf) for shrinkage in (0, 10, 20, 40, 80)
]

Lists: TypeAlias = Callable[[Ratings, float], Ints]
"""Ratings and the liked threshold, in stars -> the lists of all films, (n_items, N)."""


@dataclass(frozen=True)
class Asked:
    """What one user just liked, and what they liked afterwards, in order of time."""

    films: Ints
    later: Ints


def main() -> None:
    """Print a table of Markdown for each data set and split."""
    parser = argparse.ArgumentParser(description="How often similar films contain what is next.")
    parser.add_argument("--choose", action="store_true")
    choose = parser.parse_args().choose
    for source in (MOVIELENS, MOVIETWEETINGS):
        ratings = read(str(source))
        name = Path(source).name
        liked_from = LIKED_SHARE * ratings.scale[1]
        if choose:
            [(fitted, _)] = folds(ratings, "own", SEED)
            [(train, held)] = folds(fitted, "own", SEED)
            print_grid(name, train, list(users_asking(train, held, liked_from, ASKED)), liked_from)
            continue
        for split in ("own", "next"):
            cuts = list(folds(ratings, split, SEED))
            print_comparison(f"{name}, `{split}`", cuts, liked_from)
        print_lengths(ratings, liked_from)


def users_asking(train: Ratings, held: Ratings, liked_from: float, number: int) -> Iterator[Asked]:
    """Each user who liked films before and after the cut, with the last `number` before."""
    for user in range(train.n_users):
        before = liked_by(train, user, liked_from)
        after = liked_by(held, user, liked_from)
        if len(before) and len(after):
            yield Asked(before[-number:], after)


def liked_by(ratings: Ratings, user: int, liked_from: float) -> Ints:
    """The films that a user liked, in order of time, then key."""
    cells = slice(*ratings.matrix.indptr[user : user + 2])
    times = np.zeros(cells.stop - cells.start)
    if ratings.rated_at is not None:
        times = ratings.rated_at[cells]
    by_time = np.argsort(times, kind="stable")
    is_liked = ratings.matrix.data[cells][by_time] >= liked_from
    return ratings.matrix.indices[cells][by_time][is_liked].astype(np.int64)


def print_comparison(name: str, cuts: list[tuple[Ratings, Ratings]], liked_from: float) -> None:
    """Ours beside peers, over the users of all cuts."""
    asked = [list(users_asking(*cut, liked_from, 1)) for cut in cuts]
    print(f"\n| {name}, {sum(map(len, asked)):,} lists | hit@{N} | ours - it | the next |")
    print("|---|---|---|---|")
    of_ours: Floats | None = None
    for label, lists in contenders().items():
        judged = [
            judge(lists(train, liked_from), of_cut)
            for (train, _), of_cut in zip(cuts, asked, strict=True)
        ]
        hits, firsts = (np.concatenate(values) for values in zip(*judged, strict=True))
        of_ours = hits if of_ours is None else of_ours
        lead = "" if of_ours is hits else with_interval(of_ours - hits)
        cells = [label, with_interval(hits), lead, f"{firsts.mean():.3f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


def print_lengths(train: Ratings, liked_from: float) -> None:
    """How many of the films with LEAST_LIKES likes have a full list."""
    likes = liked_matrix(train, liked_from)
    counts = np.asarray(likes.sum(axis=0)).ravel()
    listed = our_lists(train, liked_from)
    enough = np.flatnonzero(counts >= LEAST_LIKES)
    full = (listed[enough] >= 0).all(axis=1)
    together = (likes.T @ likes[:, enough]).astype(bool).sum(axis=0) - 1
    possible = np.asarray(together).ravel() >= N
    print(
        f"\nOf {len(enough):,} films with {LEAST_LIKES} likes, {full.sum():,} have {N};"
        f" of those with {N} others liked with them, {full[possible].sum():,}"
        f" of {possible.sum():,}."
    )


def print_grid(name: str, train: Ratings, asked: list[Asked], liked_from: float) -> None:
    """hit@10 for each pair of constants."""
    print(f"\n| {name}, inner split, {len(asked):,} users: films apart | shrinkage | hit@{N} |")
    print("|---|---|---|")
    for nearby, shrinkage in GRID:
        hits, _ = judge(our_lists(train, liked_from, nearby, shrinkage), asked)
        print(f"| {nearby:g} | {shrinkage} | {hits.mean():.4f} |", flush=True)


def judge(listed: Ints, asked: list[Asked]) -> tuple[Floats, Floats]:
    """Share of each user's films whose list has a later one, and the very next, (n_users,) each."""
    hits = [np.isin(listed[each.films], each.later).any(axis=1).mean() for each in asked]
    firsts = [(listed[each.films] == each.later[0]).any(axis=1).mean() for each in asked]
    return np.array(hits), np.array(firsts)


def with_interval(hits: Floats) -> str:
    """The mean, and the 95 % interval of it over users."""
    random = np.random.default_rng(SEED)
    means = hits[random.integers(0, len(hits), (RESAMPLES, len(hits)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{hits.mean():.3f} ({low:.3f} to {high:.3f})"


def our_lists(
    ratings: Ratings,
    liked_from: float,
    nearby: float = ours.NEARBY,
    shrinkage: float = ours.SHRINKAGE,
) -> Ints:
    """Ours with these constants; films are 0 apart where `nearby` is infinite."""
    if np.isinf(nearby):
        ratings = replace(ratings, rated_at=None)
        nearby = ours.NEARBY
    order = tie_order(ratings.item_counts())
    nothing = np.empty(0, dtype=np.int64)
    ours.NEARBY, ours.SHRINKAGE, kept = nearby, float(shrinkage), (ours.NEARBY, ours.SHRINKAGE)
    listed = similar_films(ratings, liked_from, N, order, nothing).listed
    ours.NEARBY, ours.SHRINKAGE = kept
    return listed


def contenders() -> dict[str, Lists]:
    """Name -> lists; peers of implicit only where it is installed."""
    found: dict[str, Lists] = {
        "`similar_items`": our_lists,
        "cosine of likes, shrunk": lambda train, liked: our_lists(train, liked, np.inf),
        "cosine of likes": lambda train, liked: our_lists(train, liked, np.inf, 0),
    }
    if find_spec("implicit") is None:
        print("implicit is not installed: its recommenders are left out")
        return found
    for kind in ("BM25", "Cosine", "TFIDF"):
        for values in ("stars", "ratings", "likes"):
            found[f"implicit {kind}, {values}"] = peer(kind, values)
    return found


def peer(kind: str, values: str) -> Lists:
    """A recommender of implicit with its defaults, but for the length of lists."""

    def lists(ratings: Ratings, liked_from: float) -> Ints:
        from implicit import nearest_neighbours

        matrix = {
            "stars": lambda: ratings.matrix,
            "ratings": lambda: with_data(ratings.matrix, np.ones(ratings.n_ratings)),
            "likes": lambda: liked_matrix(ratings, liked_from),
        }[values]()
        model = getattr(nearest_neighbours, f"{kind}Recommender")(K=N + 1)
        with catch_warnings():
            simplefilter("ignore")  # of the kind of matrix that its own weighting returns
            model.fit(sparse.csr_matrix(matrix, dtype=np.float64), show_progress=False)
        return best_others(sparse.csr_array(model.similarity))

    return lists


def best_others(similarity: Sparse) -> Ints:
    """The N columns of highest value in each row, the row's own left out; -1 after the last."""
    listed = np.full((similarity.shape[0], N), -1, dtype=np.int64)
    for film in range(similarity.shape[0]):
        cells = slice(*similarity.indptr[film : film + 2])
        columns = similarity.indices[cells]
        best = columns[np.argsort(-similarity.data[cells], kind="stable")]
        best = best[best != film][:N]
        listed[film, : len(best)] = best
    return listed


def liked_matrix(ratings: Ratings, liked_from: float) -> Sparse:
    """1 for each film that a user liked, CSR (n_users, n_items)."""
    liked = ratings.keep(ratings.matrix.data >= liked_from)
    return with_data(liked.matrix, np.ones(liked.n_ratings))


if __name__ == "__main__":
    main()
