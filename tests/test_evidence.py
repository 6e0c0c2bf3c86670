"""The figures of reasons, against a slow recomputation cell by cell."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch.models import PERSONAL, Model, fit
from batch.models.ease import ThroughItems, ThroughUsers, interpolate
from batch.params import PRESETS, ItemNeighbourhood, Neighbourhood
from batch.ranking.blend_weights import Weights
from batch.ranking.ensemble import assemble
from batch.ranking.evaluate import fit_all
from batch.ratings import NOBODY, Pairs, Ratings
from batch.reasons import SHARES
from reference import Line, lines_of, random_stars, ratings_of, similarity, turned

ROUNDED = 0.0005 + 1e-6
"""Half of the last digit of a sum of weights in stars, and of predicted_rating."""
NOISE = 1e-10
"""Deviations and similarities below this are rounding noise."""


def small() -> Ratings:
    """30 users and 40 films of half stars, 5 genres; one user and one film without ratings."""
    random = np.random.default_rng(1)
    half_stars = [0.5 * step for step in range(1, 11)]
    return ratings_of(
        random_stars(0, 30, 40, half_stars, 0.3, n_empty=1),
        genres=(random.random((40, 5)) < 0.4).astype(np.float64),
        times=random.integers(0, 10**6, (30, 40)).astype(np.float64),
        scale=(0.5, 5.0),
    )


def csv_lines(file: Path) -> list[list[str]]:
    """The rows below the header."""
    with file.open(encoding="utf-8") as lines:
        return list(csv.reader(lines))[1:]


@pytest.fixture(scope="module")
def real(movielens: Path) -> Ratings:
    """MovieLens latest-small by its own ids."""
    catalogue = {
        int(key): genres.split("|") for key, _, genres in csv_lines(movielens / "movies.csv")
    }
    ratings = csv_lines(movielens / "ratings.csv")
    users = sorted({int(user) for user, *_ in ratings})
    films = sorted(catalogue)
    row_of = {key: row for row, key in enumerate(users)}
    column_of = {key: column for column, key in enumerate(films)}
    stars = np.full((len(users), len(films)), np.nan)
    for user, film, rating, _ in ratings:
        stars[row_of[int(user)], column_of[int(film)]] = float(rating)
    names = sorted({genre for genres in catalogue.values() for genre in genres})
    genres = np.array([[float(name in catalogue[film]) for name in names] for film in films])
    return ratings_of(stars, genres=genres, scale=(0.5, 5.0))


def reasons(model: Model, ratings: Ratings, user: int, items: list[int]) -> list[dict[str, Any]]:
    """The reasons of these cells of one user, scored beside another user."""
    users = np.array([(user + 1) % ratings.n_users, user])
    cells = Pairs(np.ones(len(items), dtype=np.int64), np.array(items))
    return [json.loads(text) for text in model.score(users).explain(cells).stored(ratings)]


def some_items(model: Model, user: int, n: int) -> list[int]:
    """Films that the model predicts for the user: the n best, and some of the others."""
    relevance = model.score(np.array([user])).relevance[0]
    predicted = np.flatnonzero(~np.isnan(relevance))
    by_rank = predicted[np.argsort(-relevance[predicted], kind="stable")]
    others = by_rank[n :: max(len(by_rank) // n, 1)]
    return [*by_rank[:n].tolist(), *others.tolist()]


@dataclass
class Slow:
    """Ratings, and their deviations from a model's baseline, by user and by film."""

    lines: list[Line]
    deviations: list[Line]
    columns: list[Line]
    column_deviations: list[Line]

    @staticmethod
    def of(ratings: Ratings, model: Model) -> "Slow":
        b = model.baseline
        lines = []
        deviations = []
        for user, stored in enumerate(lines_of(ratings)):
            line: Line = {item: float(stars) for item, stars in stored.items()}
            own: Line = {}
            for item, stars in line.items():
                deviation = stars - (b.mu + b.user[user] + b.item[item])
                own[item] = 0.0 if abs(deviation) < NOISE else deviation
            lines.append(line)
            deviations.append(own)
        n = ratings.n_items
        return Slow(lines, deviations, turned(lines, n), turned(deviations, n))


def similarities(
    rows: list[Line], deviations: list[Line], row: int, columns: list[Line], params: Neighbourhood
) -> dict[int, float]:
    """s between one row and each of those it shares a cell with, as the parameters have it."""
    others = sorted({other for column in rows[row] for other in columns[column]} - {row})
    s = {}
    for other in others:
        common = len(rows[row].keys() & rows[other].keys())
        value = similarity(
            params.similarity, rows[row], rows[other], deviations[row], deviations[other]
        )
        value *= common / (common + params.overlap_shrinkage)
        if abs(value) > NOISE:
            s[other] = value
    if params.neighbours != "all":
        positive = [other for other in s if s[other] > 0]
        ranked = sorted(positive, key=lambda other: (-round(s[other], 9), other))
        s = {other: s[other] for other in sorted(ranked[: params.neighbours])}
    return s


