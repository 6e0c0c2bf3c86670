"""What a night must show before readers see it: each gate on its own, poisoned nights, normal nights, overrides."""

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
from batch.config import Config
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
from batch.store.database import Database, run_lock
from data import settings
from test_cli import recbatch

TONIGHT = date(2026, 11, 23)
USERS = 40
MODELS = ("item_item", "neural", "user_user")


def rows(database: Database, sql: str) -> list[tuple[Any, ...]]:
    with database.reader.connect() as connection:
        return [tuple(row) for row in connection.execute(text(sql))]


# Crafted runs: run 1 is published, run 2 is held against it. Everyone's list has a film of their own, then film 500.

MODEL = {
    "rmse": 0.97, "rmse_low": 0.95, "rmse_high": 0.99, "raters": 40.0, "users": 40.0,
    "precision@2": 0.3, "precision_low@2": 0.2, "precision_high@2": 0.4, "rows": 80.0,
}  # fmt: skip
MEASURED = {
    **dict.fromkeys(MODELS, MODEL),
    "bias": {"rmse": 1.0, "rmse_low": 0.98, "rmse_high": 1.02, "raters": 40.0, "users": 40.0},
    "popular": {"precision@2": 0.2, "precision_low@2": 0.1, "precision_high@2": 0.3, "users": 40.0},
}  # fmt: skip


def add_run(connection: Connection, run_id: int, top_n: int = 2) -> None:
    """A run of 40 users, the same every time."""
    now, metrics, lists = datetime.now(UTC), schema.run_metrics, schema.recommendations
    run = {
        "logical_date": TONIGHT,
        "triggered_by": "manual",
        "status": "ready",
        "owner": "me",
        "started_at": now,
    }
    same = {"forced": 0, "seed": 1, "config_sha256": "", "versions": "{}", "n_ratings": 400}
    connection.execute(insert(schema.runs), {"run_id": run_id, "top_n": top_n, **run, **same})
    connection.execute(
        insert(metrics),
        [
            {"run_id": run_id, "model": model, "metric": metric, "value": value}
            for model, measured in MEASURED.items()
            for metric, value in measured.items()
        ],
    )
    films = {1: lambda user: 1000 + user, 2: lambda _: 500}
    connection.execute(
        insert(lists),
        [
            {"run_id": run_id, "user_id": u, "model": m, "rank": r, "movie_id": film(u), "score": -r, "support": 1}
            for u in range(1, USERS + 1)
            for m in MODELS
            for r, film in films.items()
        ],
    )  # fmt: skip


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
    return f"UPDATE run_metrics SET value = {value} WHERE run_id = {run_id} AND model = '{model}' AND metric = '{name}'"


def test_equal_runs_pass_every_gate(crafted: Connection) -> None:
    """Each gate is asked of each model it holds for, and a run like the published one passes them all."""
    checks = audited(crafted)
    every = (
        "users_share",
        "rows_share",
        "films_share",
        "rmse_of_bias",
        "rmse_of_published",
        "churn",
    )
    lists = ("precision_of_popular", "precision_of_published")
    asked = {f"{name}_{model}" for name in every for model in MODELS}
    asked |= {f"{name}_{model}" for name in lists for model in ("item_item", "user_user")}
    assert set(checks) == {"ratings", *asked}
    assert all(check.passed and check.severity == "gate" for check in checks.values())
    told = {
        name: (check.value, check.wanted)
        for name, check in checks.items()
        if name.endswith("item_item")
    }
    assert told == {
        "users_share_item_item": (1.0, "at least"),
        "rows_share_item_item": (1.0, "at least"),
        "films_share_item_item": (1.0, "at least"),
        "rmse_of_bias_item_item": (0.95, "at most"),
        "precision_of_popular_item_item": (2.0, "at least"),
        "rmse_of_published_item_item": (0.95 / 0.99, "at most"),
        "precision_of_published_item_item": (2.0, "at least"),
        "churn_item_item": (0.0, "at most"),
    }


OF_TONIGHT = "FROM recommendations WHERE run_id = 2 AND model = 'item_item' AND"
OTHER = "UPDATE recommendations SET movie_id = {film} WHERE run_id = 2 AND model = 'item_item' AND user_id <= {n}"

