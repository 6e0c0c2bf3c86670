"""Ranking: which films are listed, in which order, with every tie decided."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.ranking.rank import best_unseen, tie_order
from batch.ratings import Floats, Ratings
from reference import best, filled_up, lines_of, ratings_of

NAN = np.nan


def nobody_rated(n_users: int, n_items: int) -> Ratings:
    return ratings_of(np.full((n_users, n_items), NAN))


def lists(
    relevance: list[list[float]], counts: list[int], n: int, ratings: Ratings | None = None
) -> list[list[int]]:
    """Lists of users with these ratings, or with none."""
    shape = len(relevance), len(counts)
    scores = np.array(relevance, dtype=np.float64).reshape(shape)  # (b, n_items)
    excluded = (ratings or nobody_rated(*shape)).matrix
    order = tie_order(np.array(counts, dtype=np.int64))
    columns: list[list[int]] = best_unseen(scores, excluded, order, n).tolist()
    return columns


def test_highest_first() -> None:
    """Each user's list is in order of their own scores, highest first."""
    assert lists([[1.0, 3.0, 2.0], [-1.0, -3.0, -2.0]], [0, 0, 0], 3) == [[1, 2, 0], [0, 2, 1]]


def test_tie_order() -> None:
    """Tied films are listed by rating count, most first, then by key."""
    assert tie_order(np.array([2, 5, 0, 5, 2, 0])).tolist() == [2, 0, 4, 1, 3, 5]


@pytest.mark.promise("D4")
@pytest.mark.parametrize(
    ("scores", "counts", "expected"),
    [
        # All tied: by count, then by column.
        ([4.0, 4.0, 4.0, 4.0], [1, 3, 1, 3], [1, 3, 0]),
        # Equal after rounding: tied.
        ([4.0, 4.0000004, 4.0, 4.0], [9, 1, 8, 9], [0, 3, 2]),
        # 1e-6 apart: not tied.
        ([4.0, 4.000001, 4.0, 4.0], [9, 1, 9, 9], [1, 0, 2]),
        # Rounded up to the next 1e-6: not tied.
        ([4.0, 4.0000006, 4.0, 4.0], [9, 1, 9, 9], [1, 0, 2]),
        # The score comes before the count.
        ([5.0, 4.0, 4.0, 5.0], [0, 1, 2, 0], [0, 3, 2]),
        # The two zeros are one number.
        ([0.0, -0.0, 1e-9, -1e-9], [1, 2, 3, 4], [3, 2, 1]),
    ],
)
def test_ties(scores: list[float], counts: list[int], expected: list[int]) -> None:
    """Scores equal when rounded to 1e-6 are a tie, decided by rating count, then by key."""
    assert lists([scores], counts, 3) == [expected]


def test_ties_at_the_end_of_a_list() -> None:
    """The last place goes to the tied film with most ratings, then to the first by key."""
    counts = [1] * 50 + [7] + [1] * 48 + [7]
    assert lists([[3.0] * 99 + [4.0]], counts, 4) == [[99, 50, 0, 1]]


def test_films_without_a_score_are_not_listed() -> None:
    """A film with score nan is never listed, not even where the list is short."""
    assert lists([[NAN, 2.0, NAN, 1.0], [NAN, NAN, NAN, NAN]], [9, 0, 9, 0], 3) == [
        [1, 3, -1],
        [-1, -1, -1],
    ]


@pytest.mark.promise("D7")
def test_rated_films_are_not_listed() -> None:
    """A film that the user rated is never listed, whatever its score and rating."""
    ratings = ratings_of([[NAN, 5.0, 0.0, NAN], [NAN, NAN, NAN, 1.0]], scale=(0.0, 5.0))
    relevance = [[1.0, 9.0, 8.0, 2.0], [1.0, 9.0, 8.0, 10.0]]
    assert lists(relevance, [0] * 4, 3, ratings) == [[3, 0, -1], [1, 2, 0]]


@pytest.mark.parametrize("n", [1, 3, 4, 9])
def test_length_of_a_list(n: int) -> None:
    """A list has n places also where there are fewer films; the last ones are -1."""
    assert lists([[2.0, 3.0, 1.0]], [0, 0, 0], n) == [filled_up([1, 0, 2][:n], n)]


@pytest.mark.parametrize(("b", "n_items"), [(0, 4), (3, 0), (0, 0)])
def test_no_users_or_no_films(b: int, n_items: int) -> None:
    """Without users there are no lists, and without films all places are -1."""
    excluded = nobody_rated(b, n_items).matrix
    order = tie_order(np.zeros(n_items, int))
    listed = best_unseen(np.zeros((b, n_items)), excluded, order, 5)
    assert listed.shape == (b, 5)
    assert listed.tolist() == [[-1] * 5] * b


def test_input_is_not_changed() -> None:
    """Ranking changes neither the scores nor the ratings."""
    scores = np.array([[3.0, 1.0, NAN]])  # (1, 3)
    ratings = ratings_of([[NAN, 5.0, NAN]])  # (1, 3)
    arrays = [scores, ratings.matrix.data, ratings.matrix.indices]
    before = [array.tobytes() for array in arrays]
    best_unseen(scores, ratings.matrix, tie_order(ratings.item_counts()), 2)
    assert [array.tobytes() for array in arrays] == before


# Few different scores, so that most draws have ties, some of scores equal after rounding only.
SCORES = st.sampled_from([NAN, 3.0, 3.0 + 2e-7, 3.0 - 2e-7, 3.0 + 8e-7, 3.000001, 3.5, -1.0])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Floats, Ratings, list[int], int]:
    """Scores (b, n_items), ratings, rating counts and the length of a list."""
    b = draw(st.integers(0, 4))
    n_items = draw(st.integers(0, 12))
    size = b * n_items
    scores = draw(st.lists(SCORES, min_size=size, max_size=size))
    stars = draw(st.lists(st.sampled_from([NAN, NAN, 4.0]), min_size=size, max_size=size))
    counts = draw(st.lists(st.integers(0, 3), min_size=n_items, max_size=n_items))
    n = draw(st.integers(1, 15))
    relevance = np.array(scores, dtype=np.float64).reshape(b, n_items)
    table = np.array(stars, dtype=np.float64).reshape(b, n_items)
    return relevance, ratings_of(table), counts, n


@pytest.mark.promise("D4")
@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(cases())
def test_any_list_is_the_slow_one(case: tuple[Floats, Ratings, list[int], int]) -> None:
    """The list is that of sorting all unrated films, whatever scores, counts and length."""
    scores, ratings, counts, n = case
    order = tie_order(np.array(counts, dtype=np.int64))
    listed = best_unseen(scores, ratings.matrix, order, n)
    expected = [
        filled_up(best(row, line, counts, n), n)
        for row, line in zip(scores, lines_of(ratings), strict=True)
    ]
    assert listed.shape == (len(scores), n)
    assert listed.tolist() == expected
