"""From how many ratings on lists are the models' own, chosen from judged lists."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from batch.ranking.least_ratings import MOST, choose_least_ratings
from batch.ranking.metrics import Judged
from batch.ratings import Bools, Ints

N = 5  # length of lists


def judged(hits: Bools, relevant: Ints, users: Ints) -> Judged:
    """Lists of these users, (u,), with these hits, (u, N)."""
    no_pairs = np.empty(0)
    return Judged(
        users=users,
        listed=np.zeros(hits.shape, dtype=np.int64),
        hits=hits,
        relevant=relevant,
        user=no_pairs.astype(np.int64),
        truth=no_pairs,
        predicted=no_pairs,
        is_fallback=no_pairs.astype(np.bool_),
    )


def first_hit(places: Sequence[int]) -> Bools:
    """One hit at each user's place, none for a place of N, (u, N)."""
    return np.arange(N) == np.array(places)[:, None]


def choose(
    blend: Sequence[int],
    popular: Sequence[int],
    n_ratings: Sequence[int],
    relevant: Sequence[int] | None = None,
) -> int:
    """The choice where these are the places of each user's only hit; users are in any order."""
    users = np.random.default_rng(0).permutation(len(blend) + 3)[: len(blend)]
    user_counts = np.full(len(blend) + 3, 4)
    user_counts[users] = n_ratings
    liked = np.ones(len(blend), dtype=np.int64) if relevant is None else np.array(relevant)
    by_model = {
        "blend": judged(first_hit(blend), liked, users),
        "popular": judged(first_hit(popular), liked, users),
    }
    return choose_least_ratings(by_model, user_counts, 0)


@pytest.mark.parametrize("least", range(2, MOST + 1))
def test_popular_lists_where_they_are_better(least: int) -> None:
    """Where popular lists are better for users with fewer ratings, and only there, that is chosen.

    Everyone with fewer has a hit by `popular` only, everyone else by the blend only.
    """
    n_ratings = list(range(1, 13)) * 20
    blend = [N if count < least else 0 for count in n_ratings]
    popular = [0 if count < least else N for count in n_ratings]
    assert choose(blend, popular, n_ratings) == least


def test_never_above_the_most() -> None:
    """Where popular lists are better for everyone, the largest number is chosen, which is 10."""
    n_ratings = list(range(1, 31)) * 10
    assert choose([N] * 300, [0] * 300, n_ratings) == MOST == 10


def test_models_own_lists_where_the_blend_is_better() -> None:
    """Where the blend is better, level, or nobody has few ratings, all lists are the models'."""
    n_ratings = list(range(1, 31)) * 10
    assert choose([0] * 300, [N] * 300, n_ratings) == 1
    assert choose([0] * 300, [0] * 300, n_ratings) == 1
    assert choose([N] * 300, [0] * 300, [11] * 300) == 1


def test_chance_is_not_enough() -> None:
    """A gain whose interval reaches 0 changes nothing; the same share among more users does."""
    # Of ten users with one rating, six are served better by `popular`, and four by the blend.
    blend = [N] * 6 + [0] * 4
    popular = [0] * 6 + [N] * 4
    assert choose(blend * 2, popular * 2, [1] * 20) == 1
    assert choose(blend * 40, popular * 40, [1] * 400) == 2


def test_the_largest_gain_over_all_users_is_chosen() -> None:
    """Of several numbers with a gain above 0 it is the one with the largest, not the first."""
    # `popular` gains at one and at three ratings, loses a little at two, and a lot at four.
    gains = {1: (N, 0), 2: (0, 1), 3: (N, 0), 4: (0, N)}
    n_ratings = list(gains) * 50
    blend = [gains[count][0] for count in n_ratings]
    popular = [gains[count][1] for count in n_ratings]
    assert choose(blend, popular, n_ratings) == 4
    # Without what is gained at three, fewer are better.
    n_ratings = [1, 2, 4] * 50
    blend = [gains[count][0] for count in n_ratings]
    popular = [gains[count][1] for count in n_ratings]
    assert choose(blend, popular, n_ratings) == 2


def test_gains_are_of_ndcg() -> None:
    """A hit counts by its place, and by how many were possible."""
    # At one rating `popular` is ahead by places; at two it is behind by more than that.
    n_ratings = [1, 2] * 100
    assert choose([4, 0] * 100, [3, 4] * 100, n_ratings) == 2
    assert 1 / math.log2(5) - 1 / math.log2(6) < 1 - 1 / math.log2(6)
    # The same gain in places is smaller for users who liked many films.
    n_ratings = [1, 2, 3] * 100
    liked = [1, 1, 5] * 100
    by_ideal = [N, 3, N] * 100, [3, N, 0] * 100
    assert choose(*by_ideal, n_ratings, [1, 1, 1] * 100) == 4
    assert choose(*by_ideal, n_ratings, liked) == 2


def test_only_users_who_liked_a_film_count() -> None:
    """Users without a liked held-out film have no say; without any, lists are the models'."""
    n_ratings = [1] * 200 + [2] * 200
    blend = [N] * 200 + [N] * 200
    popular = [0] * 200 + [N] * 200
    # Those with two ratings liked nothing: they would not change the choice either way.
    assert choose(blend, popular, n_ratings, [1] * 200 + [0] * 200) == 2
    assert choose(blend, popular, n_ratings, [0] * 200 + [1] * 200) == 1
    assert choose(blend, popular, n_ratings, [0] * 400) == 1
    assert choose([], [], []) == 1
