"""The blend among the models: what it is learnt from, what it must not see, and that it beats each of them alone."""

import math
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


def tastes(
    seed: int, n_users: int, n_items: int, *, timed: bool = True, genres: bool = True
) -> Ratings:
    """Whole stars by users and films of three tastes; people watch what is famous and what they will like."""
    random = np.random.default_rng(seed)
    of_user, of_film = random.normal(size=(n_users, 3)), random.normal(size=(n_items, 3))
    fame = random.normal(scale=0.8, size=n_items)  # (n_items,)
    likes = of_user @ of_film.T  # (n_users, n_items)
    seen = random.random(likes.shape) < 1 / (1 + np.exp(2 - 1.2 * likes - fame))
    noise = random.normal(scale=0.5, size=likes.shape)
    stars = np.clip(np.round(3.4 + 0.6 * likes + 0.3 * fame + noise), 1, 5)
    times = random.integers(0, 10**6, likes.shape).astype(np.float64)
    return ratings_of(
        np.where(seen, stars, NAN),
        genres=(of_film > 0.7).astype(np.float64) if genres else None,
        times=times if timed else None,
    )


@dataclass
class Night:
    """What an evaluation passed from step to step."""

    learnt_on: Ensemble
    learnt_from: Ratings
    measured: Ensemble
    judged: dict[str, Judged]
    weights: Weights | None


def watched(ratings: Ratings, block: int = 100, seed: int = 0, users: int = 1000) -> Night:
    """An evaluation, and what went on inside."""
    seen: dict[str, Any] = {}

    def learning(first: Ensemble, held: Ratings, *rest: Any) -> Weights | None:
        seen["learnt_on"], seen["learnt_from"] = first, held
        return learn_weights(first, held, *rest)

    def judging(scorer: Ensemble, *rest: Any) -> dict[str, Judged]:
        seen["measured"], seen["judged"] = scorer, judge(scorer, *rest)
        return seen["judged"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "learn_weights", learning)
        patch.setattr(evaluate, "judge", judging)
        found = evaluate.evaluate(
            ratings, QUICK, seed=seed, n=5, relevant_from=4.0, block=block, users=users
        )
    return Night(**seen, weights=found.weights)


def everyone(ratings: Ratings) -> Ints:
    """All rows."""
    return np.arange(ratings.n_users)


def blended(scorer: Ensemble, users: Ints) -> Scores:
    """What the blend says of every film, and what it would list it by, (b, n_items) each; nan where it lists none."""
    shape = len(users), scorer.ratings.n_items
    found = scorer.rank_users(["blend"], users, shape[1], every_cell(*shape))["blend"]
    support, relevance = np.full(shape, NAN), np.full(shape, NAN)
    listed = found.listed != NOBODY
    cells = Pairs.listed(found.listed)
    support[cells], relevance[cells] = found.support[listed], found.score[listed]
    rating = found.predicted.reshape(shape)
    assert found.rating[listed].tobytes() == rating[cells].tobytes()
    return Scores(rating, support, relevance)


def of_every_film(scorer: Ensemble, users: Ints) -> dict[str, Floats]:
    """The features of every film, seen or not, name -> (b, n_items)."""
    shape = len(users), scorer.ratings.n_items
    asked = ratings_of(np.ones(scorer.ratings.matrix.shape))
    ((_, _, _, found),) = scorer.candidate_features(users, len(users), asked)
    return {name: values.reshape(shape) for name, values in found.items()}


def bytes_of(night: Night) -> list[bytes]:
    """Every weight, every score of every model, and every list and prediction."""
    assert night.weights is not None
    users = everyone(night.measured.ratings)
    found = [
        night.weights.stars,
        night.weights.relevance,
        np.array([night.weights.average, night.weights.odds]),
    ]
    scores = {name: model.score(users) for name, model in night.measured.models.items()}
    for name, said in {**scores, "blend": blended(night.measured, users)}.items():
        found += [said.rating, said.support, said.relevance]
        found += [night.judged[name].listed, night.judged[name].predicted]
    return [array.tobytes() for array in found]


SMALL = tastes(0, 60, 80)


@pytest.fixture(scope="module")
def night() -> Night:
    """An evaluation of 60 users x 80 films."""
    return watched(SMALL)


# What may not be listed


