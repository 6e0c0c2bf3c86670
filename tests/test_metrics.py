"""The figures by hand: small cases whose answer is known without the program."""

import math

import numpy as np
import pytest
from scipy import sparse

from batch.ranking.metrics import Catalogue, Judged, gain, gini, interval, measure
from batch.ratings import NOBODY


@pytest.mark.parametrize(
    ("exposure", "expected"),
    [([3, 3, 3, 3], 0.0), ([0, 0, 0, 8], 3 / 4), ([0, 0], 0.0), ([1, 3], 1 / 4), ([5], 0.0)],
)
def test_gini_of_exposure(exposure: list[int], expected: float) -> None:
    """Even exposure is 0, one film for everyone (n - 1) / n."""
    assert gini(np.array(exposure)) == pytest.approx(expected)


def test_an_interval_holds_its_figure_and_narrows_with_users() -> None:
    """The interval is about the figure, as wide as theory says, and half as wide for four times the users."""
    random = np.random.default_rng(0)
    widths = []
    for users in (400, 1600):
        hits = (random.random(users) < 0.2).astype(float)
        low, high = interval(hits, np.ones(users), 1)
        assert low < hits.mean() < high
        widths.append(high - low)
        assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.16 / users), rel=0.15)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.2)


def test_an_interval_is_seeded_and_exact_where_all_agree() -> None:
    """The same seed gives the same interval, and users who agree leave no doubt."""
    values = np.arange(50.0)
    assert interval(values, np.ones(50), 3) == interval(values, np.ones(50), 3)
    assert interval(values, np.ones(50), 3) != interval(values, np.ones(50), 4)
    assert interval(np.full(7, 2.0), np.full(7, 4.0), 0) == (0.5, 0.5)


def judged(listed: list[list[int]], relevant: list[set[int]]) -> Judged:
    """Lists (n_users, n) held against the films each user liked; no errors of ratings."""
    films = np.array(listed)
    hits = np.array(
        [[film in liked for film in row] for row, liked in zip(listed, relevant, strict=True)]
    )
    sizes = np.array([len(liked) for liked in relevant])
    users = np.arange(len(listed))
    return Judged(
        users,
        films,
        hits,
        sizes,
        np.zeros(0, np.int64),
        np.zeros(0),
        np.zeros(0),
        np.zeros(0, np.bool_),
    )


def test_figures_of_lists_by_hand() -> None:
    """Two users, four films, lists of two: every figure is the one counted on paper."""
    # Film 0 is rated by all four users, 1 by two, 2 by one, 3 by nobody. Genres: 0 and 1 alike, 2 half like them.
    rated = sparse.csr_array(np.array([[1.0, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0]]))
    genres = np.array([[1.0, 0], [1, 0], [1, 1], [0, 0]])
    lists = [[2, 3], [0, 3], [1, 2], [NOBODY, NOBODY]]
    found = measure(judged(lists, [{3, 0, 1}, {2}, {1}, set()]), Catalogue(rated, genres), 0)
    expected = {
        "users": 3,
        "precision@2": (1 / 2 + 0 + 1 / 2) / 3,
        "recall@2": (1 / 3 + 0 + 1) / 3,
        "ndcg@2": (1 / math.log2(3) / (1 + 1 / math.log2(3)) + 0 + 1) / 3,
        "map@2": (1 / 2 / 2 + 0 + 1) / 3,
        "hit_rate@2": 2 / 3,
        "precision_light@2": 1 / 2,  # of users 0, 1, 2 with 2, 3, 1 ratings: user 2
        "precision_heavy@2": 0,  # and user 1
        "coverage@2": 1,
        "novelty@2": (2 + 2 + 0 + 2 + 1 + 2) / 6,
        "popularity_lift@2": ((1 + 0 + 4 + 0 + 2 + 1) / 6) / ((4 * 4 + 2 * 2 + 1) / 7),
        "gini@2": (2 * (1 * 0 + 1 * 1 + 1 * 1 + 0 + 1 + 1)) / (2 * 4 * 6),  # exposures 1, 1, 2, 2
        "diversity@2": 1 - 1 / math.sqrt(2),  # only user 2 has two films with genres
    }
    ends = {name for name in found if name.split("@")[0].endswith(("_low", "_high"))}
    assert {name: value for name, value in found.items() if name not in ends} == pytest.approx(
        expected
    )
    assert ends == {"precision_low@2", "precision_high@2", "ndcg_low@2", "ndcg_high@2"}


