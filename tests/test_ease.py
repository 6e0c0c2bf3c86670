"""Learnt weights between films: EASE's closed form, solved through users or through films."""

import numpy as np
import pytest

from batch.models import ease
from batch.models.ease import ThroughItems, ThroughUsers, interpolate
from batch.models.preference import Preference, fit_liking, fit_preference
from batch.ratings import NO_PAIRS, Pairs, Ratings, Sparse
from reference import Floats, every_cell, random_stars, ratings_of

NAN = np.nan
HALF_STARS = [0.5 * step for step in range(1, 11)]
RIDGES = [0.5, 10.0, 1000.0]


def some_profiles(seed: int, n_users: int, n_items: int) -> Sparse:
    """Profiles of half stars, CSR, with some stored zeros; two users and films have none."""
    stars = random_stars(seed, n_users, n_items, [0.0, *HALF_STARS], 0.4, n_empty=2)
    return ratings_of(stars).matrix


def closed_form(x: Floats, ridge: float) -> Floats:
    """B = -P / diag(P) with a zero diagonal, P = (X'X + ridge I)^-1 (Steck 2019, formula 8)."""
    inverse = np.linalg.inv(x.T @ x + ridge * np.eye(x.shape[1]))  # P, (n_items, n_items)
    weights = np.zeros_like(inverse)
    for i in range(len(inverse)):
        for j in range(len(inverse)):
            weights[i, j] = 0.0 if i == j else -inverse[i, j] / inverse[j, j]
    return weights


def one_film_at_a_time(x: Floats, ridge: float) -> Floats:
    """Column j of B: ridge regression of film j on the others, by its normal equations."""
    n_items = x.shape[1]
    weights = np.zeros((n_items, n_items))
    for j in range(n_items):
        others = [i for i in range(n_items) if i != j]
        rest = x[:, others]  # (n_users, n_items - 1)
        gram = rest.T @ rest + ridge * np.eye(n_items - 1)
        weights[others, j] = np.linalg.solve(gram, rest.T @ x[:, j])
    return weights


@pytest.mark.parametrize("ridge", RIDGES)
@pytest.mark.parametrize("shape", [(12, 20), (20, 20), (30, 18)])
@pytest.mark.parametrize("seed", [0, 1])
def test_scores_are_those_of_the_closed_form(
    seed: int, shape: tuple[int, int], ridge: float
) -> None:
    """Scores are x B of the closed form, and of ridge regression of each film on the others."""
    x = some_profiles(seed, *shape)
    learnt = interpolate(x, ridge)
    assert isinstance(learnt, ThroughUsers if shape[0] <= shape[1] else ThroughItems)
    dense = x.toarray()
    scores = learnt.score(x)
    assert scores.shape == shape
    for weights in (closed_form(dense, ridge), one_film_at_a_time(dense, ridge)):
        np.testing.assert_allclose(scores, dense @ weights, rtol=1e-9, atol=1e-9)


def some_pairs(seed: int, b: int, n_items: int) -> Pairs:
    """Cells in random order of all rows but the last; the first cell comes twice."""
    random = np.random.default_rng(seed)
    pairs = Pairs(random.integers(0, b - 1, 3 * b), random.integers(0, n_items, 3 * b))
    return pairs.and_then(Pairs(pairs.rows[:1], pairs.columns[:1]))


