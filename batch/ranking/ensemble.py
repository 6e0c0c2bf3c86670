"""Fitted models -> lists and predictions for a block of users, of each model and of their blend."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batch.models import PERSONAL, Model, Scores
from batch.models.baseline import Baseline
from batch.ranking.blend import Blend, CellScores, Features, blend_features, less_own_mean, table
from batch.ranking.blend_lists import BlendBlock, Pool, rank_pool
from batch.ranking.blend_weights import Candidates, TrainingBlock, Weights, learn
from batch.ranking.mask import Mask
from batch.ranking.rank import best_unseen, tie_order
from batch.ranking.ranked_block import RankedBlock, without_spare
from batch.ratings import (
    NO_PAIRS,
    NOBODY,
    Bools,
    Floats,
    Ints,
    Pairs,
    Ratings,
    Sparse,
    blocks,
    select_stored,
)

if TYPE_CHECKING:  # numba is imported only where something is fitted
    from batch.models.features import FeatureModel, Learnt, PreferenceScores

BY_SCORE = "blend_by_score"
"""Name of the blend without diversity, measured beside it where `publish.diversity` is set."""
CANDIDATES = 100
"""Films of each user, by taste, that the blend ranks.

Fewer miss some that are liked, more teach nothing.
"""
HOTTEST = 20
"""Films that are candidates of everyone who rated lately, because many rate them now."""
MIN_RATED = 5
"""Minimum ratings of a candidate: with two or three, a high score is chance."""


def rank_scores(
    scores: Scores,
    excluded: Sparse,
    order: Ints,
    n: int,
    pairs: Pairs,
    *,
    spare: int = 0,
    with_evidence: bool = False,
) -> RankedBlock:
    """A model's scores of all films -> its lists of n and spare films, and ratings of `pairs`.

    `excluded` is CSR (b, n_items); `order`, (n_items,), comes from `tie_order`.
    """
    listed = best_unseen(scores.relevance, excluded, order, n + spare)
    shown = Pairs.listed(without_spare(listed, spare))
    return RankedBlock(
        listed=listed,
        score=_listed_values(scores.relevance, listed),
        rating=_listed_values(scores.rating, listed),
        support=_listed_values(scores.support, listed),
        predicted=scores.rating[pairs],
        spare=spare,
        evidence=scores.explain(shown) if with_evidence else None,
    )


class CandidateFeatures(NamedTuple):
    """A block of users, their candidates, and features of the candidates and of held-out pairs."""

    users: Ints
    candidates: Pairs
    by_taste: Bools  # (n_listed,) chosen by taste, not because many rate them now
    of_candidates: Features  # (n_listed,)
    of_held: Features  # (n_pairs,)
    held_baseline: Floats  # (n_pairs,) stars: mu + b_u + b_i


@dataclass(frozen=True)
class Ensemble:
    """All models fitted on the same ratings; `blend` is None while its weights are being learnt."""

    ratings: Ratings
    models: Mapping[str, Model]
    feature_model: "FeatureModel"
    tie_order: Ints  # (n_items,)
    candidate_films: Bools  # films that may be candidates by taste, (n_items,)
    blend: Blend | None
    mask: Mask | None = None  # filtered films; None: no filters
    diversity: float = 0.0  # 0 to 1, weight of dissimilarity against score in the blend's lists

    def rank_users(
        self, names: Sequence[str], users: Ints, n: int, pairs: Pairs = NO_PAIRS
    ) -> dict[str, RankedBlock]:
        """Lists of n for these users, (b,), and ratings of `pairs`, by each of the named models.

        Only one model at a time holds its scores of all films in memory; the
        blend scores its candidates only.
        """
        return self._rank(names, users, self._excluded(users), n, 0, pairs, with_evidence=False)

    def rank_with_evidence(
        self,
        names: Sequence[str],
        users: Ints,
        n: int,
        unseen: Pairs = NO_PAIRS,
        spare: int = 0,
    ) -> dict[str, RankedBlock]:
        """The same lists with evidence for every film, then `spare` more films without.

        Films of the `unseen` pairs may be listed even if they are rated or
        filtered.
        """
        excluded = self._excluded(users)  # CSR (b, n_items)
        if len(unseen.rows):
            is_unseen = np.zeros(excluded.shape, dtype=np.bool_)
            is_unseen[unseen] = True
            excluded = select_stored(excluded, ~is_unseen[Pairs.stored(excluded)])
        return self._rank(names, users, excluded, n, spare, NO_PAIRS, with_evidence=True)

    @property
    def popularity(self) -> Floats:
        """Ratings of each film, the old ones counting less, (n_items,)."""
        return self.models["popular"].score(np.zeros(1, dtype=np.int64)).support[0]

    @property
    def half_life(self) -> float | None:
        """Days after which a rating counts half in `popularity`; None: all count the same."""
        return getattr(self.models["popular"], "half_life", None)

    @property
    def learnt(self) -> "Learnt":
        """Both sets of weights between films."""
        from batch.models.features import Learnt

        return Learnt(self.feature_model.preference, self.feature_model.liking)

    def baseline(self, name: str) -> Baseline:
        """The baseline that replaces a missing prediction of this model."""
        if name in ("blend", BY_SCORE):
            return self.feature_model.bias
        return self.models[name].baseline

    def candidate_features(
        self, users: Ints, block: int, held: Ratings | None = None
    ) -> Iterator[CandidateFeatures]:
        """Features of users' candidates and of their ratings in `held`, `block` users at a time."""
        from batch.models.compiled import side_by_side

        def features_of_block(positions: Ints) -> CandidateFeatures:
            return self._candidate_features(users[positions], held)

        return side_by_side(features_of_block, blocks(len(users), block))

    def _candidate_features(self, users: Ints, held: Ratings | None) -> CandidateFeatures:
        preferences = self.feature_model.preference_scores(users)
        listed = self._candidates(users, preferences, self._excluded(users))
        candidates = Pairs.listed(listed)
        held_pairs = NO_PAIRS if held is None else Pairs.stored(held.matrix[users])
        cells = candidates.and_then(held_pairs)
        scores_by_model = {
            name: self._cell_scores(name, self._scores(name, users, preferences), users, cells)
            for name in PERSONAL
        }
        features = blend_features(self.feature_model.at(users, cells, preferences), scores_by_model)
        n = len(candidates.rows)
        _, places = np.nonzero(listed != NOBODY)
        return CandidateFeatures(
            users=users,
            candidates=candidates,
            by_taste=places < CANDIDATES,
            of_candidates={name: values[:n] for name, values in features.items()},
            of_held={name: values[n:] for name, values in features.items()},
            held_baseline=self.feature_model.bias.at(users, held_pairs),
        )

    def _candidates(self, users: Ints, preferences: "PreferenceScores", excluded: Sparse) -> Ints:
        """Films of each user that the blend ranks, (b, CANDIDATES + HOTTEST), none twice.

        Those chosen by taste come first, then those that many rate now; NOBODY
        is anywhere between.
        """
        scores = preferences.candidate_scores(self.candidate_films)  # (b, n_items)
        scores[self.ratings.user_counts()[users] == 0] = np.nan  # their lists stay empty
        by_taste = best_unseen(scores, excluded, self.tie_order, CANDIDATES)
        trends = self.feature_model.trends
        if trends is None or self.half_life is None:
            return by_taste
        popularity = self.popularity  # (n_items,)
        rated = np.where(popularity > 0, popularity, np.nan)
        counts = np.broadcast_to(rated, scores.shape)
        hottest = best_unseen(counts, excluded, self.tie_order, HOTTEST)  # (b, HOTTEST)
        is_double = (hottest[:, :, None] == by_taste[:, None, :]).any(axis=2)
        is_active = trends.is_active[users] > 0
        hottest[is_double | ~is_active[:, None]] = NOBODY
        return np.hstack([by_taste, hottest])

    def _excluded(self, users: Ints) -> Sparse:
        """Films that may not be listed: rated, seen or filtered, CSR (b, n_items)."""
        if self.mask is None:
            return self.ratings.matrix[users]
        return self.mask.excluded(self.ratings, users)

    def _rank(
        self,
        names: Sequence[str],
        users: Ints,
        excluded: Sparse,
        n: int,
        spare: int,
        pairs: Pairs,
        *,
        with_evidence: bool,
    ) -> dict[str, RankedBlock]:
        blend = self.blend if "blend" in names or BY_SCORE in names else None
        pool = None if blend is None else self._candidate_pool(users, excluded, n + spare)
        cells = NO_PAIRS if pool is None else pool.cells.and_then(pairs)
        ranked: dict[str, RankedBlock] = {}
        scores_by_model: dict[str, CellScores] = {}
        for name in self.models:
            is_blended = name in PERSONAL and blend is not None
            if name not in names and not is_blended:
                continue
            scores = self._scores(name, users, pool and pool.preferences)
            if name in names:
                ranked[name] = rank_scores(
                    scores,
                    excluded,
                    self.tie_order,
                    n,
                    pairs,
                    spare=spare,
                    with_evidence=with_evidence,
                )
            if is_blended:
                scores_by_model[name] = self._cell_scores(name, scores, users, cells)
        if blend is not None and pool is not None:
            signals = self.feature_model.at(users, cells, pool.preferences)
            block = BlendBlock(
                pool=pool,
                cells=cells,
                features=blend_features(signals, scores_by_model),
                baseline=self.feature_model.bias.at(users, cells),
                user_counts=self.ratings.user_counts()[users],
                tie_order=self.tie_order,
                genres=self.ratings.genres,
            )
            for name, diversity in (("blend", self.diversity), (BY_SCORE, 0.0)):
                if name in names:
                    ranked[name] = rank_pool(
                        blend, block, n, spare, diversity, with_evidence=with_evidence
                    )
        return {name: ranked[name] for name in names if name in ranked}

    def _scores(self, name: str, users: Ints, preferences: "PreferenceScores | None") -> Scores:
        """A model's scores of all films; those by weights that it shares are not made twice."""
        from batch.models.item_item import ItemItem  # loads numba

        model = self.models[name]
        if preferences is None or not isinstance(model, ItemItem):
            return model.score(users)
        is_shared = model.preference is self.feature_model.preference
        return model.score(users, preferences.preference if is_shared else None)

    def _cell_scores(self, name: str, scores: Scores, users: Ints, cells: Pairs) -> CellScores:
        return CellScores(
            rating=scores.rating[cells],
            support=scores.support[cells],
            baseline=self.models[name].baseline.at(users, cells),
        )

    def _candidate_pool(self, users: Ints, excluded: Sparse, n: int) -> Pool:
        """The candidates of each user, then other films for those with fewer than n candidates."""
        preferences = self.feature_model.preference_scores(users)
        candidates = self._candidates(users, preferences, excluded)
        has_no_ratings = self.ratings.user_counts()[users] == 0  # (b,)
        fillers = np.full((len(users), n), NOBODY)
        n_candidates = (candidates != NOBODY).sum(axis=1)  # (b,)
        short = np.flatnonzero((n_candidates < n) & ~has_no_ratings)  # rows of short lists
        if len(short):
            all_films = np.ones(self.ratings.n_items, dtype=np.bool_)
            filler_scores = preferences.of(short).candidate_scores(
                all_films
            )  # (len(short), n_items)
            filler_scores[Pairs.listed(candidates[short])] = np.nan
            fillers[short] = best_unseen(filler_scores, excluded[short], self.tie_order, n)
        candidate_cells = Pairs.listed(candidates)
        cells = candidate_cells.and_then(Pairs.listed(fillers))
        return Pool(
            preferences, cells, len(candidate_cells.rows), preferences.candidate_scores_at(cells)
        )


