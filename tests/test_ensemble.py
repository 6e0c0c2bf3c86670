"""The ensemble: what the blend is learnt from, its lists, and its gain over the models."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from batch.models import PERSONAL, PUBLISHED, REFERENCE, Model, Scores, fit
from batch.models.baseline import Baseline, fit_baseline
from batch.models.neural import best_epochs
from batch.models.popular import DAY
from batch.models.trends import HALF_LIVES
from batch.params import PRESETS
from batch.ranking import blend_weights, ensemble, evaluate, metrics
from batch.ranking.blend_weights import TrainingBlock, Weights
from batch.ranking.diversify import diversify
from batch.ranking.ensemble import BY_SCORE, Ensemble, assemble, learn_weights, unblended
from batch.ranking.evaluate import fit_all, fit_and_judge, judge
from batch.ranking.hold_out import (
    Evidence,
    HeldOut,
    hold_out_evidence,
    hold_out_next,
    hold_out_own,
)
from batch.ranking.mask import Mask
from batch.ranking.metric_names import CUTS, Cut
from batch.ranking.metrics import Catalogue, Judged, gain, measure
from batch.ratings import NOBODY, Bools, Ints, Pairs, Ratings
from reference import Floats, best, every_cell, filled_up, inputs_of, ratings_of

NAN = np.nan
MODELS = (*PERSONAL, *REFERENCE)
TUNED = PRESETS["tuned"]
QUICK = TUNED.model_copy(update={"neural": TUNED.neural.model_copy(update={"epochs": 5})})


def generated(
    seed: int, n_users: int, n_items: int, *, timed: bool = True, genres: bool = True
) -> Ratings:
    """Whole stars from three latent factors; popular and matching films are rated more often."""
    random = np.random.default_rng(seed)
    of_user, of_film = random.normal(size=(n_users, 3)), random.normal(size=(n_items, 3))
    fame = random.normal(scale=0.8, size=n_items)  # (n_items,)
    match = of_user @ of_film.T  # (n_users, n_items)
    rated = random.random(match.shape) < 1 / (1 + np.exp(2 - 1.2 * match - fame))
    noise = random.normal(scale=0.5, size=match.shape)
    stars = np.clip(np.round(3.4 + 0.6 * match + 0.3 * fame + noise), 1, 5)
    times = random.integers(0, 10**6, match.shape).astype(np.float64)
    return ratings_of(
        np.where(rated, stars, NAN),
        genres=(of_film > 0.7).astype(np.float64) if genres else None,
        times=times if timed else None,
    )


def trending(seed: int) -> Ratings:
    """60 users rate 80 films, most of them in the weeks after a film comes out.

    The first ten users have not rated for two years.
    """
    random = np.random.default_rng(seed)
    released = np.sort(random.uniform(-100, 1000, 80))  # (80,) days
    stars = np.full((60, 80), NAN)
    times = np.full((60, 80), NAN)
    for user in range(60):
        for day in random.uniform(0, 250 if user < 10 else 1000, 30):
            age = day - released  # (80,)
            odds = np.where((age >= 0) & np.isnan(stars[user]), np.exp(-age / 50), 0.0) + 1e-9
            film = random.choice(80, p=odds / odds.sum())
            if np.isnan(stars[user, film]):
                stars[user, film] = random.integers(2, 6)
                times[user, film] = day * DAY
    genres = (random.random((80, 3)) < 0.4).astype(np.float64)
    return ratings_of(stars, genres=genres, times=times)


@dataclass
class Learning:
    """What weights were learnt on and from, and the weights."""

    ensemble: Ensemble
    taste: Ratings
    trend: Ratings
    weights: Weights | None


@dataclass
class Night:
    """The ensembles, ratings and results of one evaluation, in both cuts."""

    learnings: Mapping[Cut, Learning]  # the weights of the measured blends
    published: Learning
    ensembles: Mapping[Cut, Ensemble]
    judgements: Mapping[Cut, Mapping[str, Judged]]

    @property
    def measured(self) -> Ensemble:
        """The ensemble that `own` measures."""
        return self.ensembles["own"]

    @property
    def judged(self) -> Mapping[str, Judged]:
        """What it lists and predicts."""
        return self.judgements["own"]

    @property
    def learnt(self) -> Learning:
        """Where its blend's weights come from."""
        return self.learnings["own"]

    @property
    def weights(self) -> Weights:
        """The weights of its blend."""
        assert self.learnt.weights is not None
        return self.learnt.weights


def recorded(ratings: Ratings, block: int = 100, seed: int = 0, users: int = 1000) -> Night:
    """Run an evaluation and record what it passes from step to step."""
    learnt: list[Learning] = []
    measured: list[tuple[Ensemble, dict[str, Judged]]] = []

    def learning(ensemble: Ensemble, taste: Ratings, trend: Ratings, *rest: Any) -> Weights | None:
        weights = learn_weights(ensemble, taste, trend, *rest)
        learnt.append(Learning(ensemble, taste, trend, weights))
        return weights

    def judging(scorer: Ensemble, *rest: Any) -> dict[str, Judged]:
        judged = judge(scorer, *rest)
        measured.append((scorer, judged))
        return judged

    inputs = inputs_of(block=block, seed=seed, users=users)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "learn_weights", learning)
        patch.setattr(evaluate, "judge", judging)
        # Trends are learnt even from few, and where they do not help.
        patch.setattr(blend_weights, "LEAST_FOLLOWERS", 10)
        patch.setattr(blend_weights, "MIN_GAIN", -100.0)
        patch.setattr(metrics, "RESAMPLES", 2)  # intervals are not recorded
        evaluation = evaluate.evaluate(ratings, QUICK, inputs, 1)
    *of_cuts, of_published = learnt
    assert evaluation.weights is of_published.weights
    cuts = CUTS if len(measured) == 2 else ("own",)
    return Night(
        learnings=dict(zip(cuts, of_cuts, strict=True)),
        published=of_published,
        ensembles={cut: scorer for cut, (scorer, _) in zip(cuts, measured, strict=True)},
        judgements={cut: judged for cut, (_, judged) in zip(cuts, measured, strict=True)},
    )


def everyone(ratings: Ratings) -> Ints:
    """All rows."""
    return np.arange(ratings.n_users)


