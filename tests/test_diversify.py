"""Lists of films unlike each other: what is kept, against the definition followed step by step, and what it is for."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.ranking.diversify import diversify
from batch.ratings import NOBODY, Floats


def cosine(one: list[float], other: list[float]) -> float:
    """0 where either has no genre."""
    size = math.sqrt(sum(one) * sum(other))
    return sum(a * b for a, b in zip(one, other, strict=True)) / size if size else 0.0


def slowly(
    films: list[int], scores: list[float], genres: Floats, weight: float, n: int
) -> list[int]:
    """The places kept of one list, ascending."""
    kept: list[int] = []
    spread = max(scores) - min(scores) if scores else 0.0
    while len(kept) < min(n, len(films)):
        values = {}
        for place in (place for place in range(len(films)) if place not in kept):
            relevance = (scores[place] - min(scores)) / spread if spread else 1.0
            alike = [
                cosine(genres[films[place]].tolist(), genres[films[other]].tolist())
                for other in kept
            ]
            values[place] = round((1 - weight) * relevance - weight * max(alike, default=0.0), 6)
        kept.append(min(values, key=lambda place: (-values[place], place)))
    return sorted(kept)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_what_is_kept_is_the_slow_choice(data: st.DataObject) -> None:
    """Every list keeps what the definition keeps, ties going to the earlier place, whatever else is in the block."""
    random = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    b, k, n = (
        data.draw(st.integers(0, 3)),
        data.draw(st.integers(0, 9)),
        data.draw(st.integers(1, 5)),
    )
    genres = (random.random((12, data.draw(st.integers(0, 4)))) < 0.5).astype(np.float64)
    weight = data.draw(st.sampled_from([0.0, 0.25, 0.5, 1.0]))
    listed, score = np.full((b, k), NOBODY), np.full((b, k), np.nan)
    for user in range(b):
        length = data.draw(st.integers(0, k))
        listed[user, :length] = random.permutation(12)[:length]
        score[user, :length] = -np.sort(-random.integers(-3, 3, length) / 4)
    found = diversify(listed, score, genres, weight, n)
    for user in range(b):
        films = [film for film in listed[user].tolist() if film != NOBODY]
        expected = slowly(films, score[user, : len(films)].tolist(), genres, weight, n)
        assert [place for place in found[user].tolist() if place != NOBODY] == expected
        assert found[user, len(expected) :].tolist() == [NOBODY] * (n - len(expected))


def test_without_weight_nothing_changes() -> None:
    """A weight of 0 keeps the first n of each list."""
    listed = np.array([[3, 1, 2, 0], [2, NOBODY, NOBODY, NOBODY]])
    score = np.array([[4.0, 3.0, 2.0, 2.0], [1.0, np.nan, np.nan, np.nan]])
    assert diversify(listed, score, np.ones((4, 2)), 0.0, 2).tolist() == [[0, 1], [0, NOBODY]]


def test_a_film_of_another_genre_comes_in() -> None:
    """Of films as good as each other the one that is unlike the first is kept."""
    genres = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float64)
    listed, score = np.array([[0, 1, 2]]), np.array([[1.0, 0.9, 0.8]])
    assert diversify(listed, score, genres, 0.0, 2).tolist() == [[0, 1]]
    assert diversify(listed, score, genres, 0.5, 2).tolist() == [[0, 2]]
