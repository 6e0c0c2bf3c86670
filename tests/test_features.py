"""What the blend hears beside the models: counted cell by cell, and with times that are missing or tied."""

import math
import warnings

import numpy as np
import pytest

from batch.models.ease import fit_preference
from batch.models.features import (
    FLOOR,
    LIKING_RIDGE,
    PREFERENCE_RIDGE,
    SESSIONS,
    USUAL,
    FeatureModel,
    PreferenceScores,
    fit_feature_model,
)
from batch.ratings import NO_PAIRS, Ints, Pairs, Ratings
from reference import Floats, every_cell, expected, lines_of, random_stars, ratings_of, turned

NAN = np.nan
STARS = random_stars(1, 15, 20, [0.5 * step for step in range(1, 11)], 0.4, n_empty=2)  # (15, 20)
TIMES = (
    np.random.default_rng(1).permutation(300).reshape(15, 20).astype(np.float64)
)  # (15, 20) no two alike
GENRES = (np.random.default_rng(2).random((20, 4)) < 0.4).astype(np.float64)  # (20, 4)
GENRES[3] = 0.0  # a film without genres
GENRES = np.column_stack([GENRES, np.zeros(20)])  # (20, 5) a genre without films
UNTIMED = ("user_effect", "item_effect", "fame", "affinity", "preference", "liking")
SESSION = tuple(f"session_{length}" for length in SESSIONS)


def some_ratings(times: Floats | None = TIMES) -> Ratings:
    return ratings_of(STARS, genres=GENRES, times=times, scale=(0.5, 5.0))


def of_every_film(signals: FeatureModel, users: Ints) -> dict[str, Floats]:
    """name -> (b, n_items)."""
    shape = len(users), len(signals.fame)
    found = signals.at(users, every_cell(*shape), signals.tastes(users))
    return {name: values.reshape(shape) for name, values in found.items()}


def user_weighted_sums(ratings: Ratings) -> dict[str, Floats]:
    return of_every_film(fit_feature_model(ratings, None), np.arange(ratings.n_users))


def learnt(x: Floats, ridge: float) -> Floats:
    """x B with the weights of films on each other, learnt one film at a time."""
    weights = np.zeros((x.shape[1], x.shape[1]))  # B
    for j in range(x.shape[1]):
        others = np.arange(x.shape[1]) != j
        rest = x[:, others]
        weights[others, j] = np.linalg.solve(
            rest.T @ rest + ridge * np.eye(others.sum()), rest.T @ x[:, j]
        )
    return weights


def profiles(stars: Floats) -> Floats:
    """Stars above 1.5 of 5, 0 where there is no rating."""
    return np.nan_to_num(np.maximum(stars - 1.5, 0.0))


def logarithm(scores: Floats) -> Floats:
    return np.log(np.maximum(scores, 0.0) + FLOOR)


def test_all_by_name() -> None:
    """Every signal has a name and a value for every film; those of sessions need times."""
    for times, names in ((TIMES, (*UNTIMED, *SESSION)), (None, UNTIMED)):
        found = of_every_film(fit_feature_model(some_ratings(times), None), np.array([4, 0, 9]))
        assert tuple(found) == names
        assert {values.shape for values in found.values()} == {(3, 20)}
        assert all(np.isfinite(values).all() for values in found.values())


def test_a_block_is_its_users() -> None:
    """Users in any order get what each gets alone."""
    signals = fit_feature_model(some_ratings(), None)
    whole, users = of_every_film(signals, np.arange(15)), np.array([9, 3, 14, 3])
    alone = [of_every_film(signals, np.array([user])) for user in users]
    for name, values in of_every_film(signals, users).items():
        np.testing.assert_allclose(values, whole[name][users], rtol=1e-12, atol=1e-12)
        for row in range(4):
            np.testing.assert_allclose(alone[row][name][0], values[row], rtol=1e-12, atol=1e-12)