DAMAGE: list[tuple[str, Callable[[float], list[str]], float, float, dict[str, float]]] = [
    # the gate, the damage of a size, a size that passes and one that fails, and a setting that lets the latter pass
    ("ratings", lambda n: [f"UPDATE runs SET n_ratings = {n} WHERE run_id = 2"], 1, 0, {}),
    (
        "users_share_item_item",  # a user who has no list has no rows either
        lambda n: [f"DELETE {OF_TONIGHT} user_id <= {n}"],
        4,
        5,
        {"min_users_share": 0.8, "min_rows_share": 0.8},
    ),
    (
        "rows_share_item_item",
        lambda n: [f"DELETE {OF_TONIGHT} rank = 2 AND user_id <= {n}"],
        8,
        9,
        {"min_rows_share": 0.88},
    ),
    (
        "films_share_item_item",
        lambda n: [OTHER.format(film=501, n=n) + " AND rank = 1"],
        21,
        22,
        {"min_films_share": 0.48},
    ),
    ("rmse_of_bias_item_item", lambda x: [metric(x, "rmse_low")], 1.0, 1.001, {"max_rmse_of_bias": 1.01}),
    (
        "precision_of_popular_item_item",
        lambda x: [metric(x, "precision_high@2")],
        0.1801,
        0.1799,
        {"min_precision_of_popular": 0.89},
    ),
    (
        "rmse_of_published_item_item",
        lambda x: [metric(x, "rmse_high", run_id=1)],
        0.905,
        0.904,
        {"max_rmse_of_published": 1.06},
    ),
    (
        "precision_of_published_item_item",
        lambda x: [metric(x, "precision_low@2", run_id=1)],
        0.4999,
        0.5001,
        {"min_precision_of_published": 0.79},
    ),
    ("churn_item_item", lambda n: [OTHER.format(film="movie_id + 2000 + user_id", n=n)], 20, 21, {"max_churn": 0.53}),
]  # fmt: skip


@pytest.mark.promise("D8")
@pytest.mark.parametrize(
    ("gate", "damage", "passes", "fails", "loosened"), DAMAGE, ids=[case[0] for case in DAMAGE]
)
def test_each_gate_refuses_its_own(
    crafted: Connection,
    gate: str,
    damage: Callable[[float], list[str]],
    passes: float,
    fails: float,
    loosened: dict[str, float],
) -> None:
    """A gate fails just beyond its shipped threshold and nothing else does; just within it, or loosened, it passes."""
    change(crafted, *damage(passes))
    assert failed(crafted) == set()
    change(crafted, *damage(fails))
    along = {"rows_share_item_item"} if gate == "users_share_item_item" else set()
    assert failed(crafted) == {gate, *along}
    if loosened:
        assert failed(crafted, **loosened) == set()
    [check] = [check for check in audited(crafted).values() if check.name == gate]
    assert (check.severity, check.value < check.threshold) == ("gate", check.wanted == "at least")


def test_a_model_that_is_gone_fails(crafted: Connection) -> None:
    """A model that readers have lists of, and that a run knows nothing of, refuses the run."""
    change(
        crafted,
        "DELETE FROM recommendations WHERE run_id = 2 AND model = 'neural'",
        "DELETE FROM run_metrics WHERE run_id = 2 AND model = 'neural'",
    )
    assert failed(crafted) == {"users_share_neural", "rows_share_neural", "films_share_neural"}


def test_a_new_model_is_held_against_baselines_only(crafted: Connection) -> None:
    """A model that readers have no lists of yet passes or fails by the baselines alone."""
    change(
        crafted,
        "DELETE FROM recommendations WHERE run_id = 1 AND model = 'user_user'",
        "DELETE FROM run_metrics WHERE run_id = 1 AND model = 'user_user'",
    )
    asked = {name for name in audited(crafted) if name.endswith("user_user")}
    assert asked == {"rmse_of_bias_user_user", "precision_of_popular_user_user"}