def assemble(
    ratings: Ratings,
    models: Mapping[str, Model],
    weights: Weights | None,
    mask: Mask | None = None,
    diversity: float = 0.0,
    learnt: "Learnt | None" = None,
) -> Ensemble:
    """The fitted models of PERSONAL and REFERENCE with a blend of these weights.

    `learnt` are weights between films that were learnt before; None: they are learnt here.
    """
    joined = unblended(ratings, models, learnt)
    return replace(joined, blend=Blend(weights), mask=mask, diversity=diversity)


def unblended(
    ratings: Ratings, models: Mapping[str, Model], learnt: "Learnt | None" = None
) -> Ensemble:
    """The fitted models without a blend."""
    from batch.models.features import fit_feature_model, learn_preferences

    if learnt is None:
        learnt = learn_preferences(ratings, getattr(models["item_item"], "preference", None))
    item_counts = ratings.item_counts()
    return Ensemble(
        ratings=ratings,
        models=models,
        feature_model=fit_feature_model(ratings, learnt),
        tie_order=tie_order(item_counts),
        candidate_films=item_counts >= MIN_RATED,
        blend=None,
    )


def learn_weights(
    ensemble: Ensemble, taste: Ratings, trend: Ratings, relevant_from: float, block: int
) -> Weights | None:
    """The blend's weights, learnt from ratings that none of these models was fitted on.

    `taste` and `trend` have the same users and items.
    """
    names: Sequence[str] = ()
    training: list[TrainingBlock] = []
    users = np.flatnonzero(taste.user_counts() + trend.user_counts())
    for features in ensemble.candidate_features(users, block, taste):
        names = tuple(features.of_candidates)
        levels = table(features.of_candidates, names)
        centred = less_own_mean(levels, features.candidates.rows)
        of_taste = _Truth.of(taste.matrix[features.users], relevant_from)
        of_trend = _Truth.of(trend.matrix[features.users], relevant_from)
        is_taste = of_taste.known_beside(of_trend, features.candidates) & features.by_taste
        is_trend = of_trend.known_beside(of_taste, features.candidates)
        training.append(
            TrainingBlock(
                taste=Candidates(centred[is_taste], of_taste.liked[features.candidates][is_taste]),
                trend=Candidates(centred[is_trend], of_trend.liked[features.candidates][is_trend]),
                followers=features.users[features.candidates.rows[is_trend]],
                pairs=table(features.of_held, names),
                departures=taste.matrix[features.users].data - features.held_baseline,
            )
        )
    return learn(names, training)