def test_some_cells_are_as_of_all() -> None:
    """Cells in any order, some of them twice and some users without any, are told what each is told among all."""
    signals, users = fit_feature_model(some_ratings(), None), np.array([9, 3, 14, 3, 0])
    random = np.random.default_rng(4)
    pairs = Pairs(random.choice([0, 1, 3], 40), random.integers(0, 20, 40))
    whole = of_every_film(signals, users)
    found = signals.at(users, pairs, signals.tastes(users))
    assert list(found) == list(whole)
    for name, values in found.items():
        slow = [whole[name][row, column] for row, column in zip(*pairs, strict=True)]
        np.testing.assert_allclose(values, slow, rtol=1e-12, atol=1e-12)
    of_nothing = signals.at(users, NO_PAIRS, signals.tastes(users))
    assert {name: values.tolist() for name, values in of_nothing.items()} == {
        name: [] for name in whole
    }


def test_what_is_promised_by_hand() -> None:
    """A film is promised the logarithms of both tastes added up, what is below 0 being 0; those not able, nothing."""
    preference, liked = (
        [[0.5, 0.0, -1.0, 2.0], [0.0, 0.0, 0.25, 0.0]],
        [[0.1, 0.0, 3.0, -2.0], [0.0, 1.0, 0.5, 0.0]],
    )
    tastes = PreferenceScores(np.array(preference), np.array(liked))
    slow = [
        [
            sum(math.log(max(each, 0.0) + FLOOR) for each in cell)
            for cell in zip(*lines, strict=True)
        ]
        for lines in zip(preference, liked, strict=True)
    ]
    found = tastes.promise(np.array([True, True, True, False]))
    np.testing.assert_allclose(found, [[*line[:3], NAN] for line in slow], rtol=1e-12)
    assert np.isnan(tastes.promise(np.zeros(4, dtype=np.bool_))).all()
    cells = Pairs(np.array([1, 0, 1, 1]), np.array([2, 3, 0, 2]))
    np.testing.assert_allclose(
        tastes.promised(cells), [slow[row][column] for row, column in zip(*cells, strict=True)]
    )
    np.testing.assert_allclose(
        tastes.of(np.array([1, 0, 1])).promised(every_cell(3, 4)).reshape(3, 4), [slow[1], *slow]
    )


