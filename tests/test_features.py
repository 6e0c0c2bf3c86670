"""Features of the blend, counted cell by cell, with times that are missing or tied."""

import math
import warnings

import numpy as np
import pytest

from batch.models.features import (
    AVERAGE_RATINGS,
    FLOOR,
    LIKING_RIDGE,
    PREFERENCE_RIDGE,
    SESSIONS,
    FeatureModel,
    PreferenceScores,
    fit_feature_model,
    learn_preferences,
)
from batch.models.preference import Preference, fit_preference
from batch.models.trends import fit_trends
from batch.ratings import NO_PAIRS, Ints, Pairs, Ratings
from reference import Floats, every_cell, expected, lines_of, random_stars, ratings_of, turned

NAN = np.nan
HALVES = [0.5 * step for step in range(1, 11)]
STARS = random_stars(1, 15, 20, HALVES, 0.4, n_empty=2)  # (15, 20)
TIMES = np.random.default_rng(1).permutation(np.arange(300.0)).reshape(15, 20)  # no two alike
GENRES = (np.random.default_rng(2).random((20, 4)) < 0.4).astype(np.float64)  # (20, 4)
GENRES[3] = 0.0  # a film without genres
GENRES = np.column_stack([GENRES, np.zeros(20)])  # (20, 5) a genre without films
UNTIMED = ("user_effect", "item_effect", "fame", "affinity", "preference", "liking")
SESSION = tuple(f"session_{length}" for length in SESSIONS)
TREND = ("trend_3", "trend_14", "trend_90", "trend_own", "trend_liked", "trend_age")


def small_ratings(times: Floats | None = TIMES) -> Ratings:
    return ratings_of(STARS, genres=GENRES, times=times, scale=(0.5, 5.0))


def fitted(ratings: Ratings, preference: Preference | None = None) -> FeatureModel:
    """The features of these ratings; weights may be passed in."""
    return fit_feature_model(ratings, learn_preferences(ratings, preference))


def of_every_film(model: FeatureModel, users: Ints) -> dict[str, Floats]:
    """Features by name for these users and every film, (b, n_items) each."""
    shape = len(users), len(model.log_counts)
    features = model.at(users, every_cell(*shape), model.preference_scores(users))
    return {name: values.reshape(shape) for name, values in features.items()}


def features_of(ratings: Ratings) -> dict[str, Floats]:
    """Features by name, (n_users, n_items) each."""
    return of_every_film(fitted(ratings), np.arange(ratings.n_users))


def learnt(x: Floats, ridge: float) -> Floats:
    """The weights B between films for profiles x, learnt one film at a time."""
    n_items = x.shape[1]
    weights = np.zeros((n_items, n_items))
    for j in range(n_items):
        others = np.arange(n_items) != j
        rest = x[:, others]
        gram = rest.T @ rest + ridge * np.eye(others.sum())
        weights[others, j] = np.linalg.solve(gram, rest.T @ x[:, j])
    return weights


def profiles(stars: Floats) -> Floats:
    """Stars above 1.5 of 5, 0 where there is no rating."""
    return np.nan_to_num(np.maximum(stars - 1.5, 0.0))


def logarithm(scores: Floats) -> Floats:
    return np.log(np.maximum(scores, 0.0) + FLOOR)


def test_all_by_name() -> None:
    """Every feature has a name and a finite value for every film; the last ones need times."""
    users = np.array([4, 0, 9])
    for times, names in ((TIMES, (*UNTIMED, *SESSION, *TREND)), (None, UNTIMED)):
        features = of_every_film(fitted(small_ratings(times)), users)
        assert tuple(features) == names
        assert {values.shape for values in features.values()} == {(3, 20)}
        assert all(np.isfinite(values).all() for values in features.values())


def test_features_do_not_depend_on_the_block() -> None:
    """Users in any order have the features that each has alone."""
    model = fitted(small_ratings())
    whole = of_every_film(model, np.arange(15))
    users = np.array([9, 3, 14, 3])
    alone = [of_every_film(model, np.array([user])) for user in users]
    for name, values in of_every_film(model, users).items():
        np.testing.assert_allclose(values, whole[name][users], rtol=1e-12, atol=1e-12)
        for row in range(4):
            np.testing.assert_allclose(alone[row][name][0], values[row], rtol=1e-12, atol=1e-12)


