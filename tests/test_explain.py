"""Why a film is listed: against a slow recomputation cell by cell, in whole runs, and asked about any pair."""

import csv
import json
import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, text

from batch import query
from batch.config import Config, FilterSettings
from batch.job import explain_pair, nightly
from batch.job.nightly import Order
from batch.models import PERSONAL, PUBLISHED, Model, fit
from batch.models.baseline import fit_baseline
from batch.models.ease import ThroughItems, ThroughUsers, interpolate
from batch.params import PRESETS, ItemNeighbourhood, Neighbourhood
from batch.ranking.blend import Weights
from batch.ranking.ensemble import assemble
from batch.ranking.evaluate import fit_all
from batch.ratings import NOBODY, Pairs, Ratings
from batch.reasons import SHARES
from batch.store.database import Database, open_database, upgrade
from batch.store.load import load
from data import fill, random_rows, settings
from fixed import command
from reference import Line, lines_of, random_stars, ratings_of, similarity, turned
from tables import rows

DAY = date(2026, 11, 23)
PAGE = Path(__file__).parents[1] / "docs" / "reasons.md"
ROUNDED = 0.0005 + 1e-6
"""Half of the last digit of a sum of weights in stars, and what predicted_rating is rounded to."""


def small() -> Ratings:
    """30 users and 40 films of half stars, 5 genres; one user and one film without ratings."""
    random = np.random.default_rng(1)
    return ratings_of(
        random_stars(0, 30, 40, [0.5 * step for step in range(1, 11)], 0.3, n_empty=1),
        genres=(random.random((40, 5)) < 0.4).astype(np.float64),
        times=random.integers(0, 10**6, (30, 40)).astype(np.float64),
        scale=(0.5, 5.0),
    )


@pytest.fixture(scope="module")
def real(movielens: Path) -> Ratings:
    """MovieLens latest-small by its own ids."""
    with (movielens / "ratings.csv").open() as file:
        cells = [(int(u), int(i), float(r), float(t)) for u, i, r, t in list(csv.reader(file))[1:]]
    with (movielens / "movies.csv").open(encoding="utf-8") as file:
        catalogue = {
            int(number): genres.split("|") for number, _, genres in list(csv.reader(file))[1:]
        }
    users, films = sorted({u for u, *_ in cells}), sorted(catalogue)
    names = sorted({genre for genres in catalogue.values() for genre in genres})
    row, column = (
        {number: place for place, number in enumerate(found)} for found in (users, films)
    )
    stars = np.full((len(users), len(films)), np.nan)
    for user, film, rating, _ in cells:
        stars[row[user], column[film]] = rating
    genres = np.array([[float(name in catalogue[film]) for name in names] for film in films])
    return ratings_of(stars, genres=genres, scale=(0.5, 5.0))


def reasons(model: Model, ratings: Ratings, user: int, items: list[int]) -> list[dict[str, Any]]:
    """What the model stores of these cells of one user, scored among others."""
    users = np.array([(user + 1) % ratings.n_users, user])
    cells = Pairs(np.ones(len(items), dtype=np.int64), np.array(items))
    return [json.loads(text) for text in model.score(users).explain(cells).stored(ratings)]