def check_heaviest(named: list[float], weights: list[float]) -> None:
    """The three largest are named, largest first, except those that round to 0."""
    heaviest = sorted(map(abs, weights), reverse=True)[:3]
    assert len(named) >= sum(weight > 0.001 for weight in heaviest)
    assert named == pytest.approx(heaviest[: len(named)], abs=0.001 + 1e-9)


def check_neighbours(
    model: Model, ratings: Ratings, users: list[int], params: Neighbourhood, n: int
) -> int:
    """Check every figure of user_user's reasons; returns how many reasons there were."""
    slow = Slow.of(ratings, model)
    checked = 0
    for user in users:
        s = similarities(slow.lines, slow.deviations, user, slow.columns, params)
        items = some_items(model, user, n)
        for item, reason in zip(items, reasons(model, ratings, user, items), strict=True):
            stars = {v: float(r) for v, r in slow.columns[item].items() if v in s}
            similar = [r for v, r in stars.items() if s[v] > 0]
            opposed = [r for v, r in stars.items() if s[v] < 0]
            deviations = slow.column_deviations[item]
            total = sum(s[v] * deviations[v] for v in stars)
            support = sum(abs(s[v]) for v in stars) + params.support_shrinkage
            expected: dict[str, Any] = {"kind": "user_user", "neighbours": len(similar)}
            if similar:
                expected["mean"] = pytest.approx(np.mean(similar), abs=0.005 + 1e-9)
                agreement = max(s[v] for v in stars)
                expected["agreement"] = pytest.approx(agreement, abs=0.005 + 1e-9)
            if opposed:
                mean = pytest.approx(np.mean(opposed), abs=0.005 + 1e-9)
                expected["opposed"] = [len(opposed), mean]
            expected["weight"] = pytest.approx(total / support, abs=ROUNDED)
            assert reason == expected
            checked += 1
    return checked


def check_own_ratings(
    model: Model, ratings: Ratings, users: list[int], params: ItemNeighbourhood, n: int
) -> int:
    """Check every figure of item_item's reasons, and `listed_for`; returns how many there were."""
    slow = Slow.of(ratings, model)
    # stars above indifference, 1.5 of 5
    profiles = np.maximum(np.nan_to_num(dense(ratings), nan=0.0) - 1.5, 0.0)
    column_of = {movie_id: column for column, movie_id in enumerate(ratings.movie_ids.tolist())}
    checked = 0
    for user in users:
        items = some_items(model, user, n)
        learnt: list[dict[int, float]] = [{} for _ in items]
        if params.learnt_ridge:
            learnt = learnt_weights(profiles, user, items, params.learnt_ridge)
        reasons_of_items = reasons(model, ratings, user, items)
        for item, reason, added in zip(items, reasons_of_items, learnt, strict=True):
            s = similarities(slow.columns, slow.column_deviations, item, slow.lines, params)
            own = [j for j in slow.lines[user] if j in s]
            support = sum(abs(s[j]) for j in own) + params.support_shrinkage
            weights = {j: float(slow.deviations[user][j]) * s[j] / support for j in own}
            named = [abs(weight) for *_, weight in reason["films"]]
            check_heaviest(named, list(weights.values()))
            for movie_id, stars, weight in reason["films"]:
                film = column_of[movie_id]
                assert stars == slow.lines[user][film]
                assert weight == pytest.approx(weights[film], abs=0.001 + 1e-9)
            total = sum(weight for *_, weight in reason["films"]) + reason["others"]
            assert total == pytest.approx(sum(weights.values()), abs=ROUNDED)
            largest = max(added.values(), default=0)
            if largest > 1e-5:
                first = column_of[reason["listed_for"]]
                assert added[first] == pytest.approx(largest, abs=1e-5)
            elif params.learnt_ridge and "listed_for" not in reason:
                assert largest < 1e-5
            checked += 1
    return checked


def dense(ratings: Ratings) -> Any:
    """(n_users, n_items), nan where not rated."""
    table = np.full(ratings.matrix.shape, np.nan)
    table[Pairs.stored(ratings.matrix)] = ratings.matrix.data
    return table