def test_nothing_to_say_leaves_no_figure() -> None:
    """Without lists, likes or ratings there are no means, and no division by zero."""
    rated = sparse.csr_array((2, 3))
    empty = judged([[NOBODY], [NOBODY]], [set(), set()])
    assert measure(empty, Catalogue(rated, np.zeros((3, 0))), 0) == {
        "users": 0.0,
        "coverage@1": 0.0,
    }


def judged_of(
    hits: list[list[int]], errors: list[float] | None, relevant: tuple[int, ...] = (2, 3, 0)
) -> Judged:
    """Three users and two held-out ratings; None for a model that predicts no stars."""
    off = np.zeros(2) if errors is None else np.array(errors)
    return Judged(
        users=np.arange(3),
        listed=np.tile(np.arange(3), (3, 1)),
        hits=np.array(hits, dtype=np.bool_),
        relevant=np.array(relevant),
        user=np.array([0, 1]),
        truth=np.array([3.0, 4.0]),
        predicted=np.array([3.0, 4.0]) + off,
        unsaid=np.full(2, errors is None),
    )


NO_HIT = [0, 0, 0]
OWN = judged_of([[1, 1, 0], [1, 0, 1], NO_HIT], [1.0, -1.0])
PRECISE = judged_of([[0, 1, 1], [0, 0, 1], NO_HIT], [2.0, 2.0])  # the most hits of the others
EARLY = judged_of(
    [[1, 0, 0], [1, 0, 0], NO_HIT], [-1.5, 1.5]
)  # the best NDCG of the others, and the lowest RMSE
SILENT = judged_of([NO_HIT] * 3, None)


def test_gain_by_hand() -> None:
    """Lists gain on the model that is best by the mean of that figure, user by user, and stars on the lowest RMSE."""
    second = 1 / math.log2(3)  # what a hit in second place is worth; in third, 1/2
    # precision 2/3 and 2/3 against PRECISE's 2/3 and 1/3: differences 0 and 1/3, of which two drawn with replacement
    # are both the lower, or both the higher, a quarter of the time. NDCG against EARLY's first
    # places, out of the two and three that were to be found.
    ahead = (second / (1 + second), 1 / 2 / (1 + second + 1 / 2))
    assert gain(OWN, [PRECISE, EARLY, SILENT], seed=0) == pytest.approx(
        {
            "precision_gain@3": 1 / 6,
            "precision_gain_low@3": 0.0,
            "precision_gain_high@3": 1 / 3,
            "ndcg_gain@3": sum(ahead) / 2,
            "ndcg_gain_low@3": min(ahead),
            "ndcg_gain_high@3": max(ahead),
            "rmse_gain": 0.5,
        }
    )


def test_gain_can_be_a_loss() -> None:
    """Behind the best of the others every gain is below 0."""
    found = gain(SILENT, [OWN, PRECISE], seed=0)
    assert found["precision_gain@3"] == pytest.approx(-2 / 3)
    assert "rmse_gain" not in found  # it predicts no stars
    assert gain(EARLY, [OWN, PRECISE], seed=0)["rmse_gain"] == pytest.approx(-0.5)


def test_gain_on_nothing() -> None:
    """Without others, relevant films or stars to compare, the figure is left out."""
    assert gain(OWN, [], seed=0) == {}
    assert "rmse_gain" not in gain(OWN, [SILENT], seed=0)
    nobody = judged_of([NO_HIT] * 3, [1.0, 1.0], relevant=(0, 0, 0))
    assert set(gain(nobody, [nobody], seed=0)) == {"rmse_gain"}
