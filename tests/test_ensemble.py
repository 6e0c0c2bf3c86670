"""The ensemble: what the blend is learnt from, its lists, and its gain over the models."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from batch.models import PERSONAL, PUBLISHED, REFERENCE, Scores
from batch.models.baseline import Baseline, fit_baseline
from batch.params import PRESETS
from batch.ranking import ensemble, evaluate
from batch.ranking.blend import TrainingBlock, Weights
from batch.ranking.diversify import diversify
from batch.ranking.ensemble import BY_SCORE, Ensemble, assemble, learn_weights, unblended
from batch.ranking.evaluate import fit_all, fit_and_judge, judge
from batch.ranking.hold_out import hold_out, hold_out_mixed
from batch.ranking.mask import Mask
from batch.ranking.metrics import Catalogue, Judged, gain, measure
from batch.ratings import NOBODY, Bools, Ints, Pairs, Ratings
from reference import Floats, best, every_cell, filled_up, random_stars, ratings_of

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


@dataclass
class Night:
    """The ensembles, ratings and results of one evaluation."""

    learnt_on: Ensemble
    learnt_from: Ratings
    measured: Ensemble
    judged: dict[str, Judged]
    weights: Weights | None


def recorded(ratings: Ratings, block: int = 100, seed: int = 0, users: int = 1000) -> Night:
    """Run an evaluation and record what it passes from step to step."""
    parts: dict[str, Any] = {}

    def learning(ensemble: Ensemble, held: Ratings, *rest: Any) -> Weights | None:
        parts["learnt_on"] = ensemble
        parts["learnt_from"] = held
        return learn_weights(ensemble, held, *rest)

    def judging(scorer: Ensemble, *rest: Any) -> dict[str, Judged]:
        parts["measured"] = scorer
        parts["judged"] = judge(scorer, *rest)
        return parts["judged"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "learn_weights", learning)
        patch.setattr(evaluate, "judge", judging)
        evaluation = evaluate.evaluate(
            ratings, QUICK, seed=seed, n=5, relevant_from=4.0, block=block, users=users
        )
    return Night(**parts, weights=evaluation.weights)


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


def bytes_of(night: Night) -> list[bytes]:
    """All weights, all scores of all models, and all lists and predictions."""
    assert night.weights is not None
    users = everyone(night.measured.ratings)
    averages = np.array([night.weights.average, night.weights.odds])
    arrays = [night.weights.stars, night.weights.relevance, averages]
    scores = {name: model.score(users) for name, model in night.measured.models.items()}
    scores["blend"] = blended(night.measured, users)
    for name, of_model in scores.items():
        arrays += [of_model.rating, of_model.support, of_model.relevance]
        arrays += [night.judged[name].listed, night.judged[name].predicted]
    return [array.tobytes() for array in arrays]


SMALL = generated(0, 60, 80)


@pytest.fixture(scope="module")
def night() -> Night:
    """An evaluation of 60 users x 80 films."""
    return recorded(SMALL)


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
    metrics = evaluate.evaluate(
        SMALL, QUICK, seed=0, n=5, relevant_from=4.0, block=16, users=99, diversity=0.7
    ).metrics
    assert metrics["blend"]["diversity@5"] > metrics[BY_SCORE]["diversity@5"]
    assert metrics["blend"]["rmse"] == metrics[BY_SCORE]["rmse"]
    assert BY_SCORE not in night.judged


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


# What the blend is learnt from


def mixed_by_user(ratings: Ratings, seed: int = 0) -> list[set[int]]:
    """The columns of each user's ratings that the blend is learnt from."""
    chosen = hold_out_mixed(ratings, seed)
    assert (chosen.shape, chosen.dtype) == ((ratings.n_ratings,), np.bool_)
    users, items = ratings.user_of_rating()[chosen], ratings.matrix.indices[chosen]
    return [set(items[users == user].tolist()) for user in range(ratings.n_users)]


