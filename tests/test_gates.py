"""Quality gates: each gate on its own, damaged nights, normal nights, and overrides."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, insert, text

from batch.audit.gates import audit_gates
from batch.cli.sample_data import write_sample
from batch.config import Config, FilterSettings
from batch.ingest import ingest
from batch.job import nightly
from batch.job.inputs import ingest_settings
from batch.job.nightly import Order, Outcome
from batch.job.republish import republish
from batch.models import PUBLISHED
from batch.params import LARGEST, Gates
from batch.serve.history import history
from batch.store import publish, schema
from batch.store.checks import Check
from batch.store.database import Database
from batch.store.run_lock import run_lock
from batch.store.versions import upgrade
from data import settings
from fixed import program as recbatch
from templates import Templates

TONIGHT = date(2026, 11, 23)
USERS = 40
MODELS = ("item_item", "neural", "user_user")


def rows(database: Database, sql: str) -> list[tuple[Any, ...]]:
    with database.reader.connect() as connection:
        return [tuple(row) for row in connection.execute(text(sql))]


# Crafted runs: run 1 is published, run 2 is compared with it. Each list has a film that no other
# list has, then film 500.

MODEL_METRICS = {
    "rmse": 0.97,
    "rmse_low": 0.95,
    "rmse_high": 0.99,
    "raters": 40.0,
    "users": 40.0,
    "precision@2": 0.3,
    "precision_low@2": 0.2,
    "precision_high@2": 0.4,
    "rows": 80.0,
}
POPULAR_METRICS = {
    "precision@2": 0.2,
    "precision_low@2": 0.1,
    "precision_high@2": 0.3,
    "users": 40.0,
}
METRICS = {
    **dict.fromkeys(MODELS, MODEL_METRICS),
    "bias": {
        "rmse": 1.0,
        "rmse_low": 0.98,
        "rmse_high": 1.02,
        "raters": 40.0,
        "users": 40.0,
    },
    **dict.fromkeys(("popular", "popular_all"), POPULAR_METRICS),
}


def add_run(connection: Connection, run_id: int, top_n: int = 2) -> None:
    """A run of 40 users, the same every time."""
    run = {
        "run_id": run_id,
        "top_n": top_n,
        "logical_date": TONIGHT,
        "triggered_by": "manual",
        "status": "ready",
        "owner": "me",
        "started_at": datetime.now(UTC),
        "forced": 0,
        "seed": 1,
        "config_sha256": "",
        "versions": "{}",
        "n_ratings": 400,
    }
    connection.execute(insert(schema.runs), run)
    metrics = [
        {"run_id": run_id, "model": model, "metric": metric, "value": value}
        for model, values in METRICS.items()
        for metric, value in values.items()
    ]
    connection.execute(insert(schema.run_metrics), metrics)
    lists = []
    for user_id in range(1, USERS + 1):
        for model in MODELS:
            row = {"run_id": run_id, "user_id": user_id, "model": model, "support": 1}
            lists.append({**row, "rank": 1, "movie_id": 1000 + user_id, "score": -1})
            lists.append({**row, "rank": 2, "movie_id": 500, "score": -2})
    connection.execute(insert(schema.recommendations), lists)


@pytest.fixture
def crafted(database: Database) -> Iterator[Connection]:
    """A published run and an equal one of the next night, in an open transaction."""
    with database.writer.begin() as connection:
        add_run(connection, 1)
        add_run(connection, 2)
        publish.republish(connection, 1)
        yield connection


def audited(connection: Connection, **limits: float) -> dict[str, Check]:
    return {check.name: check for check in audit_gates(connection, 2, Gates.model_validate(limits))}


def failed(connection: Connection, **limits: float) -> set[str]:
    return {name for name, check in audited(connection, **limits).items() if not check.passed}


def change(connection: Connection, *statements: str) -> None:
    for statement in statements:
        assert connection.execute(text(statement)).rowcount > 0, statement


def metric(value: float, name: str, model: str = "item_item", run_id: int = 2) -> str:
    where = f"run_id = {run_id} AND model = '{model}' AND metric = '{name}'"
    return f"UPDATE run_metrics SET value = {value} WHERE {where}"


def nobody_liked_anything(connection: Connection) -> None:
    """As `measure` leaves it: users is 0, and metrics of lists are missing."""
    change(
        connection,
        "UPDATE run_metrics SET value = 0 WHERE run_id = 2 AND metric = 'users'",
        "DELETE FROM run_metrics WHERE run_id = 2 AND metric LIKE 'precision%'",
    )


def test_equal_runs_pass_every_gate(crafted: Connection) -> None:
    """Each gate checks each model it applies to, and a run like the published one passes all."""
    checks = audited(crafted)
    shares = ("users_share", "rows_share", "films_share")
    of_all = (*shares, "rmse_of_bias", "rmse_of_published", "churn")
    of_ranked = ("precision_of_popular", "precision_of_published")
    names = {f"{gate}_{model}" for gate in of_all for model in MODELS}
    names |= {f"{gate}_{model}" for gate in of_ranked for model in ("item_item", "user_user")}
    assert set(checks) == {"ratings", "users_judged", *names}
    assert all(check.passed and check.severity == "gate" for check in checks.values())
    of_item_item = {
        name: (check.value, check.wanted)
        for name, check in checks.items()
        if name.endswith("item_item")
    }
    assert of_item_item == {
        "users_share_item_item": (1.0, "at least"),
        "rows_share_item_item": (1.0, "at least"),
        "films_share_item_item": (1.0, "at least"),
        "rmse_of_bias_item_item": (0.97, "at most"),
        "precision_of_popular_item_item": (2.0, "at least"),
        "rmse_of_published_item_item": (0.95 / 0.99, "at most"),
        "precision_of_published_item_item": (2.0, "at least"),
        "churn_item_item": (0.0, "at most"),
    }


ITEM_ITEM = "run_id = 2 AND model = 'item_item'"


def replaced(film: object, n: float, rank: int | None = None) -> str:
    """Another film in the lists of the first n users, in all places or in one."""
    where = f"{ITEM_ITEM} AND user_id <= {n}"
    if rank is not None:
        where += f" AND rank = {rank}"
    return f"UPDATE recommendations SET movie_id = {film} WHERE {where}"


def deleted(n: float, where: str = "rank > 0") -> str:
    """No rows in the lists of the first n users."""
    return f"DELETE FROM recommendations WHERE {ITEM_ITEM} AND {where} AND user_id <= {n}"


Damage = Callable[[float], str]
"""Size of the damage -> statement."""

# Gate, damage, a size that passes, a size that fails, and settings with which the latter passes.
CASES: list[tuple[str, Damage, float, float, dict[str, float]]] = [
    ("ratings", lambda n: f"UPDATE runs SET n_ratings = {n} WHERE run_id = 2", 1, 0, {}),
    # A user without a list has no rows either.
    (
        "users_share_item_item",
        deleted,
        4,
        5,
        {"min_users_share": 0.8, "min_rows_share": 0.8},
    ),
    (
        "rows_share_item_item",
        lambda n: deleted(n, "rank = 2"),
        8,
        9,
        {"min_rows_share": 0.88},
    ),
    (
        "films_share_item_item",
        lambda n: replaced(501, n, rank=1),
        21,
        22,
        {"min_films_share": 0.48},
    ),
    (
        "rmse_of_bias_item_item",
        lambda value: metric(value, "rmse"),
        1.03,
        1.031,
        {"max_rmse_of_bias": 1.04},
    ),
    (
        "precision_of_popular_item_item",
        lambda value: metric(value, "precision_high@2"),
        0.1801,
        0.1799,
        {"min_precision_of_popular": 0.89},
    ),
    (
        "rmse_of_published_item_item",
        lambda value: metric(value, "rmse_high", run_id=1),
        0.905,
        0.904,
        {"max_rmse_of_published": 1.06},
    ),
    (
        "precision_of_published_item_item",
        lambda value: metric(value, "precision_low@2", run_id=1),
        0.4999,
        0.5001,
        {"min_precision_of_published": 0.79},
    ),
    (
        "churn_item_item",
        lambda n: replaced("movie_id + 2000 + user_id", n),
        20,
        21,
        {"max_churn": 0.53},
    ),
]


@pytest.mark.promise("D8")
@pytest.mark.parametrize(
    ("gate", "damage", "passes", "fails", "loosened"), CASES, ids=[case[0] for case in CASES]
)
def test_each_gate_fails_beyond_its_threshold(
    crafted: Connection,
    gate: str,
    damage: Damage,
    passes: float,
    fails: float,
    loosened: dict[str, float],
) -> None:
    """A gate, and no other, fails just beyond its shipped threshold; just within it passes."""
    change(crafted, damage(passes))
    assert failed(crafted) == set()
    change(crafted, damage(fails))
    expected = {gate}
    if gate == "users_share_item_item":
        expected.add("rows_share_item_item")
    assert failed(crafted) == expected
    if loosened:
        assert failed(crafted, **loosened) == set()
    [check] = [check for check in audited(crafted).values() if check.name == gate]
    assert (check.severity, check.value < check.threshold) == ("gate", check.wanted == "at least")


def test_a_missing_model_fails(crafted: Connection) -> None:
    """A run without any list or metric of a published model is refused."""
    change(
        crafted,
        "DELETE FROM recommendations WHERE run_id = 2 AND model = 'neural'",
        "DELETE FROM run_metrics WHERE run_id = 2 AND model = 'neural'",
    )
    assert failed(crafted) == {"users_share_neural", "rows_share_neural", "films_share_neural"}


def test_a_new_model_is_compared_with_baselines_only(crafted: Connection) -> None:
    """A model without published lists is compared with the baselines alone."""
    change(
        crafted,
        "DELETE FROM recommendations WHERE run_id = 1 AND model = 'user_user'",
        "DELETE FROM run_metrics WHERE run_id = 1 AND model = 'user_user'",
    )
    names = {name for name in audited(crafted) if name.endswith("user_user")}
    assert names == {"rmse_of_bias_user_user", "precision_of_popular_user_user"}


def test_a_model_without_predictions_fails(crafted: Connection) -> None:
    """A model without an RMSE fails where the baseline, or its published run, has one."""
    change(
        crafted,
        "DELETE FROM run_metrics WHERE run_id = 2 AND model = 'neural' AND metric LIKE 'rmse%'",
    )
    assert failed(crafted) == {"rmse_of_bias_neural", "rmse_of_published_neural"}
    assert audited(crafted)["rmse_of_bias_neural"].value == LARGEST


def test_missing_likes_fail(crafted: Connection) -> None:
    """A run without liked held-out films, and so without precision, is refused."""
    nobody_liked_anything(crafted)
    assert failed(crafted) == {
        "users_judged",
        "precision_of_published_item_item",
        "precision_of_published_user_user",
    }


def test_a_popular_precision_of_0_is_no_threshold(crafted: Connection) -> None:
    """Where popular films have a precision of 0, no model is compared with them."""
    for model in (*MODELS, "popular", "popular_all"):
        for name in ("precision@2", "precision_high@2", "precision_low@2"):
            change(crafted, metric(0.0, name, model), metric(0.0, name, model, run_id=1))
    assert failed(crafted) == set()


def test_the_network_is_not_compared_with_popular_films(crafted: Connection) -> None:
    """No gate checks the precision of `neural`; its RMSE is checked."""
    change(crafted, metric(0.0, "precision_high@2", "neural"))
    assert failed(crafted) == set()
    change(crafted, metric(1.2, "rmse", "neural"), metric(1.2, "rmse_low", "neural"))
    assert failed(crafted) == {"rmse_of_bias_neural", "rmse_of_published_neural"}


def test_the_blend_is_compared_with_popular_films(crafted: Connection) -> None:
    """A model named `blend` is checked like the others as soon as it has rows."""
    change(
        crafted,
        "INSERT INTO run_metrics SELECT run_id, 'blend', metric, value FROM run_metrics "
        "WHERE model = 'item_item'",
        metric(0.1, "precision_high@2", "blend"),
        metric(1.1, "rmse", "blend"),
        metric(1.1, "rmse_low", "blend"),
    )
    names = ("rmse_of_bias", "precision_of_popular", "rmse_of_published", "precision_of_published")
    assert failed(crafted) == {f"{name}_blend" for name in names}


@pytest.mark.parametrize("better", ["popular", "popular_all"])
def test_the_blend_is_held_against_the_better_popular_films(
    crafted: Connection, better: str
) -> None:
    """The blend must match fading and plain counts; models that know no time, plain counts."""
    change(
        crafted,
        "INSERT INTO run_metrics SELECT run_id, 'blend', metric, value FROM run_metrics "
        "WHERE model = 'item_item'",
        metric(0.5, "precision@2", better),
    )
    refused = {"precision_of_popular_blend"}
    if better == "popular_all":
        refused |= {f"precision_of_popular_{model}" for model in ("item_item", "user_user")}
    assert failed(crafted) == refused
    assert audited(crafted)["precision_of_popular_blend"].about.endswith(f"0.500 of {better}")


def in_both_cuts(connection: Connection, run_id: int) -> None:
    """The run is judged by `next`, where all is as before; by `own` everything is worse."""
    where = f"run_id = {run_id} AND metric NOT LIKE '%.%' AND metric <> 'rows'"
    change(
        connection,
        "INSERT INTO run_metrics SELECT run_id, model, 'next.' || metric, value"
        f" FROM run_metrics WHERE {where}",
        f"UPDATE run_metrics SET value = 0 WHERE {where} AND metric LIKE 'precision%'",
        f"UPDATE runs SET headline = 'next' WHERE run_id = {run_id}",
    )


def test_gates_are_asked_on_the_headline(crafted: Connection) -> None:
    """A run is judged in its headline, against the same cut of the published run."""
    in_both_cuts(crafted, 2)
    in_both_cuts(crafted, 1)
    assert failed(crafted) == set()
    assert "precision_of_published_item_item" in audited(crafted)
    change(crafted, metric(0.1, "next.precision_high@2"))
    assert failed(crafted) == {
        "precision_of_popular_item_item",
        "precision_of_published_item_item",
    }


def test_a_published_run_without_the_cut_is_not_compared(crafted: Connection) -> None:
    """Figures of the newest part of time are not compared with those of each user's last."""
    in_both_cuts(crafted, 2)
    names = set(audited(crafted))
    assert not {name for name in names if "_of_published" in name}
    assert "precision_of_popular_item_item" in names
    assert "churn_item_item" in names