def learnt_weights(
    profiles: Any, user: int, items: list[int], ridge: float
) -> list[dict[int, float]]:
    """What each film of the user adds to each item by EASE's weights, from all films' matrix."""
    n = profiles.shape[1]
    unit = np.zeros((n, len(items)))
    unit[items, range(len(items))] = 1.0
    # Columns of P = (X'X + ridge I)^-1, by the identity of Woodbury written with plain solves.
    inner = ridge * np.eye(len(profiles)) + profiles @ profiles.T
    columns = (unit - profiles.T @ np.linalg.solve(inner, profiles @ unit)) / ridge  # (n, k)
    weights = -columns / columns[items, range(len(items))]
    rated = np.flatnonzero(profiles[user]).tolist()
    added = []
    for k, item in enumerate(items):
        added.append({j: profiles[user, j] * weights[j, k] for j in rated if j != item})
    return added


def predicted(model: Any, user: int, x: Any) -> float:
    """W2 f(W1 x + b1) + b2, term by term."""
    trained = model.trained
    hidden = [dot(row, x) + b for row, b in zip(trained["W1"], trained["b1"], strict=True)]
    if model.rectified:
        hidden = [max(h, 0.0) for h in hidden]
    return dot(trained["W2"][user], hidden) + float(trained["b2"][user])


def dot(first: Any, second: Any) -> float:
    return float(sum(a * b for a, b in zip(first, second, strict=True)))


def check_genres(model: Any, ratings: Ratings, users: list[int], n: int) -> int:
    """Each genre weighs what the prediction loses without it, and all of them add up."""
    checked = 0
    for user in users:
        items = some_items(model, user, n)
        for item, reason in zip(items, reasons(model, ratings, user, items), strict=True):
            x = ratings.genres[item]
            rating = predicted(model, user, x)
            lost = {}
            for genre in np.flatnonzero(x):
                without = np.where(np.arange(len(x)) == genre, 0, x)
                lost[int(ratings.genre_ids[genre])] = rating - predicted(model, user, without)
            check_heaviest([abs(weight) for _, weight in reason["genres"]], list(lost.values()))
            for genre_id, weight in reason["genres"]:
                assert weight == pytest.approx(lost[genre_id], abs=0.001 + 1e-9)
            departure = rating
            if not model.added:
                cell = Pairs(np.zeros(1, int), np.array([item]))
                departure -= model.baseline.at(np.array([user]), cell)[0]
            total = sum(weight for _, weight in reason["genres"]) + reason["others"]
            assert total == pytest.approx(departure, abs=ROUNDED)
            checked += 1
    return checked


def check_all(ratings: Ratings, preset: str, users: list[int], n: int) -> list[int]:
    """Check the reasons of each model; returns how many there were."""
    knobs = PRESETS[preset]
    user_user = fit("user_user", ratings, knobs.user_user, 0)
    item_item = fit("item_item", ratings, knobs.item_item, 0)
    neural = fit("neural", ratings, knobs.neural.model_copy(update={"epochs": 3}), 0)
    return [
        check_neighbours(user_user, ratings, users, knobs.user_user, n),
        check_own_ratings(item_item, ratings, users, knobs.item_item, n),
        check_genres(neural, ratings, users, n),
    ]


@pytest.mark.parametrize("preset", PRESETS)
def test_reasons_cell_by_cell(preset: str) -> None:
    """Each figure of a reason is that of a slow recomputation, for films of all ranks."""
    ratings = small()
    users = np.flatnonzero(ratings.user_counts()).tolist()
    assert min(check_all(ratings, preset, users, 5)) >= 10 * len(users)


@pytest.mark.parametrize("preset", PRESETS)
def test_reasons_of_real_ratings(preset: str, real: Ratings) -> None:
    """The same holds on MovieLens latest-small, for a light, a usual and a heavy rater."""
    by_count = np.argsort(real.user_counts(), kind="stable")
    users = by_count[[0, 300, 560]].tolist()
    assert min(check_all(real, preset, users, 2)) >= 3 * 2