def test_the_promise_is_of_both_tastes() -> None:
    """Of every user and film the promise is `preference` and `liking` added up."""
    signals, users = fit_feature_model(some_ratings(), None), np.array([9, 3, 14, 3])
    tastes, found = signals.tastes(users), of_every_film(signals, users)
    promised = tastes.promise(np.ones(20, dtype=np.bool_))
    np.testing.assert_allclose(
        promised, found["preference"] + found["liking"], rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(
        tastes.promised(every_cell(4, 20)), promised.ravel(), rtol=1e-12, atol=1e-12
    )


def test_effects_and_fame_cell_by_cell() -> None:
    """`user_effect` + `item_effect` + the mean is the bias baseline, and `fame` is ln(1 + ratings of the film)."""
    ratings = some_ratings()
    lines, found = lines_of(ratings), user_weighted_sums(ratings)
    slow, counts = expected("bias", lines, 20), [len(column) for column in turned(lines, 20)]
    mu = np.nanmean(STARS)
    assert np.ptp(found["user_effect"], axis=1).max() == 0
    assert np.ptp(found["item_effect"], axis=0).max() == 0
    np.testing.assert_allclose(mu + found["user_effect"] + found["item_effect"], slow, rtol=1e-9)
    rated_nothing = np.isnan(STARS).all(axis=1)  # (15,)
    assert not found["user_effect"][rated_nothing].any()
    assert not found["item_effect"][:, np.isnan(STARS).all(axis=0)].any()
    for user in range(15):
        assert found["fame"][user].tolist() == pytest.approx(
            [math.log(1 + count) for count in counts], rel=1e-12
        )


def test_affinity_cell_by_cell() -> None:
    """`affinity` sums over a film's genres the ln of how much more often than usual the user rated them."""
    found = user_weighted_sums(some_ratings())["affinity"]
    share = [
        [g / math.sqrt(sum(film)) if sum(film) else 0.0 for g in film] for film in GENRES.tolist()
    ]
    rated = [
        [item for item in range(20) if not math.isnan(STARS[user, item])] for user in range(15)
    ]
    everything = [item for line in rated for item in line]
    for user in range(15):
        for film in range(20):
            total = 0.0
            for genre in range(5):
                usual = sum(share[item][genre] for item in everything) / len(everything)
                if usual == 0:
                    continue
                own = (sum(share[item][genre] for item in rated[user]) + USUAL * usual) / (
                    len(rated[user]) + USUAL
                )
                total += share[film][genre] * math.log(own / usual)
            assert found[user, film] == pytest.approx(total, rel=1e-9, abs=1e-12)
    assert found.any()
    assert not found[:, 3].any()  # no genres
    assert np.abs(found[np.isnan(STARS).all(axis=1)]).max() < 1e-12  # who rated nothing is usual


def test_affinity_knows_the_genre() -> None:
    """Who rates one genre only has an affinity above 0 for its films and below 0 for the others."""
    found = user_weighted_sums(
        ratings_of(
            [[3.0, 3.0, 3.0, NAN, NAN, NAN], [NAN] * 3 + [3.0] * 3],
            genres=np.repeat(np.eye(2), 3, 0),
        )
    )
    assert (np.sign(found["affinity"]) == [[1, 1, 1, -1, -1, -1], [-1, -1, -1, 1, 1, 1]]).all()


def test_learnt_tastes() -> None:
    """`preference` and `liking` are logarithms of learnt scores, and one that was learnt already is taken as it is."""
    x, likes = profiles(STARS), (STARS >= 4.0).astype(np.float64)
    found = user_weighted_sums(some_ratings())
    np.testing.assert_allclose(
        found["preference"], logarithm(x @ learnt(x, PREFERENCE_RIDGE)), rtol=1e-9
    )
    np.testing.assert_allclose(
        found["liking"], logarithm(likes @ learnt(likes, LIKING_RIDGE)), rtol=1e-9
    )
    other = fit_preference(some_ratings(), 5.0)
    given = fit_feature_model(some_ratings(), other)
    assert given.preference is other
    np.testing.assert_allclose(
        of_every_film(given, np.arange(15))["preference"], logarithm(x @ learnt(x, 5.0)), rtol=1e-9
    )


def slow_place(stars: Floats, times: Floats) -> Floats:
    """How many ratings of the same user came later, (n_users, n_items); of those at the same time, by key."""
    place = np.zeros(stars.shape)
    for user, row in enumerate(stars):
        rated = [item for item in range(len(row)) if not math.isnan(row[item])]
        if any(math.isnan(times[user, item]) for item in rated):
            continue
        for item in rated:
            place[user, item] = sum(
                (times[user, other], other) > (times[user, item], item) for other in rated
            )
    return place


@pytest.mark.parametrize("length", SESSIONS)
@pytest.mark.parametrize("case", ["distinct", "tied", "some missing"])
def test_sessions_cell_by_cell(case: str, length: int) -> None:
    """A rating counts exp(-later / length) in a session, `later` of the same user's ratings having come after it.

    Ties are decided by key, and all ratings of a user with a time missing count in full.
    """
    times = {
        "distinct": TIMES,
        "tied": TIMES % 3,
        "some missing": np.where(TIMES % 7 == 0, NAN, TIMES),
    }[case]
    timeless = (np.isnan(times) & ~np.isnan(STARS)).any(axis=1)  # (15,)
    assert (timeless.any(), timeless.all()) == (case == "some missing", False)
    x = profiles(STARS)
    faded = x * np.exp(-slow_place(STARS, times) / length)
    found = user_weighted_sums(some_ratings(times))
    slow = logarithm(faded @ learnt(x, PREFERENCE_RIDGE))
    np.testing.assert_allclose(found[f"session_{length}"], slow, rtol=1e-9)
    np.testing.assert_allclose(
        found[f"session_{length}"][timeless], found["preference"][timeless], rtol=1e-12
    )
    assert not np.allclose(found[f"session_{length}"], found["preference"])


def test_what_came_last_weighs_most() -> None:
    """Of two users with the same ratings, each is promised what goes with the films that they rated last."""
    # films 0..5 go with film 12, films 6..11 with film 13; the last two users rated both kinds, in either order
    kinds = [[5.0] * 6 + [NAN] * 6 + [5.0, NAN], [NAN] * 6 + [5.0] * 6 + [NAN, 5.0]]
    stars = np.array(kinds * 30 + [[5.0] * 12 + [NAN, NAN]] * 2)  # (62, 14)
    times = np.tile(np.arange(14.0), (62, 1))
    times[61] = -times[61]
    found = user_weighted_sums(ratings_of(stars, times=times))
    for length in SESSIONS:
        session = found[f"session_{length}"]
        assert session[60, 13] > session[60, 12]
        assert session[61, 12] > session[61, 13]
    gap = [found[name][60, 13] - found[name][60, 12] for name in SESSION]
    assert gap == sorted(gap, reverse=True)  # the shorter, the more so
    assert found["preference"][60, 12] == pytest.approx(found["preference"][60, 13], rel=1e-9)


def test_a_long_history_fades_without_underflow() -> None:
    """Of thousands of ratings the first count next to nothing, and no number is too small to be told."""
    stars, times = np.full((1, 4000), 5.0), np.arange(4000.0)[None]
    with np.errstate(all="raise"):
        signals = fit_feature_model(ratings_of(stars, times=times), None)
        found = of_every_film(signals, np.array([0]))
    assert signals.place is not None
    assert signals.place.toarray()[0].tolist() == list(range(3999, -1, -1))
    assert all(np.isfinite(values).all() for values in found.values())


def test_times_of_nobody() -> None:
    """Where every time is missing, sessions say what `preference` says."""
    found = user_weighted_sums(some_ratings(np.full(STARS.shape, NAN)))
    for name in SESSION:
        np.testing.assert_allclose(found[name], found["preference"], rtol=1e-12)


def test_input_is_untouched() -> None:
    """Fitting and scoring leave every byte of the ratings, and of what was fitted, as it was."""
    ratings = some_ratings(TIMES % 3)
    signals = fit_feature_model(ratings, None)
    matrix = ratings.matrix
    watched = [
        matrix.data,
        matrix.indices,
        matrix.indptr,
        ratings.genres,
        ratings.rated_at,
        *arrays_of(signals),
    ]
    before = [array.tobytes() for array in watched if array is not None]
    fit_feature_model(ratings, None)
    tastes = signals.tastes(np.arange(15))
    watched += tastes
    before += [array.tobytes() for array in tastes]
    tastes.promise(np.ones(20, dtype=np.bool_))
    tastes.promised(every_cell(15, 20))
    signals.at(np.arange(15), every_cell(15, 20), tastes)
    assert [array.tobytes() for array in watched if array is not None] == before


def arrays_of(signals: FeatureModel) -> list[Floats]:
    assert signals.place is not None
    return [
        signals.fame,
        signals.genres,
        signals.usual,
        signals.place.data,
        signals.bias.user,
        signals.bias.item,
    ]


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("n_genres", [0, 2])
@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 1), (3, 4)])
@pytest.mark.parametrize("stars", [NAN, 0.0, 4.0])
def test_degenerate_data(stars: float, shape: tuple[int, int], n_genres: int, timed: bool) -> None:
    """Without users, films, genres or ratings there is no numeric error, and every value is a finite number."""
    table = np.full(shape, stars)
    for genres in (np.zeros((shape[1], n_genres)), np.ones((shape[1], n_genres))):
        ratings = ratings_of(table, genres=genres, times=np.zeros(shape) if timed else None)
        with np.errstate(all="raise"), warnings.catch_warnings():
            warnings.simplefilter("error")
            found = user_weighted_sums(ratings)
        assert set(found) == {*UNTIMED, *(SESSION if timed else ())}
        for values in found.values():
            assert values.shape == shape
            assert np.isfinite(values).all()
        assert (
            not n_genres or math.isnan(stars) or np.abs(found["affinity"]).sum() < 1e-9
        )  # all alike: usual