@pytest.mark.parametrize(("users", "checked"), [(19, False), (20, True)])
def test_few_users_are_not_checked(crafted: Connection, users: int, checked: bool) -> None:
    """Metrics of fewer than 20 users leave no check, however bad; those of 20 do."""
    change(
        crafted,
        f"DELETE FROM recommendations WHERE user_id > {users}",
        f"UPDATE run_metrics SET value = {users} WHERE metric IN ('users', 'raters')",
        metric(9.0, "rmse"),
        metric(9.0, "rmse_low"),
        metric(0.0, "precision_high@2"),
        replaced(500, 99, rank=1),
        "UPDATE recommendations SET movie_id = 600 WHERE run_id = 1 AND rank = 2",
    )
    gates = (
        "films_share",
        "rmse_of_bias",
        "precision_of_popular",
        "rmse_of_published",
        "precision_of_published",
        "churn",
    )
    expected = {f"{gate}_item_item" for gate in gates}
    names = set(audited(crafted))
    assert failed(crafted) == (expected if checked else set())
    assert expected & names == (expected if checked else set())
    assert failed(crafted, min_users_judged=users) == expected


@pytest.mark.parametrize(("users", "checked"), [(19, False), (20, True)])
def test_a_night_in_which_nobody_is_judged_is_refused(
    database: Database, users: int, checked: bool
) -> None:
    """If nobody liked a held-out film, a gate fails from 20 users with held-out ratings on."""
    with database.writer.begin() as connection:
        add_run(connection, 2)
        change(connection, f"UPDATE run_metrics SET value = {users} WHERE metric = 'raters'")
        names = {"users_judged"} if checked else set()
        assert names == set(audited(connection)) & {"users_judged"}
        assert failed(connection) == set()
        nobody_liked_anything(connection)
        assert failed(connection) == names
        assert failed(connection, min_users_judged=users) == {"users_judged"}
        assert failed(connection, min_users_judged=users + 1) == set()