@pytest.mark.parametrize(
    ("shape", "cells", "kind"),
    [
        ((12, 20), None, ThroughUsers),
        ((30, 18), None, ThroughItems),
        ((12, 20), 12 * 20 - 1, ThroughItems),  # 15 films have weights
        ((12, 20), 25, ThroughItems),  # 5 have
        ((30, 18), 16, ThroughItems),
    ],
)
def test_some_cells_are_those_of_the_closed_form(
    shape: tuple[int, int], cells: int | None, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells in any order, and twice, are x B for films with weights, and 0 for others."""
    if cells:
        monkeypatch.setattr(ease, "MAX_CELLS", cells)
    x = some_profiles(8, *shape)
    new_users = some_profiles(9, 7, shape[1])
    learnt = interpolate(x, 10.0)
    assert isinstance(learnt, kind)
    kept = learnt.kept if isinstance(learnt, ThroughItems) else np.arange(shape[1])
    assert len(kept) == min(shape[1], int(np.sqrt(cells or shape[1] ** 2)))
    weights = np.zeros((shape[1], shape[1]))
    weights[np.ix_(kept, kept)] = closed_form(x.toarray()[:, kept], 10.0)
    for rows in (x, new_users, new_users[[3, 0]]):
        slow = rows.toarray() @ weights  # (b, n_items)
        pairs = some_pairs(1, *rows.shape)
        assert len(set(zip(*map(tuple, pairs), strict=True))) < len(pairs.rows)
        np.testing.assert_allclose(learnt.at(rows, pairs), slow[pairs], rtol=1e-9, atol=1e-9)
        of_all = learnt.at(rows, every_cell(*rows.shape)).reshape(rows.shape)
        np.testing.assert_allclose(of_all, slow, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(learnt.score(rows), slow, rtol=1e-9, atol=1e-9)
        assert learnt.at(rows, NO_PAIRS).tolist() == []


@pytest.mark.parametrize("shape", [(12, 20), (30, 18)])
def test_no_film_adds_to_its_own_score(shape: tuple[int, int]) -> None:
    """The scores of a profile of one film are its row of B, which is 0 for the film itself."""
    x = some_profiles(2, *shape)
    one_film_each = np.where(np.eye(shape[1]) == 1, 1.0, NAN)  # (n_items, n_items)
    weights = interpolate(x, 10.0).score(ratings_of(one_film_each).matrix)
    np.testing.assert_allclose(weights, closed_form(x.toarray(), 10.0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.diag(weights), 0.0, atol=1e-12)


def test_new_users_are_scored_by_the_same_weights() -> None:
    """Profiles that were not learnt from, one or many at a time, get x B too."""
    x = some_profiles(3, 12, 20)
    new_users = some_profiles(4, 7, 20)
    learnt = interpolate(x, 10.0)
    weights = closed_form(x.toarray(), 10.0)
    for rows in (new_users, new_users[[3]]):
        slow = rows.toarray() @ weights
        np.testing.assert_allclose(learnt.score(rows), slow, rtol=1e-9, atol=1e-9)
    assert learnt.score(new_users[:0]).shape == (0, 20)


def test_both_sides_agree() -> None:
    """Users without ratings only change the side that is solved, and not the scores."""
    stars = random_stars(5, 12, 20, HALF_STARS, 0.4)  # (12, 20)
    with_empty_users = np.vstack([stars, np.full((9, 20), NAN)])  # (21, 20)
    x = ratings_of(stars).matrix
    through_users = interpolate(x, 10.0)
    through_items = interpolate(ratings_of(with_empty_users).matrix, 10.0)
    assert isinstance(through_users, ThroughUsers)
    assert isinstance(through_items, ThroughItems)
    np.testing.assert_allclose(through_items.score(x), through_users.score(x), rtol=1e-9, atol=1e-9)


# Films 0..5 are rated by 3, 1, 2, 3, 2 and 2 users. Of the twos the first by key is kept.
COUNTED = [
    [4.0, 3.0, 5.0, 0.0, NAN, 2.0],
    [1.0, NAN, 2.0, 5.0, 4.0, NAN],
    [5.0, NAN, NAN, 3.0, 2.0, 4.0],
]


@pytest.mark.parametrize(
    ("n_kept", "kept"), [(1, [0]), (2, [0, 3]), (3, [0, 2, 3]), (4, [0, 2, 3, 4])]
)
def test_the_most_rated_films_get_weights(
    n_kept: int, kept: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not all films fit, the most rated get weights, ties by key; the others score 0."""
    x = ratings_of(COUNTED).matrix  # a stored 0 is a rating
    monkeypatch.setattr(ease, "MAX_CELLS", n_kept**2)
    learnt = interpolate(x, 2.0)
    assert isinstance(learnt, ThroughItems)
    assert learnt.kept.tolist() == kept
    scores = learnt.score(x)
    assert scores.shape == (3, 6)
    assert not scores[:, [item for item in range(6) if item not in kept]].any()
    of_kept = x.toarray()[:, kept]
    slow = of_kept @ one_film_at_a_time(of_kept, 2.0)
    np.testing.assert_allclose(scores[:, kept], slow, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("cells", "kind"), [(18, ThroughUsers), (17, ThroughItems)])
def test_no_dense_array_above_the_limit(
    cells: int, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three users and six films are solved through users if 18 cells are allowed, not with 17."""
    monkeypatch.setattr(ease, "MAX_CELLS", cells)
    learnt = interpolate(ratings_of(COUNTED).matrix, 2.0)
    assert isinstance(learnt, kind)
    arrays = [value for value in vars(learnt).values() if isinstance(value, np.ndarray)]
    assert max(array.size for array in arrays) <= cells


# By scale: rating -> its value in a profile of preference, and in one of liking. Up to 1.5
# of 5 stars, or 3 of 10, the first is 0; films are liked from 4 of 5, or 8 of 10.
PROFILES = {
    (1.0, 5.0): {1.0: (0.0, 0), 2.0: (0.5, 0), 3.0: (1.5, 0), 4.0: (2.5, 1), 5.0: (3.5, 1)},
    (0.5, 5.0): {
        0.5: (0.0, 0),
        1.5: (0.0, 0),
        2.0: (0.5, 0),
        3.5: (2.0, 0),
        4.0: (2.5, 1),
        5.0: (3.5, 1),
    },
    (1.0, 10.0): {
        1.0: (0.0, 0),
        3.0: (0.0, 0),
        4.0: (0.5, 0),
        7.0: (2.0, 0),
        8.0: (2.5, 1),
        10.0: (3.5, 1),
    },
    (0.0, 1.0): {0.0: (0.0, 0), 0.3: (0.0, 0), 0.7: (2.0, 0), 0.8: (2.5, 1), 1.0: (3.5, 1)},
}


@pytest.mark.parametrize("scale", PROFILES)
def test_profiles_by_hand(scale: tuple[float, float]) -> None:
    """Values are ratings above 0.3 of the maximum, scaled to 5, and 1 from 0.8 of it, else 0."""
    stars = list(PROFILES[scale])
    preferred, liked = (list(values) for values in zip(*PROFILES[scale].values(), strict=True))
    ratings = ratings_of([stars, stars[::-1]], scale=scale)
    users = np.arange(2)
    preference = fit_preference(ratings, 10.0).profiles(users).toarray()
    np.testing.assert_allclose(preference, [preferred, preferred[::-1]], rtol=1e-12, atol=1e-12)
    liking = fit_liking(ratings, 10.0).profiles(users).toarray()
    assert liking.tolist() == [liked, liked[::-1]]


def small_ratings() -> Ratings:
    """12 users x 20 films of half stars, two of each without ratings."""
    return ratings_of(random_stars(6, 12, 20, HALF_STARS, 0.4, n_empty=2), scale=(0.5, 5.0))


@pytest.mark.parametrize("ridge", RIDGES)
def test_scores_are_profiles_times_weights(ridge: float) -> None:
    """Scores of users, in any order, are their profiles times the weights of all profiles."""
    users = np.array([7, 0, 3])
    for fit in (fit_preference, fit_liking):
        preference = fit(small_ratings(), ridge)
        x = preference.profiles(np.arange(12)).toarray()  # (12, 20)
        assert x.any()
        slow = x[users] @ closed_form(x, ridge)
        np.testing.assert_allclose(preference.score(users), slow, rtol=1e-9, atol=1e-9)


def test_fading_is_a_factor_of_each_rating() -> None:
    """A rating with fading 0.5 counts half, one with 0 not at all; the learnt weights stay."""
    ratings = small_ratings()
    preference = fit_preference(ratings, 10.0)
    users = np.array([11, 2, 5, 2])
    random = np.random.default_rng(7)
    block = ratings.matrix[users]  # CSR (4, 20)
    x = preference.profiles(np.arange(12)).toarray()  # (12, 20)
    weights = closed_form(x, 10.0)
    fadings = [
        random.choice([0.0, 0.5, 1.0], block.nnz),
        random.random(block.nnz),
        np.ones(block.nnz),
    ]
    pairs = some_pairs(7, 4, 20).and_then(every_cell(4, 20))
    scores = preference.at(users, pairs, fadings)
    assert len(scores) == 3
    rows, items = Pairs.stored(block)
    for values, fading in zip(scores, fadings, strict=True):
        faded = x[users]  # (4, 20)
        for row, item, factor in zip(rows, items, fading, strict=True):
            faded[row, item] *= factor
        np.testing.assert_allclose(values, (faded @ weights)[pairs], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(scores[2], preference.score(users)[pairs], rtol=1e-12)


def test_films_that_go_together() -> None:
    """Of two films of equal count, the one rated together with a user's film scores higher."""
    # Films 0 and 2 are rated together, and films 1 and 3. The last two users are scored.
    stars = [[5.0, NAN, 5.0, NAN]] * 5 + [[NAN, 5.0, NAN, 5.0]] * 5
    stars += [[5.0, NAN, NAN, NAN], [NAN, 5.0, NAN, NAN]]
    for fit in (fit_preference, fit_liking):
        scores = fit(ratings_of(stars), 1.0).score(np.array([10, 11]))
        assert scores[0, 2] > 0.5 * scores[0, 2] > abs(scores[0, 3])
        assert scores[1, 3] > 0.5 * scores[1, 3] > abs(scores[1, 2])


def test_input_is_untouched() -> None:
    """Learning and scoring, faded or not, change no byte of ratings, fading and cells."""
    ratings = small_ratings()
    fading = np.linspace(0.0, 1.0, ratings.n_ratings)
    pairs = every_cell(12, 20)
    preference = fit_preference(ratings, 10.0)
    matrix = ratings.matrix
    arrays = [matrix.data, matrix.indices, matrix.indptr, fading, *pairs]
    before = [array.tobytes() for array in arrays]
    fit_preference(ratings, 10.0)
    fit_liking(ratings, 10.0)
    preference.at(np.arange(12), pairs, [fading])
    preference.score(np.arange(12))
    assert [array.tobytes() for array in arrays] == before


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 1), (3, 2), (2, 3)])
def test_nothing_to_learn_from(shape: tuple[int, int]) -> None:
    """Without ratings every score is 0, without a numeric error."""
    users = np.arange(shape[0])
    with np.errstate(all="raise"):
        for fit in (fit_preference, fit_liking):
            preference: Preference = fit(ratings_of(np.full(shape, NAN)), 10.0)
            assert preference.score(users).tolist() == np.zeros(shape).tolist()
            (scores,) = preference.at(users, every_cell(*shape), [np.empty(0)])
            assert scores.tolist() == [0.0] * (shape[0] * shape[1])