def test_a_model_that_says_nothing_fails(crafted: Connection) -> None:
    """A model without an RMSE fails where the baseline, or its published self, has one."""
    change(
        crafted,
        "DELETE FROM run_metrics WHERE run_id = 2 AND model = 'neural' AND metric LIKE 'rmse%'",
    )
    assert failed(crafted) == {"rmse_of_bias_neural", "rmse_of_published_neural"}
    assert audited(crafted)["rmse_of_bias_neural"].value == LARGEST


def test_likes_that_are_gone_fail(crafted: Connection) -> None:
    """A run in which nobody liked anything, so that there is no precision, is not one to replace one with likes."""
    change(crafted, "DELETE FROM run_metrics WHERE run_id = 2 AND metric LIKE 'precision%'")
    change(crafted, "UPDATE run_metrics SET value = 0 WHERE run_id = 2 AND metric = 'users'")
    assert failed(crafted) == {
        "precision_of_published_item_item",
        "precision_of_published_user_user",
    }


def test_nobody_needs_to_beat_nothing(crafted: Connection) -> None:
    """Where the most rated films please nobody, no model is held to that."""
    for model in (*MODELS, "popular"):
        for name in ("precision@2", "precision_high@2", "precision_low@2"):
            change(crafted, metric(0.0, name, model), metric(0.0, name, model, run_id=1))
    assert failed(crafted) == set()


def test_the_network_is_not_held_to_the_most_rated_films(crafted: Connection) -> None:
    """The precision of `neural` refuses no run, its RMSE does."""
    change(crafted, metric(0.0, "precision_high@2", "neural"))
    assert failed(crafted) == set()
    change(crafted, metric(1.2, "rmse_low", "neural"))
    assert failed(crafted) == {"rmse_of_bias_neural", "rmse_of_published_neural"}


def test_the_blend_is_held_to_the_most_rated_films(crafted: Connection) -> None:
    """A model by the name of `blend` is measured like the others as soon as it is published, without more ado."""
    change(
        crafted,
        "INSERT INTO run_metrics SELECT run_id, 'blend', metric, value FROM run_metrics WHERE model = 'item_item'",
        metric(0.1, "precision_high@2", "blend"),
        metric(1.1, "rmse_low", "blend"),
    )
    names = ("rmse_of_bias", "precision_of_popular", "rmse_of_published", "precision_of_published")
    assert failed(crafted) == {f"{name}_blend" for name in names}


@pytest.mark.parametrize(("users", "asked"), [(19, False), (20, True)])
def test_few_users_are_not_asked(crafted: Connection, users: int, asked: bool) -> None:
    """Figures that rest on fewer than 20 users leave no check, however bad; those of 20 do."""
    change(
        crafted,
        f"DELETE FROM recommendations WHERE user_id > {users}",
        f"UPDATE run_metrics SET value = {users} WHERE metric IN ('users', 'raters')",
        metric(9.0, "rmse_low"),
        metric(0.0, "precision_high@2"),
        OTHER.format(film=500, n=99) + " AND rank = 1",
        "UPDATE recommendations SET movie_id = 600 WHERE run_id = 1 AND rank = 2",
    )
    names = (
        "films_share",
        "rmse_of_bias",
        "precision_of_popular",
        "rmse_of_published",
        "precision_of_published",
        "churn",
    )
    expected = {f"{name}_item_item" for name in names}
    assert failed(crafted) == (expected if asked else set())
    assert expected <= set(audited(crafted)) if asked else not expected & set(audited(crafted))
    assert failed(crafted, min_users_judged=users) == expected


def test_a_first_night_is_held_against_its_baselines_only(database: Database) -> None:
    """Before anything is published a run is held against `bias` and `popular`, and against nothing else."""
    with database.writer.begin() as connection:
        add_run(connection, 2)
        lists = ("item_item", "user_user")
        asked = {f"rmse_of_bias_{model}" for model in MODELS} | {
            f"precision_of_popular_{model}" for model in lists
        }
        assert set(audited(connection)) == {"ratings", *asked}
        change(connection, metric(1.2, "rmse_low"), metric(0.1, "precision_high@2"))
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
    change(crafted, OTHER.format(film="movie_id + 5000", n=21) + " AND rank = 1")
    assert failed(crafted) == {"churn_item_item"}
    # what only the longer list shows is not kept: its second film is the other run's first
    longer, film = (1, "6000 + user_id") if shortened == 2 else (2, "1000 + user_id")
    change(
        crafted,
        f"UPDATE recommendations SET movie_id = {film} WHERE run_id = {longer} AND rank = 2",
    )
    assert failed(crafted) == {"churn_item_item"}


