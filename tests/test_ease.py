"""Learnt weights between films: what the closed form is, whichever side of the matrix it is solved on."""

import numpy as np
import pytest

from batch.models import ease
from batch.models.ease import (
    Preference,
    ThroughItems,
    ThroughUsers,
    fit_liking,
    fit_preference,
    interpolate,
)
from batch.ratings import NO_PAIRS, Pairs, Ratings, Sparse
from reference import Floats, every_cell, random_stars, ratings_of

NAN = np.nan
HALF_STARS = [0.5 * step for step in range(1, 11)]
RIDGES = [0.5, 10.0, 1000.0]


def some_profiles(seed: int, n_users: int, n_items: int) -> Sparse:
    """Profiles of half stars, CSR, with two users and two films without any and a stored 0 here and there."""
    stars = random_stars(
        seed, n_users, n_items, [0.0, *HALF_STARS], 0.4, n_empty=2
    )  # (n_users, n_items)
    return ratings_of(stars).matrix


def closed_form(x: Floats, ridge: float) -> Floats:
    """B = -P / diag(P) column by column with a zero diagonal, P = (X'X + ridge I)^-1 (Steck 2019, formula 8)."""
    inverse = np.linalg.inv(x.T @ x + ridge * np.eye(x.shape[1]))  # P, (n_items, n_items)
    weights = np.zeros_like(inverse)
    for i in range(len(inverse)):
        for j in range(len(inverse)):
            weights[i, j] = 0.0 if i == j else -inverse[i, j] / inverse[j, j]
    return weights


def one_film_at_a_time(x: Floats, ridge: float) -> Floats:
    """Column j of B: ridge regression of film j on every film but itself, by its normal equations."""
    n_items = x.shape[1]
    weights = np.zeros((n_items, n_items))
    for j in range(n_items):
        others = [i for i in range(n_items) if i != j]
        rest = x[:, others]  # (n_users, n_items - 1)
        weights[others, j] = np.linalg.solve(
            rest.T @ rest + ridge * np.eye(n_items - 1), rest.T @ x[:, j]
        )
    return weights


@pytest.mark.parametrize("ridge", RIDGES)
@pytest.mark.parametrize("shape", [(12, 20), (20, 20), (30, 18)])
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_are_those_of_the_closed_form(
    seed: int, shape: tuple[int, int], ridge: float
) -> None:
    """Scores are x B of EASE's closed form, and of ridge regression of each film on all the others."""
    x = some_profiles(seed, *shape)
    learnt = interpolate(x, ridge)
    assert isinstance(learnt, ThroughUsers if shape[0] <= shape[1] else ThroughItems)
    dense = x.toarray()
    scores = learnt.score(x)
    assert scores.shape == shape
    np.testing.assert_allclose(scores, dense @ closed_form(dense, ridge), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        scores, dense @ one_film_at_a_time(dense, ridge), rtol=1e-9, atol=1e-9
    )


def some_pairs(seed: int, b: int, n_items: int) -> Pairs:
    """Cells in no order, some of them twice, of all rows but the last; and one of the first again."""
    random = np.random.default_rng(seed)
    pairs = Pairs(random.integers(0, b - 1, 3 * b), random.integers(0, n_items, 3 * b))
    return pairs.and_then(Pairs(pairs.rows[:1], pairs.columns[:1]))


