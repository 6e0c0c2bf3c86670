"""A million made-up ratings -> are the fast models what their formulas say, whatever the number of threads?

    python benchmarks/exact.py     # shape 1m; some minutes. Exit code 1 where anything differs

Ratings and support of some users, for all films, are held against a second implementation: rows of ratings and of
who-rated-what as dense matrices, and the formulas of docs as products of them. Then the bytes of both models' scores
are compared between processes of 1, 2 and 4 threads.
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
"""Stars; of support, which can be thousands, the share of it where it is above 1."""
SEED = 20261123
THREADS = (1, 2, 4)
MODELS = {"user_user": user_user, "item_item": item_item}
NOISE = 1e-10
"""A similarity or a deviation below this counts as 0."""
TIE = 1e9
"""Similarities are compared in these units where the strongest are chosen."""


def main() -> int:
    """Compare, and tell."""
    parser = argparse.ArgumentParser(
        description="Whether models are exact, and no digit hangs on threads."
    )
    parser.add_argument("--shape", choices=SHAPES, default="1m")
    parser.add_argument(
        "--users", type=int, default=40, help="drawn by the seed, and compared on all films"
    )
    parser.add_argument(
        "--digest", action="store_true", help="print what the scores' bytes add up to, no more"
    )
    asked = parser.parse_args()
    ratings = shaped(asked.shape)
    users = np.sort(np.random.default_rng(SEED).choice(ratings.n_users, asked.users, replace=False))
    if asked.digest:
        for name, scores in all_scores(ratings, users):
            print(name, sha256(scores.rating.tobytes() + scores.support.tobytes()).hexdigest())
        return 0
    right = [*formulas(ratings, users), threads(asked.shape, asked.users)]
    return 0 if all(right) else 1


def shaped(shape: str) -> Ratings:
    """Ratings of this shape, with nothing on disk."""
    users, items, stars, _ = (
        np.concatenate(parts) for parts in zip(*made_up(SHAPES[shape], SEED), strict=True)
    )
    n_users, n_items = SHAPES[shape].n_users, SHAPES[shape].n_items
    matrix = sparse.csr_array((stars, (users, items)), shape=(n_users, n_items))
    matrix.sort_indices()
    return Ratings(
        matrix, np.arange(n_users), np.arange(n_items), np.zeros((n_items, 0)), (0.5, 5.0)
    )


def all_scores(ratings: Ratings, users: Ints) -> Iterator[tuple[str, Scores]]:
    """Of these users, (b,), by both models at both presets, and by user_user in single precision."""
    for preset, params in PRESETS.items():
        for name, model in MODELS.items():
            yield f"{name}, {preset}", model.fit(ratings, getattr(params, name), SEED).score(users)
        double_until, user_user.SINGLE_FROM = user_user.SINGLE_FROM, 0.0
        yield (
            f"user_user, {preset}, singles",
            user_user.fit(ratings, params.user_user, SEED).score(users),
        )
        user_user.SINGLE_FROM = double_until


def formulas(ratings: Ratings, users: Ints) -> Iterator[bool]:
    """Whether each model says what the slow formulas say."""
    dense, slow = Dense.of(ratings), {}
    for name, scores in all_scores(ratings, users):
        model, preset, *_ = name.split(", ")
        if (model, preset) not in slow:
            params = getattr(PRESETS[preset], model)
            slow[model, preset] = (by_users if model == "user_user" else by_films)(
                dense, users, params
            )
        rating, support = slow[model, preset]
        silent = np.isnan(rating)
        same_silence = bool((silent == np.isnan(scores.rating)).all())
        off = np.abs(rating - scores.rating)[~silent].max(initial=0.0)
        off_support = (np.abs(support - scores.support) / np.maximum(support, 1.0)).max(initial=0.0)
        right = same_silence and off <= TOLERANCE and off_support <= TOLERANCE
        told = f"{len(users)} users, {rating.size - silent.sum():,} cells; largest difference {off:.1e} stars"
        print(
            f"{name}: {'exact' if right else 'DIFFERS'}: {told}, {off_support:.1e} of support",
            flush=True,
        )
        yield right


def threads(shape: str, users: int) -> bool:
    """Whether processes of 1, 2 and 4 threads compute the same bytes."""
    found = {}
    for number in THREADS:
        command = [sys.executable, __file__, "--digest", "--shape", shape, "--users", str(users)]
        environ = os.environ | {"NUMBA_NUM_THREADS": str(number), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)  # noqa: S603
        found[number] = done.stdout
    right = len(set(found.values())) == 1
    print(
        f"{', '.join(map(str, THREADS))} threads: {'the same bytes' if right else f'DIFFERENT BYTES: {found}'}"
    )
    return right


# The formulas, once more and slowly: whole rows at a time, no loop over cells, nothing shared with batch.models.


class Dense(NamedTuple):
    """Ratings as whole matrices, (n_users, n_items) each."""

    stars: Floats  # 0 where not rated
    rated: Floats  # 1 or 0

    @staticmethod
    def of(ratings: Ratings) -> "Dense":
        return Dense(
            ratings.matrix.toarray(),
            with_data(ratings.matrix, np.ones(ratings.n_ratings)).toarray(),
        )


def expected(dense: Dense, kind: str) -> Floats:
    """b_ui of every cell: the user's mean, or mu + b_u + b_i after ten sweeps; (n_users, n_items)."""
    stars, rated = dense
    mu = stars.sum() / rated.sum()
    of_user, of_film = rated.sum(axis=1), rated.sum(axis=0)  # ratings
    if kind == "user_mean":
        mean = np.where(of_user > 0, stars.sum(axis=1) / np.maximum(of_user, 1), mu)
        return np.repeat(mean[:, None], stars.shape[1], axis=1)
    b_user, b_film = np.zeros(len(of_user)), np.zeros(len(of_film))
    for _ in range(10):
        b_film = ((stars - mu - b_user[:, None]) * rated).sum(axis=0) / (of_film + 15)
        b_user = ((stars - mu - b_film[None, :]) * rated).sum(axis=1) / (of_user + 10)
    return mu + b_user[:, None] + b_film[None, :]


