"""Ratings -> predicted stars by CatBoost, on what is known of user and film without the rating."""

from dataclasses import dataclass

import numpy as np

from batch.models.baseline import Baseline, fit_baseline
from batch.ratings import Floats, Ints, Ratings
from fitted_peer import FittedPeer, predictor

PARTS = 10
"""Features of each tenth of the ratings are computed from the others."""
PRIOR = 5.0
"""Ratings' worth of prior evidence that a user has no taste for a genre."""


def boosted(ratings: Ratings, seed: int, *, trees: int, depth: int) -> FittedPeer:
    """b_ui and a departure from it, learnt by gradient boosting on out-of-fold features."""
    from catboost import CatBoostRegressor

    users, films = ratings.user_of_rating(), ratings.matrix.indices
    part = np.random.default_rng(seed).permutation(ratings.n_ratings) % PARTS  # (n_ratings,)
    features = np.empty((ratings.n_ratings, Known.of(ratings).width), dtype=np.float32)
    target = np.empty(ratings.n_ratings)  # stars, less b_ui
    for number in range(PARTS):
        is_part = part == number
        known = Known.of(ratings.keep(~is_part))
        features[is_part] = known.features(users[is_part], films[is_part])
        expected = known.expected(users[is_part], films[is_part])
        target[is_part] = ratings.matrix.data[is_part] - expected
    model = CatBoostRegressor(
        iterations=trees,
        depth=depth,
        learning_rate=0.05,
        l2_leaf_reg=10.0,
        random_seed=seed,
        verbose=False,
        allow_writing_files=False,
    )
    model.fit(features, target)
    known = Known.of(ratings)
    every_film = np.arange(ratings.n_items)

    def of_user(user: int) -> Floats:
        pairs = np.full(ratings.n_items, user), every_film
        # Blocks of users are on threads already.
        return known.expected(*pairs) + model.predict(known.features(*pairs), thread_count=1)

    return predictor(ratings, lambda users: np.stack([of_user(user) for user in users]))


@dataclass(frozen=True)
class Known:
    """What some ratings say of each user and each film."""

    baseline: Baseline
    of_user: Floats  # (n_users, 4) effect, mean, spread and log count
    of_film: Floats  # (n_items, 4)
    taste: Floats  # (n_users, n_genres) mean deviation, shrunk
    genres: Floats  # (n_items, n_genres) 0/1

    @staticmethod
    def of(ratings: Ratings) -> "Known":
        baseline = fit_baseline("bias", ratings)
        deviations = baseline.deviations(ratings)  # CSR (n_users, n_items)
        rated = ratings.matrix.astype(bool).astype(np.float64)
        rated.data[:] = 1.0
        counts = rated @ ratings.genres  # (n_users, n_genres)
        return Known(
            baseline=baseline,
            of_user=_summary(ratings, ratings.user_of_rating(), baseline.user),
            of_film=_summary(ratings, ratings.matrix.indices, baseline.item),
            taste=(deviations @ ratings.genres) / (counts + PRIOR),
            genres=ratings.genres,
        )

    @property
    def width(self) -> int:
        """Number of features."""
        return 2 + self.of_user.shape[1] + self.of_film.shape[1] + self.genres.shape[1]

    def expected(self, users: Ints, films: Ints) -> Floats:
        """b_ui of these pairs, (p,) stars."""
        return self.baseline.mu + self.baseline.user[users] + self.baseline.item[films]

    def features(self, users: Ints, films: Ints) -> Floats:
        """Features of these pairs, (p, width)."""
        genres = self.genres[films]  # (p, n_genres)
        taste = (self.taste[users] * genres).sum(axis=1) / np.maximum(genres.sum(axis=1), 1.0)
        pair = np.stack([self.expected(users, films), taste], axis=1)
        parts = [pair, self.of_user[users], self.of_film[films], genres]
        return np.concatenate(parts, axis=1, dtype=np.float32)


def _summary(ratings: Ratings, groups: Ints, effect: Floats) -> Floats:
    """Effect, mean, spread and log count of each user or film, (n_groups, 4)."""
    stars = ratings.matrix.data
    counts = np.bincount(groups, minlength=len(effect))
    present = np.where(counts > 0, counts, np.nan)
    mean = np.bincount(groups, weights=stars, minlength=len(effect)) / present
    squares = np.bincount(groups, weights=stars**2, minlength=len(effect)) / present
    spread = np.sqrt(np.maximum(squares - mean**2, 0.0))
    return np.stack([effect, mean, spread, np.log1p(counts)], axis=1)