def test_some_cells_have_the_features_of_all() -> None:
    """Cells in any order, some of them twice, have the features that they have among all cells."""
    model = fitted(small_ratings())
    users = np.array([9, 3, 14, 3, 0])
    random = np.random.default_rng(4)
    pairs = Pairs(random.choice([0, 1, 3], 40), random.integers(0, 20, 40))  # none of row 2 or 4
    whole = of_every_film(model, users)
    features = model.at(users, pairs, model.preference_scores(users))
    assert list(features) == list(whole)
    for name, values in features.items():
        np.testing.assert_allclose(values, whole[name][pairs], rtol=1e-12, atol=1e-12)
    of_no_cell = model.at(users, NO_PAIRS, model.preference_scores(users))
    assert {name: values.tolist() for name, values in of_no_cell.items()} == {
        name: [] for name in whole
    }


def test_candidate_scores_by_hand() -> None:
    """They are the sum of both logarithms, a score below 0 counting as 0; nan if not eligible."""
    preference = [[0.5, 0.0, -1.0, 2.0], [0.0, 0.0, 0.25, 0.0]]
    liking = [[0.1, 0.0, 3.0, -2.0], [0.0, 1.0, 0.5, 0.0]]
    scores = PreferenceScores(np.array(preference), np.array(liking))
    slow = []
    for preferred, liked in zip(preference, liking, strict=True):
        cells = zip(preferred, liked, strict=True)
        slow.append([sum(math.log(max(score, 0.0) + FLOOR) for score in cell) for cell in cells])
    eligible = np.array([True, True, True, False])
    with_nan = [[*line[:3], NAN] for line in slow]
    np.testing.assert_allclose(scores.candidate_scores(eligible), with_nan, rtol=1e-12)
    assert np.isnan(scores.candidate_scores(np.zeros(4, dtype=np.bool_))).all()
    pairs = Pairs(np.array([1, 0, 1, 1]), np.array([2, 3, 0, 2]))
    np.testing.assert_allclose(scores.candidate_scores_at(pairs), np.array(slow)[pairs])
    some_rows = scores.of(np.array([1, 0, 1])).candidate_scores_at(every_cell(3, 4)).reshape(3, 4)
    np.testing.assert_allclose(some_rows, [slow[1], *slow])


def test_candidate_scores_are_the_sum_of_two_features() -> None:
    """Of every user and film they are `preference` and `liking` added up."""
    model = fitted(small_ratings())
    users = np.array([9, 3, 14, 3])
    scores = model.preference_scores(users)
    features = of_every_film(model, users)
    total = features["preference"] + features["liking"]
    of_all = scores.candidate_scores(np.ones(20, dtype=np.bool_))
    np.testing.assert_allclose(of_all, total, rtol=1e-12, atol=1e-12)
    of_cells = scores.candidate_scores_at(every_cell(4, 20))
    np.testing.assert_allclose(of_cells, of_all.ravel(), rtol=1e-12, atol=1e-12)


def test_effects_and_fame_cell_by_cell() -> None:
    """Effects and mean add up to the bias baseline, and `fame` is ln(1 + ratings of the film)."""
    ratings = small_ratings()
    lines = lines_of(ratings)
    features = features_of(ratings)
    user_effect = features["user_effect"]
    item_effect = features["item_effect"]
    assert np.ptp(user_effect, axis=1).max() == 0
    assert np.ptp(item_effect, axis=0).max() == 0
    baseline = np.nanmean(STARS) + user_effect + item_effect
    np.testing.assert_allclose(baseline, expected("bias", lines, 20), rtol=1e-9)
    rated_nothing = np.isnan(STARS).all(axis=1)  # (15,)
    assert not user_effect[rated_nothing].any()
    assert not item_effect[:, np.isnan(STARS).all(axis=0)].any()
    fame = [math.log(1 + len(column)) for column in turned(lines, 20)]
    for user in range(15):
        assert features["fame"][user].tolist() == pytest.approx(fame, rel=1e-12)