def test_other_forms_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `relu` weights are losses too; the original form only has its departure."""
    ratings = small()
    knobs = PRESETS["tuned"].neural.model_copy(update={"activation": "relu", "epochs": 20})
    assert check_genres(fit("neural", ratings, knobs, 0), ratings, [0, 5], 5) >= 10
    monkeypatch.setattr("batch.models.flattened.EPOCHS", 50)
    flattened = fit("neural", ratings, knobs.model_copy(update={"architecture": "flattened"}), 0)
    user = int(np.argmax(ratings.user_counts()))
    users = np.array([user])
    [reason] = reasons(flattened, ratings, user, [3])
    departure = flattened.score(users).rating[0, 3] - flattened.baseline.rows(users)[0, 3]
    assert reason == {"kind": "flattened", "weight": pytest.approx(departure, abs=ROUNDED)}


def share_of(feature: str) -> str:
    """The share that a feature belongs to, by docs/reasons.md."""
    for model in PERSONAL:
        if feature in (model, f"{model}_evidence", f"{model}_sure"):
            return model
    return {
        "user_effect": "average",
        "item_effect": "average",
        "fame": "popularity",
        "affinity": "genres",
        "preference": "taste",
        "liking": "taste",
        "session_5": "recent",
        "session_15": "recent",
        "session_50": "recent",
        "trend_3": "trend",
        "trend_14": "trend",
        "trend_90": "trend",
        "trend_own": "trend",
        "trend_liked": "trend",
        "trend_age": "trend",
    }[feature]


def test_shares_of_the_blend() -> None:
    """A share is the sum over its features of weight times distance from the candidates' mean."""
    ratings = small()
    neural = PRESETS["tuned"].neural.model_copy(update={"epochs": 3})
    models = fit_all(ratings, PRESETS["tuned"].model_copy(update={"neural": neural}), 0)
    unweighted = assemble(ratings, models, None)
    names = next(iter(unweighted.candidate_features(np.arange(1), 1))).of_candidates
    random = np.random.default_rng(5)
    weights = Weights(
        names=tuple(names),
        stars=random.normal(size=len(names)),
        products=np.triu(random.normal(size=(len(names), len(names)))),
        level=0.5,
        mean=random.normal(size=len(names)),
        spread=random.uniform(0.5, 2.0, len(names)),
        relevance=random.normal(size=len(names)),
        odds=-2.0,
        list_spread=random.uniform(0.5, 2.0, len(names)),
        n_pairs=9,
        n_liked=9,
        n_trend=9,
    )
    ensemble = assemble(ratings, models, weights)
    users = np.array([3, 8])
    [features] = ensemble.candidate_features(users, 2)
    answer = ensemble.rank_with_evidence(["blend"], users, 5)["blend"]
    assert answer.evidence is not None
    texts = iter(answer.evidence.stored(ratings))
    for row in range(2):
        own = np.flatnonzero(features.candidates.rows == row)
        for item in answer.listed[row]:
            [cell] = own[features.candidates.columns[own] == item]
            expected: dict[str, float] = dict.fromkeys(SHARES, 0.0)
            for place, name in enumerate(weights.names):
                values = features.of_candidates[name]
                distance = (
                    float(values[cell] - sum(values[own]) / len(own)) / weights.list_spread[place]
                )
                expected[share_of(name)] += distance * weights.relevance[place]
            reason = json.loads(next(texts))
            assert (reason["kind"], reason["start"]) == ("blend", -2)
            assert {share_of(name) for name in weights.names} == set(SHARES)
            assert set(reason["shares"]) <= set(SHARES)
            for name, share in expected.items():
                assert reason["shares"].get(name, 0) == pytest.approx(share, abs=0.01 + 1e-9)


def test_learnt_weights_of_the_most_rated_films(monkeypatch: pytest.MonkeyPatch) -> None:
    """A film is listed for the one that adds most to it; one without weights for none."""
    profiles = small().matrix
    cells = Pairs(np.repeat(np.arange(30), 40), np.tile(np.arange(40), 30))
    inverse = np.linalg.inv((profiles.T @ profiles).toarray() + 50.0 * np.eye(40))
    through_users = interpolate(profiles, 50.0)
    assert isinstance(through_users, ThroughUsers)
    strongest = through_users.strongest(profiles, cells)
    check_strongest(strongest, cells, profiles.toarray(), inverse)
    monkeypatch.setattr("batch.models.ease.MAX_CELLS", 34 * 34)
    through_items = interpolate(profiles, 50.0)
    assert isinstance(through_items, ThroughItems)
    kept = profiles.toarray()[:, through_items.kept]
    inverse = np.linalg.inv(kept.T @ kept + 50.0 * np.eye(34))
    strongest = through_items.strongest(profiles, cells)
    has_weights = np.isin(cells.columns, through_items.kept)
    assert set(strongest[~has_weights].tolist()) == {NOBODY}
    places = through_items.positions
    kept_cells = Pairs(cells.rows[has_weights], places[cells.columns[has_weights]])
    listed_for = np.append(places, NOBODY)[strongest[has_weights]]
    check_strongest(listed_for, kept_cells, kept, inverse)


def check_strongest(strongest: Any, cells: Pairs, profiles: Any, inverse: Any) -> None:
    """Each film adds most to its cell by EASE's weights, or none adds anything."""
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    assert (strongest != NOBODY).mean() > 0.8
    for row, column, film in zip(*cells, strongest.tolist(), strict=True):
        added = profiles[row] * weights[:, column]
        if film == NOBODY:
            assert added.max() < 1e-6
        else:
            assert added[film] == pytest.approx(added.max(), abs=1e-6)