@pytest.mark.parametrize("n_times", [4, 10**6])
def test_most_of_the_mixed_cut_is_last_by_time(n_times: int) -> None:
    """The mixed cut is a fifth of a user's ratings, three quarters of it the last by time."""
    random = np.random.default_rng(0)
    stars = random_stars(0, 50, 60, [1, 2, 3, 4, 5], 0.5, n_empty=1)  # (50, 60)
    times = random.integers(0, n_times, stars.shape).astype(np.float64)
    ratings = ratings_of(stars, times=times)
    cut = mixed_by_user(ratings, seed=1)
    other_cut = mixed_by_user(ratings, seed=2)
    assert mixed_by_user(ratings, seed=1) == cut
    assert other_cut != cut
    n_earlier = 0
    for user in range(50):
        rated = [item for item in range(60) if not math.isnan(stars[user, item])]
        by_time = sorted(rated, key=lambda item, when=times[user]: (when[item], item))
        n_held = len(rated) // 5
        n_late = -(-3 * n_held // 4)
        last = by_time[len(rated) - n_late :]
        for items in (cut[user], other_cut[user]):
            assert len(items) == n_held
            assert set(last) <= items <= set(rated)
        n_earlier += n_held - n_late
    assert n_earlier > 20


def test_the_rest_of_the_mixed_cut_is_fair() -> None:
    """Over many seeds each earlier rating is cut as often as any other, the last ones always."""
    # Films 0, 1 and 2 were rated last.
    ratings = ratings_of(np.full((1, 20), 3.0), times=[list(range(20, 0, -1))])
    counts = np.zeros(20)
    for seed in range(2000):
        counts += hold_out_mixed(ratings, seed)
    assert counts[:3].tolist() == [2000] * 3
    assert counts[3:].sum() == 2000
    assert counts[3:].min() > 80  # 118 on average
    assert counts[3:].max() < 160


def test_without_times_the_mixed_cut_is_hold_out() -> None:
    """Without times, or for a user with a missing one, both cuts are the same."""
    stars = random_stars(3, 30, 60, [1, 2, 3, 4, 5], 0.5)  # (30, 60)
    untimed = ratings_of(stars)
    assert hold_out_mixed(untimed, 4).tolist() == hold_out(untimed, 4).tolist()
    times = np.random.default_rng(3).random(stars.shape)
    for user in range(10):
        times[user, np.flatnonzero(~np.isnan(stars[user]))[0]] = NAN
    ratings = ratings_of(stars, times=times)
    is_untimed = ratings.user_of_rating() < 10
    mixed = hold_out_mixed(ratings, 4)
    assert mixed[is_untimed].tolist() == hold_out(untimed, 4)[is_untimed].tolist()
    assert mixed[~is_untimed].tolist() != hold_out(ratings, 4)[~is_untimed].tolist()


def test_weights_are_learnt_on_other_models_than_are_measured(night: Night) -> None:
    """Weights are learnt from a cut of the training part, on models fitted without that cut."""
    train = SMALL.keep(~hold_out(SMALL, 0))
    inner = hold_out_mixed(train, 0)
    assert 0 < inner.sum() < len(inner)
    for ratings, expected in (
        (night.learnt_on.ratings, train.keep(~inner)),
        (night.learnt_from, train.keep(inner)),
        (night.measured.ratings, train),
    ):
        assert (ratings.matrix != expected.matrix).nnz == 0
        assert ratings.n_ratings == expected.n_ratings
    users = np.arange(SMALL.n_users)
    for fitted, ratings in ((night.learnt_on, train.keep(~inner)), (night.measured, train)):
        for name, model in fit_all(ratings, QUICK, 0).items():
            relevance = fitted.models[name].score(users).relevance
            assert relevance.tobytes() == model.score(users).relevance.tobytes()
    for name in MODELS:
        assert night.learnt_on.models[name] is not night.measured.models[name]
    assert night.learnt_on.blend is None
    assert night.measured.blend is not None
    assert night.measured.blend.weights is night.weights


def test_what_weights_are_learnt_from_is_counted(night: Night) -> None:
    """All held-out ratings teach stars; all unrated films with five ratings are candidates here."""
    assert night.weights is not None
    assert night.weights.n_pairs == night.learnt_from.n_ratings
    is_candidate = night.learnt_on.ratings.item_counts() >= 5  # (n_items,)
    held = night.learnt_from.matrix
    liked = held.data >= 4.0
    n_liked = int((liked & is_candidate[held.indices]).sum())
    assert night.weights.n_liked == n_liked < int(liked.sum())
    names = set(night.weights.names)
    assert {f"{name}{part}" for name in PERSONAL for part in ("", "_evidence", "_sure")} < names
    signals = {"preference", "liking", "session_5", "fame", "user_effect", "item_effect"}
    assert signals | {"affinity"} < names


def with_added(ratings: Ratings, chosen: Bools, change: Floats | float) -> Ratings:
    """The same cells with the chosen ratings changed by so much."""
    matrix = ratings.matrix.copy()
    matrix.data[chosen] += change
    return replace(ratings, matrix=matrix)


@pytest.mark.parametrize("change", [100.0, -100.0])
def test_held_out_ratings_change_nothing(change: float, night: Night) -> None:
    """Other held-out values change no weight, score, list or prediction, to the last bit."""
    changed = with_added(SMALL, hold_out(SMALL, 0), change)
    assert bytes_of(recorded(changed)) == bytes_of(night)


def test_training_ratings_change_everything(night: Night) -> None:
    """One training rating changes weights and scores, whether or not weights are learnt from it."""
    assert night.weights is not None
    is_held = hold_out(SMALL, 0)
    training = np.flatnonzero(~is_held)
    inner = hold_out_mixed(SMALL.keep(~is_held), 0)
    users = np.arange(SMALL.n_users)
    rating = blended(night.measured, users).rating
    for cell in (training[inner][0], training[~inner][0]):
        changed = recorded(with_added(SMALL, np.arange(SMALL.n_ratings) == cell, -2.0))
        assert changed.weights is not None
        assert changed.weights.stars.tobytes() != night.weights.stars.tobytes()
        assert blended(changed.measured, users).rating.tobytes() != rating.tobytes()


def test_ratings_to_learn_from_change_no_feature(night: Night) -> None:
    """Other values of the ratings that weights are learnt from change no feature."""
    train = SMALL.keep(~hold_out(SMALL, 0))
    inner = hold_out_mixed(train, 0)
    rest = with_added(train, inner, 100.0).keep(~inner)
    changed = unblended(rest, fit_all(rest, QUICK, 0))
    users, everything = np.arange(SMALL.n_users), ratings_of(np.ones((60, 80)))
    [block] = night.learnt_on.candidate_features(users, 100, everything)
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


@pytest.mark.parametrize("n", [1, 7, 100])
def test_candidates_have_the_highest_scores(
    n: int, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Candidates are unrated films with five ratings and the highest preference and liking."""
    monkeypatch.setattr(ensemble, "CANDIDATES", n)
    users = np.array([3, 40])
    features = of_every_film(night.measured, users)
    relevance = blended(night.measured, users).relevance
    counts = night.measured.ratings.item_counts()
    for row, user in enumerate(users):
        scores = np.round(features["preference"][row] + features["liking"][row], 6)
        rated = set(night.measured.ratings.matrix[[user]].indices.tolist())
        able = {item for item in range(80) if counts[item] >= 5} - rated
        assert 0 < len(able) < 80 - len(rated)
        ranked = sorted(able, key=lambda item: (-scores[item], -counts[item], item))
        # Only candidates have a positive score.
        assert set(np.flatnonzero(relevance[row] > 0).tolist()) == set(ranked[:n])


def test_scale_is_of_the_measured_fit(night: Night) -> None:
    """The scale of features is computed over the candidates of the fit that is scored."""
    measured, blend = night.measured, night.measured.blend
    assert blend is not None
    assert blend.weights is not None
    users = np.flatnonzero(measured.ratings.user_counts())
    few_ratings = measured.ratings.item_counts() < 5
    no_candidate = (measured.ratings.matrix.toarray() > 0) | few_ratings
    features = of_every_film(measured, users)
    assert tuple(features) == blend.weights.names
    for feature, values in enumerate(features.values()):
        # Users have fewer than a hundred candidates.
        lines = [values[row][~no_candidate[user]] for row, user in enumerate(users)]
        together = np.concatenate(lines)
        centred = np.concatenate([line - line.mean() for line in lines])
        mean = pytest.approx(together.mean(), rel=1e-9, abs=1e-12)
        assert blend.scale.mean[feature] == mean
        spread = together.std() if together.std() > 1e-9 else 1.0
        assert blend.scale.spread[feature] == pytest.approx(spread)
        spread_in_list = centred.std() if centred.std() > 1e-9 else 1.0
        assert blend.scale.spread_in_list[feature] == pytest.approx(spread_in_list)


def test_a_sample_of_many_users(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are learnt from all users with held-out ratings, of many only a seeded sample."""
    samples: list[list[int]] = []

    def candidate_features(self: Ensemble, users: Any, block: int, held: Ratings) -> Any:
        samples.append(users.tolist())
        return iter(())

    monkeypatch.setattr(Ensemble, "candidate_features", candidate_features)
    stars = np.where(np.arange(60)[:, None] % 3 == 0, NAN, 4.0) * np.ones((60, 80))
    held = ratings_of(stars)
    able = [user for user in range(60) if user % 3]
    learn_weights(night.learnt_on, held, 4.0, 0, 100)
    assert samples.pop() == able
    cut = evaluate._cut_of_sample(held, 40, 0, hold_out_mixed)
    assert cut.tolist() == hold_out_mixed(held, 0).tolist()
    for seed in (0, 0, 1):
        cut = evaluate._cut_of_sample(held, 30, seed, hold_out_mixed)
        learn_weights(night.learnt_on, held.keep(cut), 4.0, seed, 100)
    assert samples[0] == samples[1] != samples[2]
    for sample in samples:
        assert len(sample) == 30
        assert sample == sorted(set(sample) & set(able))


def test_only_models_that_are_needed_are_scored(night: Night) -> None:
    """For the published lists no baseline is scored, and for one model's no other."""
    scored: list[str] = []
    models = {name: Recording(name, model, scored) for name, model in night.measured.models.items()}
    recording = replace(night.measured, models=models)
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
        self.scored.append(self.name)
        return self.model.score(users)  # type: ignore[no-any-return]

    def weights(self) -> Any:
        """The model's weights."""
        return self.model.weights()


def test_only_the_sample_is_cut_from_the_inner_fit(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights are learnt from a fifth of a sample's ratings, on models fitted on all others."""
    monkeypatch.setattr(evaluate, "SAMPLED_USERS", 25)
    sampled = recorded(SMALL)
    train = SMALL.keep(~hold_out(SMALL, 0))
    held, rest = sampled.learnt_from, sampled.learnt_on.ratings
    assert (sampled.measured.ratings.matrix != train.matrix).nnz == 0
    chosen = np.flatnonzero(held.user_counts())
    counts = train.user_counts()
    assert len(chosen) == 25
    assert held.user_counts()[chosen].tolist() == (counts[chosen] // 5).tolist()
    assert ((rest.matrix + held.matrix) != train.matrix).nnz == 0
    assert rest.n_ratings + held.n_ratings == train.n_ratings
    assert train.rated_at is not None
    for user in chosen:
        when = train.rated_at[train.matrix.indptr[user] : train.matrix.indptr[user + 1]]
        films = train.matrix[[user]].indices[np.argsort(when, kind="stable")].tolist()
        n_late = -(-3 * (len(films) // 5) // 4)
        late = films[len(films) - n_late :]
        assert set(late) <= set(held.matrix[[user]].indices.tolist())
    assert sampled.weights is not None
    assert night.weights is not None
    assert sampled.weights.n_pairs == held.n_ratings < night.weights.n_pairs
    again = recorded(SMALL).learnt_from
    assert again.user_counts().tolist() == held.user_counts().tolist()


@pytest.mark.parametrize("block", [1, 2, 100])
def test_features_of_requested_users(block: int, night: Night) -> None:
    """Features are computed block by block in the order requested, each user's own."""
    requested, held = np.array([40, 3, 17]), night.learnt_from
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


def test_training_blocks_cell_by_cell(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training blocks are which candidates were liked, and all held-out pairs and stars."""
    training: list[TrainingBlock] = []
    monkeypatch.setattr(ensemble, "learn", lambda _names, blocks, _seed: training.extend(blocks))
    held, learnt_on = night.learnt_from, night.learnt_on
    learn_weights(learnt_on, held, 4.0, 0, 25)
    users = np.flatnonzero(held.user_counts())
    features, counts = of_every_film(learnt_on, users), learnt_on.ratings.item_counts()
    few_ratings = set(np.flatnonzero(counts < 5).tolist())
    start = 0
    for block in training:
        cells: list[tuple[int, int]] = []
        pairs: list[tuple[int, int]] = []
        stars: list[float] = []
        liked: list[bool] = []
        block_users = users[start : start + 25]
        for row, user in enumerate(block_users, start):
            scores = features["preference"][row] + features["liking"][row]
            rated = set(learnt_on.ratings.matrix[[user]].indices.tolist())
            films = best(scores.tolist(), rated | few_ratings, counts.tolist(), 100)
            line = held.matrix[[user]]
            truth = dict(zip(line.indices.tolist(), line.data.tolist(), strict=True))
            cells += [(row, film) for film in films]
            liked += [truth.get(film, 0.0) >= 4.0 for film in films]
            pairs += [(row, film) for film in truth]
            stars += truth.values()
        assert block.liked.tolist() == liked
        assert block.stars.tolist() == stars
        levels = np.array([[values[cell] for values in features.values()] for cell in cells])
        np.testing.assert_allclose(block.levels, levels, rtol=1e-9, atol=1e-9)
        of_pairs = [[values[cell] for values in features.values()] for cell in pairs]
        np.testing.assert_allclose(block.pairs, of_pairs, rtol=1e-9, atol=1e-9)
        rows = np.array([row for row, _ in cells])
        for row in set(rows.tolist()):
            own = levels[rows == row]
            centred = own - own.mean(axis=0)
            actual = block.candidates[rows == row]
            np.testing.assert_allclose(actual, centred, rtol=1e-9, atol=1e-9)
        start += len(block_users)
    assert start == len(users) > 50
    assert not set(pairs) <= set(cells)


# The blend's lists


def slow_relevance(scorer: Ensemble, users: Ints, n_candidates: int) -> Floats:
    """The blend's scores of all unrated films, (b, n_items), on dense arrays, user by user."""
    features, counts = of_every_film(scorer, users), scorer.ratings.item_counts()
    few_ratings = set(np.flatnonzero(counts < 5).tolist())
    relevance = np.full((len(users), scorer.ratings.n_items), NAN)
    blend = scorer.blend
    assert blend is not None
    for row, user in enumerate(users):
        rated = set(scorer.ratings.matrix[[user]].indices.tolist())
        if not rated:
            continue
        scores = features["preference"][row] + features["liking"][row]  # (n_items,)
        films = best(scores.tolist(), rated | few_ratings, counts.tolist(), n_candidates)
        relevance[row] = 1 / (1 + np.exp(-scores)) - 1
        relevance[row, sorted(rated)] = NAN
        if blend.weights is None:
            relevance[row, films] += 1
        elif films:
            names = blend.weights.names
            own = np.stack([features[name][row, films] for name in names], axis=1)
            steps = (own - own.mean(axis=0)) / blend.scale.spread_in_list
            odds = blend.weights.odds + steps @ blend.weights.relevance
            relevance[row, films] = 1 / (1 + np.exp(-odds))
    return relevance


@pytest.mark.parametrize("learnt", [True, False])
@pytest.mark.parametrize("n_candidates", [1, 3, 12, 100])
@pytest.mark.parametrize("n", [1, 5, 12, 30, 100])
def test_fillers_come_behind_candidates(
    n: int, n_candidates: int, learnt: bool, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind all candidates come other films by preference and liking, below 0, none twice."""
    monkeypatch.setattr(ensemble, "CANDIDATES", n_candidates)
    measured = night.measured
    blend = measured.blend
    assert blend is not None
    if not learnt:
        measured = replace(measured, blend=replace(blend, weights=None))
    users, counts = np.arange(60)[::-1], measured.ratings.item_counts()
    block = measured.rank_users(["blend"], users, n)["blend"]
    assert block.score.shape == (60, n)
    expected = slow_relevance(measured, users, n_candidates)
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
        able = set(np.flatnonzero(counts >= 5).tolist()) - rated
        n_first = min(n, n_candidates, len(able))
        assert (scores[:n_first] > 0).all()
        assert (scores[n_first:length] < 0).all()
        assert set(films[:n_first]) <= able
        n_fillers += length - n_first
    assert (n_fillers > 0) == (n > min(n_candidates, 30))


def test_films_with_few_ratings_come_last(night: Night) -> None:
    """A long list ends in films with fewer than five ratings, by preference and liking."""
    counts, users = night.measured.ratings.item_counts(), np.array([11, 30])
    block = night.measured.rank_users(["blend"], users, 80)["blend"]
    features = of_every_film(night.measured, users)
    for row, user in enumerate(users):
        rated = set(night.measured.ratings.matrix[[user]].indices.tolist())
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
    stars = SMALL.matrix.toarray()
    stars[stars == 0] = NAN
    stars[[3, 40]] = NAN
    ratings = ratings_of(stars)
    weights = recorded(ratings).weights if learnt else None
    assert (weights is not None) == learnt
    joined = assemble(ratings, fit_all(ratings, QUICK, 0), weights, 0, 100)
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
    assert in_blocks.weights is not None
    assert night.weights is not None
    figures = pytest.approx(night.weights.figures(), rel=1e-9, abs=1e-9)
    assert in_blocks.weights.figures() == figures
    for name, expected in night.judged.items():
        judged = in_blocks.judged[name]
        np.testing.assert_allclose(judged.predicted, expected.predicted, rtol=1e-9)
        assert judged.listed.tolist() == expected.listed.tolist()


def test_same_seed_same_bytes(night: Night) -> None:
    """Ratings, parameters and seed decide weights, scores and lists to the last bit."""
    assert bytes_of(recorded(SMALL)) == bytes_of(night)
    other = recorded(SMALL, seed=1).weights
    assert other is not None
    assert night.weights is not None
    assert other.stars.tobytes() != night.weights.stars.tobytes()


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

    def fixed(ratings: Ratings, params: Any, seed: int) -> dict[str, FixedModel]:
        bias = fit_baseline("bias", ratings)
        return {name: FixedModel(bias, predictions.get(name, nothing)) for name in MODELS}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "fit_all", fixed)
        return fit_and_judge(
            train, held, QUICK, seed=0, n=5, relevant_from=4.0, block=16, users=1000
        )


def random_ratings(seed: int = 0) -> tuple[Floats, Ratings, Ratings]:
    """Random stars of 40 users for all 80 films: all, the training and the held-out part."""
    random = np.random.default_rng(seed)
    stars = random.integers(1, 6, (40, 80)).astype(np.float64)
    ratings = ratings_of(stars, times=random.random(stars.shape))
    is_held = hold_out(ratings, 0)
    return stars, ratings.keep(~is_held), ratings.keep(is_held)


def test_each_model_departs_from_its_own_baseline() -> None:
    """A departure is from the model's own baseline; the blend's baseline is the bias."""
    stars, train, _ = random_ratings()
    kinds = {
        "user_user": "user_mean",
        "item_item": "none",
        "neural": "bias",
        "popular": "none",
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
    for name in ("item_item", "neural"):
        for part in ("", "_evidence", "_sure"):
            assert figures[f"stars_weight_{name}{part}"] == 0.0
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
    scores = blended(assemble(train, models, None, 0, 16), users)
    np.testing.assert_allclose(scores.rating, bias.rows(users), rtol=1e-12)


def test_films_without_genres() -> None:
    """Without genres and times the blend still lists five films for everyone."""
    night = recorded(generated(2, 40, 60, genres=False, timed=False))
    assert night.weights is not None
    assert not any(name.startswith("session") for name in night.weights.names)
    assert (night.judged["blend"].listed >= 0).all()
    assert np.isfinite(night.judged["blend"].predicted).all()


def test_blend_of_real_models() -> None:
    """On generated data the blend has a lower RMSE than any model, and better lists than most."""
    metrics = evaluate.evaluate(
        generated(3, 150, 200), TUNED, seed=0, n=5, relevant_from=4.0, block=64, users=1000
    ).metrics
    for name in (*PERSONAL, "bias"):
        assert metrics["blend"]["rmse"] < metrics[name]["rmse"] - 0.05
    for name in ("popular", "bias", "user_user", "neural"):
        assert metrics["blend"]["precision@5"] > metrics[name]["precision@5"] + 0.03
    assert metrics["blend"]["precision@5"] > metrics["item_item"]["precision@5"] - 0.02
    best_rmse = min(metrics[name]["rmse"] for name in PERSONAL)
    rmse_gain = best_rmse - metrics["blend"]["rmse"]
    assert metrics["blend"]["rmse_gain"] == pytest.approx(rmse_gain, rel=1e-12)