def test_affinity_cell_by_cell() -> None:
    """`affinity` sums, over a film's genres, ln of the user's share over the average share."""
    affinity = features_of(small_ratings())["affinity"]
    share = [
        [g / math.sqrt(sum(film)) if sum(film) else 0.0 for g in film] for film in GENRES.tolist()
    ]
    rated = [np.flatnonzero(~np.isnan(row)).tolist() for row in STARS]
    all_rated = [item for line in rated for item in line]
    for user in range(15):
        for film in range(20):
            total = 0.0
            for genre in range(5):
                average = sum(share[item][genre] for item in all_rated) / len(all_rated)
                if average == 0:
                    continue
                count = sum(share[item][genre] for item in rated[user])
                n_ratings = len(rated[user]) + AVERAGE_RATINGS
                own = (count + AVERAGE_RATINGS * average) / n_ratings
                total += share[film][genre] * math.log(own / average)
            assert affinity[user, film] == pytest.approx(total, rel=1e-9, abs=1e-12)
    assert affinity.any()
    assert not affinity[:, 3].any()  # no genres
    assert np.abs(affinity[np.isnan(STARS).all(axis=1)]).max() < 1e-12  # no ratings: average


def test_affinity_is_of_the_genre() -> None:
    """Users of one genre have an affinity above 0 for its films and below 0 for the others."""
    stars = [[3.0, 3.0, 3.0, NAN, NAN, NAN], [NAN] * 3 + [3.0] * 3]
    affinity = features_of(ratings_of(stars, genres=np.repeat(np.eye(2), 3, 0)))["affinity"]
    assert (np.sign(affinity) == [[1, 1, 1, -1, -1, -1], [-1, -1, -1, 1, 1, 1]]).all()


def test_learnt_weights() -> None:
    """`preference` and `liking` are logarithms of learnt scores; weights can be passed in."""
    x = profiles(STARS)
    liked = (STARS >= 4.0).astype(np.float64)
    features = features_of(small_ratings())
    preference = logarithm(x @ learnt(x, PREFERENCE_RIDGE))
    np.testing.assert_allclose(features["preference"], preference, rtol=1e-9)
    liking = logarithm(liked @ learnt(liked, LIKING_RIDGE))
    np.testing.assert_allclose(features["liking"], liking, rtol=1e-9)

    passed_in = fit_preference(small_ratings(), 5.0)
    model = fitted(small_ratings(), passed_in)
    assert model.preference is passed_in
    preference = logarithm(x @ learnt(x, 5.0))
    of_model = of_every_film(model, np.arange(15))["preference"]
    np.testing.assert_allclose(of_model, preference, rtol=1e-9)


def slow_later_ratings(stars: Floats, times: Floats) -> Floats:
    """How many ratings of the same user came later, (n_users, n_items); of equal times, by key."""
    later = np.zeros(stars.shape)
    for user, row in enumerate(stars):
        rated = np.flatnonzero(~np.isnan(row)).tolist()
        moments = [(times[user, item], item) for item in rated]
        if any(math.isnan(time) for time, _ in moments):
            continue
        for moment in moments:
            later[user, moment[1]] = sum(other > moment for other in moments)
    return later


@pytest.mark.parametrize("length", SESSIONS)
@pytest.mark.parametrize("case", ["distinct", "tied", "some missing"])
def test_sessions_cell_by_cell(case: str, length: int) -> None:
    """A rating counts exp(-later / length) in a session, with `later` of the user's ratings later.

    Ties are decided by key, and all ratings of a user with a time missing count in full.
    """
    times = {
        "distinct": TIMES,
        "tied": TIMES % 3,
        "some missing": np.where(TIMES % 7 == 0, NAN, TIMES),
    }[case]
    timeless = (np.isnan(times) & ~np.isnan(STARS)).any(axis=1)  # (15,)
    assert timeless.any() == (case == "some missing")
    assert not timeless.all()
    x = profiles(STARS)
    faded = x * np.exp(-slow_later_ratings(STARS, times) / length)
    slow = logarithm(faded @ learnt(x, PREFERENCE_RIDGE))
    features = features_of(small_ratings(times))
    session = features[f"session_{length}"]
    preference = features["preference"]
    np.testing.assert_allclose(session, slow, rtol=1e-9)
    np.testing.assert_allclose(session[timeless], preference[timeless], rtol=1e-12)
    assert not np.allclose(session, preference)


def test_the_last_ratings_count_most() -> None:
    """Of two users with the same ratings, each scores films like those rated last higher."""
    # Films 0..5 go with film 12, films 6..11 with film 13. The last two users rated both
    # kinds, in either order.
    kinds = [[5.0] * 6 + [NAN] * 6 + [5.0, NAN], [NAN] * 6 + [5.0] * 6 + [NAN, 5.0]]
    stars = np.array(kinds * 30 + [[5.0] * 12 + [NAN, NAN]] * 2)  # (62, 14)
    times = np.tile(np.arange(14.0), (62, 1))
    times[61] = -times[61]
    features = features_of(ratings_of(stars, times=times))
    for name in SESSION:
        assert features[name][60, 13] > features[name][60, 12]
        assert features[name][61, 12] > features[name][61, 13]
    gaps = [features[name][60, 13] - features[name][60, 12] for name in SESSION]
    assert gaps == sorted(gaps, reverse=True)  # the shorter the session, the larger
    preference = features["preference"][60]
    assert preference[12] == pytest.approx(preference[13], rel=1e-9)


