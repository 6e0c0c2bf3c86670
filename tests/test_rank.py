"""Lists: which films are in them, and in which order, with every tie decided."""

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
    """The lists of users who have seen what they rated; nothing, unless ratings are given."""
    scores = np.array(relevance, dtype=np.float64).reshape(
        len(relevance), len(counts)
    )  # (b, n_items)
    seen = (ratings or nobody_rated(*scores.shape)).matrix
    found: list[list[int]] = best_unseen(
        scores, seen, tie_order(np.array(counts, dtype=np.int64)), n
    ).tolist()
    return found


def test_highest_first() -> None:
    """Each user's list is in order of their own scores, highest first."""
    assert lists([[1.0, 3.0, 2.0], [-1.0, -3.0, -2.0]], [0, 0, 0], 3) == [[1, 2, 0], [0, 2, 1]]


def test_tie_places() -> None:
    """Tied films are listed by rating count, most first, then by key."""
    assert tie_order(np.array([2, 5, 0, 5, 2, 0])).tolist() == [2, 0, 4, 1, 3, 5]


@pytest.mark.promise("D4")
@pytest.mark.parametrize(
    ("scores", "counts", "expected"),
    [
        ([4.0, 4.0, 4.0, 4.0], [1, 3, 1, 3], [1, 3, 0]),  # all tied: by count, then by column
        ([4.0, 4.0000004, 4.0, 4.0], [9, 1, 8, 9], [0, 3, 2]),  # less than a rounding apart: tied
        ([4.0, 4.000001, 4.0, 4.0], [9, 1, 9, 9], [1, 0, 2]),  # a whole 1e-6 apart: not tied
        (
            [4.0, 4.0000006, 4.0, 4.0],
            [9, 1, 9, 9],
            [1, 0, 2],
        ),  # rounds up to the next 1e-6: not tied
        ([5.0, 4.0, 4.0, 5.0], [0, 1, 2, 0], [0, 3, 2]),  # a count never beats a score
        ([0.0, -0.0, 1e-9, -1e-9], [1, 2, 3, 4], [3, 2, 1]),  # the two zeros are one number
    ],
)
def test_ties(scores: list[float], counts: list[int], expected: list[int]) -> None:
    """Scores equal when rounded to 1e-6 are a tie, decided by rating count, then by key."""
    assert lists([scores], counts, 3) == [expected]


def test_ties_at_the_end_of_a_list() -> None:
    """Of many films tied for the last place the one with most ratings, then the first by key, gets it."""
    counts = [1] * 50 + [7] + [1] * 48 + [7]
    assert lists([[3.0] * 99 + [4.0]], counts, 4) == [[99, 50, 0, 1]]


def test_what_cannot_be_said_is_absent() -> None:
    """A film with score nan is never listed, not even to fill up a list."""
    assert lists([[NAN, 2.0, NAN, 1.0], [NAN, NAN, NAN, NAN]], [9, 0, 9, 0], 3) == [
        [1, 3, -1],
        [-1, -1, -1],
    ]


@pytest.mark.promise("D7")
def test_seen_is_absent() -> None:
    """A film that the user rated is never listed to that user, whatever its score and the stars given."""
    seen = ratings_of([[NAN, 5.0, 0.0, NAN], [NAN, NAN, NAN, 1.0]], scale=(0.0, 5.0))
    assert lists([[1.0, 9.0, 8.0, 2.0], [1.0, 9.0, 8.0, 10.0]], [0] * 4, 3, seen) == [
        [3, 0, -1],
        [1, 2, 0],
    ]


@pytest.mark.parametrize("n", [1, 3, 4, 9])
def test_length_of_a_list(n: int) -> None:
    """A list has n places also where there are fewer films, and those without a film say so."""
    assert lists([[2.0, 3.0, 1.0]], [0, 0, 0], n) == [filled_up([1, 0, 2][:n], n)]


@pytest.mark.parametrize(("b", "n_items"), [(0, 4), (3, 0), (0, 0)])
def test_nobody_and_nothing(b: int, n_items: int) -> None:
    """No users give no lists, and no films give lists of empty places."""
    found = best_unseen(
        np.zeros((b, n_items)),
        nobody_rated(b, n_items).matrix,
        tie_order(np.zeros(n_items, int)),
        5,
    )
    assert found.shape == (b, 5)
    assert found.tolist() == [[-1] * 5] * b


def test_input_is_untouched() -> None:
    """Ranking changes neither the scores nor the ratings."""
    scores, seen = np.array([[3.0, 1.0, NAN]]), ratings_of([[NAN, 5.0, NAN]])  # (1, 3) both
    before = scores.tobytes(), seen.matrix.data.tobytes(), seen.matrix.indices.tobytes()
    best_unseen(scores, seen.matrix, tie_order(seen.item_counts()), 2)
    assert (scores.tobytes(), seen.matrix.data.tobytes(), seen.matrix.indices.tobytes()) == before


# few different scores, so that most draws hold ties, some of scores that differ by less than a rounding
SCORES = st.sampled_from([NAN, 3.0, 3.0 + 2e-7, 3.0 - 2e-7, 3.0 + 8e-7, 3.000001, 3.5, -1.0])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Floats, Ratings, list[int], int]:
    """Scores (b, n_items), what was seen, rating counts and the length of a list."""
    b, n_items = draw(st.integers(0, 4)), draw(st.integers(0, 12))
    scores = draw(st.lists(SCORES, min_size=b * n_items, max_size=b * n_items))
    seen = draw(
        st.lists(st.sampled_from([NAN, NAN, 4.0]), min_size=b * n_items, max_size=b * n_items)
    )
    counts = draw(st.lists(st.integers(0, 3), min_size=n_items, max_size=n_items))
    table = np.array(seen, dtype=np.float64).reshape(b, n_items)
    return (
        np.array(scores, dtype=np.float64).reshape(b, n_items),
        ratings_of(table),
        counts,
        draw(st.integers(1, 15)),
    )


@pytest.mark.promise("D4")
@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(cases())
def test_any_list_is_the_slow_one(case: tuple[Floats, Ratings, list[int], int]) -> None:
    """Whatever the scores, counts, seen films and length, the list is that of sorting all unseen films."""
    scores, seen, counts, n = case
    found = best_unseen(scores, seen.matrix, tie_order(np.array(counts, dtype=np.int64)), n)
    slow = [
        filled_up(best(row, line, counts, n), n)
        for row, line in zip(scores, lines_of(seen), strict=True)
    ]
    assert found.shape == (len(scores), n)
    assert found.tolist() == slow