@pytest.mark.parametrize(
    ("shape", "cells", "kind"),
    [
        ((12, 20), None, ThroughUsers),
        ((30, 18), None, ThroughItems),
        ((12, 20), 12 * 20 - 1, ThroughItems),  # fifteen films are weighed
        ((12, 20), 25, ThroughItems),  # five are
        ((30, 18), 16, ThroughItems),
    ],
)
def test_some_cells_are_those_of_the_closed_form(
    shape: tuple[int, int], cells: int | None, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells asked for in any order, and twice, are told x B of the weighed films, 0 of the others, as `score` does."""
    if cells:
        monkeypatch.setattr(ease, "MAX_CELLS", cells)
    x, strangers = some_profiles(8, *shape), some_profiles(9, 7, shape[1])
    learnt = interpolate(x, 10.0)
    assert isinstance(learnt, kind)
    kept = learnt.kept if isinstance(learnt, ThroughItems) else np.arange(shape[1])
    assert len(kept) == min(shape[1], int(np.sqrt(cells or shape[1] ** 2)))
    weights = np.zeros((shape[1], shape[1]))
    weights[np.ix_(kept, kept)] = closed_form(x.toarray()[:, kept], 10.0)
    for rows in (x, strangers, strangers[[3, 0]]):
        slow = rows.toarray() @ weights  # (b, n_items)
        pairs = some_pairs(1, *rows.shape)
        assert len(set(zip(*map(tuple, pairs), strict=True))) < len(pairs.rows)
        np.testing.assert_allclose(learnt.at(rows, pairs), slow[pairs], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(
            learnt.at(rows, every_cell(*rows.shape)), slow.ravel(), rtol=1e-9, atol=1e-9
        )
        np.testing.assert_allclose(learnt.score(rows), slow, rtol=1e-9, atol=1e-9)
        assert learnt.at(rows, NO_PAIRS).tolist() == []


@pytest.mark.parametrize("shape", [(12, 20), (30, 18)])
def test_no_film_speaks_for_itself(shape: tuple[int, int]) -> None:
    """The scores of one film alone are its row of B, which is 0 for the film itself."""
    x = some_profiles(2, *shape)
    weights = interpolate(x, 10.0).score(
        ratings_of(np.where(np.eye(shape[1]) == 1, 1.0, NAN)).matrix
    )
    np.testing.assert_allclose(weights, closed_form(x.toarray(), 10.0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.diag(weights), 0.0, atol=1e-12)


def test_strangers_are_scored_by_the_same_weights() -> None:
    """Profiles that were not learnt from, one or many at a time, get x B too."""
    x, strangers = some_profiles(3, 12, 20), some_profiles(4, 7, 20)
    learnt = interpolate(x, 10.0)
    weights = closed_form(x.toarray(), 10.0)
    np.testing.assert_allclose(
        learnt.score(strangers), strangers.toarray() @ weights, rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(
        learnt.score(strangers[[3]]), strangers[[3]].toarray() @ weights, rtol=1e-9, atol=1e-9
    )
    assert learnt.score(strangers[:0]).shape == (0, 20)


def test_both_sides_agree() -> None:
    """Users who rated nothing teach nothing: with enough of them the films' side is solved, to the same scores."""
    stars = random_stars(5, 12, 20, HALF_STARS, 0.4)  # (12, 20)
    x, crowd = (
        ratings_of(np.vstack([stars, np.full((n_more, 20), NAN)])).matrix for n_more in (0, 9)
    )
    through_users, through_items = interpolate(x, 10.0), interpolate(crowd, 10.0)
    assert isinstance(through_users, ThroughUsers)
    assert isinstance(through_items, ThroughItems)
    np.testing.assert_allclose(through_items.score(x), through_users.score(x), rtol=1e-9, atol=1e-9)


# Film:            0  1  2  3  4  5; rated by 3, 1, 2, 3, 2 and 2 users, of the twos the first by key is kept
COUNTED = [
    [4.0, 3.0, 5.0, 0.0, NAN, 2.0],
    [1.0, NAN, 2.0, 5.0, 4.0, NAN],
    [5.0, NAN, NAN, 3.0, 2.0, 4.0],
]


@pytest.mark.parametrize(
    ("n_kept", "kept"), [(1, [0]), (2, [0, 3]), (3, [0, 2, 3]), (4, [0, 2, 3, 4])]
)
def test_the_most_rated_are_weighed(
    n_kept: int, kept: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not all films fit, the most rated are weighed, ties by key, and of the others nothing is said: 0."""
    x = ratings_of(COUNTED).matrix  # a stored 0 is a rating
    monkeypatch.setattr(ease, "MAX_CELLS", n_kept**2)
    learnt = interpolate(x, 2.0)
    assert isinstance(learnt, ThroughItems)
    assert learnt.kept.tolist() == kept
    scores, dense = learnt.score(x), x.toarray()
    assert scores.shape == (3, 6)
    assert not scores[:, [item for item in range(6) if item not in kept]].any()
    np.testing.assert_allclose(
        scores[:, kept],
        dense[:, kept] @ one_film_at_a_time(dense[:, kept], 2.0),
        rtol=1e-9,
        atol=1e-12,
    )


@pytest.mark.parametrize(("cells", "kind"), [(18, ThroughUsers), (17, ThroughItems)])
def test_no_dense_array_above_the_limit(
    cells: int, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three users and six films are solved through the users with room for 18 cells, and not with room for 17."""
    monkeypatch.setattr(ease, "MAX_CELLS", cells)
    learnt = interpolate(ratings_of(COUNTED).matrix, 2.0)
    assert isinstance(learnt, kind)
    arrays = [value for value in vars(learnt).values() if isinstance(value, np.ndarray)]
    assert max(array.size for array in arrays) <= cells


@pytest.mark.parametrize(
    ("scale", "stars", "preferred", "liked"),
    [
        # 1.5 of 5 stars say nothing; liked from 4
        ((1.0, 5.0), [1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 0.5, 1.5, 2.5, 3.5], [0, 0, 0, 1, 1]),
        (
            (0.5, 5.0),
            [0.5, 1.5, 2.0, 3.5, 4.0, 5.0],
            [0.0, 0.0, 0.5, 2.0, 2.5, 3.5],
            [0, 0, 0, 0, 1, 1],
        ),
        # 3 of 10 say nothing, and a point is worth half a star; liked from 8
        (
            (1.0, 10.0),
            [1.0, 3.0, 4.0, 7.0, 8.0, 10.0],
            [0.0, 0.0, 0.5, 2.0, 2.5, 3.5],
            [0, 0, 0, 0, 1, 1],
        ),
        ((0.0, 1.0), [0.0, 0.3, 0.7, 0.8, 1.0], [0.0, 0.0, 2.0, 2.5, 3.5], [0, 0, 0, 1, 1]),
    ],
)
def test_profiles_by_hand(
    scale: tuple[float, float], stars: list[float], preferred: list[float], liked: list[int]
) -> None:
    """A profile says how far stars exceed three tenths of the scale, out of 5, or whether they reach eight tenths."""
    ratings = ratings_of([stars, stars[::-1]], scale=scale)
    np.testing.assert_allclose(
        fit_preference(ratings, 10.0).profiles(np.arange(2)).toarray(),
        [preferred, preferred[::-1]],
        rtol=1e-12,
        atol=1e-12,
    )
    assert fit_liking(ratings, 10.0).profiles(np.arange(2)).toarray().tolist() == [
        liked,
        liked[::-1],
    ]


def taste_data() -> Ratings:
    """12 users x 20 films of half stars, two of each without ratings."""
    return ratings_of(random_stars(6, 12, 20, HALF_STARS, 0.4, n_empty=2), scale=(0.5, 5.0))


@pytest.mark.parametrize("ridge", RIDGES)
def test_a_taste_is_scored_by_its_own_weights(ridge: float) -> None:
    """A taste's scores of some users, in any order, are their profiles times the weights learnt from all profiles."""
    users = np.array([7, 0, 3])
    for taste in (fit_preference(taste_data(), ridge), fit_liking(taste_data(), ridge)):
        x = taste.profiles(np.arange(12)).toarray()  # (12, 20)
        assert x.any()
        np.testing.assert_allclose(
            taste.score(users), x[users] @ closed_form(x, ridge), rtol=1e-9, atol=1e-9
        )


def test_fading_weighs_each_rating() -> None:
    """A rating with a fading of 0.5 counts half, one with 0 not at all, and the learnt weights stay as they are."""
    ratings = taste_data()
    taste = fit_preference(ratings, 10.0)
    users, random = np.array([11, 2, 5, 2]), np.random.default_rng(7)
    block = ratings.matrix[users]  # CSR (4, 20)
    x = taste.profiles(np.arange(12)).toarray()  # (12, 20)
    fadings = [
        random.choice([0.0, 0.5, 1.0], block.nnz),
        random.random(block.nnz),
        np.ones(block.nnz),
    ]
    pairs = some_pairs(7, 4, 20).and_then(every_cell(4, 20))
    found = taste.at(users, pairs, fadings)
    assert len(found) == 3
    for values, fading in zip(found, fadings, strict=True):
        faded = x[users]  # (4, 20)
        for row, item, share in zip(Pairs.stored(block).rows, block.indices, fading, strict=True):
            faded[row, item] *= share
        np.testing.assert_allclose(
            values, (faded @ closed_form(x, 10.0))[pairs], rtol=1e-9, atol=1e-9
        )
    np.testing.assert_allclose(found[2], taste.score(users)[pairs], rtol=1e-12)


def test_a_follower_is_found() -> None:
    """Of two films as often rated, a user is promised the one that those who share a film with them like."""
    # whoever rates film 0 rates film 2, whoever rates film 1 rates film 3; the last two users are asked about
    stars = (
        [[5.0, NAN, 5.0, NAN]] * 5
        + [[NAN, 5.0, NAN, 5.0]] * 5
        + [[5.0, NAN, NAN, NAN], [NAN, 5.0, NAN, NAN]]
    )
    for taste in (fit_preference(ratings_of(stars), 1.0), fit_liking(ratings_of(stars), 1.0)):
        scores = taste.score(np.array([10, 11]))
        assert scores[0, 2] > 0.5 * scores[0, 2] > abs(scores[0, 3])
        assert scores[1, 3] > 0.5 * scores[1, 3] > abs(scores[1, 2])


def test_input_is_untouched_and_the_taste_its_own() -> None:
    """Learning and scoring, faded or not, leave ratings, fading and profiles as they were."""
    ratings = taste_data()
    fading, pairs = np.linspace(0.0, 1.0, ratings.n_ratings), every_cell(12, 20)
    taste = fit_preference(ratings, 10.0)
    watched = [ratings.matrix.data, ratings.matrix.indices, ratings.matrix.indptr, fading, *pairs]
    before = [array.tobytes() for array in watched]
    fit_preference(ratings, 10.0)
    fit_liking(ratings, 10.0)
    taste.at(np.arange(12), pairs, [fading])
    taste.score(np.arange(12))
    assert [array.tobytes() for array in watched] == before


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 1), (3, 2), (2, 3)])
def test_nothing_to_learn_from(shape: tuple[int, int]) -> None:
    """Without ratings every score is 0, and nothing is divided by nothing."""
    with np.errstate(all="raise"):
        for learn in (fit_preference, fit_liking):
            taste: Preference = learn(ratings_of(np.full(shape, NAN)), 10.0)
            assert taste.score(np.arange(shape[0])).tolist() == np.zeros(shape).tolist()
            (found,) = taste.at(np.arange(shape[0]), every_cell(*shape), [np.empty(0)])
            assert found.tolist() == [0.0] * (shape[0] * shape[1])