def test_one_user_is_judged(database: Database) -> None:
    """One user who liked a held-out film passes the gate."""
    with database.writer.begin() as connection:
        add_run(connection, 2)
        change(connection, "UPDATE run_metrics SET value = 1 WHERE metric = 'users'")
        assert audited(connection)["users_judged"].passed


def test_a_first_night_is_compared_with_baselines_only(database: Database) -> None:
    """Before anything is published a run is compared with `bias` and `popular` only."""
    with database.writer.begin() as connection:
        add_run(connection, 2)
        names = {f"rmse_of_bias_{model}" for model in MODELS}
        names |= {f"precision_of_popular_{model}" for model in ("item_item", "user_user")}
        assert set(audited(connection)) == {"ratings", "users_judged", *names}
        change(connection, metric(1.2, "rmse"), metric(0.1, "precision_high@2"))
        assert failed(connection) == {"rmse_of_bias_item_item", "precision_of_popular_item_item"}


@pytest.mark.parametrize("shortened", [1, 2])
def test_another_length_of_lists_is_no_loss(crafted: Connection, shortened: int) -> None:
    """After `publish.top_n` has changed, runs are compared down to the rank that both have."""
    change(
        crafted,
        f"UPDATE runs SET top_n = 1 WHERE run_id = {shortened}",
        f"DELETE FROM recommendations WHERE run_id = {shortened} AND rank = 2",
    )
    assert failed(crafted) == set()
    change(crafted, replaced("movie_id + 5000", 21, rank=1))
    assert failed(crafted) == {"churn_item_item"}
    # A film beyond the shorter length does not count: here the other run's first is second.
    longer, film = (1, "6000 + user_id") if shortened == 2 else (2, "1000 + user_id")
    where = f"run_id = {longer} AND rank = 2"
    change(crafted, f"UPDATE recommendations SET movie_id = {film} WHERE {where}")
    assert failed(crafted) == {"churn_item_item"}


