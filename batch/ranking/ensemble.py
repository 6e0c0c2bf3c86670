"""Fitted models -> what all of them say to a block of users, the blend among them, learnt on held-out ratings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import expit

from batch.models import PERSONAL, Model, Scores
from batch.models.baseline import Baseline
from batch.models.evidence import Evidence, Ids, Shares
from batch.ranking.blend import (
    Blend,
    CellScores,
    Features,
    FeatureScale,
    TrainingBlock,
    Weights,
    features,
    learn,
    less_own_mean,
    table,
)
from batch.ranking.diversify import diversify
from batch.ranking.mask import Mask
from batch.ranking.rank import best_unseen, tie_order
from batch.ratings import (
    NO_PAIRS,
    NOBODY,
    SCORE_DECIMALS,
    Bools,
    Floats,
    Ints,
    Pairs,
    Ratings,
    Sparse,
    Texts,
    blocks,
    select_stored,
)

if TYPE_CHECKING:  # the compiler behind it loads only where something is fitted
    from batch.models.features import FeatureModel, PreferenceScores

BY_SCORE = "blend_by_score"
"""The blend without regard to diversity, measured beside it where `publish.diversity` is set."""
CANDIDATES = 100
"""Films of each user that the blend puts in order. Fewer miss some that are liked, more teach nothing."""
LEAST_RATED = 5
"""Ratings of a film below which it is no candidate: what two or three people say is chance, however promising."""
SCALED_USERS = 300
"""Users whose candidates give the features' scale."""


@dataclass(frozen=True)
class RankedBlock:
    """What one model says to a block of users: their lists, and its ratings of the cells it was asked about."""

    listed: Ints  # (b, n) columns, best first, NOBODY where the list has ended
    score: Floats  # (b, n) what orders the list; nan where it has ended, here and below
    rating: Floats  # (b, n) stars
    support: Floats  # (b, n) the evidence behind it
    said: Floats  # (p,) stars of the cells asked about, nan where the model cannot say
    evidence: Evidence | None = (
        None  # why, of the listed films, list by list; None where nobody asked
    )

    def reasons(self, ids: Ids) -> Texts:
        """Why, as it is stored, (b, n); empty where a list has ended, and where nobody asked."""
        told = np.array(self.evidence.stored(ids) if self.evidence else [], dtype=np.str_)
        found = np.zeros(self.listed.shape, told.dtype)
        if self.evidence:
            found[self.listed != NOBODY] = told
        return found


def answer(
    scores: Scores, seen: Sparse, places: Ints, n: int, asked: Pairs, explained: bool
) -> RankedBlock:
    """Lists of n and the ratings asked for, out of a model's scores of every film; `seen` is CSR (b, n_items)."""
    listed = best_unseen(scores.relevance, seen, places, n)
    columns = scores.relevance, scores.rating, scores.support
    score, rating, support = (_at(array, listed) for array in columns)
    evidence = scores.explain(Pairs.listed(listed)) if explained else None
    return RankedBlock(listed, score, rating, support, scores.rating[asked], evidence)


class CandidateFeatures(NamedTuple):
    """A block of users, their candidates, and the features of those and of the cells that were asked about."""

    users: Ints
    candidates: Pairs
    found: Features  # of the candidates, (n_listed,)
    asked: Features  # (p,)