# Whole nights, on the sample data.


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample of the demo: 600 users, 2000 films, tastes to be found."""
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder)
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
def test_poisoned_nights_are_refused(sampled: Database, tmp_path: Path) -> None:
    """Shuffled ratings, half the users gone, and a learning rate of 1000 are each refused by the shipped thresholds."""
    true = {
        (user, film): stars
        for user, film, stars in rows(sampled, "SELECT user_id, movie_id, rating FROM ratings")
    }
    assert night(sampled, tmp_path).status == "published"
    shuffled = np.random.default_rng(0).permutation(list(true.values()))
    half = {pair: stars for pair, stars in true.items() if pair[0] % 2}
    wild = {"RECBATCH_MODELS__NEURAL__LEARNING_RATE": "1e3"}
    nights: list[tuple[dict[tuple[int, int], float], dict[str, str], set[str]]] = [
        (
            dict(zip(true, shuffled.tolist(), strict=True)),
            {},
            {
                "churn_neural",
                "films_share_neural",
                "precision_of_published_blend",
                *(f"rmse_of_published_{model}" for model in PUBLISHED),
            },
        ),
        (half, {}, {f"{what}_share_{model}" for what in ("users", "rows") for model in PUBLISHED}),
        (
            true,
            wild,
            {
                "rmse_of_bias_neural",
                "rmse_of_published_neural",
                "churn_neural",
                "scores_not_finite",
            },
        ),
    ]
    for run_id, (stars, environ, expected) in enumerate(nights, 2):
        put_ratings(sampled, stars)
        outcome = night(sampled, tmp_path, **environ)
        assert outcome.status == "rejected"
        found = {check.name for check in outcome.failed_checks}
        assert expected <= found
        evidence = f"SELECT name FROM run_checks WHERE run_id = {run_id} AND passed = 0"
        assert {name for (name,) in rows(sampled, evidence)} == found
        assert rows(sampled, f"SELECT status, forced FROM runs WHERE run_id = {run_id}") == [
            ("rejected", 0)
        ]
        assert rows(sampled, "SELECT DISTINCT run_id FROM current_recommendations") == [(1,)]
    put_ratings(sampled, true)
    assert night(sampled, tmp_path).status == "published"


@pytest.mark.soak
def test_normal_nights_pass(
    sampled: Database, url: str, tmp_path: Path, often: Callable[[int, int], int]
) -> None:
    """Nights of different seeds, four or with --soak twenty, each held against the one before, pass every gate."""
    for seed in range(often(4, 20) if url.startswith("sqlite") else 3):
        outcome = night(sampled, tmp_path, RECBATCH_EVALUATION__SEED=str(seed))
        assert outcome.failed_checks == []
        assert outcome.status == "published"


@pytest.fixture
def refused(sampled: Database, tmp_path: Path) -> Database:
    """A published night and a second one that gates, and only gates, refuse."""
    night(sampled, tmp_path)
    outcome = night(sampled, tmp_path, RECBATCH_MODELS__PRESET="plain")
    assert {check.severity for check in outcome.failed_checks} == {"gate"}
    assert outcome.status == "rejected"
    return sampled


def test_a_person_may_publish_what_a_gate_refused(refused: Database, tmp_path: Path) -> None:
    """`publish RUN` of a run that only gates refused makes it current and records that a person overrode them."""
    assert republish(refused, lambda _: 2) == 2
    with refused.reader.connect() as connection:
        told = [(run.run_id, run.status, run.current, run.forced) for run in history(connection, 2)]
    assert told == [(2, "published", True, True), (1, "published", False, False)]
    assert rows(
        refused,
        "SELECT count(*) FROM run_checks WHERE run_id = 2 AND passed = 0 AND severity = 'gate'",
    ) != [(0,)]
    republish(refused, publish.previous)
    with refused.reader.connect() as connection:
        assert [run.forced for run in history(connection, 2)] == [True, False]


def test_nobody_may_publish_what_is_broken(refused: Database) -> None:
    """`publish RUN` of a refused run whose lists are damaged is refused too, and readers keep theirs."""
    with refused.writer.begin() as connection:
        change(
            connection,
            "DELETE FROM recommendations WHERE run_id = 2 AND user_id = 3 AND model = 'neural' AND rank = 5",
        )
    with pytest.raises(
        publish.CannotPublishError, match="fails its integrity checks: rows_missing_or_extra"
    ):
        republish(refused, lambda _: 2)
    assert rows(refused, "SELECT run_id FROM publication") == [(1,)]
    assert rows(refused, "SELECT status, forced FROM runs WHERE run_id = 2") == [("rejected", 0)]


@pytest.mark.parametrize(("preset", "forced"), [("plain", True), ("tuned", False)])
def test_a_ready_run_is_forced_only_over_a_gate(
    sampled: Database, tmp_path: Path, preset: str, forced: bool
) -> None:
    """A run left ready is recorded as forced when a gate spoke against it, and not when none did."""
    outcome = night(
        sampled, tmp_path, Order(TONIGHT, publish=False), RECBATCH_MODELS__PRESET=preset
    )
    assert (outcome.status, bool(outcome.failed_checks)) == ("ready", forced)
    republish(sampled, lambda _: outcome.run_id)
    assert rows(sampled, "SELECT status, forced FROM runs") == [("published", int(forced))]


def test_ten_users_are_enough_to_start(database: Database, tmp_path: Path) -> None:
    """A newcomer's ten users are published, night after night, with either preset."""
    write_sample(tmp_path / "in", n_users=10, n_items=60)
    with run_lock(database):
        ingest(database, [tmp_path / "in"], ingest_settings(Config()))
    for preset in ("tuned", "plain", "tuned"):
        assert night(database, tmp_path, RECBATCH_MODELS__PRESET=preset).status == "published"


