"""Fitted models, a user and a film -> each model's prediction, rank and reason."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from batch import reasons
from batch.models import PUBLISHED
from batch.ranking.ensemble import Ensemble
from batch.ranking.ranked_block import RankedBlock
from batch.ratings import NOBODY, Pairs, Ratings


@dataclass(frozen=True)
class ModelExplanation:
    """One model's prediction for a pair, as if the user had not rated the film."""

    model: str
    predicted_rating: float | None  # stars, unclipped; None, here and below: none
    baseline: float  # stars, what the weights of the reason are added to
    score: float | None  # what its list is ordered by
    place: int | None  # among the user's unseen films, 1 = first
    of: int  # how many of those the model ranks
    reason: dict[str, Any] | None
    why: str = ""  # the reason as a sentence, once names are looked up


def explain(ensemble: Ensemble, user: int, item: int) -> list[ModelExplanation]:
    """Explain a film (column) to a user (row), by every published model."""
    users = np.array([user])
    cell = Pairs(np.zeros(1, dtype=np.int64), np.array([item]))
    ratings = ensemble.ratings
    ranked_by_model = ensemble.rank_with_evidence(PUBLISHED, users, ratings.n_items, cell)
    explanations = []
    for name, ranked in ranked_by_model.items():
        baseline = float(ensemble.baseline(name).at(users, cell)[0])
        explanations.append(_explanation(name, ranked, baseline, ratings, user, item))
    return explanations


def _explanation(
    name: str, ranked: RankedBlock, baseline: float, ratings: Ratings, user: int, item: int
) -> ModelExplanation:
    films = ranked.listed[0]
    n_ranked = int((films != NOBODY).sum())
    positions = np.flatnonzero(films == item)
    if not len(positions) or ranked.evidence is None:
        stored = reasons.no_prediction(_cause(ratings, user, item))
        reason = reasons.read(stored)
        return ModelExplanation(name, None, baseline, None, None, n_ranked, reason)
    position = int(positions[0])
    stored = ranked.evidence.stored(ratings)[position]
    return ModelExplanation(
        model=name,
        predicted_rating=float(ranked.rating[0, position]),
        baseline=baseline,
        score=float(ranked.score[0, position]),
        place=position + 1,
        of=n_ranked,
        reason=reasons.read(stored),
    )


def _cause(ratings: Ratings, user: int, item: int) -> str:
    """The cause of a missing prediction, a key of `reasons.sentences.NO_PREDICTION`."""
    rated = ratings.matrix[[user]].indices
    if not len(rated):
        return "user"
    raters = ratings.item_counts()[item]
    if item in rated:
        raters -= 1
    return "overlap" if raters else "film"