@dataclass(frozen=True)
class Ensemble:
    """Every model of one fit; `blend` is None while its weights are being learnt."""

    ratings: Ratings
    models: Mapping[str, Model]
    signals: "FeatureModel"
    places: Ints  # of tied films, (n_items,)
    known: Bools  # films that can be candidates, (n_items,)
    blend: Blend | None
    mask: Mask | None = None  # what no list may hold; None: nothing
    diversity: float = (
        0.0  # the weight of unlikeness against the score in the choice of the blend's films, 0 to 1
    )

    def answers(
        self, names: Sequence[str], users: Ints, n: int, asked: Pairs = NO_PAIRS
    ) -> dict[str, RankedBlock]:
        """What the models of these names say to these users, (b,): lists of n, and ratings of the cells asked about.

        One model at a time holds its scores of every film; the blend looks at its candidates only.
        """
        return self._answers(names, users, self._excluded(users), n, asked, explained=False)

    def explained(
        self, names: Sequence[str], users: Ints, n: int, unseen: Pairs = NO_PAIRS
    ) -> dict[str, RankedBlock]:
        """The same lists, with the reason of every film; those `unseen` may be listed as if nobody had rated them."""
        seen = self._excluded(users)  # CSR (b, n_items)
        if len(unseen.rows):
            again = np.zeros(seen.shape, dtype=np.bool_)
            again[unseen] = True
            seen = select_stored(seen, ~again[Pairs.stored(seen)])
        return self._answers(names, users, seen, n, NO_PAIRS, explained=True)

    def _excluded(self, users: Ints) -> Sparse:
        """What may not be listed, CSR (b, n_items)."""
        return (
            self.ratings.matrix[users]
            if self.mask is None
            else self.mask.excluded(self.ratings, users)
        )

    def _answers(
        self,
        names: Sequence[str],
        users: Ints,
        seen: Sparse,
        n: int,
        asked: Pairs,
        *,
        explained: bool,
    ) -> dict[str, RankedBlock]:
        found: dict[str, RankedBlock] = {}
        blended = self.blend if "blend" in names or BY_SCORE in names else None
        tastes = None if blended is None else self.signals.tastes(users)
        pool = None if tastes is None else self._pool(users, seen, tastes, n)
        cells = NO_PAIRS if pool is None else pool.cells.and_then(asked)
        told: dict[str, CellScores] = {}
        for name, model in self.models.items():
            user_weighted_sums = name in PERSONAL and blended is not None
            if name not in names and not user_weighted_sums:
                continue
            scores = model.score(users)
            if name in names:
                found[name] = answer(scores, seen, self.places, n, asked, explained)
            if user_weighted_sums:
                told[name] = self._said(name, scores, users, cells)
        if blended is not None and pool is not None and tastes is not None:
            at_cells = features(self.signals.at(users, cells, tastes), told)
            for name, diversity in (("blend", self.diversity), (BY_SCORE, 0.0)):
                if name in names:
                    found[name] = self._blended(
                        blended,
                        pool,
                        at_cells,
                        users,
                        cells,
                        n,
                        diversity=diversity,
                        explained=explained,
                    )
        return {name: found[name] for name in names if name in found}

    def baseline(self, name: str) -> Baseline:
        """What stands in where this model cannot say."""
        return self.signals.bias if name in ("blend", BY_SCORE) else self.models[name].baseline

    def candidate_features(
        self, users: Ints, block: int, held: Ratings | None = None
    ) -> Iterator[CandidateFeatures]:
        """Features of users' candidates, and of their ratings in `held`, block by block."""
        from batch.models.compiled import side_by_side

        return side_by_side(
            lambda places: self._examined(users[places], held), blocks(len(users), block)
        )

    def _examined(self, users: Ints, held: Ratings | None) -> CandidateFeatures:
        tastes = self.signals.tastes(users)
        lists = best_unseen(
            tastes.promise(self.known), self.ratings.matrix[users], self.places, CANDIDATES
        )
        candidates = Pairs.listed(lists)
        cells = candidates.and_then(NO_PAIRS if held is None else Pairs.stored(held.matrix[users]))
        told = {
            name: self._said(name, self.models[name].score(users), users, cells)
            for name in PERSONAL
        }
        found, n = features(self.signals.at(users, cells, tastes), told), len(candidates.rows)
        return CandidateFeatures(
            users, candidates, *({k: v[part] for k, v in found.items()} for part in _split(n))
        )

    def _said(self, name: str, scores: Scores, users: Ints, cells: Pairs) -> CellScores:
        return CellScores(
            scores.rating[cells], scores.support[cells], self.models[name].baseline.at(users, cells)
        )

    def _pool(self, users: Ints, seen: Sparse, tastes: "PreferenceScores", n: int) -> "_Pool":
        """Candidates, and, for users who have fewer than their list is long, the most promising of the other films."""
        strangers = self.ratings.user_counts()[users] == 0  # to whom nothing can be said
        promised = tastes.promise(self.known)
        promised[strangers] = np.nan
        candidates = best_unseen(promised, seen, self.places, CANDIDATES)
        others = np.full((len(users), n), NOBODY)
        short = np.flatnonzero(((candidates != NOBODY).sum(axis=1) < n) & ~strangers)
        if len(short):
            left = tastes.of(short).promise(np.ones(self.ratings.n_items, dtype=np.bool_))
            left[Pairs.listed(candidates[short])] = np.nan
            others[short] = best_unseen(left, seen[short], self.places, n)
        first, second = Pairs.listed(candidates), Pairs.listed(others)
        cells = first.and_then(second)
        return _Pool(cells, len(first.rows), tastes.promised(cells))

    def _blended(
        self,
        blend: Blend,
        pool: "_Pool",
        found: Features,
        users: Ints,
        cells: Pairs,
        n: int,
        *,
        diversity: float,
        explained: bool,
    ) -> RankedBlock:
        """The blend's lists, out of the pool, and its ratings of the cells that follow it; (p,) features of both."""
        rating = blend.stars(found, self.signals.bias.at(users, cells), PERSONAL)
        counts = self.ratings.user_counts()[users].astype(np.float64)
        among = pool.n_candidates
        of_candidates = {name: values[:among] for name, values in found.items()}
        given = of_candidates, pool.cells.rows[:among], pool.promised[:among]
        chances = blend.chances(*given)
        score = np.concatenate(
            [chances, expit(pool.promised[among:]) - 1.0]
        )  # behind every candidate, below 0
        rows, columns = pool.cells
        in_order = np.lexsort((self.places[columns], -np.round(score, SCORE_DECIMALS), rows))
        rank = np.arange(len(rows)) - np.searchsorted(rows[in_order], rows[in_order])
        if diversity:
            in_order, rank = self._unlike(Pairs(rows, columns), score, in_order, rank, diversity, n)
        kept, rank = in_order[rank < n], rank[rank < n]
        listed = np.full((len(users), n), NOBODY)
        listed[rows[kept], rank] = columns[kept]
        told = np.full((3, len(users), n), np.nan)
        told[:, rows[kept], rank] = np.stack([score, rating[: len(rows)], counts[rows]])[:, kept]
        asked = slice(len(rows), None)
        said = np.where(counts[cells.rows[asked]] > 0, rating[asked], np.nan)
        evidence = _shares(*blend.shares(*given), kept) if explained else None
        return RankedBlock(listed, told[0], told[1], told[2], said, evidence)

    def _unlike(
        self, cells: Pairs, score: Floats, in_order: Ints, rank: Ints, diversity: float, n: int
    ) -> tuple[Ints, Ints]:
        """Of the cells, in order by user and score, those that `diversify` keeps, and their ranks."""
        shape = int(cells.rows.max(initial=-1)) + 1, int(rank.max(initial=-1)) + 1
        place, listed, scores = (
            np.zeros(shape, dtype=np.int64),
            np.full(shape, NOBODY),
            np.full(shape, np.nan),
        )
        at = cells.rows[in_order], rank
        place[at], listed[at], scores[at] = in_order, cells.columns[in_order], score[in_order]
        chosen = diversify(listed, scores, self.ratings.genres, diversity, n)
        users, ranks = np.nonzero(chosen != NOBODY)
        return place[users, chosen[users, ranks]], ranks


