"""Made-up ratings -> whether the fast models match their formulas, on any number of threads.

    python benchmarks/exact.py     # shape 1m; some minutes. Exit code 1 where anything differs

Ratings and supports of some users, for all films, are compared with a second implementation:
ratings and rated cells as dense matrices, and the formulas of docs as products of them. Then
the bytes of both models' scores are compared between processes of 1, 2 and 4 threads.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from scipy import sparse

from batch.models import Scores, item_item, user_user
from batch.params import PRESETS, Neighbourhood
from batch.ratings import Floats, Ints, Ratings, with_data
from children import ROOT
from shapes import SHAPES
from shapes import ratings as made_up

TOLERANCE = 1e-5
"""Stars. Of supports, which can be thousands, it is a relative error where they are above 1."""
SEED = 20261123
THREADS = (1, 2, 4)
MODELS = {"user_user": user_user, "item_item": item_item}
NOISE = 1e-10
"""A similarity or a deviation below this counts as 0."""
TIE = 1e9
"""Similarities are rounded to 1 / TIE where the k highest are chosen."""


def main() -> int:
    """Compare, and print the results."""
    parser = argparse.ArgumentParser(
        description="Whether models are exact, with the same digits on any number of threads."
    )
    parser.add_argument("--shape", choices=SHAPES, default="1m")
    parser.add_argument(
        "--users", type=int, default=40, help="how many random users are compared, on all films"
    )
    parser.add_argument(
        "--digest", action="store_true", help="only print digests of the scores' bytes"
    )
    arguments = parser.parse_args()
    ratings = ratings_of(arguments.shape)
    random = np.random.default_rng(SEED)
    users = np.sort(random.choice(ratings.n_users, arguments.users, replace=False))
    if arguments.digest:
        for name, scores in all_scores(ratings, users):
            print(name, sha256(scores.rating.tobytes() + scores.support.tobytes()).hexdigest())
        return 0
    exact = list(compare_with_formulas(ratings, users))
    exact.append(compare_threads(arguments.shape, arguments.users))
    return 0 if all(exact) else 1


def ratings_of(shape: str) -> Ratings:
    """Ratings of this shape, made in memory."""
    n_users = SHAPES[shape].n_users
    n_items = SHAPES[shape].n_items
    columns = zip(*made_up(SHAPES[shape], SEED), strict=True)
    users, items, stars, _ = (np.concatenate(parts) for parts in columns)
    matrix = sparse.csr_array((stars, (users, items)), shape=(n_users, n_items))
    matrix.sort_indices()
    no_genres = np.zeros((n_items, 0))
    return Ratings(matrix, np.arange(n_users), np.arange(n_items), no_genres, (0.5, 5.0))


def all_scores(ratings: Ratings, users: Ints) -> Iterator[tuple[str, Scores]]:
    """Scores of these users by both models and presets, and by user_user in float32."""
    for preset, params in PRESETS.items():
        for name, model in MODELS.items():
            fitted = model.fit(ratings, getattr(params, name), SEED)
            yield f"{name}, {preset}", fitted.score(users)
        single_from = user_user.SINGLE_FROM
        user_user.SINGLE_FROM = 0.0
        fitted = user_user.fit(ratings, params.user_user, SEED)
        yield f"user_user, {preset}, singles", fitted.score(users)
        user_user.SINGLE_FROM = single_from


def compare_with_formulas(ratings: Ratings, users: Ints) -> Iterator[bool]:
    """For each of `all_scores`, whether it matches the slow formulas."""
    dense = Dense.of(ratings)
    slow = {}
    for name, scores in all_scores(ratings, users):
        model, preset, *_ = name.split(", ")
        if (model, preset) not in slow:
            formula = by_users if model == "user_user" else by_films
            slow[model, preset] = formula(dense, users, getattr(PRESETS[preset], model))
        rating, support = slow[model, preset]
        missing = np.isnan(rating)
        same_missing = bool((missing == np.isnan(scores.rating)).all())
        error = np.abs(rating - scores.rating)[~missing].max(initial=0.0)
        relative = np.abs(support - scores.support) / np.maximum(support, 1.0)
        support_error = relative.max(initial=0.0)
        exact = same_missing and error <= TOLERANCE and support_error <= TOLERANCE
        n_cells = rating.size - missing.sum()
        print(
            f"{name}: {'exact' if exact else 'DIFFERS'}: {len(users)} users, {n_cells:,} cells; "
            f"largest difference {error:.1e} stars, {support_error:.1e} of support",
            flush=True,
        )
        yield exact


def compare_threads(shape: str, n_users: int) -> bool:
    """Whether processes of 1, 2 and 4 threads compute the same bytes."""
    digests = {}
    options = ["--digest", "--shape", shape, "--users", str(n_users)]
    for threads in THREADS:
        process = subprocess.run(  # noqa: S603
            [sys.executable, __file__, *options],
            env=os.environ | {"NUMBA_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        digests[threads] = process.stdout
    equal = len(set(digests.values())) == 1
    result = "the same bytes" if equal else f"DIFFERENT BYTES: {digests}"
    print(f"{', '.join(map(str, THREADS))} threads: {result}")
    return equal


# The formulas again, slowly: whole rows at a time, no loop over cells, nothing shared with
# batch.models.


class Dense(NamedTuple):
    """Ratings as dense matrices, (n_users, n_items) each."""

    stars: Floats  # 0 where not rated
    rated: Floats  # 1 or 0

    @staticmethod
    def of(ratings: Ratings) -> "Dense":
        rated = with_data(ratings.matrix, np.ones(ratings.n_ratings))
        return Dense(ratings.matrix.toarray(), rated.toarray())


def expected(dense: Dense, kind: str) -> Floats:
    """b_ui of every cell, (n_users, n_items).

    It is the user's mean, or mu + b_u + b_i after ten sweeps.
    """
    stars, rated = dense
    mu = stars.sum() / rated.sum()
    of_user = rated.sum(axis=1)  # (n_users,) ratings
    of_film = rated.sum(axis=0)  # (n_items,) ratings
    if kind == "user_mean":
        mean = np.where(of_user > 0, stars.sum(axis=1) / np.maximum(of_user, 1), mu)
        return np.repeat(mean[:, None], stars.shape[1], axis=1)
    b_user = np.zeros(len(of_user))
    b_film = np.zeros(len(of_film))
    for _ in range(10):
        b_film = ((stars - mu - b_user[:, None]) * rated).sum(axis=0) / (of_film + 15)
        b_user = ((stars - mu - b_film[None, :]) * rated).sum(axis=1) / (of_user + 10)
    return mu + b_user[:, None] + b_film[None, :]


def deviations(dense: Dense, baseline: Floats) -> Floats:
    """r - b where rated, 0 elsewhere, (n_users, n_items)."""
    off = (dense.stars - baseline) * dense.rated
    return np.where(np.abs(off) < NOISE, 0.0, off)


def similarities(values: Floats, rated: Floats, chosen: Ints, params: Neighbourhood) -> Floats:
    """s of the chosen rows to all, (b, m), before the k highest are kept.

    `values` and `rated` are (m, n).
    """
    own = values[chosen]
    own_rated = rated[chosen]
    overlap = own_rated @ rated.T
    products = own @ values.T
    if params.similarity == "full_cosine":
        norms = (own**2).sum(axis=1)[:, None] * (values**2).sum(axis=1)[None, :]
    else:
        norms = (own**2 @ rated.T) * (own_rated @ (values**2).T)
    valid = (norms > 0) & (overlap > 0)
    sim = np.divide(products, np.sqrt(norms), out=np.zeros_like(products), where=valid)
    sim[np.abs(sim) < NOISE] = 0.0
    shrunk = overlap + params.overlap_shrinkage
    s = np.divide(sim * overlap, shrunk, out=np.zeros_like(sim), where=overlap > 0)
    s[np.arange(len(chosen)), chosen] = 0.0
    return s


def strongest(s: Floats, k: int) -> Floats:
    """The k highest of each row, if above 0, ties by column; the others are 0."""
    first = np.argsort(-np.rint(s * TIE), axis=1, kind="stable")[:, :k]
    highest = np.maximum(np.take_along_axis(s, first, axis=1), 0.0)
    kept = np.zeros_like(s)
    np.put_along_axis(kept, first, highest, axis=1)
    return kept


def predicted(
    baseline: Floats, weighted: Floats, support: Floats, shrinkage: float
) -> tuple[Floats, Floats]:
    """Stars and support; stars are nan where there is no neighbour."""
    nan = np.full_like(weighted, np.nan)
    departure = np.divide(weighted, support + shrinkage, out=nan, where=support > 0)
    return baseline + departure, support


def by_users(dense: Dense, users: Ints, params: Neighbourhood) -> tuple[Floats, Floats]:
    """user_user for these users, (b, n_items) each."""
    baseline = expected(dense, params.baseline)
    off = deviations(dense, baseline)
    values = off if params.similarity == "adjusted_cosine" else dense.stars
    s = similarities(values, dense.rated, users, params)  # (b, n_users)
    if params.neighbours != "all":
        s = strongest(s, params.neighbours)
    weighted = s @ off
    support = np.abs(s) @ dense.rated
    return predicted(baseline[users], weighted, support, params.support_shrinkage)


def by_films(dense: Dense, users: Ints, params: Neighbourhood) -> tuple[Floats, Floats]:
    """item_item for these users, (b, n_items) each."""
    baseline = expected(dense, params.baseline)
    off = deviations(dense, baseline)
    values = off if params.similarity == "adjusted_cosine" else dense.stars
    films = np.arange(values.shape[1])
    s = similarities(values.T, dense.rated.T, films, params)  # (n_items, n_items), row: target
    if params.neighbours != "all":
        s = strongest(s, params.neighbours)
    weighted = off[users] @ s.T
    support = dense.rated[users] @ np.abs(s).T
    return predicted(baseline[users], weighted, support, params.support_shrinkage)


if __name__ == "__main__":
    sys.exit(main())