def test_precision_of_another_length_is_not_compared(crafted: Connection) -> None:
    """After `publish.top_n` has changed, precision is not compared with the published run's."""
    shorter = "REPLACE(metric, '@2', '@1')"
    change(
        crafted,
        "UPDATE runs SET top_n = 1 WHERE run_id = 2",
        "DELETE FROM recommendations WHERE run_id = 2 AND rank = 2",
        f"UPDATE run_metrics SET metric = {shorter} WHERE run_id = 2 AND metric LIKE '%@2'",
        metric(0.1801, "precision_high@1"),
        metric(0.9, "precision_low@2", run_id=1),
    )
    assert failed(crafted) == set()
    assert "precision_of_popular_item_item" in audited(crafted)
    assert "precision_of_published_item_item" not in audited(crafted)
    change(crafted, metric(0.1799, "precision_high@1"))
    assert failed(crafted) == {"precision_of_popular_item_item"}


# Whole nights, on the sample data.


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the demo's sample: users with tastes that models can learn."""
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder, n_users=200, n_items=500)
    return folder


@pytest.fixture
def sampled(database: Database, sample: Path) -> Database:
    with run_lock(database):
        ingest(database, [sample], ingest_settings(Config()))
    return database


def night(database: Database, folder: Path, order: Order | None = None, **environ: str) -> Outcome:
    return nightly.run(database, settings(folder, **environ), order or Order(TONIGHT))