def test_a_long_history_fades_without_underflow() -> None:
    """With thousands of ratings the first count almost nothing, and no number underflows."""
    stars = np.full((1, 4000), 5.0)
    times = np.arange(4000.0)[None]
    with np.errstate(all="raise"):
        model = fitted(ratings_of(stars, times=times))
        features = of_every_film(model, np.array([0]))
    assert model.later_ratings is not None
    assert model.later_ratings.toarray()[0].tolist() == list(range(3999, -1, -1))
    assert all(np.isfinite(values).all() for values in features.values())


def test_sessions_without_times() -> None:
    """Where every time is missing, sessions equal `preference`."""
    features = features_of(small_ratings(np.full(STARS.shape, NAN)))
    assert tuple(features) == (*UNTIMED, *SESSION)
    for name in SESSION:
        np.testing.assert_allclose(features[name], features["preference"], rtol=1e-12)


def test_trends_are_those_of_the_films() -> None:
    """Users who rated within a year have the trends of each film, and the others 0."""
    times = TIMES * 86_400 * 3  # over two years and a half, the first users' ratings first
    times[:5] -= 400 * 86_400
    ratings = small_ratings(times)
    trends = fit_trends(ratings)
    assert trends is not None
    features = features_of(ratings)
    newest = np.nanmax(np.where(np.isnan(STARS), NAN, times))
    last = np.max(np.where(np.isnan(STARS), -np.inf, times), axis=1)  # (15,)
    is_active = last >= newest - 365 * 86_400
    assert 3 < is_active.sum() < 12
    for name in TREND:
        assert features[name].any()
        expected = np.outer(is_active, trends.features[name])
        np.testing.assert_array_equal(features[name], expected)


def test_input_is_untouched() -> None:
    """Fitting and scoring change no byte of the ratings, the fitted model or its scores."""
    ratings = small_ratings(TIMES % 3)
    model = fitted(ratings)
    users = np.arange(15)
    scores = model.preference_scores(users)
    matrix = ratings.matrix
    arrays = [matrix.data, matrix.indices, matrix.indptr, ratings.genres, ratings.rated_at]
    arrays += [*arrays_of(model), *scores]
    before = [array.tobytes() for array in arrays]
    fitted(ratings)
    model.preference_scores(users)
    scores.candidate_scores(np.ones(20, dtype=np.bool_))
    scores.candidate_scores_at(every_cell(15, 20))
    model.at(users, every_cell(15, 20), scores)
    assert [array.tobytes() for array in arrays] == before


def arrays_of(model: FeatureModel) -> list[Floats]:
    assert model.later_ratings is not None
    assert model.trends is not None
    return [
        *model.trends.features.values(),
        model.trends.is_active,
        model.log_counts,
        model.genres,
        model.genre_shares,
        model.later_ratings.data,
        model.bias.user,
        model.bias.item,
    ]


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("n_genres", [0, 2])
@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 1), (3, 4)])
@pytest.mark.parametrize("stars", [NAN, 0.0, 4.0])
def test_degenerate_data(stars: float, shape: tuple[int, int], n_genres: int, timed: bool) -> None:
    """Without users, films, genres or ratings every value is finite, without numeric errors."""
    table = np.full(shape, stars)
    times = np.zeros(shape) if timed else None
    for genres in (np.zeros((shape[1], n_genres)), np.ones((shape[1], n_genres))):
        ratings = ratings_of(table, genres=genres, times=times)
        with np.errstate(all="raise"), warnings.catch_warnings():
            warnings.simplefilter("error")
            features = features_of(ratings)
        has_ratings = ratings.n_ratings > 0  # without any there is no newest
        last = (*SESSION, *(TREND if has_ratings else ())) if timed else ()
        assert tuple(features) == (*UNTIMED, *last)
        for values in features.values():
            assert values.shape == shape
            assert np.isfinite(values).all()
        if n_genres and not math.isnan(stars):  # all users rate alike: no affinity
            assert np.abs(features["affinity"]).sum() < 1e-9