def blended(scorer: Ensemble, users: Ints) -> Scores:
    """The blend's ratings and scores of all films, (b, n_items) each; nan where not listed."""
    shape = len(users), scorer.ratings.n_items
    block = scorer.rank_users(["blend"], users, shape[1], every_cell(*shape))["blend"]
    support, relevance = np.full(shape, NAN), np.full(shape, NAN)
    listed = block.listed != NOBODY
    cells = Pairs.listed(block.listed)
    support[cells] = block.support[listed]
    relevance[cells] = block.score[listed]
    rating = block.predicted.reshape(shape)
    assert block.rating[listed].tobytes() == rating[cells].tobytes()
    return Scores(rating, support, relevance)


def of_every_film(scorer: Ensemble, users: Ints) -> dict[str, Floats]:
    """The features of all films, rated or not, name -> (b, n_items)."""
    shape = len(users), scorer.ratings.n_items
    everything = ratings_of(np.ones(scorer.ratings.matrix.shape))
    [block] = scorer.candidate_features(users, len(users), everything)
    return {name: values.reshape(shape) for name, values in block.of_held.items()}


def bytes_of(night: Night, cut: Cut) -> list[bytes]:
    """The weights of the measured blend; scores of all models, lists and predictions in a cut."""
    measured = night.ensembles[cut]
    users = everyone(measured.ratings)
    weights = night.learnings[cut].weights
    assert weights is not None
    arrays = [np.array(list(weights.figures().values())), measured.popularity]
    scores = {name: model.score(users) for name, model in measured.models.items()}
    scores["blend"] = blended(measured, users)
    for name, of_model in scores.items():
        arrays += [of_model.rating, of_model.support, of_model.relevance]
        arrays += [night.judgements[cut][name].listed, night.judgements[cut][name].predicted]
    return [array.tobytes() for array in arrays]


SMALL = generated(0, 60, 80)
TRENDING = trending(0)


@pytest.fixture(scope="module")
def night() -> Night:
    """An evaluation of 60 users x 80 films."""
    return recorded(SMALL)


@pytest.fixture(scope="module")
def trends() -> Night:
    """An evaluation of 60 users x 80 films that rise and fade."""
    return recorded(TRENDING)


# Diversity and filters


def test_the_blend_may_be_diverse(night: Night) -> None:
    """With diversity only the blend's lists change, to unlike films in order of score."""
    diverse = replace(night.measured, diversity=0.7)
    users, n_items = everyone(diverse.ratings), diverse.ratings.n_items
    names = [*MODELS, "blend", BY_SCORE]
    plain = night.measured.rank_users(names, users, 5)
    ranked = diverse.rank_users(names, users, 5)
    whole = night.measured.rank_users(["blend"], users, n_items)["blend"]
    for name in (*MODELS, BY_SCORE):
        assert ranked[name].listed.tobytes() == plain[name].listed.tobytes()
    assert plain[BY_SCORE].listed.tobytes() == plain["blend"].listed.tobytes()
    genres = diverse.ratings.genres
    for user in users.tolist():
        films = films_of(whole.listed[user])
        scores = whole.score[user, : len(films)]
        rows = np.array([films], dtype=np.int64)
        kept = diversify(rows, scores[None, :], genres, 0.7, 5)[0]
        positions = [position for position in kept.tolist() if position != NOBODY]
        listed = films_of(ranked["blend"].listed[user])
        assert listed == [films[position] for position in positions]
        listed_scores = ranked["blend"].score[user, : len(listed)]
        assert (np.diff(listed_scores) <= 0).all()
        assert listed_scores.tolist() == [scores[position] for position in positions]
    assert ranked["blend"].listed.tobytes() != plain["blend"].listed.tobytes()
    metrics = evaluate.evaluate(SMALL, QUICK, inputs_of(block=16, diversity=0.7), 1).metrics
    for cut in CUTS:
        of_blend, by_score = metrics["blend"], metrics[BY_SCORE]
        assert of_blend[f"{cut}.diversity@5"] > by_score[f"{cut}.diversity@5"]
        assert of_blend[f"{cut}.rmse"] == by_score[f"{cut}.rmse"]
        assert BY_SCORE not in night.judgements[cut]


def films_of(row: Ints) -> list[int]:
    """The films of one list."""
    return [film for film in row.tolist() if film != NOBODY]


def test_no_model_lists_filtered_films(night: Night) -> None:
    """With filters each model lists the next films instead, and its predictions stay the same."""
    scorer, random = night.measured, np.random.default_rng(0)
    users, n_items = everyone(scorer.ratings), scorer.ratings.n_items
    for_user = (random.random(scorer.ratings.matrix.shape) < 0.1).astype(np.float64)
    mask = Mask(np.sort(random.permutation(n_items)[:9]), sparse.csr_array(for_user))
    pairs = Pairs(np.array([0, 5]), np.array([1, 2]))
    names = [*MODELS, "blend"]
    whole = scorer.rank_users(names, users, n_items, pairs)
    filtered = replace(scorer, mask=mask).rank_users(names, users, 5, pairs)
    for name in names:
        assert whole[name].predicted.tobytes() == filtered[name].predicted.tobytes()
        for user in users.tolist():
            excluded = {*mask.for_everyone.tolist(), *mask.for_user[[user]].indices.tolist()}
            kept = [film for film in films_of(whole[name].listed[user]) if film not in excluded]
            films = films_of(filtered[name].listed[user])
            assert not excluded & set(films)
            if name != "blend":  # with filters the blend has other candidates
                assert films == kept[:5]


# Spare films


@pytest.mark.parametrize("diversity", [0.0, 0.5])
def test_spare_films_follow_those_that_are_shown(diversity: float, night: Night) -> None:
    """The first n are the lists without spare films; others follow by score, without reasons."""
    users = np.arange(SMALL.n_users)
    names = [*MODELS, "blend"]
    scorer = replace(night.measured, diversity=diversity)
    shown = scorer.rank_with_evidence(names, users, 5)
    stored = scorer.rank_with_evidence(names, users, 5, spare=7)
    n_spare = 0
    for name in names:
        lists = stored[name]
        assert lists.listed.shape == (60, 12)
        assert lists.listed[:, :5].tolist() == shown[name].listed.tolist()
        n_spare += int((lists.listed[:, 5:] != NOBODY).sum())
        for films, scores in zip(lists.listed, np.round(lists.score, 6), strict=True):
            listed = films[films != NOBODY].tolist()
            assert len(set(listed)) == len(listed)
            assert (np.diff(scores[films != NOBODY]) <= 0).all()
        reasons = lists.reasons(SMALL)
        assert reasons[:, :5].tolist() == shown[name].reasons(SMALL).tolist()
        assert not reasons[:, 5:].any()
    assert n_spare > 1000
    if not diversity:
        whole = scorer.rank_users(names, users, 12)
        assert all((whole[name].listed == stored[name].listed).all() for name in names)