def some_cells(model: Model, ratings: Ratings, user: int, n: int) -> list[int]:
    """Films that the model has something to say of: its best, and some others."""
    relevance = model.score(np.array([user])).relevance[0]
    said = np.flatnonzero(~np.isnan(relevance))
    by_rank = said[np.argsort(-relevance[said], kind="stable")]
    return [*by_rank[:n].tolist(), *by_rank[n :: max(len(by_rank) // n, 1)].tolist()]


# Cell by cell


@dataclass
class Slow:
    """Ratings and their deviations from a model's baseline as dictionaries, by user and by film."""

    lines: list[Line]
    off: list[Line]
    columns: list[Line]
    columns_off: list[Line]

    @staticmethod
    def of(ratings: Ratings, model: Model) -> "Slow":
        b = model.baseline
        lines = [{item: float(r) for item, r in line.items()} for line in lines_of(ratings)]
        off = [
            {i: r - (b.mu + b.user[u] + b.item[i]) for i, r in line.items()}
            for u, line in enumerate(lines)
        ]
        off = [{i: 0.0 if abs(d) < 1e-10 else d for i, d in line.items()} for line in off]
        return Slow(lines, off, turned(lines, ratings.n_items), turned(off, ratings.n_items))


def alike(
    rows: list[Line], off: list[Line], one: int, others: list[int], params: Neighbourhood
) -> dict[int, float]:
    """s between one row and each of those it shares a cell with, as the parameters have it."""
    found = {}
    for other in others:
        common = len(rows[one].keys() & rows[other].keys())
        if other != one and common:
            s = similarity(params.similarity, rows[one], rows[other], off[one], off[other])
            found[other] = s * common / (common + params.overlap_shrinkage)
    found = {other: s for other, s in found.items() if abs(s) > 1e-10}
    if params.neighbours != "all":
        ranked = sorted((o for o in found if found[o] > 0), key=lambda o: (-round(found[o], 9), o))
        found = {other: found[other] for other in sorted(ranked[: params.neighbours])}
    return found


def met(lines: list[Line], columns: list[Line], one: int) -> list[int]:
    """Rows that share a column with this one."""
    return sorted({other for column in lines[one] for other in columns[column]} - {one})


def check_heaviest(named: list[float], weights: list[float]) -> None:
    """The three largest are named, largest first, those that round to nothing aside."""
    heaviest = sorted(map(abs, weights), reverse=True)[:3]
    assert len(named) >= sum(weight > 0.001 for weight in heaviest)
    assert named == pytest.approx(heaviest[: len(named)], abs=0.001 + 1e-9)


def check_people(
    model: Model, ratings: Ratings, users: list[int], params: Neighbourhood, n: int
) -> int:
    """Every figure of user_user's reasons."""
    slow, seen = Slow.of(ratings, model), 0
    for user in users:
        s = alike(slow.lines, slow.off, user, met(slow.lines, slow.columns, user), params)
        items = some_cells(model, ratings, user, n)
        for item, reason in zip(items, reasons(model, ratings, user, items), strict=True):
            compared_runs = [
                [float(r) for v, r in slow.columns[item].items() if sign * s.get(v, 0.0) > 0]
                for sign in (1, -1)
            ]
            voices = [(s[v], d) for v, d in slow.columns_off[item].items() if v in s]
            weight = sum(a * d for a, d in voices) / (
                sum(abs(a) for a, _ in voices) + params.support_shrinkage
            )
            told = {"kind": "user_user", "neighbours": len(compared_runs[0])}
            if compared_runs[0]:
                told |= {
                    "mean": sum(compared_runs[0]) / len(compared_runs[0]),
                    "agreement": max(a for a, _ in voices),
                }
            assert reason.keys() == {*told, "weight"} | ({"opposed"} if compared_runs[1] else set())
            assert (reason["kind"], reason["neighbours"]) == ("user_user", len(compared_runs[0]))
            for name in ("mean", "agreement"):
                assert reason.get(name, 0) == pytest.approx(told.get(name, 0), abs=0.005 + 1e-9)
            if compared_runs[1]:
                assert reason["opposed"] == [
                    len(compared_runs[1]),
                    pytest.approx(np.mean(compared_runs[1]), abs=0.005 + 1e-9),
                ]
            assert reason["weight"] == pytest.approx(weight, abs=ROUNDED)
            seen += 1
    return seen


def check_own_ratings(
    model: Model, ratings: Ratings, users: list[int], params: ItemNeighbourhood, n: int
) -> int:
    """Every figure of item_item's reasons, and the film that learnt weights list another one for."""
    slow, seen = Slow.of(ratings, model), 0
    profiles = np.maximum(
        np.nan_to_num(dense(ratings), nan=0.0) - 1.5, 0.0
    )  # stars above indifference, of 5
    for user in users:
        items = some_cells(model, ratings, user, n)
        listed_for = (
            by_learnt(profiles, user, items, params.learnt_ridge)
            if params.learnt_ridge
            else [{}] * len(items)
        )
        for item, reason, lists in zip(
            items, reasons(model, ratings, user, items), listed_for, strict=True
        ):
            s = alike(
                slow.columns, slow.columns_off, item, met(slow.columns, slow.lines, item), params
            )
            mine = {j: s[j] for j in slow.lines[user] if j in s}
            support = sum(abs(a) for a in mine.values()) + params.support_shrinkage
            weights = {j: slow.off[user][j] * a / support for j, a in mine.items()}
            check_heaviest([abs(w) for *_, w in reason["films"]], list(weights.values()))
            for film, stars, weight in reason["films"]:
                j = int(np.flatnonzero(ratings.movie_ids == film)[0])
                assert stars == slow.lines[user][j]
                assert weight == pytest.approx(weights[j], abs=0.001 + 1e-9)
            total = sum(w for *_, w in reason["films"]) + reason["others"]
            assert total == pytest.approx(sum(weights.values()), abs=ROUNDED)
            if lists and max(lists.values()) > 1e-5:
                j = int(np.flatnonzero(ratings.movie_ids == reason["listed_for"])[0])
                assert lists[j] == pytest.approx(max(lists.values()), abs=1e-5)
            assert (
                "listed_for" in reason
                or not params.learnt_ridge
                or max(lists.values(), default=0) < 1e-5
            )
            seen += 1
    return seen


def dense(ratings: Ratings) -> Any:
    """(n_users, n_items), nan where not rated."""
    found = np.full(ratings.matrix.shape, np.nan)
    found[Pairs.stored(ratings.matrix)] = ratings.matrix.data
    return found


def by_learnt(profiles: Any, user: int, items: list[int], ridge: float) -> list[dict[int, float]]:
    """What each film of the user adds to each of these by EASE's weights, from the matrix of all films."""
    n = profiles.shape[1]
    asked = np.zeros((n, len(items)))
    asked[items, range(len(items))] = 1.0
    # Columns of P = (X'X + ridge I)^-1, by the identity of Woodbury written with plain solves.
    inner = ridge * np.eye(len(profiles)) + profiles @ profiles.T
    columns = (asked - profiles.T @ np.linalg.solve(inner, profiles @ asked)) / ridge  # (n, k)
    weights = -columns / columns[items, range(len(items))]
    return [
        {
            j: profiles[user, j] * weights[j, k]
            for j in np.flatnonzero(profiles[user]).tolist()
            if j != item
        }
        for k, item in enumerate(items)
    ]


def check_genres(model: Any, ratings: Ratings, users: list[int], n: int) -> int:
    """Every genre's weight is what the prediction loses without it, and all of them add up."""
    seen, w1, b1 = 0, model.trained["W1"], model.trained["b1"]

    def predicted(user: int, x: Any) -> float:
        hidden = [
            sum(a * b for a, b in zip(row, x, strict=True)) + c
            for row, c in zip(w1, b1, strict=True)
        ]
        if model.rectified:
            hidden = [max(h, 0.0) for h in hidden]
        return (
            sum(a * h for a, h in zip(model.trained["W2"][user], hidden, strict=True))
            + model.trained["b2"][user]
        )

    for user in users:
        items = some_cells(model, ratings, user, n)
        for item, reason in zip(items, reasons(model, ratings, user, items), strict=True):
            x = ratings.genres[item]
            lost = {
                int(ratings.genre_ids[g]): predicted(user, x)
                - predicted(user, np.where(np.arange(len(x)) == g, 0, x))
                for g in np.flatnonzero(x)
            }
            check_heaviest([abs(w) for _, w in reason["genres"]], list(lost.values()))
            for genre, weight in reason["genres"]:
                assert weight == pytest.approx(lost[genre], abs=0.001 + 1e-9)
            own = model.baseline.at(np.array([user]), Pairs(np.zeros(1, int), np.array([item])))[0]
            departure = predicted(user, x) + (0.0 if model.added else -own)
            assert sum(w for _, w in reason["genres"]) + reason["others"] == pytest.approx(
                departure, abs=ROUNDED
            )
            seen += 1
    return seen


def checked(ratings: Ratings, preset: str, users: list[int], n: int) -> list[int]:
    knobs = PRESETS[preset]
    neural = knobs.neural.model_copy(update={"epochs": 3})
    return [
        check_people(
            fit("user_user", ratings, knobs.user_user, 0), ratings, users, knobs.user_user, n
        ),
        check_own_ratings(
            fit("item_item", ratings, knobs.item_item, 0), ratings, users, knobs.item_item, n
        ),
        check_genres(fit("neural", ratings, neural, 0), ratings, users, n),
    ]


@pytest.mark.parametrize("preset", PRESETS)
def test_reasons_cell_by_cell(preset: str) -> None:
    """Each figure of each model's reasons is that of a slow recomputation, for films of all ranks, rated ones too."""
    ratings = small()
    users = np.flatnonzero(ratings.user_counts()).tolist()
    assert min(checked(ratings, preset, users, 5)) >= 10 * len(users)


@pytest.mark.parametrize("preset", PRESETS)
def test_reasons_of_real_ratings(preset: str, real: Ratings) -> None:
    """On MovieLens latest-small the same holds, for a light, a usual and a heavy rater."""
    by_count = np.argsort(real.user_counts(), kind="stable")
    assert min(checked(real, preset, by_count[[0, 300, 560]].tolist(), 4)) >= 3 * 4


def test_other_forms_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `relu` a genre's weight is what the rating loses without it; the original form says only how it departs."""
    ratings, knobs = (
        small(),
        PRESETS["tuned"].neural.model_copy(update={"activation": "relu", "epochs": 20}),
    )
    assert check_genres(fit("neural", ratings, knobs, 0), ratings, [0, 5], 5) >= 10
    monkeypatch.setattr("batch.models.flattened.EPOCHS", 50)
    flattened = fit("neural", ratings, knobs.model_copy(update={"architecture": "flattened"}), 0)
    user = int(np.argmax(ratings.user_counts()))
    [reason] = reasons(flattened, ratings, user, [3])
    departure = (
        flattened.score(np.array([user])).rating[0, 3]
        - flattened.baseline.rows(np.array([user]))[0, 3]
    )
    assert reason == {"kind": "flattened", "weight": pytest.approx(departure, abs=ROUNDED)}


def share_of(feature: str) -> str:
    """docs/reasons.md, by feature."""
    for model in PERSONAL:
        if feature in (model, f"{model}_evidence", f"{model}_sure"):
            return model
    return {
        "user_effect": "average", "item_effect": "average", "fame": "popularity", "affinity": "genres",
        "preference": "taste", "liking": "taste", "session_5": "recent", "session_15": "recent", "session_50": "recent",
    }[feature]  # fmt: skip


def test_shares_of_the_blend() -> None:
    """Each share is the sum, over its features, of weight times how far the film is from the user's candidates."""
    ratings, knobs = small(), PRESETS["tuned"]
    models = fit_all(
        ratings,
        knobs.model_copy(update={"neural": knobs.neural.model_copy(update={"epochs": 3})}),
        0,
    )
    names = next(
        iter(assemble(ratings, models, None, 0, 30).candidate_features(np.arange(1), 1))
    ).found
    random = np.random.default_rng(5)
    weights = Weights(
        tuple(names),
        random.normal(size=len(names)),
        3.5,
        random.normal(size=len(names)),
        -2.0,
        9,
        9,
    )
    ensemble = assemble(ratings, models, weights, 0, 30)
    assert ensemble.blend is not None
    users = np.array([3, 8])
    [seen] = ensemble.candidate_features(users, 2)
    answer = ensemble.rank_with_evidence(["blend"], users, 5)["blend"]
    assert answer.evidence is not None
    told = iter(answer.evidence.stored(ratings))
    for row in range(2):
        mine = np.flatnonzero(seen.candidates.rows == row)
        for item in answer.listed[row]:
            expected: dict[str, float] = {}
            for place, name in enumerate(weights.names):
                values = seen.of_candidates[name]
                [here] = [values[at] for at in mine if seen.candidates.columns[at] == item]
                off = (
                    float(here - sum(values[mine]) / len(mine))
                    / ensemble.blend.scale.spread_in_list[place]
                )
                expected[share_of(name)] = (
                    expected.get(share_of(name), 0.0) + off * weights.relevance[place]
                )
            reason = json.loads(next(told))
            assert (reason["kind"], reason["start"]) == ("blend", -2)
            assert set(SHARES) == set(expected) >= set(reason["shares"])
            for name, share in expected.items():
                assert reason["shares"].get(name, 0) == pytest.approx(share, abs=0.01 + 1e-9)


def test_learnt_weights_of_the_most_rated_films(monkeypatch: pytest.MonkeyPatch) -> None:
    """By learnt weights a film is listed for what adds most to it; one that is not weighed is listed for none."""
    profiles, cells = (
        small().matrix,
        Pairs(np.repeat(np.arange(30), 40), np.tile(np.arange(40), 30)),
    )
    inverse = np.linalg.inv((profiles.T @ profiles).toarray() + 50.0 * np.eye(40))
    through_users = interpolate(profiles, 50.0)
    assert isinstance(through_users, ThroughUsers)
    check_strongest(through_users.strongest(profiles, cells), cells, profiles.toarray(), inverse)
    monkeypatch.setattr("batch.models.ease.MAX_CELLS", 34 * 34)
    few = interpolate(profiles, 50.0)
    assert isinstance(few, ThroughItems)
    kept = profiles.toarray()[:, few.kept]
    inverse = np.linalg.inv(kept.T @ kept + 50.0 * np.eye(34))
    found = few.strongest(profiles, cells)
    weighed = np.isin(cells.columns, few.kept)
    assert set(found[~weighed].tolist()) == {NOBODY}
    among = Pairs(cells.rows[weighed], few.positions[cells.columns[weighed]])
    listed_for = np.append(few.positions, NOBODY)[found[weighed]]
    check_strongest(listed_for, among, kept, inverse)


def check_strongest(found: Any, cells: Pairs, profiles: Any, inverse: Any) -> None:
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    assert (found != NOBODY).mean() > 0.8
    for row, column, film in zip(*cells, found.tolist(), strict=True):
        added = profiles[row] * weights[:, column]
        if film == NOBODY:
            assert added.max() < 1e-6
        else:
            assert added[film] == pytest.approx(added.max(), abs=1e-6)


# In whole runs

FIRST_ID = 98765 * 10**5
"""Of everyone, so that no other number is mistaken for a person's."""
KNOWS_ALL = "knows all"
"""Someone who has rated almost every film that can be a candidate, so that what stands in fills up the blend's list."""


def with_people(database: Database, folder: Path) -> None:
    """60 users whose ids are unmistakable, one who knows all, and films that one person rated."""
    mine = [(KNOWS_ALL, f"m{i}", 1 + i % 5, 10**9 + i) for i in range(58)]
    obscure = [(f"u{i}", f"solo{i}", 5, 10**9 + i) for i in range(6)]
    fill(database, folder, [*random_rows(0, 60, 60, 0.35), *mine, *obscure])
    with database.writer.begin() as connection:
        for table in ("users", "ratings"):
            connection.execute(text(f"UPDATE {table} SET user_id = user_id + {FIRST_ID}"))


@dataclass
class Run:
    """A published run, and what it was made from."""

    database: Database
    config: Config
    preset: str

    def told(self) -> list[Any]:
        """Every row of its lists, the reason as data."""
        with self.database.reader.connect() as connection:
            found = connection.execute(
                text("SELECT * FROM recommendations ORDER BY user_id, model, rank")
            ).all()
        return [
            (row, reason if isinstance(reason := row.reason, dict) else json.loads(reason))
            for row in found
        ]


@pytest.fixture(scope="module", params=PRESETS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of each preset."""
    folder = tmp_path_factory.mktemp("run")
    database = open_database(f"sqlite:///{folder / 'recbatch.db'}")
    upgrade(database)
    with_people(database, folder)
    config = settings(
        folder, RECBATCH_MODELS__PRESET=request.param, RECBATCH_MODELS__NEURAL__EPOCHS="20"
    )
    nightly.run(database, config, Order(DAY, force=True))
    return Run(database, config, request.param)


def test_every_row_says_why(run: Run) -> None:
    """Each row has a reason of its model's kind; only the blend stands in, and only where it has no candidate left."""
    kinds = Counter((row.model, reason["kind"]) for row, reason in run.told())
    lists = 61 * 5
    stands_in = kinds.pop(("blend", "filler"))
    expected = {
        ("user_user", "user_user"),
        ("item_item", "item_item"),
        ("neural", "neural"),
        ("blend", "blend"),
    }
    assert kinds.keys() == expected
    assert kinds["blend", "blend"] + stands_in == lists
    assert 1 <= stands_in <= 5
    for row, reason in run.told():
        assert (reason["kind"] == "filler") == (row.model == "blend" and row.score < 0)


def test_weights_add_up_in_every_row(run: Run) -> None:
    """Weights in stars add up to predicted rating less baseline, and the blend's shares to its score's log-odds."""
    with run.database.reader.connect() as connection:
        ratings = load(connection).ratings
    row_of = {number: row for row, number in enumerate(ratings.user_ids.tolist())}
    column_of = {number: column for column, number in enumerate(ratings.movie_ids.tolist())}
    baseline = fit_baseline("bias" if run.preset == "tuned" else "user_mean", ratings)
    for row, reason in run.told():
        if reason["kind"] == "blend":
            assert reason["shares"].keys() <= SHARES.keys()
            odds = reason["start"] + sum(reason["shares"].values())
            assert odds == pytest.approx(math.log(row.score / (1 - row.score)), abs=0.005 + 1e-4)
        elif reason["kind"] != "filler":
            user, item = row_of[row.user_id], column_of[row.movie_id]
            departure = row.predicted_rating - (
                baseline.mu + baseline.user[user] + baseline.item[item]
            )
            told = reason.get("weight", 0) + reason.get("others", 0)
            told += sum(part[-1] for part in [*reason.get("films", ()), *reason.get("genres", ())])
            assert told == pytest.approx(departure, abs=ROUNDED)


def test_reasons_name_nobody(run: Run) -> None:
    """No reason holds a person's id; films in it are the user's own, and user_user's are counts and means only."""
    rated = {
        (user, film) for user, film in rows(run.database, "SELECT user_id, movie_id FROM ratings")
    }
    for row, reason in run.told():
        numbers = {int(number) for number in re.findall(r"\d+", row.reason)}
        assert not any(str(number).startswith("98765") for number in numbers), row.reason
        named = {film for film, *_ in reason.get("films", ())} | {reason.get("listed_for")} - {None}
        assert all((row.user_id, film) in rated for film in named)
        if row.model == "user_user":
            assert reason.keys() <= {"kind", "neighbours", "mean", "agreement", "opposed", "weight"}


def test_both_databases_tell_the_same(postgres_url: str, tmp_path: Path, run: Run) -> None:
    """From the same ratings each database tells every film's reason in the same sentence, and to the page's queries."""
    other = open_database(postgres_url)
    upgrade(other)
    with_people(other, tmp_path)
    names = {"RECBATCH_MODELS__PRESET": run.preset, "RECBATCH_MODELS__NEURAL__EPOCHS": "20"}
    nightly.run(other, settings(tmp_path, **names), Order(DAY, force=True))
    assert sentences(other) == sentences(run.database)
    check_page(of_postgres(), other, run)
    check_page(of_sqlite(), run.database, run)


def of_sqlite() -> str:
    """The first query of docs/reasons.md."""
    return re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[0]


def of_postgres() -> str:
    """The second."""
    return re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[1]


def check_page(query_of_page: str, database: Database, run: Run) -> None:
    """It reads, rank by rank, the rating that weighs most, of the films whose reason names one."""
    [(number,)] = rows(run.database, "SELECT user_id FROM users WHERE user_key = 'u1'")
    titles = dict(rows(run.database, "SELECT movie_id, title FROM movies"))
    expected = [
        (row.rank, titles[reason["films"][0][0]], *reason["films"][0][1:])
        for row, reason in run.told()
        if row.model == "item_item" and row.user_id == number and reason["films"]
    ]
    assert len(expected) == 5
    found = rows(database, query_of_page.replace("'1'", "'u1'"))
    assert [
        (rank, title, float(stars), float(weight)) for rank, title, stars, weight in found
    ] == expected


def sentences(database: Database) -> list[tuple[str | None, str, int, str, str]]:
    """All lists in words."""
    with database.reader.connect() as connection:
        found = [answer for model in PUBLISHED for answer in query.lists(connection, model=model)]
    told = [
        (a.user_key, a.model, film.rank, film.movie_key, film.why)
        for a in found
        for film in a.films
    ]
    assert all(why for *_, why in told)
    return told


def test_names_take_one_query(run: Run) -> None:
    """The films that a list's reasons name are looked up together; a film gone from the table is called by its id."""
    asked: list[str] = []
    with run.database.reader.connect() as connection:
        event.listen(connection, "before_cursor_execute", lambda *given: asked.append(given[2]))
        answer = query.top(connection, "u3", model="item_item")
    assert sum("FROM movies" in statement for statement in asked) == 1
    first = answer.films[0]
    assert first.reason is not None
    film = first.reason["films"][0][0]
    [(title,)] = rows(run.database, f"SELECT title FROM movies WHERE movie_id = {film}")
    assert f"{title} {first.reason['films'][0][1]:.1f}" in first.why


# Asked about any pair


def asked(run: Run, user: str, film: str) -> dict[str, explain_pair.ModelExplanation]:
    return {
        opinion.model: opinion
        for opinion in explain_pair.explain_pair(run.database, run.config, user, film).opinions
    }


def test_an_explained_film_is_the_listed_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of films in a list `explain` says place, score, stars and reason of the row, without learning the blend again."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the published run's weights would have done")

    monkeypatch.setattr(explain_pair, "learn_nightly", refuse)
    with run.database.reader.connect() as connection:
        lists = {model: query.top(connection, "u3", model=model).films for model in PUBLISHED}
    key = lists["blend"][0].movie_key
    opinions = asked(run, "u3", key)
    listed = 0
    for model, films in lists.items():
        opinion = opinions[model]
        for film in films:
            if film.movie_key == key:
                listed += 1
                assert (opinion.place, opinion.reason, opinion.why) == (
                    film.rank,
                    film.reason,
                    film.why,
                )
                assert opinion.score == pytest.approx(film.score, abs=1e-6)
                assert opinion.predicted_rating == pytest.approx(film.predicted_rating, abs=1e-6)
        if key not in {film.movie_key for film in films}:
            assert opinion.place is None or opinion.place > 5
    assert listed >= 1


def test_explaining_learns_where_the_run_tells_nothing(run: Run) -> None:
    """Without the published run's figures the blend is learnt again, and comes to the same."""
    before = asked(run, "u4", "m7")
    gone = "FROM run_metrics WHERE model = 'blend' AND metric = 'list_odds'"
    [(value,)] = rows(run.database, f"SELECT value {gone}")
    with run.database.writer.begin() as connection:
        connection.execute(text(f"DELETE {gone}"))
    again = asked(run, "u4", "m7")
    with run.database.writer.begin() as connection:
        connection.execute(
            text(f"INSERT INTO run_metrics VALUES (1, 'blend', 'list_odds', {value!r})")
        )
    for model, opinion in before.items():
        about = {
            "score": pytest.approx(opinion.score),
            "predicted_rating": pytest.approx(opinion.predicted_rating),
        }
        assert again[model] == replace(opinion, **about)


def test_films_that_cannot_be_placed(run: Run) -> None:
    """A rated film is placed among the unseen, and of one that nobody else rated `user_user` says nothing."""
    told = explain_pair.explain_pair(run.database, run.config, "u1", "solo1")
    assert told.rated == 5.0
    opinions = {opinion.model: opinion for opinion in told.opinions}
    silent = opinions["user_user"]
    assert (silent.place, silent.predicted_rating, silent.score) == (None, None, None)
    assert silent.why == "No prediction: nobody else has rated it."
    [(rated,)] = rows(
        run.database,
        "SELECT count(*) FROM ratings JOIN users USING (user_id) WHERE user_key = 'u1'",
    )
    neural = opinions["neural"]
    assert neural.place is not None
    assert 1 <= neural.place <= neural.of == 66 - rated + 1
    assert opinions["blend"].reason == {"kind": "filler"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nobody", "m1"], "recbatch: no user has the key or name 'nobody'\n"),
        (["u1", "nothing"], "recbatch: no film has the key or title 'nothing'\n"),
        (
            ["u1", "Twice"],
            "recbatch: several films are titled 'Twice'; use one of the keys m1, m2\n",
        ),
    ],
)
def test_who_is_not_there(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], told: str,
) -> None:  # fmt: skip
    """An unknown user or film, or a title that several have, is one line and exit 2, before anything is fitted."""
    database = open_database(sqlite_url)
    upgrade(database)
    fill(database, tmp_path)
    with database.writer.begin() as connection:
        connection.execute(
            text("UPDATE movies SET title = 'Twice' WHERE movie_key IN ('m1', 'm2')")
        )
    monkeypatch.setenv("RECBATCH_DATABASE__URL", sqlite_url)
    assert command("explain", *words) == 2
    assert capsys.readouterr().err == told


def test_explain_as_a_command(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`explain` prints each model's stars, place and reason within 80 columns, `--json` the same as data."""
    url = run.database.url.render_as_string()
    monkeypatch.setenv("RECBATCH_DATABASE__URL", url)
    monkeypatch.setenv("RECBATCH_MODELS__PRESET", run.preset)
    monkeypatch.setenv("RECBATCH_MODELS__NEURAL__EPOCHS", "20")
    monkeypatch.setenv("COLUMNS", "80")
    assert command("-q", "explain", "u1", "solo1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["user_key"], found["title"], found["rated"]) == ("u1", "solo1", 5.0)
    assert [opinion["model"] for opinion in found["opinions"]] == list(PUBLISHED)
    assert command("-q", "explain", "u1", "solo1") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("solo1 for u1\n")
    assert "rated 5 already" in printed
    assert all(len(line) <= 80 for line in printed.splitlines())
    for opinion in found["opinions"]:
        assert opinion["why"].split()[0] in printed


def test_a_hidden_film_is_explained_as_hidden(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`explain` names the filters and settings that keep a film from the user, and only those that hold for them."""
    monkeypatch.setenv("RECBATCH_DATABASE__URL", run.database.url.render_as_string())
    monkeypatch.setenv("RECBATCH_MODELS__PRESET", run.preset)
    monkeypatch.setenv("RECBATCH_MODELS__NEURAL__EPOCHS", "20")
    for user in ("u2", "u1"):
        assert command("filter", "add", "solo1", "--user", user, "--why", f"not for {user}") == 0
    assert command("-q", "explain", "u1", "solo1") == 0
    assert (
        "hidden by filter 2 (not for u1): wherever the models place it" in capsys.readouterr().out
    )
    for number in ("1", "2"):
        assert command("filter", "remove", number) == 0
    [(genre,)] = rows(run.database, "SELECT min(name) FROM genres JOIN movie_genres USING (genre_id) "
                                    "JOIN movies USING (movie_id) WHERE movie_key = 'm1'")  # fmt: skip
    rules = FilterSettings(films=("m1",), genres=(genre, "none"))
    with run.database.reader.connect() as connection:
        assert explain_pair.filters_on_pair(connection, rules, "u1", "m1") == (
            "the setting filters.films", f"the setting filters.genres, {genre}",
        )  # fmt: skip
        assert explain_pair.filters_on_pair(connection, FilterSettings(), "u1", "solo1") == ()


def test_top_shows_why(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`top USER --model M` prints the reason under each title within 80 columns; `--json` has it in words and data."""
    monkeypatch.setenv("RECBATCH_DATABASE__URL", run.database.url.render_as_string())
    monkeypatch.setenv("COLUMNS", "80")
    assert command("-q", "top", "u3", "--model", "item_item", "--json") == 0
    [answer] = json.loads(capsys.readouterr().out)
    assert command("-q", "top", "u3", "--model", "item_item") == 0
    printed = capsys.readouterr().out
    assert all(len(line) <= 80 for line in printed.splitlines())
    for film in answer["films"]:
        assert film["reason"]["kind"] == "item_item"
        first = " ".join(film["why"].split()[:4])
        assert first in " ".join(printed.split())
    assert command("-q", "top", "u3") == 0
    assert answer["films"][0]["why"].split(";")[0] not in capsys.readouterr().out