def _shares(start: float, shares: Mapping[str, Floats], kept: Ints) -> Shares:
    """What speaks for these of the pool, (p,); those behind the candidates stand in."""
    every = table(shares, tuple(shares))  # (n_candidates, n_shares)
    stands_in = kept >= len(every)
    found = np.zeros((len(kept), every.shape[1]))
    found[~stands_in] = every[kept[~stands_in]]
    return Shares(tuple(shares), start, found, stands_in.tolist())


class _Pool(NamedTuple):
    """The films that the blend's lists are made of, user by user: candidates first, then those that fill up."""

    cells: Pairs
    n_candidates: int
    promised: Floats  # (p,)


def assemble(
    ratings: Ratings,
    models: Mapping[str, Model],
    weights: Weights | None,
    seed: int,
    block: int,
    mask: Mask | None = None,
    diversity: float = 0.0,
) -> Ensemble:
    """Join the fitted models of PERSONAL and REFERENCE with a blend of these weights, on this fit's scale."""
    ensemble = unblended(ratings, models)
    seen = (
        list(ensemble.candidate_features(ratings.some_users(SCALED_USERS, seed), block))
        if weights
        else []
    )
    levels = [table(each.found, weights.names) for each in seen] if weights else []
    centred = [
        less_own_mean(part, each.candidates.rows) for part, each in zip(levels, seen, strict=True)
    ]
    empty = np.empty((0, len(weights.names) if weights else 0))
    scale = FeatureScale.of(np.concatenate([empty, *levels]), np.concatenate([empty, *centred]))
    return replace(ensemble, blend=Blend(weights, scale), mask=mask, diversity=diversity)


def unblended(ratings: Ratings, models: Mapping[str, Model]) -> Ensemble:
    """The fitted models without a blend."""
    from batch.models.features import fit_feature_model

    signals = fit_feature_model(ratings, getattr(models["item_item"], "preference", None))
    counts = ratings.item_counts()
    return Ensemble(ratings, models, signals, tie_order(counts), counts >= LEAST_RATED, None)


def learn_weights(
    ensemble: Ensemble, held: Ratings, relevant_from: float, seed: int, block: int
) -> Weights | None:
    """Weights from ratings that none of these models was fitted on; `held` has the same users and items."""
    names: Sequence[str] = ()
    evidence = []
    for each in ensemble.candidate_features(np.flatnonzero(held.user_counts()), block, held):
        truth = held.matrix[each.users]  # CSR (b, n_items)
        liked = np.zeros(truth.shape, dtype=np.bool_)
        liked[Pairs.stored(truth)] = truth.data >= relevant_from
        names = tuple(each.found)
        levels = table(each.found, names)
        centred = less_own_mean(levels, each.candidates.rows)
        evidence.append(
            TrainingBlock(
                centred, liked[each.candidates], levels, table(each.asked, names), truth.data
            )
        )
    return learn(names, evidence, seed)


def _at(array: Floats, listed: Ints) -> Floats:
    """The values of listed films, (b, n); nan where a list has ended."""
    if not array.shape[1]:
        return np.full(listed.shape, np.nan)
    return np.where(
        listed != NOBODY, np.take_along_axis(array, np.maximum(listed, 0), axis=1), np.nan
    )


def _split(n: int) -> tuple[slice, slice]:
    """The first n, and the rest."""
    return slice(None, n), slice(n, None)