# What the blend is learnt from


def cuts_of(ratings: Ratings) -> dict[Cut, HeldOut]:
    """What both cuts hold out, of everyone."""
    return {"next": hold_out_next(ratings, 1000, 0), "own": hold_out_own(ratings, 1000, 0)}


def known_of(ratings: Ratings) -> Bools:
    """The ratings that `own` leaves, (n_ratings,)."""
    return ~cuts_of(ratings)["own"].removed


def evidence_of(ratings: Ratings) -> tuple[Evidence, Bools]:
    """What the weights of the blend of `own` are learnt from, and the ratings fitted for it."""
    known = known_of(ratings)
    evidence = hold_out_evidence(ratings, known, 1000, 0)
    assert not (evidence.fitted & ~known).any()
    return evidence, evidence.fitted


def cells_of(ratings: Ratings) -> set[tuple[int, int]]:
    """User and film of each rating."""
    users = ratings.user_of_rating().tolist()
    return set(zip(users, ratings.matrix.indices.tolist(), strict=True))


def test_weights_are_learnt_from_ratings_that_are_not_measured(night: Night) -> None:
    """No rating that a cut removes has a part in the weights that it measures.

    Those that are published are learnt from evidence among all ratings, the newest too.
    """
    removed = {cut: cells_of(SMALL.keep(held.removed)) for cut, held in cuts_of(SMALL).items()}
    parts = [(night.learnings[cut], cells_of(SMALL) - cells) for cut, cells in removed.items()]
    for learning, of_all in (*parts, (night.published, cells_of(SMALL))):
        fitted = cells_of(learning.ensemble.ratings)
        for held in (learning.taste, learning.trend):
            cells = cells_of(held)
            assert 0 < len(cells) < len(of_all) / 4
            assert cells <= of_all - fitted
            assert {user for user, _ in cells} <= {user for user, _ in fitted}
        assert len(of_all) / 2 < len(fitted)
        assert fitted < of_all
        assert learning.ensemble.blend is None
    assert night.published.weights is not None
    for cut, measured in night.ensembles.items():
        assert cells_of(night.published.trend) & removed[cut]
        assert cells_of(night.published.taste) & removed[cut]
        assert measured.blend is not None
        assert measured.blend.weights is night.learnings[cut].weights
        assert night.published.weights.figures() != night.weights.figures()


def fitted_as(night: Ratings, ratings: Ratings) -> dict[str, Model]:
    """All models on these ratings, the network for as many epochs as a night would choose.

    It chooses what is best on all that `own` leaves of its ratings.
    """
    epochs = best_epochs(night.keep(known_of(night)), QUICK.neural, 0)
    network: Future[Model] = Future()
    network.set_result(fit("neural", ratings, QUICK.neural, 0, epochs=epochs))
    return fit_all(ratings, QUICK, 0, network)


def test_weights_are_learnt_on_other_models_than_are_measured(night: Night) -> None:
    """Each cut is measured on models fitted without what it removes, and weights on others.

    All networks are trained for as many epochs as the published one, those of `next` for as
    many as that of a night at that time.
    """
    _, fitted = evidence_of(SMALL)
    published = hold_out_evidence(SMALL, np.ones(SMALL.n_ratings, dtype=np.bool_), 1000, 0)
    expected = [
        (night.learnt.ensemble, SMALL, SMALL.keep(fitted)),
        (night.published.ensemble, SMALL, SMALL.keep(published.fitted)),
    ]
    for cut, held_out in cuts_of(SMALL).items():
        left = SMALL.keep(~held_out.removed)
        expected.append((night.ensembles[cut], left if cut == "next" else SMALL, left))
    users = np.arange(SMALL.n_users)
    for scorer, of_night, ratings in expected:
        assert cells_of(scorer.ratings) == cells_of(ratings)
        assert (scorer.ratings.matrix != ratings.matrix).nnz == 0
        for name, model in fitted_as(of_night, ratings).items():
            relevance = scorer.models[name].score(users).relevance
            assert relevance.tobytes() == model.score(users).relevance.tobytes()


@pytest.mark.parametrize("which", ["night", "trends"])
def test_what_weights_are_learnt_from_is_counted(
    which: str, request: pytest.FixtureRequest
) -> None:
    """Held-out ratings teach stars; those of candidates teach taste and trends."""
    night: Night = request.getfixturevalue(which)
    learnt, weights = night.learnt, night.weights
    assert weights.n_pairs == learnt.taste.n_ratings
    assert len(cells_of(learnt.taste) & cells_of(learnt.trend)) > 0
    n_liked = n_next = 0
    features = of_every_film(learnt.ensemble, everyone(SMALL))
    for user in range(60):
        by_taste, hottest = slow_candidates(learnt.ensemble, features, user, user)
        n_liked += len(liked_by(learnt.taste, user) & set(by_taste))
        n_next += len(liked_by(learnt.trend, user) & {*by_taste, *hottest})
    assert (weights.n_liked, weights.n_trend) == (n_liked, n_next)
    assert n_liked > 30
    assert n_next > 30
    names = set(weights.names)
    assert {f"{name}{part}" for name in PERSONAL for part in ("", "_evidence", "_sure")} < names
    signals = {"preference", "liking", "session_5", "fame", "user_effect", "item_effect"}
    assert signals | {"affinity"} < names
    trend_names = [*(f"{half_life:g}" for half_life in HALF_LIVES), "own", "liked", "age"]
    assert {f"trend_{name}" for name in trend_names} < names


def liked_by(ratings: Ratings, user: int) -> set[int]:
    """The films that a user rated with four stars or more."""
    line = ratings.matrix[[user]]
    return set(line.indices[line.data >= 4.0].tolist())


def with_added(ratings: Ratings, chosen: Bools, change: Floats | float) -> Ratings:
    """The same cells with the chosen ratings changed by so much."""
    matrix = ratings.matrix.copy()
    matrix.data[chosen] += change
    return replace(ratings, matrix=matrix)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("change", [100.0, -100.0])
def test_held_out_ratings_change_nothing(change: float, cut: Cut, night: Night) -> None:
    """Other held-out values change no measured weight, score, list or prediction of their cut."""
    changed = with_added(SMALL, cuts_of(SMALL)[cut].removed, change)
    assert bytes_of(recorded(changed), cut) == bytes_of(night, cut)


