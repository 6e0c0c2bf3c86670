"""Diverse lists, compared with the definition followed step by step."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.ranking.diversify import diversify
from batch.ratings import NOBODY, Floats


def cosine(one: list[float], other: list[float]) -> float:
    """Cosine of genres; 0 where either has none."""
    size = math.sqrt(sum(one) * sum(other))
    if not size:
        return 0.0
    return sum(a * b for a, b in zip(one, other, strict=True)) / size


def slow_choice(
    films: list[int], scores: list[float], genres: Floats, weight: float, n: int
) -> list[int]:
    """The positions kept of one list, ascending."""
    kept: list[int] = []
    spread = max(scores) - min(scores) if scores else 0.0
    while len(kept) < min(n, len(films)):
        values = {}
        for place in range(len(films)):
            if place in kept:
                continue
            relevance = (scores[place] - min(scores)) / spread if spread else 1.0
            own = genres[films[place]].tolist()
            cosines = [cosine(own, genres[films[other]].tolist()) for other in kept]
            similarity = max(cosines, default=0.0)
            values[place] = round((1 - weight) * relevance - weight * similarity, 6)
        kept.append(min(values, key=lambda place: (-values[place], place)))
    return sorted(kept)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_what_is_kept_is_the_slow_choice(data: st.DataObject) -> None:
    """Each list of a block keeps what the definition keeps, of ties the earlier position."""
    random = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    b = data.draw(st.integers(0, 3))
    k = data.draw(st.integers(0, 9))
    n = data.draw(st.integers(1, 5))
    n_genres = data.draw(st.integers(0, 4))
    genres = (random.random((12, n_genres)) < 0.5).astype(np.float64)
    weight = data.draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    listed = np.full((b, k), NOBODY)
    score = np.full((b, k), np.nan)
    for user in range(b):
        length = data.draw(st.integers(0, k))
        listed[user, :length] = random.permutation(12)[:length]
        score[user, :length] = -np.sort(-random.integers(-3, 3, length) / 4)
    kept = diversify(listed, score, genres, weight, n)
    for user in range(b):
        films = [film for film in listed[user].tolist() if film != NOBODY]
        expected = slow_choice(films, score[user, : len(films)].tolist(), genres, weight, n)
        empty = [NOBODY] * (n - len(expected))
        assert kept[user].tolist() == [*expected, *empty]


def test_without_weight_nothing_changes() -> None:
    """A weight of 0 keeps the first n of each list."""
    listed = np.array([[3, 1, 2, 0], [2, NOBODY, NOBODY, NOBODY]])
    score = np.array([[4.0, 3.0, 2.0, 2.0], [1.0, np.nan, np.nan, np.nan]])
    assert diversify(listed, score, np.ones((4, 2)), 0.0, 2).tolist() == [[0, 1], [0, NOBODY]]


def test_a_film_of_another_genre_is_kept() -> None:
    """Of similar scores the film with another genre than the first is kept."""
    genres = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float64)
    listed = np.array([[0, 1, 2]])
    score = np.array([[1.0, 0.9, 0.8]])
    assert diversify(listed, score, genres, 0.0, 2).tolist() == [[0, 1]]
    assert diversify(listed, score, genres, 0.5, 2).tolist() == [[0, 2]]