def test_the_blend_may_be_diverse(night: Night) -> None:
    """With diversity the blend keeps unlike films in order of score, no other list changes, and both are measured."""
    scorer = replace(night.measured, diversity=0.7)
    users, n_items = everyone(scorer.ratings), scorer.ratings.n_items
    names = [*MODELS, "blend", BY_SCORE]
    plain, found = (each.rank_users(names, users, 5) for each in (night.measured, scorer))
    whole = night.measured.rank_users(["blend"], users, n_items)["blend"]
    for name in (*MODELS, BY_SCORE):
        assert found[name].listed.tobytes() == plain[name].listed.tobytes()
    assert plain[BY_SCORE].listed.tobytes() == plain["blend"].listed.tobytes()
    scores = found["blend"].score
    for user in users.tolist():
        films = [film for film in whole.listed[user].tolist() if film != NOBODY]
        kept = diversify(np.array([films], dtype=np.int64).reshape(1, -1), whole.score[[user], : len(films)],
                         scorer.ratings.genres, 0.7, 5)[0]  # fmt: skip
        listed = [film for film in found["blend"].listed[user].tolist() if film != NOBODY]
        assert listed == [films[place] for place in kept.tolist() if place != NOBODY]
        known = scores[user, : len(listed)]
        assert (np.diff(known) <= 0).all()
        assert known.tolist() == [whole.score[user, films.index(film)] for film in listed]
    assert found["blend"].listed.tobytes() != plain["blend"].listed.tobytes()
    measured = evaluate.evaluate(
        SMALL, QUICK, seed=0, n=5, relevant_from=4.0, block=16, users=99, diversity=0.7
    ).metrics
    assert measured["blend"]["diversity@5"] > measured[BY_SCORE]["diversity@5"]
    assert measured["blend"]["rmse"] == measured[BY_SCORE]["rmse"]
    assert BY_SCORE not in night.judged


def test_every_model_passes_over_what_is_barred(night: Night) -> None:
    """With films filtered each model lists what it would have listed next, and says the same of all cells asked about."""
    scorer, random = night.measured, np.random.default_rng(0)
    users, n_items = everyone(scorer.ratings), scorer.ratings.n_items
    own = sparse.csr_array((random.random(scorer.ratings.matrix.shape) < 0.1).astype(np.float64))
    mask = Mask(np.sort(random.permutation(n_items)[:9]), own)
    asked = Pairs(np.array([0, 5]), np.array([1, 2]))
    names = [*MODELS, "blend"]
    whole, left = (each.rank_users(names, users, n, asked) for each, n in
                   ((scorer, n_items), (replace(scorer, mask=mask), 5)))  # fmt: skip
    for name in names:
        assert whole[name].predicted.tobytes() == left[name].predicted.tobytes()
        for user in users.tolist():
            out = {*mask.for_everyone.tolist(), *own[[user]].indices.tolist(), NOBODY}
            kept = [film for film in whole[name].listed[user].tolist() if film not in out]
            found = [film for film in left[name].listed[user].tolist() if film != NOBODY]
            assert not out & set(found)
            if name != "blend":  # whose candidates are others then
                assert found == kept[:5]
            assert len(found) == min(5, len(kept)) or name == "blend"


# What the blend is learnt from


def mixed_by_user(ratings: Ratings, seed: int = 0) -> list[set[int]]:
    """The columns that each user's learning part holds."""
    chosen = hold_out_mixed(ratings, seed)
    assert (chosen.shape, chosen.dtype) == ((ratings.n_ratings,), np.bool_)
    users, items = ratings.user_of_rating()[chosen], ratings.matrix.indices[chosen]
    return [set(items[users == user].tolist()) for user in range(ratings.n_users)]


