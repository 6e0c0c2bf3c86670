"""The blend's candidates -> its lists, by score or with regard to diversity."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import expit

from batch.models import PERSONAL
from batch.models.evidence import Shares
from batch.params import SCORE_DECIMALS
from batch.ranking.blend import Blend, Features, table
from batch.ranking.diversify import diversify
from batch.ranking.ranked_block import RankedBlock
from batch.ratings import NOBODY, Floats, Ints, Pairs

if TYPE_CHECKING:  # numba is imported only where something is fitted
    from batch.models.features import PreferenceScores


class Pool(NamedTuple):
    """The films that lists are chosen from: all candidates, then the fillers."""

    preferences: "PreferenceScores"
    cells: Pairs
    n_candidates: int
    scores: Floats  # (p,) the score that candidates are chosen by


@dataclass(frozen=True)
class BlendBlock:
    """The cells that the blend ranks for a block of b users."""

    pool: Pool
    cells: Pairs  # of the pool, then the requested pairs
    features: Features  # of these cells
    baseline: Floats  # of these cells, stars: mu + b_u + b_i
    user_counts: Ints  # (b,) ratings of each user
    tie_order: Ints  # (n_items,)
    genres: Floats  # (n_items, n_genres) 0/1


def rank_pool(
    blend: Blend, block: BlendBlock, n: int, spare: int, diversity: float, *, with_evidence: bool
) -> RankedBlock:
    """The blend's lists of n and `spare` films, and its ratings of the requested pairs."""
    pool, cells = block.pool, block.cells
    n_candidates = pool.n_candidates
    features = {name: values[:n_candidates] for name, values in block.features.items()}
    candidate_rows = pool.cells.rows[:n_candidates]
    candidate_scores = pool.scores[:n_candidates]
    chances = blend.chances(features, candidate_rows, candidate_scores)
    # Fillers are scored below 0, so that they come after every candidate.
    filler_scores = expit(pool.scores[n_candidates:]) - 1.0
    score = np.concatenate([chances, filler_scores])
    rows, columns = pool.cells
    rounded = np.round(score, SCORE_DECIMALS)
    order = np.lexsort((block.tie_order[columns], -rounded, rows))
    rank = np.arange(len(rows)) - np.searchsorted(rows[order], rows[order])
    if diversity:
        order, rank = _diversified(block, score, order, rank, diversity, n, spare)
    is_kept = rank < n + spare
    kept = order[is_kept]
    places = rows[kept], rank[is_kept]
    shape = len(block.user_counts), n + spare
    listed = np.full(shape, NOBODY)
    listed[places] = columns[kept]
    evidence = None
    if with_evidence:
        start, shares = blend.shares(features, candidate_rows, candidate_scores)
        evidence = _evidence(start, shares, order[rank < n])
    user_counts = block.user_counts.astype(np.float64)  # (b,)
    requested = np.arange(len(rows), len(cells.rows))
    rated = np.concatenate([kept, requested])  # stars are only needed of these cells
    rating = blend.stars(
        {name: values[rated] for name, values in block.features.items()},
        block.baseline[rated],
        PERSONAL,
    )
    listed_rating, requested_rating = np.split(rating, [len(kept)])
    has_ratings = user_counts[cells.rows[requested]] > 0
    return RankedBlock(
        listed=listed,
        score=_in_lists(score[kept], places, shape),
        rating=_in_lists(listed_rating, places, shape),
        support=_in_lists(user_counts[rows[kept]], places, shape),
        predicted=np.where(has_ratings, requested_rating, np.nan),
        spare=spare,
        evidence=evidence,
    )


def _diversified(
    block: BlendBlock, score: Floats, order: Ints, rank: Ints, diversity: float, n: int, spare: int
) -> tuple[Ints, Ints]:
    """The cells of the pool that `diversify` keeps, by user and score, and their ranks.

    After them come `spare` cells with the next lower scores: lists stay in order of score.
    `order` sorts the pool by user and score; `rank` is the rank of each sorted
    cell.
    """
    rows, columns = block.pool.cells
    shape = int(rows.max(initial=-1)) + 1, int(rank.max(initial=-1)) + 1
    places = rows[order], rank
    cell_at = np.zeros(shape, dtype=np.int64)
    cell_at[places] = order
    listed = np.full(shape, NOBODY)
    listed[places] = columns[order]
    scores = _in_lists(score[order], places, shape)
    kept = diversify(listed, scores, block.genres, diversity, n)
    following = kept.max(axis=1, initial=NOBODY)[:, None] + np.arange(1, spare + 1)
    is_end = following >= shape[1]
    following[is_end] = 0  # of any cell
    following[is_end | (np.take_along_axis(listed, following, axis=1) == NOBODY)] = NOBODY
    kept = np.hstack([kept, following])
    users, ranks = np.nonzero(kept != NOBODY)
    return cell_at[users, kept[users, ranks]], ranks


def _in_lists(values: Floats, places: tuple[Ints, Ints], shape: tuple[int, int]) -> Floats:
    """Values, (p,), at their places (rows and ranks) in lists; nan elsewhere."""
    lists = np.full(shape, np.nan)
    lists[places] = values
    return lists


def _evidence(start: float, shares: Mapping[str, Floats], kept: Ints) -> Shares:
    """Evidence for these cells of the pool, (p,); those after the candidates are fillers."""
    all_shares = table(shares, tuple(shares))  # (n_candidates, n_shares)
    is_filler = kept >= len(all_shares)
    kept_shares = np.zeros((len(kept), all_shares.shape[1]))
    kept_shares[~is_filler] = all_shares[kept[~is_filler]]
    return Shares(tuple(shares), start, kept_shares, is_filler.tolist())