def put_ratings(database: Database, stars: dict[tuple[int, int], float]) -> None:
    with database.writer.begin() as connection:
        batch = connection.execute(text("SELECT max(batch_id) FROM ingest_batches")).scalar_one()
        connection.execute(text("DELETE FROM ratings"))
        connection.execute(
            insert(schema.ratings),
            [
                {"user_id": u, "movie_id": m, "rating": value, "batch_id": batch}
                for (u, m), value in stars.items()
            ],
        )


@pytest.mark.promise("D8")
def test_damaged_nights_are_refused(sampled: Database, tmp_path: Path) -> None:
    """Shuffled ratings, half the users, and a learning rate of 1000 are each refused."""
    sql = "SELECT user_id, movie_id, rating FROM ratings"
    true = {(user, film): stars for user, film, stars in rows(sampled, sql)}
    assert night(sampled, tmp_path).status == "published"
    permutation = np.random.default_rng(0).permutation(list(true.values()))
    shuffled = dict(zip(true, permutation.tolist(), strict=True))
    half = {pair: stars for pair, stars in true.items() if pair[0] % 2}

    expected = {f"rmse_of_published_{model}" for model in PUBLISHED}
    expected |= {"churn_neural", "films_share_neural", "precision_of_published_blend"}
    refuse(sampled, tmp_path, 2, shuffled, expected)
    expected = {f"{what}_share_{model}" for what in ("users", "rows") for model in PUBLISHED}
    refuse(sampled, tmp_path, 3, half, expected)
    expected = {f"{gate}_neural" for gate in ("rmse_of_bias", "rmse_of_published", "churn")}
    expected.add("scores_not_finite")
    diverging = {"RECBATCH_MODELS__NEURAL__LEARNING_RATE": "1e3"}
    refuse(sampled, tmp_path, 4, true, expected, **diverging)

    put_ratings(sampled, true)
    assert night(sampled, tmp_path).status == "published"