@pytest.mark.parametrize("n_times", [4, 10**6])
def test_most_of_what_is_learnt_on_came_last(n_times: int) -> None:
    """Of a user's ratings a fifth, rounded down, is learnt on, three quarters of it, rounded up, the last by time."""
    random = np.random.default_rng(0)
    stars = random_stars(0, 50, 60, [1, 2, 3, 4, 5], 0.5, n_empty=1)  # (50, 60)
    times = random.integers(0, n_times, stars.shape).astype(np.float64)
    first, again, other = (
        mixed_by_user(ratings_of(stars, times=times), seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    n_earlier = 0
    for row, when, one, another in zip(stars, times, first, other, strict=True):
        rated = [item for item in range(60) if not math.isnan(row[item])]
        count = len(rated) // 5
        late = -(-3 * count // 4)
        last = sorted(rated, key=lambda item, when=when: (when[item], item))[len(rated) - late :]
        for cut in (one, another):
            assert len(cut) == count
            assert set(last) <= cut <= set(rated)
        n_earlier += count - late
    assert n_earlier > 20


def test_the_others_are_any_of_the_earlier() -> None:
    """Over many seeds each earlier rating is as often learnt on as any other, the last ones always."""
    ratings = ratings_of(
        np.full((1, 20), 3.0), times=[list(range(20, 0, -1))]
    )  # films 0, 1 and 2 came last
    held = np.zeros(20)
    for seed in range(2000):
        held += hold_out_mixed(ratings, seed)
    assert held[:3].tolist() == [2000] * 3
    assert held[3:].sum() == 2000
    assert (held[3:].min() > 80, held[3:].max() < 160) == (True, True)  # 118 on average


def test_without_times_the_seeded_fifth() -> None:
    """Without times, or for a user with one missing, what is learnt on is what `hold_out` takes."""
    stars = random_stars(3, 30, 60, [1, 2, 3, 4, 5], 0.5)  # (30, 60)
    plain = ratings_of(stars)
    assert hold_out_mixed(plain, 4).tolist() == hold_out(plain, 4).tolist()
    times = np.random.default_rng(3).random(stars.shape)
    for user in range(10):
        times[user, np.flatnonzero(~np.isnan(stars[user]))[0]] = NAN
    some = ratings_of(stars, times=times)
    untimed = some.user_of_rating() < 10
    assert hold_out_mixed(some, 4)[untimed].tolist() == hold_out(plain, 4)[untimed].tolist()
    assert hold_out_mixed(some, 4)[~untimed].tolist() != hold_out(some, 4)[~untimed].tolist()


def test_learnt_on_other_models_than_are_measured(night: Night) -> None:
    """Weights come from a cut within the training part, of models that did not see it; others are measured."""
    test = hold_out(SMALL, 0)
    train = SMALL.keep(~test)
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
    for name, model in fit_all(train.keep(~inner), QUICK, 0).items():
        assert night.learnt_on.models[name] is not night.measured.models[name]
        assert (
            night.learnt_on.models[name].score(users).relevance.tobytes()
            == model.score(users).relevance.tobytes()
        )
    for name, model in fit_all(train, QUICK, 0).items():
        assert (
            night.measured.models[name].score(users).relevance.tobytes()
            == model.score(users).relevance.tobytes()
        )
    assert night.learnt_on.blend is None
    assert night.measured.blend is not None
    assert night.measured.blend.weights is night.weights


def test_evidence_is_counted(night: Night) -> None:
    """Every held-out rating teaches stars; where films are few, each unseen one that five have rated teaches order."""
    assert night.weights is not None
    assert night.weights.n_pairs == night.learnt_from.n_ratings
    known = night.learnt_on.ratings.item_counts() >= 5  # (n_items,)
    held = night.learnt_from.matrix
    liked = (held.data >= 4.0) & known[held.indices]
    assert night.weights.n_liked == int(liked.sum()) < int((held.data >= 4.0).sum())
    names = set(night.weights.names)
    assert {f"{name}{part}" for name in PERSONAL for part in ("", "_evidence", "_sure")} < names
    assert {
        "preference",
        "liking",
        "session_5",
        "fame",
        "user_effect",
        "item_effect",
        "affinity",
    } < names


def held_to(ratings: Ratings, chosen: Bools, change: Floats | float) -> Ratings:
    """The same cells with the chosen ratings changed by so much."""
    matrix = ratings.matrix.copy()
    matrix.data[chosen] += change
    return replace(ratings, matrix=matrix)


@pytest.mark.parametrize("nonsense", [100.0, -100.0])
def test_held_out_ratings_change_nothing(nonsense: float, night: Night) -> None:
    """Held-out ratings changed to nonsense change no weight, score, list or prediction, to the last bit."""
    assert bytes_of(watched(held_to(SMALL, hold_out(SMALL, 0), nonsense))) == bytes_of(night)


def test_training_ratings_change_everything(night: Night) -> None:
    """A training rating changes weights and scores of the blend, whether or not its weights are learnt on it."""
    assert night.weights is not None
    training = np.flatnonzero(~hold_out(SMALL, 0))
    inner = hold_out_mixed(SMALL.keep(~hold_out(SMALL, 0)), 0)
    users = np.arange(SMALL.n_users)
    for cell in (training[inner][0], training[~inner][0]):
        changed = watched(held_to(SMALL, np.arange(SMALL.n_ratings) == cell, -2.0))
        assert changed.weights is not None
        assert changed.weights.stars.tobytes() != night.weights.stars.tobytes()
        assert (
            blended(changed.measured, users).rating.tobytes()
            != blended(night.measured, users).rating.tobytes()
        )


def test_what_is_learnt_on_is_not_heard(night: Night) -> None:
    """Ratings that weights are learnt on, changed to nonsense, change no feature that they are held against."""
    train = SMALL.keep(~hold_out(SMALL, 0))
    inner = hold_out_mixed(train, 0)
    spoilt = held_to(train, inner, 100.0)
    again = unblended(spoilt.keep(~inner), fit_all(spoilt.keep(~inner), QUICK, 0))
    users, everything = np.arange(SMALL.n_users), ratings_of(np.ones((60, 80)))
    pairs = zip(
        *(each.candidate_features(users, 100, everything) for each in (again, night.learnt_on)),
        strict=True,
    )
    for one, other in pairs:
        for part in ("of_candidates", "of_held"):
            assert {name: values.tobytes() for name, values in getattr(one, part).items()} == {
                name: values.tobytes() for name, values in getattr(other, part).items()
            }
        assert [array.tobytes() for array in one.candidates] == [
            array.tobytes() for array in other.candidates
        ]
        assert len(one.candidates.rows) > 1000


# The ensemble


@pytest.mark.parametrize("n", [1, 5, 80])
def test_every_model_and_the_blend(n: int, night: Night) -> None:
    """An ensemble says what every model and baseline says as it stands, and the blend by the user's ratings."""
    users, counts = np.array([5, 0, 17]), night.measured.ratings.item_counts()
    cells = every_cell(3, 80)
    found = night.measured.rank_users([*MODELS, "blend"], users, n, cells)
    assert list(found) == [*MODELS, "blend"]
    seen = [set(night.measured.ratings.matrix[[user]].indices.tolist()) for user in users]
    for name in MODELS:
        scores, said = night.measured.models[name].score(users), found[name]
        assert said.predicted.tobytes() == scores.rating.tobytes()
        lists = [
            best(row.tolist(), own, counts.tolist(), n)
            for row, own in zip(scores.relevance, seen, strict=True)
        ]
        assert said.listed.tolist() == [filled_up(films, n) for films in lists]
        for told, whole in (
            (said.score, scores.relevance),
            (said.rating, scores.rating),
            (said.support, scores.support),
        ):
            slow = [
                [*row[films], *[NAN] * (n - len(films))]
                for row, films in zip(whole, lists, strict=True)
            ]
            assert told.tobytes() == np.array(slow).tobytes()
        assert night.measured.baseline(name) is night.measured.models[name].baseline
    rated = np.diff(night.measured.ratings.matrix.indptr)[users]
    listed = found["blend"].listed != NOBODY
    slow = np.where(listed, rated[:, None], NAN)
    assert listed[:, 0].all()
    np.testing.assert_array_equal(found["blend"].support, slow)
    bias = fit_baseline("bias", night.measured.ratings)
    np.testing.assert_array_equal(night.measured.baseline("blend").rows(users), bias.rows(users))
    alone = unblended(night.measured.ratings, night.measured.models)
    assert list(alone.rank_users([*MODELS, "blend"], users, n, cells)) == [*MODELS]


@pytest.mark.parametrize("names", [["blend"], ["neural"], ["bias", "blend", "item_item"], []])
def test_those_who_are_asked_answer(names: list[str], night: Night) -> None:
    """Models that are asked, alone or with others and in any order, answer as they do among all, to the last bit."""
    users, cells = np.array([40, 3, 17, 3]), Pairs(np.array([2, 0, 2, 1]), np.array([7, 79, 0, 7]))
    whole = night.measured.rank_users([*MODELS, "blend"], users, 5, cells)
    found = night.measured.rank_users(names, users, 5, cells)
    assert list(found) == names
    for name in names:
        assert found[name].evidence is None  # nobody asked why
        for part, values in vars(found[name]).items():
            assert part == "evidence" or values.tobytes() == getattr(whole[name], part).tobytes(), (
                name,
                part,
            )
        assert vars(found[name])["predicted"].shape == (4,)


@pytest.mark.parametrize("n", [1, 7, 100])
def test_candidates_are_the_most_promised(
    n: int, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Candidates are the unseen films, rated by five or more, that both tastes promise most; only they are above 0."""
    monkeypatch.setattr(ensemble, "CANDIDATES", n)
    users = np.array([3, 40])
    signals = of_every_film(night.measured, users)
    relevance = blended(night.measured, users).relevance
    for row, user in enumerate(users):
        promised = np.round(signals["preference"][row] + signals["liking"][row], 6)
        seen = set(night.measured.ratings.matrix[[user]].indices.tolist())
        counts = night.measured.ratings.item_counts()
        able = {item for item in range(80) if counts[item] >= 5} - seen
        assert 0 < len(able) < 80 - len(seen)
        unseen = sorted(able, key=lambda item: (-promised[item], -counts[item], item))
        assert set(np.flatnonzero(relevance[row] > 0).tolist()) == set(unseen[:n])


def test_scale_is_of_the_measured_fit(night: Night) -> None:
    """Features are measured by how they vary over the candidates of the fit that is scored, film by film."""
    measured, blend = night.measured, night.measured.blend
    assert blend is not None
    assert blend.weights is not None
    users = np.flatnonzero(measured.ratings.user_counts())
    no_candidate = (measured.ratings.matrix.toarray() > 0) | (measured.ratings.item_counts() < 5)
    found = of_every_film(measured, users)
    assert tuple(found) == blend.weights.names
    for feature, values in enumerate(found.values()):
        lines = [
            values[row][~no_candidate[user]] for row, user in enumerate(users)
        ]  # fewer than a hundred
        everything = np.concatenate(lines)
        within = np.concatenate([line - line.mean() for line in lines])
        assert blend.scale.mean[feature] == pytest.approx(everything.mean(), rel=1e-9, abs=1e-12)
        assert blend.scale.spread[feature] == pytest.approx(
            everything.std() if everything.std() > 1e-9 else 1.0
        )
        assert blend.scale.spread_in_list[feature] == pytest.approx(
            within.std() if within.std() > 1e-9 else 1.0
        )


def test_a_sample_of_many_users(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everyone of whom something was held out teaches; of more users than are needed only a seeded sample is cut."""
    asked: list[list[int]] = []

    def candidate_features(self: Ensemble, users: Any, block: int, held: Ratings) -> Any:
        asked.append(users.tolist())
        return iter(())

    monkeypatch.setattr(Ensemble, "candidate_features", candidate_features)
    stars = np.where(np.arange(60)[:, None] % 3 == 0, NAN, 4.0) * np.ones((60, 80))
    held = ratings_of(stars)
    able = [user for user in range(60) if user % 3]
    learn_weights(night.learnt_on, held, 4.0, 0, 100)
    assert asked.pop() == able
    assert (
        evaluate._cut_of_sample(held, 40, 0, hold_out_mixed).tolist() == hold_out_mixed(held, 0).tolist()
    )
    for seed in (0, 0, 1):
        cut = evaluate._cut_of_sample(held, 30, seed, hold_out_mixed)
        learn_weights(night.learnt_on, held.keep(cut), 4.0, seed, 100)
    assert asked[0] == asked[1] != asked[2]
    for sample in asked:
        assert len(sample) == 30
        assert sample == sorted(set(sample) & set(able))


def test_only_who_is_asked_or_heard_is_scored(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the published lists no baseline is scored, and for one model's no other."""
    asked: list[str] = []
    models = {name: Noted(name, model, asked) for name, model in night.measured.models.items()}
    noted = replace(night.measured, models=models)
    for names, scored in (
        (PUBLISHED, list(PERSONAL)),
        (("blend",), list(PERSONAL)),
        (("neural",), ["neural"]),
        ((*PUBLISHED, "bias"), [*PERSONAL, "bias"]),
    ):
        asked.clear()
        assert list(noted.rank_users(names, np.arange(3), 5)) == list(names)
        assert asked == scored


@dataclass(frozen=True)
class Noted:
    """A model that says when it is asked."""

    name: str
    model: Any
    asked: list[str]

    @property
    def baseline(self) -> Baseline:
        """The model's."""
        return self.model.baseline  # type: ignore[no-any-return]

    def score(self, users: Any) -> Scores:
        """The model's."""
        self.asked.append(self.name)
        return self.model.score(users)  # type: ignore[no-any-return]

    def weights(self) -> Any:
        """The model's."""
        return self.model.weights()


def test_only_the_sample_is_cut_from_the_inner_fit(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights come from a fifth of the ratings of so many users; the models they are learnt on hear all others."""
    monkeypatch.setattr(evaluate, "SAMPLED_USERS", 25)
    other = watched(SMALL)
    train = SMALL.keep(~hold_out(SMALL, 0))
    assert (other.measured.ratings.matrix != train.matrix).nnz == 0
    chosen = np.flatnonzero(other.learnt_from.user_counts())
    counts = train.user_counts()
    assert len(chosen) == 25
    assert other.learnt_from.user_counts()[chosen].tolist() == (counts[chosen] // 5).tolist()
    assert ((other.learnt_on.ratings.matrix + other.learnt_from.matrix) != train.matrix).nnz == 0
    assert other.learnt_on.ratings.n_ratings + other.learnt_from.n_ratings == train.n_ratings
    assert train.rated_at is not None
    for user in chosen:
        when = train.rated_at[train.matrix.indptr[user] : train.matrix.indptr[user + 1]]
        films = train.matrix[[user]].indices[np.argsort(when, kind="stable")].tolist()
        late = films[len(films) - -(-3 * (len(films) // 5) // 4) :]
        assert set(late) <= set(other.learnt_from.matrix[[user]].indices.tolist())
    assert other.weights is not None
    assert night.weights is not None
    assert other.weights.n_pairs == other.learnt_from.n_ratings < night.weights.n_pairs
    again = watched(SMALL).learnt_from
    assert again.user_counts().tolist() == other.learnt_from.user_counts().tolist()


@pytest.mark.parametrize("block", [1, 2, 100])
def test_examined_are_those_asked_for(block: int, night: Night) -> None:
    """Users are examined block by block in the order asked for, each with features and candidates of their own."""
    asked, held = np.array([40, 3, 17]), night.learnt_from
    whole = of_every_film(night.measured, np.arange(SMALL.n_users))
    ((_, candidates, _, _),) = night.measured.candidate_features(np.arange(SMALL.n_users), 1000)
    rows = 0
    for users, chosen, found, of_held in night.measured.candidate_features(asked, block, held):
        assert users.tolist() == asked[rows : rows + block].tolist()
        cells = [
            (row, film)
            for row, user in enumerate(users)
            for film in candidates.columns[candidates.rows == user]
        ]
        assert list(zip(*chosen, strict=True)) == cells
        rated = [
            (row, film) for row, user in enumerate(users) for film in held.matrix[[user]].indices
        ]
        for name, values in whole.items():
            for features, places in ((found, cells), (of_held, rated)):
                slow = [values[users[row], film] for row, film in places]
                np.testing.assert_allclose(features[name], slow, rtol=1e-9, atol=1e-9)
        assert set(whole) == set(found) == set(of_held)
        rows += len(users)
    assert rows == 3


def test_evidence_cell_by_cell(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evidence is which candidates were liked, and what every held-out pair was, candidate or not."""
    given: list[TrainingBlock] = []
    monkeypatch.setattr(ensemble, "learn", lambda _names, evidence, _seed: given.extend(evidence))
    held, learnt_on = night.learnt_from, night.learnt_on
    learn_weights(learnt_on, held, 4.0, 0, 25)
    users = np.flatnonzero(held.user_counts())
    found, counts = of_every_film(learnt_on, users), learnt_on.ratings.item_counts()
    rows = 0
    for each in given:
        block = users[rows : rows + 25]
        cells, pairs, stars, liked = [], [], [], []
        for row, user in enumerate(block):
            promised = found["preference"][rows + row] + found["liking"][rows + row]
            seen = {
                *learnt_on.ratings.matrix[[user]].indices.tolist(),
                *np.flatnonzero(counts < 5).tolist(),
            }
            films = best(promised.tolist(), seen, counts.tolist(), 100)
            truth = dict(
                zip(
                    held.matrix[[user]].indices.tolist(),
                    held.matrix[[user]].data.tolist(),
                    strict=True,
                )
            )
            cells += [(rows + row, film) for film in films]
            liked += [truth.get(film, 0.0) >= 4.0 for film in films]
            pairs += [(rows + row, film) for film in truth]
            stars += truth.values()
        assert each.liked.tolist() == liked
        assert each.stars.tolist() == stars
        levels = [[values[cell] for values in found.values()] for cell in cells]
        np.testing.assert_allclose(each.levels, levels, rtol=1e-9, atol=1e-9)
        slow = [[values[cell] for values in found.values()] for cell in pairs]
        np.testing.assert_allclose(each.pairs, slow, rtol=1e-9, atol=1e-9)
        whose = np.array([row for row, _ in cells])
        for row in set(whose.tolist()):
            own = np.array(levels)[whose == row]
            np.testing.assert_allclose(
                each.candidates[whose == row], own - own.mean(axis=0), rtol=1e-9, atol=1e-9
            )
        rows += len(block)
    assert rows == len(users) > 50
    assert not set(pairs) <= set(cells)


# The blend's lists


def slow_relevance(scorer: Ensemble, users: Ints, n_candidates: int) -> Floats:
    """What the blend lists every unseen film by, (b, n_items): the formulas on dense arrays, a user at a time."""
    found, counts = of_every_film(scorer, users), scorer.ratings.item_counts()
    relevance = np.full((len(users), scorer.ratings.n_items), NAN)
    blend = scorer.blend
    assert blend is not None
    for row, user in enumerate(users):
        seen = set(scorer.ratings.matrix[[user]].indices.tolist())
        if not seen:
            continue
        promised = found["preference"][row] + found["liking"][row]  # (n_items,)
        films = best(
            promised.tolist(), {*seen, *np.flatnonzero(counts < 5)}, counts.tolist(), n_candidates
        )
        relevance[row] = 1 / (1 + np.exp(-promised)) - 1
        relevance[row, sorted(seen)] = NAN
        if blend.weights is None:
            relevance[row, films] += 1
        elif films:
            own = np.stack([found[name][row, films] for name in blend.weights.names], axis=1)
            steps = (own - own.mean(axis=0)) / blend.scale.spread_in_list
            relevance[row, films] = 1 / (
                1 + np.exp(-(blend.weights.odds + steps @ blend.weights.relevance))
            )
    return relevance


@pytest.mark.parametrize("learnt", [True, False])
@pytest.mark.parametrize("n_candidates", [1, 3, 12, 100])
@pytest.mark.parametrize("n", [1, 5, 12, 30, 100])
def test_other_films_come_behind(
    n: int, n_candidates: int, learnt: bool, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind all candidates come the other films, below 0, in the order of what both tastes promise, none twice."""
    monkeypatch.setattr(ensemble, "CANDIDATES", n_candidates)
    measured = night.measured
    blend = measured.blend
    assert blend is not None
    if not learnt:
        measured = replace(measured, blend=replace(blend, weights=None))
    users, counts = np.arange(60)[::-1], measured.ratings.item_counts()
    found = measured.rank_users(["blend"], users, n)["blend"]
    slow = slow_relevance(measured, users, n_candidates)
    n_behind = 0
    for row, user in enumerate(users):
        seen = set(measured.ratings.matrix[[user]].indices.tolist())
        films = best(slow[row].tolist(), seen, counts.tolist(), n)
        assert found.listed[row].tolist() == filled_up(films, n)
        assert len(films) == min(n, 80 - len(seen)) == len(set(films) - seen)
        np.testing.assert_allclose(
            found.score[row, : len(films)], slow[row, films], rtol=1e-9, atol=1e-9
        )
        assert np.isnan(
            np.stack([found.score, found.rating, found.support])[:, row, len(films) :]
        ).all()
        able = set(np.flatnonzero(counts >= 5).tolist()) - seen
        n_first = min(n, n_candidates, len(able))
        assert (found.score[row, :n_first] > 0).all()
        assert (found.score[row, n_first : len(films)] < 0).all()
        assert set(films[:n_first]) <= able
        n_behind += len(films) - n_first
    assert (n_behind > 0) == (n > min(n_candidates, 30))
    assert found.score.shape == (60, n)


def test_films_that_few_have_rated_come_last(night: Night) -> None:
    """A list longer than there are films that five have rated ends in those that fewer have, by what is promised."""
    counts, users = night.measured.ratings.item_counts(), np.array([11, 30])
    found = night.measured.rank_users(["blend"], users, 80)["blend"]
    promised = of_every_film(night.measured, users)
    for row, user in enumerate(users):
        unseen = sorted(
            set(range(80)) - set(night.measured.ratings.matrix[[user]].indices.tolist())
        )
        few = [film for film in unseen if counts[film] < 5]
        assert 0 < len(few) < len(unseen)
        worth = [NAN if film not in few else promised["preference"][row, film] + promised["liking"][row, film]
                 for film in range(80)]  # fmt: skip
        summary = best(worth, set(), counts.tolist(), 80)
        assert found.listed[row].tolist() == filled_up(
            [*found.listed[row, : len(unseen) - len(few)], *summary], 80
        )


@pytest.mark.parametrize("learnt", [True, False])
def test_nothing_is_said_to_a_user_without_ratings(learnt: bool, night: Night) -> None:
    """Where a user has no ratings the blend has neither list nor stars; beside them the others have both."""
    stars = SMALL.matrix.toarray()
    stars[stars == 0] = NAN
    stars[[3, 40]] = NAN
    ratings = ratings_of(stars)
    weights = watched(ratings).weights if learnt else None
    assert (weights is not None) == learnt
    joined = assemble(ratings, fit_all(ratings, QUICK, 0), weights, 0, 100)
    users = np.array([40, 8, 3, 0])
    found = joined.rank_users(["blend"], users, 80, every_cell(4, 80))["blend"]
    silent = np.isin(users, [3, 40])
    assert (found.listed[silent] == NOBODY).all()
    assert (found.listed[~silent, :40] != NOBODY).all()
    for told in (found.score, found.rating, found.support, found.predicted.reshape(4, 80)):
        assert np.isnan(told).all(axis=1).tolist() == silent.tolist()
    assert np.isfinite(found.predicted.reshape(4, 80)[~silent]).all()
    alone = joined.rank_users(["blend"], users[[1, 3]], 80, every_cell(2, 80))["blend"]
    np.testing.assert_array_equal(found.listed[[1, 3]], alone.listed)
    np.testing.assert_allclose(found.score[[1, 3]], alone.score, rtol=1e-9)


@pytest.mark.parametrize("block", [1, 7])
def test_blocks_do_not_matter(block: int, night: Night) -> None:
    """However many users are scored at a time, weights, scale and predictions are the same."""
    other = watched(SMALL, block=block)
    assert other.weights is not None
    assert night.weights is not None
    assert other.weights.figures() == pytest.approx(night.weights.figures(), rel=1e-9, abs=1e-9)
    for name in night.judged:
        np.testing.assert_allclose(
            other.judged[name].predicted, night.judged[name].predicted, rtol=1e-9
        )
        assert other.judged[name].listed.tolist() == night.judged[name].listed.tolist()


def test_same_seed_same_bytes(night: Night) -> None:
    """Ratings, parameters and seed decide weights, scores and lists to the last bit; another seed learns otherwise."""
    assert bytes_of(watched(SMALL)) == bytes_of(night)
    other = watched(SMALL, seed=1).weights
    assert other is not None
    assert night.weights is not None
    assert other.stars.tobytes() != night.weights.stars.tobytes()


def test_input_is_untouched() -> None:
    """Evaluating leaves every byte of the ratings as it was."""
    ratings = tastes(1, 20, 30)
    matrix = ratings.matrix
    arrays = [matrix.data, matrix.indices, matrix.indptr, ratings.genres, ratings.rated_at]
    before = [array.tobytes() for array in arrays if array is not None]
    watched(ratings)
    assert [array.tobytes() for array in arrays if array is not None] == before


# Models that know something by construction


@dataclass(frozen=True)
class Knowing:
    """A model that has been told its scores."""

    baseline: Baseline
    rating: Floats  # (n_users, n_items), nan where it cannot say

    def score(self, users: Any) -> Scores:
        """Say what it was told."""
        rating = self.rating[users]
        return Scores(rating, np.where(np.isnan(rating), 0.0, 5.0), rating)

    def weights(self) -> dict[str, Floats]:
        """Nothing."""
        return {}


def knowing(
    told: dict[str, Floats], train: Ratings, held: Ratings
) -> tuple[dict[str, Judged], Weights | None]:
    """Models that have been told these stars, and the blend of them, held against the held-out part."""

    def told_all(ratings: Ratings, params: Any, seed: int) -> dict[str, Knowing]:
        nothing = np.full(train.matrix.shape, NAN)
        return {
            name: Knowing(fit_baseline("bias", ratings), told.get(name, nothing)) for name in MODELS
        }

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "fit_all", told_all)
        return fit_and_judge(
            train, held, QUICK, seed=0, n=5, relevant_from=4.0, block=16, users=1000
        )


def halves(seed: int = 0) -> tuple[Floats, Ratings, Ratings]:
    """40 users who gave each of 80 films stars at random: all stars, the training part and the held-out part."""
    random = np.random.default_rng(seed)
    stars = random.integers(1, 6, (40, 80)).astype(np.float64)
    ratings = ratings_of(stars, times=random.random(stars.shape))
    test = hold_out(ratings, 0)
    return stars, ratings.keep(~test), ratings.keep(test)


def test_each_model_departs_from_its_own_baseline() -> None:
    """What a model says is measured against its own baseline, and the bias baseline stands in for the blend."""
    stars, train, _ = halves()
    kinds = {
        "user_user": "user_mean",
        "item_item": "none",
        "neural": "bias",
        "popular": "none",
        "bias": "bias",
    }
    baselines = {name: fit_baseline(kind, train) for name, kind in kinds.items()}
    joined = unblended(
        train, {name: Knowing(baseline, stars) for name, baseline in baselines.items()}
    )
    users = np.array([9, 4])
    found = of_every_film(joined, users)
    for name in PERSONAL:
        np.testing.assert_allclose(
            found[name], stars[users] - baselines[name].rows(users), rtol=1e-9, atol=1e-12
        )
    for name, stands_in in {**kinds, "blend": "bias"}.items():
        assert (
            joined.baseline(name).rows(users).tolist()
            == fit_baseline(stands_in, train).rows(users).tolist()
        )


@pytest.mark.parametrize("seed", [0, 1])
def test_two_halves_make_a_whole(seed: int) -> None:
    """Of two models that know one half of the films each, the blend knows more than either, in stars and in lists."""
    stars, train, held = halves(seed)
    left = np.arange(80) < 40
    told = {"user_user": np.where(left, stars, NAN), "item_item": np.where(left, NAN, stars)}
    judged, weights = knowing(told, train, held)
    found = {
        name: measure(each, Catalogue(train.matrix, train.genres), 0)
        for name, each in judged.items()
    }
    assert weights is not None
    for name in told:
        assert found[name]["fallback_share"] == pytest.approx(0.5, abs=0.1)
        assert found["blend"]["rmse"] < 0.5 * found[name]["rmse"]
        assert found["blend"]["precision@5"] > found[name]["precision@5"] + 0.1
    ahead = gain(judged["blend"], [judged[name] for name in PERSONAL], 0)
    assert ahead["precision_gain_low@5"] > 0
    assert ahead["rmse_gain"] > 0.5


@pytest.mark.parametrize("name", PERSONAL)
def test_the_one_that_knows_is_believed(name: str) -> None:
    """Whichever model knows, its departure has the most weight, and stars that mean the opposite have one below 0."""
    stars, train, held = halves()
    for told, sign in ((stars, 1), (6 - stars, -1)):
        judged, weights = knowing({name: told}, train, held)
        assert weights is not None
        figures = weights.figures()
        for kind in ("stars", "list"):
            user_weighted_sums = {each: figures[f"{kind}_weight_{each}"] for each in weights.names}
            pull = user_weighted_sums.pop(name) + user_weighted_sums.pop(
                f"{name}_sure"
            )  # both say the same here
            assert sign * pull > 2 * max(abs(value) for value in user_weighted_sums.values())
        assert np.sqrt(np.mean((judged["blend"].predicted - judged["blend"].truth) ** 2)) < 0.5


def test_a_model_without_evidence() -> None:
    """A model that can say nothing gets no weight and takes nothing away: the blend speaks for every known user."""
    stars, train, held = halves()
    judged, weights = knowing({"user_user": stars}, train, held)
    assert weights is not None
    figures = weights.figures()
    for silent in ("item_item", "neural"):
        for part in ("", "_evidence", "_sure"):
            assert (
                figures[f"stars_weight_{silent}{part}"]
                == figures[f"list_weight_{silent}{part}"]
                == 0.0
            )
    assert judged["neural"].is_fallback.all()
    assert not judged["blend"].is_fallback.any()


def test_nobody_knows() -> None:
    """Where no model can say anything the blend still does, and where nothing could be learnt it says the baseline."""
    _, train, held = halves()
    judged, weights = knowing({}, train, held)
    assert weights is not None
    assert np.isfinite(judged["blend"].predicted).all()
    mute = {
        name: Knowing(fit_baseline("bias", train), np.full(train.matrix.shape, NAN))
        for name in MODELS
    }
    users = np.array([2, 7])
    scores = blended(assemble(train, mute, None, 0, 16), users)
    np.testing.assert_allclose(scores.rating, fit_baseline("bias", train).rows(users), rtol=1e-12)


def test_films_without_genres() -> None:
    """Without genres `neural` knows nothing, and the blend of the others still lists five films for everyone."""
    ratings = tastes(2, 40, 60, genres=False, timed=False)
    found = watched(ratings)
    assert found.weights is not None
    assert not any(name.startswith("session") for name in found.weights.names)
    assert (found.judged["blend"].listed >= 0).all()
    assert np.isfinite(found.judged["blend"].predicted).all()


def test_blend_of_real_models() -> None:
    """On users of three tastes the blend's stars are closer than any model's, and its lists beat the most popular."""
    found = evaluate.evaluate(
        tastes(3, 150, 200), TUNED, seed=0, n=5, relevant_from=4.0, block=64, users=1000
    ).metrics
    for name in (*PERSONAL, "bias"):
        assert found["blend"]["rmse"] < found[name]["rmse"] - 0.05
    for name in ("popular", "bias", "user_user", "neural"):
        assert found["blend"]["precision@5"] > found[name]["precision@5"] + 0.03
    assert found["blend"]["precision@5"] > found["item_item"]["precision@5"] - 0.02
    assert found["blend"]["rmse_gain"] == pytest.approx(
        min(found[name]["rmse"] for name in PERSONAL) - found["blend"]["rmse"], rel=1e-12
    )