def test_training_ratings_change_everything(night: Night) -> None:
    """One training rating changes weights and scores, whether or not weights are learnt from it."""
    evidence, fitted = evidence_of(SMALL)
    users = np.arange(SMALL.n_users)
    for chosen in (fitted, evidence.taste, evidence.trend):
        liked = np.flatnonzero(chosen & (SMALL.matrix.data >= 4.0))
        cell = liked[len(liked) // 2]
        changed = recorded(with_added(SMALL, np.arange(SMALL.n_ratings) == cell, -2.0))
        assert changed.weights.figures() != night.weights.figures()
        for cut in CUTS:
            rating = blended(night.ensembles[cut], users).relevance
            assert blended(changed.ensembles[cut], users).relevance.tobytes() != rating.tobytes()


def test_ratings_to_learn_from_change_no_feature(night: Night) -> None:
    """Other values of the ratings that weights are learnt from change no feature.

    All they decide is how long the network is trained.
    """
    _, fitted = evidence_of(SMALL)
    rest = with_added(SMALL, ~fitted, 100.0).keep(fitted)
    changed = unblended(rest, fitted_as(SMALL, rest))
    users, everything = np.arange(SMALL.n_users), ratings_of(np.ones((60, 80)))
    [block] = night.learnt.ensemble.candidate_features(users, 100, everything)
    [changed_block] = changed.candidate_features(users, 100, everything)
    assert bytes_by_name(changed_block.of_candidates) == bytes_by_name(block.of_candidates)
    assert bytes_by_name(changed_block.of_held) == bytes_by_name(block.of_held)
    assert changed_block.candidates.rows.tobytes() == block.candidates.rows.tobytes()
    assert changed_block.candidates.columns.tobytes() == block.candidates.columns.tobytes()
    assert len(block.candidates.rows) > 1000


def bytes_by_name(features: Mapping[str, Floats]) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in features.items()}


# The ensemble


@pytest.mark.parametrize("n", [1, 5, 80])
def test_every_model_and_the_blend(n: int, night: Night) -> None:
    """Lists and predictions are those of each model; the blend's support is the rating count."""
    users, counts = np.array([5, 0, 17]), night.measured.ratings.item_counts()
    cells = every_cell(3, 80)
    ranked = night.measured.rank_users([*MODELS, "blend"], users, n, cells)
    assert list(ranked) == [*MODELS, "blend"]
    rated = [set(night.measured.ratings.matrix[[user]].indices.tolist()) for user in users]
    for name in MODELS:
        scores, block = night.measured.models[name].score(users), ranked[name]
        assert block.predicted.tobytes() == scores.rating.tobytes()
        lists = [
            best(row.tolist(), own, counts.tolist(), n)
            for row, own in zip(scores.relevance, rated, strict=True)
        ]
        assert block.listed.tolist() == [filled_up(films, n) for films in lists]
        for listed_values, values in (
            (block.score, scores.relevance),
            (block.rating, scores.rating),
            (block.support, scores.support),
        ):
            expected = [
                [*row[films], *[NAN] * (n - len(films))]
                for row, films in zip(values, lists, strict=True)
            ]
            assert listed_values.tobytes() == np.array(expected).tobytes()
        assert night.measured.baseline(name) is night.measured.models[name].baseline
    user_counts = np.diff(night.measured.ratings.matrix.indptr)[users]
    listed = ranked["blend"].listed != NOBODY
    assert listed[:, 0].all()
    support = np.where(listed, user_counts[:, None], NAN)
    np.testing.assert_array_equal(ranked["blend"].support, support)
    bias = fit_baseline("bias", night.measured.ratings)
    np.testing.assert_array_equal(night.measured.baseline("blend").rows(users), bias.rows(users))
    without_blend = unblended(night.measured.ratings, night.measured.models)
    assert list(without_blend.rank_users([*MODELS, "blend"], users, n, cells)) == [*MODELS]


@pytest.mark.parametrize("names", [["blend"], ["neural"], ["bias", "blend", "item_item"], []])
def test_any_models_may_be_requested(names: list[str], night: Night) -> None:
    """A model's results are the same alone or with others and in any order, to the last bit."""
    users, cells = np.array([40, 3, 17, 3]), Pairs(np.array([2, 0, 2, 1]), np.array([7, 79, 0, 7]))
    of_all = night.measured.rank_users([*MODELS, "blend"], users, 5, cells)
    ranked = night.measured.rank_users(names, users, 5, cells)
    assert list(ranked) == names
    for name in names:
        assert ranked[name].evidence is None  # it was not requested
        for field in ("listed", "score", "rating", "support", "predicted"):
            values = getattr(ranked[name], field)
            assert values.tobytes() == getattr(of_all[name], field).tobytes(), (name, field)
        assert ranked[name].predicted.shape == (4,)


def slow_candidates(
    scorer: Ensemble, features: Mapping[str, Floats], row: int, user: int
) -> tuple[list[int], list[int]]:
    """The candidates of one user by taste, and of the hottest films those that are not among them.

    `features` are of every film for a block of users, the user's in this row.
    """
    counts = scorer.ratings.item_counts().tolist()
    rated = set(scorer.ratings.matrix[[user]].indices.tolist())
    if not rated:
        return [], []
    few_ratings = {film for film in range(len(counts)) if counts[film] < 5}
    scores = features["preference"][row] + features["liking"][row]  # (n_items,)
    by_taste = best(scores.tolist(), rated | few_ratings, counts, ensemble.CANDIDATES)
    times = scorer.ratings.rated_at
    if scorer.half_life is None or times is None:
        return by_taste, []
    own_times = times[scorer.ratings.user_of_rating() == user]
    if max(own_times) < max(times) - 365 * DAY:
        return by_taste, []
    unrated = {film for film in range(len(counts)) if counts[film] == 0}
    hottest = best(scorer.popularity.tolist(), rated | unrated, counts, ensemble.HOTTEST)
    return by_taste, [film for film in hottest if film not in by_taste]


