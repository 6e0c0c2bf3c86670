"""Ratings -> the films most like each film: the same people liked both, one soon after the other.

s_ij = sum over the users u who liked both of 1 / (1 + d_u / NEARBY), divided by
sqrt(n_i n_j) + SHRINKAGE. n_i is how many users liked film i, and d_u how far apart films i and j
are among the films that u liked, in order of time. With d = 0 for everyone this is the cosine of
likes, shrunk. Films that were rated at the same moment, and all those of a user with a rating of
unknown time, are 0 apart.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from batch.ratings import NOBODY, Floats, Ints, Ratings

NEARBY = 10.0
"""Films apart at which a user counts half.

Chosen with SHRINKAGE within the fitted parts of MovieLens and MovieTweetings: of 5 to 50 none was
better on both. Counting every user in full finds a tenth less (benchmarks/similar.py --choose).
"""
SHRINKAGE = 40.0
"""Without it, two films that one user liked, and nobody else, would be as alike as can be."""
FILMS_A_PART = 128
"""Films that a thread takes at a time."""


@dataclass(frozen=True)
class SimilarFilms:
    """The films most like each film, best first, with NOBODY after the last."""

    listed: Ints  # (n_items, n) columns
    score: Floats  # (n_items, n) s_ij, at least 0 and less than 1
    support: Ints  # (n_items, n) how many users liked both films


def similar_films(
    ratings: Ratings, liked_from: float, n: int, order: Ints, excluded: Ints
) -> SimilarFilms:
    """The n films most like each film, of those that anybody liked together with it.

    `liked_from` is in stars. `order`, (n_items,), decides ties of the score as it is stored, as in
    `batch.ranking.rank`. `excluded`, (k,), are columns that no list may contain.
    """
    # Here, because it loads the compiler.
    from batch.models.compiled import in_parts, read_only
    from batch.models.csr import cells
    from batch.models.similar_loop import most_similar

    liked = ratings.keep(ratings.matrix.data >= liked_from)
    # float32 is exact to half places for up to 8 million films.
    arrays = _positions(liked).astype(np.float32), liked.matrix.indices, liked.matrix.indptr
    positions = sparse.csr_array(arrays, shape=ratings.matrix.shape)
    by_user = cells(positions)
    by_film = cells(positions.T.tocsr())
    allowed = order.astype(np.int64)
    allowed[excluded] = NOBODY
    shape = (ratings.n_items, n)
    listed = np.full(shape, NOBODY, dtype=np.int64)
    score = np.zeros(shape)
    support = np.zeros(shape, dtype=np.int64)
    places = read_only(allowed)

    def part(start: int, stop: int) -> None:
        most_similar(
            start, stop, by_film, by_user, places, NEARBY, SHRINKAGE, listed, score, support
        )

    in_parts(part, ratings.n_items, FILMS_A_PART)
    return SimilarFilms(listed, score, support)


def _positions(ratings: Ratings) -> Floats:
    """Place of each rating among the user's by time, from 0, (n_ratings,).

    Ratings of one moment share the mean of their places.
    """
    users = ratings.user_of_rating()
    times = np.zeros(ratings.n_ratings)
    if ratings.rated_at is not None:
        is_timed = ~np.isin(users, ratings.timeless_users())
        times[is_timed] = ratings.rated_at[is_timed]
    by_time = np.lexsort((times, users))
    is_first = np.ones(ratings.n_ratings, dtype=np.bool_)  # of the ratings of one moment
    is_first[1:] = (np.diff(users[by_time]) != 0) | (np.diff(times[by_time]) != 0)
    firsts = np.flatnonzero(is_first)
    counts = np.diff(np.append(firsts, ratings.n_ratings))
    means = firsts + (counts - 1) / 2
    positions = np.empty(ratings.n_ratings)
    positions[by_time] = np.repeat(means, counts) - ratings.matrix.indptr[users[by_time]]
    return positions