@dataclass(frozen=True)
class _Truth:
    """The held-out ratings of one kind of a block of b users."""

    judged: Bools  # (b,) users who have some
    held: Bools  # (b, n_items)
    liked: Bools  # (b, n_items)

    @staticmethod
    def of(truth: Sparse, relevant_from: float) -> "_Truth":
        """From the stars, CSR (b, n_items)."""
        cells = Pairs.stored(truth)
        held = np.zeros(truth.shape, dtype=np.bool_)
        held[cells] = True
        liked = np.zeros(truth.shape, dtype=np.bool_)
        liked[cells] = truth.data >= relevant_from
        return _Truth(np.diff(truth.indptr) > 0, held, liked)

    def known_beside(self, other: "_Truth", cells: Pairs) -> Bools:
        """The cells of judged users that say liked or not: not those held out as `other` only."""
        is_others = other.held[cells] & ~self.held[cells]
        return self.judged[cells.rows] & ~is_others


def _listed_values(values: Floats, listed: Ints) -> Floats:
    """(b, n_items) -> the values of listed films, (b, n); nan after the end of a list."""
    if not values.shape[1]:
        return np.full(listed.shape, np.nan)
    columns = np.maximum(listed, 0)
    return np.where(listed != NOBODY, np.take_along_axis(values, columns, axis=1), np.nan)