def deviations(dense: Dense, baseline: Floats) -> Floats:
    """r - b where rated, 0 elsewhere."""
    off = (dense.stars - baseline) * dense.rated
    return np.where(np.abs(off) < NOISE, 0.0, off)


def similarities(values: Floats, rated: Floats, chosen: Ints, params: Neighbourhood) -> Floats:
    """s of the chosen rows to all, (b, m), before the strongest are kept; `values` and `rated` are (m, n)."""
    own, own_rated = values[chosen], rated[chosen]
    overlap = own_rated @ rated.T
    products = own @ values.T
    if params.similarity == "full_cosine":
        norms = (own**2).sum(axis=1)[:, None] * (values**2).sum(axis=1)[None, :]
    else:
        norms = (own**2 @ rated.T) * (own_rated @ (values**2).T)
    sim = np.divide(
        products, np.sqrt(norms), out=np.zeros_like(products), where=(norms > 0) & (overlap > 0)
    )
    sim[np.abs(sim) < NOISE] = 0.0
    s = np.divide(
        sim * overlap, overlap + params.overlap_shrinkage, out=np.zeros_like(sim), where=overlap > 0
    )
    s[np.arange(len(chosen)), chosen] = 0.0
    return s


def strongest(s: Floats, k: int) -> Floats:
    """The k highest of each row, if above 0, ties by column; the others are 0."""
    first = np.argsort(-np.rint(s * TIE), axis=1, kind="stable")[:, :k]
    kept = np.zeros_like(s)
    np.put_along_axis(kept, first, np.maximum(np.take_along_axis(s, first, axis=1), 0.0), axis=1)
    return kept


def predicted(
    baseline: Floats, weighted: Floats, support: Floats, damping: float
) -> tuple[Floats, Floats]:
    """Stars and support, nan where nobody speaks."""
    said = np.divide(
        weighted, support + damping, out=np.full_like(weighted, np.nan), where=support > 0
    )
    return baseline + said, support


def by_users(dense: Dense, users: Ints, params: Neighbourhood) -> tuple[Floats, Floats]:
    """user_user for these users, (b, n_items)."""
    baseline = expected(dense, params.baseline)
    off = deviations(dense, baseline)
    values = off if params.similarity == "adjusted_cosine" else dense.stars
    s = similarities(values, dense.rated, users, params)  # (b, n_users)
    if params.neighbours != "all":
        s = strongest(s, params.neighbours)
    return predicted(baseline[users], s @ off, np.abs(s) @ dense.rated, params.support_shrinkage)


def by_films(dense: Dense, users: Ints, params: Neighbourhood) -> tuple[Floats, Floats]:
    """item_item for these users, (b, n_items)."""
    baseline = expected(dense, params.baseline)
    off = deviations(dense, baseline)
    values = (
        off if params.similarity == "adjusted_cosine" else dense.stars
    ).T  # (n_items, n_users)
    s = similarities(
        values, dense.rated.T, np.arange(len(values)), params
    )  # (n_items, n_items), row: the target
    if params.neighbours != "all":
        s = strongest(s, params.neighbours)
    return predicted(
        baseline[users],
        off[users] @ s.T,
        dense.rated[users] @ np.abs(s).T,
        params.support_shrinkage,
    )


if __name__ == "__main__":
    sys.exit(main())