def refuse(
    database: Database,
    folder: Path,
    run_id: int,
    stars: dict[tuple[int, int], float],
    expected: set[str],
    **environ: str,
) -> None:
    """Run a night on these ratings: it fails these checks at least, and run 1 stays published."""
    put_ratings(database, stars)
    outcome = night(database, folder, **environ)
    assert outcome.status == "rejected"
    names = {check.name for check in outcome.failed_checks}
    assert expected <= names
    stored = f"SELECT name FROM run_checks WHERE run_id = {run_id} AND passed = 0"
    assert {name for (name,) in rows(database, stored)} == names
    run = f"SELECT status, forced FROM runs WHERE run_id = {run_id}"
    assert rows(database, run) == [("rejected", 0)]
    assert rows(database, "SELECT DISTINCT run_id FROM current_recommendations") == [(1,)]


@pytest.mark.soak
def test_normal_nights_pass(
    sampled: Database, url: str, tmp_path: Path, often: Callable[[int, int], int]
) -> None:
    """Nights of different seeds, each compared with the one before, pass every gate.

    Two nights, with --soak twenty on SQLite.
    """
    first = Config().evaluation.seed
    for seed in range(first, first + often(2, 20 if url.startswith("sqlite") else 3)):
        outcome = night(sampled, tmp_path, RECBATCH_EVALUATION__SEED=str(seed))
        assert outcome.failed_checks == []
        assert outcome.status == "published"


@pytest.fixture
def refused(database: Database, sample: Path, templates: Templates, tmp_path: Path) -> Database:
    """A published night and a second one that only gates refuse."""

    def two_nights(template: Database, folder: Path) -> None:
        upgrade(template)
        with run_lock(template):
            ingest(template, [sample], ingest_settings(Config()))
        night(template, folder)
        outcome = night(template, folder, RECBATCH_MODELS__PRESET="plain")
        assert {check.severity for check in outcome.failed_checks} == {"gate"}
        assert outcome.status == "rejected"

    templates.copy("refused", two_nights, database, tmp_path)
    return database


def test_a_person_may_publish_what_a_gate_refused(refused: Database, tmp_path: Path) -> None:
    """`publish RUN` of a run that only gates refused makes it current and records it as forced."""
    assert republish(refused, FilterSettings(), lambda _: 2).run_id == 2
    with refused.reader.connect() as connection:
        runs = history(connection, 2)
    fields = ("run_id", "status", "current", "forced")
    assert [tuple(run[field] for field in fields) for run in runs] == [
        (2, "published", True, True),
        (1, "published", False, False),
    ]
    where = "run_id = 2 AND passed = 0 AND severity = 'gate'"
    assert rows(refused, f"SELECT count(*) FROM run_checks WHERE {where}") != [(0,)]
    republish(refused, FilterSettings(), publish.previous)
    with refused.reader.connect() as connection:
        assert [run["forced"] for run in history(connection, 2)] == [True, False]