@pytest.mark.parametrize("which", ["night", "trends"])
@pytest.mark.parametrize(("n", "n_hottest"), [(1, 3), (7, 3), (7, 100), (100, 20)])
def test_candidates_have_the_highest_scores(
    n: int,
    n_hottest: int,
    which: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Candidates are unrated films with five ratings and the highest preference and liking.

    Active users also have the most popular of the others, where popularity fades.
    """
    monkeypatch.setattr(ensemble, "CANDIDATES", n)
    monkeypatch.setattr(ensemble, "HOTTEST", n_hottest)
    night: Night = request.getfixturevalue(which)
    users = np.array([3, 40])  # of `trends`, user 3 is not active
    features = of_every_film(night.measured, users)
    relevance = blended(night.measured, users).relevance
    [block] = night.measured.candidate_features(users, 10)
    for row, user in enumerate(users):
        by_taste, hottest = slow_candidates(night.measured, features, row, user)
        assert by_taste
        # Only candidates have a positive score.
        assert set(np.flatnonzero(relevance[row] > 0).tolist()) == {*by_taste, *hottest}
        own = block.candidates.rows == row
        assert block.candidates.columns[own].tolist() == by_taste + hottest
        is_by_taste = block.by_taste[own].tolist()
        assert is_by_taste == [True] * len(by_taste) + [False] * len(hottest)
        if which == "trends":
            assert bool(hottest) == (user == 40)


def without_fading(scorer: Ensemble) -> Ensemble:
    """The same with the plain count in place of popularity."""
    models = {**scorer.models, "popular": scorer.models["popular_all"]}
    return replace(scorer, models=models)


def test_no_film_is_hot_where_popularity_does_not_fade(
    trends: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without times, or where every rating counts one, all candidates are chosen by taste."""
    monkeypatch.setattr(ensemble, "CANDIDATES", 5)
    users = everyone(TRENDING)
    timeless = replace(TRENDING, rated_at=None)
    without_times = unblended(timeless, fit_all(timeless, QUICK, 0))
    assert without_times.half_life is None
    for scorer in (without_times, without_fading(trends.measured)):
        [block] = scorer.candidate_features(users, 100)
        assert block.by_taste.all()
    assert trends.measured.half_life is not None
    [block] = trends.measured.candidate_features(users, 100)
    assert not block.by_taste.all()


def test_films_without_ratings_are_not_hot(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few films are rated, one that nobody rated is no candidate."""
    monkeypatch.setattr(ensemble, "HOTTEST", 100)
    stars = np.full((60, 100), NAN)
    times = np.full((60, 100), NAN)
    stars[:, :80][Pairs.stored(TRENDING.matrix)] = TRENDING.matrix.data
    times[:, :80][Pairs.stored(TRENDING.matrix)] = TRENDING.rated_at
    ratings = ratings_of(stars, times=times)
    scorer = unblended(ratings, fit_all(ratings, QUICK, 0))
    assert scorer.half_life is not None
    [block] = scorer.candidate_features(everyone(ratings), 100)
    assert not block.by_taste.all()
    n_ratings = ratings.item_counts()[block.candidates.columns]  # (n_listed,)
    assert 0 < n_ratings.min() < 5


@pytest.mark.parametrize("which", ["night", "trends"])
def test_scale_is_of_the_ratings_learnt_from(which: str, request: pytest.FixtureRequest) -> None:
    """The scale of features is that of the ratings learnt from, for any user.

    Measured stars are the bias baseline, a level, and weighted features and products on that
    scale.
    """
    night: Night = request.getfixturevalue(which)
    weights, learnt = night.weights, night.learnt
    features = of_every_film(learnt.ensemble, everyone(SMALL))
    cells = Pairs.stored(learnt.taste.matrix)
    assert tuple(features) == weights.names
    for feature, values in enumerate(features.values()):
        mean = pytest.approx(values[cells].mean(), rel=1e-9, abs=1e-9)
        assert weights.mean[feature] == mean
        spread = values[cells].std()
        expected = spread if spread > 1e-9 else 1.0
        assert weights.spread[feature] == pytest.approx(expected, rel=1e-9)
    users = np.array([9, 30, 4])
    stars = fit_baseline("bias", night.measured.ratings).rows(users) + weights.level
    cut = []
    for feature, values in enumerate(of_every_film(night.measured, users).values()):
        steps = (values - weights.mean[feature]) / weights.spread[feature]
        stars += weights.stars[feature] * steps
        cut.append(np.clip(steps, -3.0, 3.0))
    stars += np.einsum("jk,j...,k...->...", weights.products, cut, cut)
    np.testing.assert_allclose(blended(night.measured, users).rating, stars, rtol=1e-9)


def test_everyone_with_evidence_is_learnt_from(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights are learnt from all users with held-out ratings of either kind, and no others."""
    samples: list[list[int]] = []

    def candidate_features(self: Ensemble, users: Any, block: int, held: Ratings) -> Any:
        samples.append(users.tolist())
        return iter(())

    monkeypatch.setattr(Ensemble, "candidate_features", candidate_features)
    stars = np.full((60, 80), 4.0)
    rows = np.arange(60)[:, None]
    taste = ratings_of(np.where(rows % 3 == 0, stars, NAN))
    trend = ratings_of(np.where(rows % 5 == 0, stars, NAN))
    learn_weights(night.learnt.ensemble, taste, trend, 4.0, 100)
    assert samples == [[user for user in range(60) if user % 3 == 0 or user % 5 == 0]]


def test_only_models_that_are_needed_are_scored(night: Night) -> None:
    """For the published lists no baseline is scored, and for one model's no other."""
    scored: list[str] = []
    models = {name: Recording(name, model, scored) for name, model in night.measured.models.items()}
    recording = replace(night.measured, models=models)
    # For the hottest films `popular` is scored for one user.
    for names, expected in (
        (PUBLISHED, list(PERSONAL)),
        (("blend",), list(PERSONAL)),
        (("neural",), ["neural"]),
        ((*PUBLISHED, "bias"), [*PERSONAL, "bias"]),
    ):
        scored.clear()
        assert list(recording.rank_users(names, np.arange(3), 5)) == list(names)
        assert scored == expected


@dataclass(frozen=True)
class Recording:
    """A model that records that it was scored."""

    name: str
    model: Any
    scored: list[str]

    @property
    def baseline(self) -> Baseline:
        """The model's baseline."""
        return self.model.baseline  # type: ignore[no-any-return]

    def score(self, users: Any) -> Scores:
        """The model's scores."""
        if len(users) > 1:
            self.scored.append(self.name)
        return self.model.score(users)  # type: ignore[no-any-return]

    def weights(self) -> Any:
        """The model's weights."""
        return self.model.weights()


def test_only_the_sample_is_cut_from_the_inner_fit(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a sample of users a fifth is learnt from; models are fitted on all but the newest."""
    monkeypatch.setattr(evaluate, "SAMPLED_USERS", 25)
    sampled = recorded(SMALL)
    learnt = sampled.learnt
    chosen = np.flatnonzero(learnt.taste.user_counts())
    known = SMALL.keep(known_of(SMALL))
    assert len(chosen) == 25
    fifth = known.user_counts()[chosen] // 5
    assert learnt.taste.user_counts()[chosen].tolist() == fifth.tolist()
    assert len(np.flatnonzero(learnt.trend.user_counts())) == 25
    newest = cells_of(known.keep(known.newest(0.15)))
    rest = cells_of(known) - cells_of(learnt.taste) - newest
    assert cells_of(learnt.ensemble.ratings) == rest
    assert cells_of(learnt.trend) < newest
    assert sampled.weights.n_pairs == learnt.taste.n_ratings < night.weights.n_pairs
    again = recorded(SMALL).learnt
    assert cells_of(again.taste) == cells_of(learnt.taste)
    assert cells_of(again.trend) == cells_of(learnt.trend)


@pytest.mark.parametrize("block", [1, 2, 100])
def test_features_of_requested_users(block: int, night: Night) -> None:
    """Features are computed block by block in the order requested, each user's own."""
    requested, held = np.array([40, 3, 17]), night.learnt.taste
    all_users = np.arange(SMALL.n_users)
    whole = of_every_film(night.measured, all_users)
    [of_all] = night.measured.candidate_features(all_users, 1000)
    all_rows, all_columns = of_all.candidates
    row = 0
    for features in night.measured.candidate_features(requested, block, held):
        users = features.users
        assert users.tolist() == requested[row : row + block].tolist()
        candidates, rated = [], []
        for position, user in enumerate(users):
            candidates += [(position, film) for film in all_columns[all_rows == user]]
            rated += [(position, film) for film in held.matrix[[user]].indices]
        assert list(zip(*features.candidates, strict=True)) == candidates
        for name, values in whole.items():
            expected = [values[users[position], film] for position, film in candidates]
            actual = features.of_candidates[name]
            np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)
            expected = [values[users[position], film] for position, film in rated]
            np.testing.assert_allclose(features.of_held[name], expected, rtol=1e-9, atol=1e-9)
        assert set(whole) == set(features.of_candidates) == set(features.of_held)
        row += len(users)
    assert row == 3


@pytest.mark.parametrize("n_candidates", [10, 100])
@pytest.mark.parametrize("which", ["night", "trends"])
def test_training_blocks_cell_by_cell(
    which: str,
    n_candidates: int,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Training blocks are which candidates were liked, and all held-out pairs and stars.

    Taste is learnt from candidates by taste, trends from all of them, and neither from films
    held out for the other only.
    """
    training: list[TrainingBlock] = []
    monkeypatch.setattr(ensemble, "CANDIDATES", n_candidates)
    monkeypatch.setattr(ensemble, "learn", lambda _names, blocks: training.extend(blocks))
    night: Night = request.getfixturevalue(which)
    scorer, taste, trend = night.learnt.ensemble, night.learnt.taste, night.learnt.trend
    learn_weights(scorer, taste, trend, 4.0, 25)
    users = np.flatnonzero(taste.user_counts() + trend.user_counts())
    features = of_every_film(scorer, users)
    baseline = fit_baseline("bias", scorer.ratings).rows(users)
    n_hot = n_left_out = 0
    for start, block in zip(range(0, len(users), 25), training, strict=True):
        taste_cells: list[Floats] = []
        trend_cells: list[Floats] = []
        taste_liked: list[bool] = []
        trend_liked: list[bool] = []
        pairs: list[list[float]] = []
        departures: list[float] = []
        followers: list[int] = []
        for row, user in enumerate(users[start : start + 25].tolist(), start):
            by_taste, hottest = slow_candidates(scorer, features, row, user)
            films = by_taste + hottest
            levels = np.array([values[row, films] for values in features.values()]).T
            centred = dict(zip(films, levels - levels.mean(axis=0), strict=True))
            of_taste, of_trend = truth_of(taste, user), truth_of(trend, user)
            if of_taste:
                kept = [film for film in by_taste if film in of_taste or film not in of_trend]
                n_left_out += len(by_taste) - len(kept)
                taste_cells += [centred[film] for film in kept]
                taste_liked += [of_taste.get(film, 0.0) >= 4.0 for film in kept]
            if of_trend:
                kept = [film for film in films if film in of_trend or film not in of_taste]
                n_left_out += len(films) - len(kept)
                trend_cells += [centred[film] for film in kept]
                trend_liked += [of_trend.get(film, 0.0) >= 4.0 for film in kept]
                n_hot += len(set(hottest) & set(kept))
                followers += [user] * len(kept)
            for film, stars in of_taste.items():
                pairs.append([values[row, film] for values in features.values()])
                departures.append(stars - baseline[row, film])
        assert block.followers.tolist() == followers
        assert block.taste.liked.tolist() == taste_liked
        assert block.trend.liked.tolist() == trend_liked
        for actual, expected in (
            (block.taste.features, taste_cells),
            (block.trend.features, trend_cells),
            (block.pairs, pairs),
            (block.departures, departures),
        ):
            np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)
    assert len(users) > 50
    assert n_left_out > 0
    assert n_hot > 0 or which == "night"


def truth_of(ratings: Ratings, user: int) -> dict[int, float]:
    """The stars of one user by film."""
    line = ratings.matrix[[user]]
    return dict(zip(line.indices.tolist(), line.data.tolist(), strict=True))


# The blend's lists


def slow_relevance(scorer: Ensemble, users: Ints) -> tuple[Floats, list[set[int]]]:
    """The blend's scores of all unrated films, (b, n_items), user by user; and the candidates."""
    features = of_every_film(scorer, users)
    relevance = np.full((len(users), scorer.ratings.n_items), NAN)
    candidates = []
    blend = scorer.blend
    assert blend is not None
    for row, user in enumerate(users):
        by_taste, hottest = slow_candidates(scorer, features, row, user)
        films = by_taste + hottest
        candidates.append(set(films))
        scores = features["preference"][row] + features["liking"][row]  # (n_items,)
        relevance[row] = 1 / (1 + np.exp(-scores)) - 1
        relevance[row, scorer.ratings.matrix[[user]].indices] = NAN
        if blend.weights is None:
            relevance[row, films] += 1
        elif films:
            names = blend.weights.names
            own = np.stack([features[name][row, films] for name in names], axis=1)
            steps = (own - own.mean(axis=0)) / blend.weights.list_spread
            odds = blend.weights.odds + steps @ blend.weights.relevance
            relevance[row, films] = 1 / (1 + np.exp(-odds))
    return relevance, candidates


@pytest.mark.parametrize("learnt", [True, False])
@pytest.mark.parametrize(
    ("which", "n_candidates"), [("night", 1), ("night", 12), ("night", 100), ("trends", 3)]
)
@pytest.mark.parametrize("n", [1, 5, 12, 30, 100])
def test_fillers_come_behind_candidates(
    n: int,
    which: str,
    n_candidates: int,
    learnt: bool,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Behind all candidates come other films by preference and liking, below 0, none twice."""
    monkeypatch.setattr(ensemble, "CANDIDATES", n_candidates)
    night: Night = request.getfixturevalue(which)
    measured = night.measured
    blend = measured.blend
    assert blend is not None
    if not learnt:
        measured = replace(measured, blend=replace(blend, weights=None))
    users, counts = np.arange(60)[::-1], measured.ratings.item_counts()
    block = measured.rank_users(["blend"], users, n)["blend"]
    assert block.score.shape == (60, n)
    expected, candidates = slow_relevance(measured, users)
    n_fillers = 0
    for row, user in enumerate(users):
        rated = set(measured.ratings.matrix[[user]].indices.tolist())
        films = best(expected[row].tolist(), rated, counts.tolist(), n)
        length = len(films)
        assert block.listed[row].tolist() == filled_up(films, n)
        assert length == min(n, 80 - len(rated)) == len(set(films) - rated)
        scores = block.score[row]
        np.testing.assert_allclose(scores[:length], expected[row, films], rtol=1e-9, atol=1e-9)
        for values in (block.score, block.rating, block.support):
            assert np.isnan(values[row, length:]).all()
        n_first = min(n, len(candidates[row]))
        assert (scores[:n_first] > 0).all()
        assert (scores[n_first:length] < 0).all()
        assert set(films[:n_first]) <= candidates[row]
        n_fillers += length - n_first
    if n == 100:
        assert n_fillers > 0


def test_films_with_few_ratings_come_last(night: Night) -> None:
    """A long list ends in films with fewer than five ratings, by preference and liking.

    Where popularity does not fade, that is, and none of them is hot.
    """
    counts, users = night.measured.ratings.item_counts(), np.array([11, 30])
    plain = without_fading(night.measured)
    block = plain.rank_users(["blend"], users, 80)["blend"]
    features = of_every_film(plain, users)
    for row, user in enumerate(users):
        rated = set(plain.ratings.matrix[[user]].indices.tolist())
        unrated = sorted(set(range(80)) - rated)
        few = [film for film in unrated if counts[film] < 5]
        assert 0 < len(few) < len(unrated)
        scores = np.full(80, NAN)
        scores[few] = features["preference"][row, few] + features["liking"][row, few]
        last = best(scores.tolist(), set(), counts.tolist(), 80)
        first = block.listed[row, : len(unrated) - len(few)]
        assert block.listed[row].tolist() == filled_up([*first, *last], 80)


@pytest.mark.parametrize("learnt", [True, False])
def test_users_without_ratings_get_no_blend(learnt: bool, night: Night) -> None:
    """A user without ratings has neither list nor predictions; others in the block have both."""
    ratings = SMALL.keep(~SMALL.of(np.array([3, 40])))
    weights = recorded(ratings).weights if learnt else None
    joined = assemble(ratings, fit_all(ratings, QUICK, 0), weights)
    users = np.array([40, 8, 3, 0])
    block = joined.rank_users(["blend"], users, 80, every_cell(4, 80))["blend"]
    is_empty = np.isin(users, [3, 40])
    assert (block.listed[is_empty] == NOBODY).all()
    assert (block.listed[~is_empty, :40] != NOBODY).all()
    predicted = block.predicted.reshape(4, 80)
    for values in (block.score, block.rating, block.support, predicted):
        assert np.isnan(values).all(axis=1).tolist() == is_empty.tolist()
    assert np.isfinite(predicted[~is_empty]).all()
    alone = joined.rank_users(["blend"], users[[1, 3]], 80, every_cell(2, 80))["blend"]
    np.testing.assert_array_equal(block.listed[[1, 3]], alone.listed)
    np.testing.assert_allclose(block.score[[1, 3]], alone.score, rtol=1e-9)


@pytest.mark.parametrize("block", [1, 7])
def test_blocks_do_not_matter(block: int, night: Night) -> None:
    """However many users are scored at a time, weights, scale and predictions are the same."""
    in_blocks = recorded(SMALL, block=block)
    figures = pytest.approx(night.weights.figures(), rel=1e-9, abs=1e-9)
    assert in_blocks.weights.figures() == figures
    for cut in CUTS:
        for name, expected in night.judgements[cut].items():
            judged = in_blocks.judgements[cut][name]
            np.testing.assert_allclose(judged.predicted, expected.predicted, rtol=1e-9)
            assert judged.listed.tolist() == expected.listed.tolist()


def test_same_seed_same_bytes(night: Night) -> None:
    """Ratings, parameters and seed decide weights, scores and lists to the last bit."""
    again = recorded(SMALL)
    for cut in CUTS:
        assert bytes_of(again, cut) == bytes_of(night, cut)
    assert recorded(SMALL, seed=1).weights.stars.tobytes() != night.weights.stars.tobytes()


def test_input_is_not_changed() -> None:
    """Evaluating leaves every byte of the ratings as it was."""
    ratings = generated(1, 20, 30)
    matrix = ratings.matrix
    arrays = [matrix.data, matrix.indices, matrix.indptr, ratings.genres, ratings.rated_at]
    before = [array.tobytes() for array in arrays if array is not None]
    recorded(ratings)
    assert [array.tobytes() for array in arrays if array is not None] == before


# Models with fixed predictions


@dataclass(frozen=True)
class FixedModel:
    """A model with these predictions."""

    baseline: Baseline
    rating: Floats  # (n_users, n_items), nan without a prediction

    def score(self, users: Any) -> Scores:
        """The predictions, with support 5."""
        rating = self.rating[users]
        return Scores(rating, np.where(np.isnan(rating), 0.0, 5.0), rating)

    def weights(self) -> dict[str, Floats]:
        """None."""
        return {}


def judged_with(
    predictions: dict[str, Floats], train: Ratings, held: Ratings
) -> tuple[dict[str, Judged], Weights | None]:
    """Models with these predictions, by name, and the blend of them, judged on `held`."""
    nothing = np.full(train.matrix.shape, NAN)

    def fixed(ratings: Ratings, *_: object) -> dict[str, FixedModel]:
        bias = fit_baseline("bias", ratings)
        return {name: FixedModel(bias, predictions.get(name, nothing)) for name in MODELS}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "fit_all", fixed)
        return fit_and_judge(train, held, QUICK, inputs_of(block=16))


def random_ratings(seed: int = 0) -> tuple[Floats, Ratings, Ratings]:
    """Random stars of 40 users for all 80 films: all, the training and the held-out part."""
    random = np.random.default_rng(seed)
    stars = random.integers(1, 6, (40, 80)).astype(np.float64)
    ratings = ratings_of(stars, times=random.random(stars.shape))
    is_held = hold_out_own(ratings, 1000, 0).removed
    return stars, ratings.keep(~is_held), ratings.keep(is_held)


def test_each_model_departs_from_its_own_baseline() -> None:
    """A departure is from the model's own baseline; the blend's baseline is the bias."""
    stars, train, _ = random_ratings()
    kinds = {
        "user_user": "user_mean",
        "item_item": "none",
        "neural": "bias",
        "popular": "none",
        "popular_all": "none",
        "bias": "bias",
    }
    baselines = {name: fit_baseline(kind, train) for name, kind in kinds.items()}
    models = {name: FixedModel(baseline, stars) for name, baseline in baselines.items()}
    joined = unblended(train, models)
    users = np.array([9, 4])
    features = of_every_film(joined, users)
    for name in PERSONAL:
        departure = stars[users] - baselines[name].rows(users)
        np.testing.assert_allclose(features[name], departure, rtol=1e-9, atol=1e-12)
    for name, kind in {**kinds, "blend": "bias"}.items():
        expected = fit_baseline(kind, train).rows(users)
        assert joined.baseline(name).rows(users).tolist() == expected.tolist()


@pytest.mark.parametrize("seed", [0, 1])
def test_two_halves_make_a_whole(seed: int) -> None:
    """Of two models that each predict half of the films, the blend is better than either."""
    stars, train, held = random_ratings(seed)
    is_left = np.arange(80) < 40
    predictions = {
        "user_user": np.where(is_left, stars, NAN),
        "item_item": np.where(is_left, NAN, stars),
    }
    judged, weights = judged_with(predictions, train, held)
    assert weights is not None
    catalogue = Catalogue(train.matrix, train.genres)
    metrics = {name: measure(of_model, catalogue, 0) for name, of_model in judged.items()}
    for name in predictions:
        assert metrics[name]["fallback_share"] == pytest.approx(0.5, abs=0.1)
        assert metrics["blend"]["rmse"] < 0.5 * metrics[name]["rmse"]
        assert metrics["blend"]["precision@5"] > metrics[name]["precision@5"] + 0.1
    gains = gain(judged["blend"], [judged[name] for name in PERSONAL], 0)
    assert gains["precision_gain_low@5"] > 0
    assert gains["rmse_gain"] > 0.5


@pytest.mark.parametrize("name", PERSONAL)
def test_a_perfect_model_has_the_most_weight(name: str) -> None:
    """A perfect model has the most weight, and one that is always opposite a negative weight."""
    stars, train, held = random_ratings()
    for predictions, sign in ((stars, 1), (6 - stars, -1)):
        judged, weights = judged_with({name: predictions}, train, held)
        assert weights is not None
        figures = weights.figures()
        for kind in ("stars", "list"):
            others = {other: figures[f"{kind}_weight_{other}"] for other in weights.names}
            # With the same support everywhere these two features are proportional.
            own = others.pop(name) + others.pop(f"{name}_sure")
            assert sign * own > 2 * max(abs(value) for value in others.values())
        errors = judged["blend"].predicted - judged["blend"].truth
        assert np.sqrt(np.mean(errors**2)) < 0.5


def test_a_model_without_predictions_has_no_weight() -> None:
    """A model without predictions has weight 0, and the blend has predictions for all users."""
    stars, train, held = random_ratings()
    judged, weights = judged_with({"user_user": stars}, train, held)
    assert weights is not None
    figures = weights.figures()
    products = [figure for figure in figures if figure.startswith("stars_product_")]
    for name in ("item_item", "neural"):
        for part in ("", "_evidence", "_sure"):
            assert figures[f"stars_weight_{name}{part}"] == 0.0
            assert not any(f"{name}{part}" in figure for figure in products)
            assert figures[f"list_weight_{name}{part}"] == 0.0
    assert judged["neural"].is_fallback.all()
    assert not judged["blend"].is_fallback.any()


def test_no_model_has_predictions() -> None:
    """Without any prediction the blend still predicts; without weights it is the baseline."""
    _, train, held = random_ratings()
    judged, weights = judged_with({}, train, held)
    assert weights is not None
    assert np.isfinite(judged["blend"].predicted).all()
    bias = fit_baseline("bias", train)
    models = {name: FixedModel(bias, np.full(train.matrix.shape, NAN)) for name in MODELS}
    users = np.array([2, 7])
    scores = blended(assemble(train, models, None), users)
    np.testing.assert_allclose(scores.rating, bias.rows(users), rtol=1e-12)


def test_films_without_genres() -> None:
    """Without genres and times the blend still lists five films for everyone."""
    night = recorded(generated(2, 40, 60, genres=False, timed=False))
    assert list(night.ensembles) == ["own"]
    assert not any(name.startswith(("session", "trend")) for name in night.weights.names)
    assert (night.judged["blend"].listed >= 0).all()
    assert np.isfinite(night.judged["blend"].predicted).all()


def test_blend_of_real_models() -> None:
    """On generated data the blend has a lower RMSE than any model, and better lists than most."""
    ratings = generated(3, 150, 200)
    is_held = hold_out_own(ratings, 1000, 0).removed
    train = ratings.keep(~is_held)
    judged, _ = fit_and_judge(train, ratings.keep(is_held), TUNED, inputs_of(block=64))
    metrics = evaluate.figures(judged, train, 0)
    for name in (*PERSONAL, "bias"):
        assert metrics["blend"]["rmse"] < metrics[name]["rmse"] - 0.05
    for name in ("popular", "bias", "user_user", "neural"):
        assert metrics["blend"]["precision@5"] > metrics[name]["precision@5"] + 0.03
    assert metrics["blend"]["precision@5"] > metrics["item_item"]["precision@5"] - 0.02
    best_rmse = min(metrics[name]["rmse"] for name in PERSONAL)
    rmse_gain = best_rmse - metrics["blend"]["rmse"]
    assert metrics["blend"]["rmse_gain"] == pytest.approx(rmse_gain, rel=1e-12)