def test_the_plain_preset_needs_force(tmp_path: Path) -> None:
    """`run` with the plain preset exits 3 and says why; `publish RUN` and `run --force` exit 0, and are recorded."""
    plain = {"RECBATCH_MODELS__PRESET": "plain"}
    write_sample(tmp_path / "in", n_users=200, n_items=300)
    assert recbatch(tmp_path, "ingest", "in").returncode == 0
    done = recbatch(tmp_path, "run", **plain)
    assert done.returncode == 3
    [line] = [
        line
        for line in done.stdout.splitlines()
        if line.startswith("gate precision_of_popular_item_item: ")
    ]
    assert ", at least 0.9 wanted (precision@5 of up to " in line
    assert (
        "nothing was published, and readers get what they got before; 'recbatch publish 1' publishes"
        in done.stderr
    )
    over = recbatch(tmp_path, "publish", "1")
    assert (over.returncode, over.stdout) == (0, "run 1 is now current\n")
    assert "precision_of_popular_item_item" in over.stderr
    good = recbatch(tmp_path, "run")
    assert good.returncode == 3  # the tuned lists have nothing of the plain ones
    assert re.search(
        r"what readers get was published over its gates \(.*precision_of_popular_item_item",
        good.stderr,
    )
    assert good.stderr.endswith("if this one is the good one, 'recbatch publish 2'\n")
    assert recbatch(tmp_path, "run", "--force").returncode == 0
    told = json.loads(recbatch(tmp_path, "runs", "--json").stdout)
    assert [(run["status"], run["forced"], run["current"]) for run in told] == [
        ("published", True, True),
        ("rejected", False, False),
        ("published", True, False),
    ]


def test_the_page_shows_every_threshold() -> None:
    """docs/gates.md names each setting of the gates with its default."""
    page = (Path(__file__).parents[1] / "docs" / "gates.md").read_text(encoding="utf-8")
    for name, value in Gates().model_dump().items():
        bound = {"min": "at least", "max": "at most"}[name[:3]]
        assert f"| `{name}` | {bound} {value:g} |" in page or f"`{name}` users ({value})" in page, (
            name
        )