def test_nobody_may_publish_what_is_broken(refused: Database) -> None:
    """`publish RUN` of a refused run with damaged lists is refused; the published run stays."""
    with refused.writer.begin() as connection:
        where = "run_id = 2 AND user_id = 3 AND model = 'neural' AND rank = 5"
        change(connection, f"DELETE FROM recommendations WHERE {where}")
    message = "fails its integrity checks: rows_missing_or_extra"
    with pytest.raises(publish.CannotPublishError, match=message):
        republish(refused, FilterSettings(), lambda _: 2)
    assert rows(refused, "SELECT run_id FROM publication") == [(1,)]
    assert rows(refused, "SELECT status, forced FROM runs WHERE run_id = 2") == [("rejected", 0)]


@pytest.mark.parametrize(("preset", "forced"), [("plain", True), ("tuned", False)])
def test_a_ready_run_is_forced_only_over_a_gate(
    sampled: Database, tmp_path: Path, preset: str, forced: bool
) -> None:
    """A run left ready is recorded as forced when a gate failed, and not when none did."""
    outcome = night(
        sampled, tmp_path, Order(TONIGHT, publish=False), RECBATCH_MODELS__PRESET=preset
    )
    assert (outcome.status, bool(outcome.failed_checks)) == ("ready", forced)
    republish(sampled, FilterSettings(), lambda _: outcome.run_id)
    assert rows(sampled, "SELECT status, forced FROM runs") == [("published", int(forced))]


def test_ten_users_are_enough_to_start(database: Database, tmp_path: Path) -> None:
    """A run of ten users is published, night after night, with either preset."""
    write_sample(tmp_path / "in", n_users=10, n_items=60)
    with run_lock(database):
        ingest(database, [tmp_path / "in"], ingest_settings(Config()))
    for preset in ("tuned", "plain", "tuned"):
        assert night(database, tmp_path, RECBATCH_MODELS__PRESET=preset).status == "published"


def test_the_plain_preset_needs_force(sample: Path, tmp_path: Path) -> None:
    """The plain preset exits 3 and says why; `publish RUN` and `run --force` publish it."""
    plain = {"RECBATCH_MODELS__PRESET": "plain"}
    assert recbatch(tmp_path, "ingest", str(sample)).returncode == 0
    done = recbatch(tmp_path, "run", **plain)
    assert done.returncode == 3
    prefix = "gate precision_of_popular_item_item: "
    [line] = [line for line in done.stdout.splitlines() if line.startswith(prefix)]
    assert ", at least 0.9 wanted (precision@5 of up to " in line
    assert (
        "nothing was published, and readers get what they got before; "
        "'recbatch publish 1' publishes" in done.stderr
    )
    over = recbatch(tmp_path, "publish", "1")
    assert (over.returncode, over.stdout) == (0, "run 1 is now current\n")
    assert "precision_of_popular_item_item" in over.stderr
    good = recbatch(tmp_path, "run")
    assert good.returncode == 3  # the tuned lists share nothing with the plain ones
    assert re.search(
        r"what readers get was published over its gates \(.*precision_of_popular_item_item",
        good.stderr,
    )
    assert good.stderr.endswith("if this one is the good one, 'recbatch publish 2'\n")
    assert recbatch(tmp_path, "run", "--force").returncode == 0
    runs = json.loads(recbatch(tmp_path, "runs", "--json").stdout)
    assert [(run["status"], run["forced"], run["current"]) for run in runs] == [
        ("published", True, True),
        ("rejected", False, False),
        ("published", True, False),
    ]


def test_the_page_shows_every_threshold() -> None:
    """docs/gates.md names each setting of the gates with its default."""
    page = (Path(__file__).parents[1] / "docs" / "gates.md").read_text(encoding="utf-8")
    for name, value in Gates().model_dump().items():
        if value is None:
            assert f"| `{name}` | not asked |" in page
            continue
        bound = {"min": "at least", "max": "at most"}[name[:3]]
        row = f"| `{name}` | {bound} {value:g} |"
        sentence = f"`{name}` users ({value})"
        assert row in page or sentence in page, name
