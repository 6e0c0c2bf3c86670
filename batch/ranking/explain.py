"""Fitted models, a user and a film -> what each model says of the pair, where it would place it, and why."""

from dataclasses import dataclass

import numpy as np

from batch.models import PUBLISHED
from batch.ranking.ensemble import Ensemble
from batch.ranking.ranked_block import RankedBlock
from batch.ratings import NOBODY, Pairs, Ratings
from batch.reasons import no_prediction


@dataclass(frozen=True)
class ModelExplanation:
    """What one model says of a film to a user who has not seen it, or as if they had not."""

    baseline: float  # stars, what its reason departs from; all there is where the model cannot say
    rating: float | None  # stars, unclipped; None where the model cannot say, here and below
    score: float | None  # what its list is ordered by
    place: int | None  # in that order, 1 = first
    of: int  # unseen films that it places
    reason: str  # as it would be stored


def explain(ensemble: Ensemble, user: int, item: int) -> dict[str, ModelExplanation]:
    """What every published model says to the user of this row about the film of this column, seen or not."""
    users, cell = np.array([user]), Pairs(np.zeros(1, dtype=np.int64), np.array([item]))
    told = ensemble.rank_with_evidence(PUBLISHED, users, ensemble.ratings.n_items, cell)
    return {
        name: _verdict(
            answer, item, float(ensemble.baseline(name).at(users, cell)[0]), ensemble.ratings, user
        )
        for name, answer in told.items()
    }


def _verdict(
    answer: RankedBlock, item: int, baseline: float, ratings: Ratings, user: int
) -> ModelExplanation:
    listed = answer.listed[0]
    of, places = int((listed != NOBODY).sum()), np.flatnonzero(listed == item)
    if not len(places) or answer.evidence is None:
        return ModelExplanation(baseline, None, None, None, of, _silence(ratings, user, item))
    place = int(places[0])
    reason = answer.evidence.stored(ratings)[place]
    return ModelExplanation(
        baseline,
        float(answer.rating[0, place]),
        float(answer.score[0, place]),
        place + 1,
        of,
        reason,
    )


def _silence(ratings: Ratings, user: int, item: int) -> str:
    """Why a model cannot say: `cause` is what there is too little of."""
    mine = ratings.matrix[[user]].indices
    others = ratings.item_counts()[item] - int(item in mine)
    cause = "user" if not len(mine) else "film" if not others else "overlap"
    return no_prediction(cause)
