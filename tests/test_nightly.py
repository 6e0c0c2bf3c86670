"""The whole run, on both databases: what it writes, refuses, repeats and leaves behind."""

import hashlib
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.sparse import csr_array
from sqlalchemy import text, update

from batch import query
from batch.cli.lines import outcome_lines
from batch.config import FilterSettings
from batch.job import nightly, steps
from batch.job.nightly import Order, Outcome
from batch.job.plan import plan_run
from batch.job.republish import republish
from batch.job.run_warnings import judged_warnings
from batch.models import PUBLISHED, Scores
from batch.params import Gates
from batch.ranking import ensemble
from batch.ranking.metric_names import RunMetrics
from batch.serve.history import history
from batch.serve.report import report
from batch.store import publish, schema
from batch.store.database import Database
from batch.store.run_lock import LockedError, run_lock
from batch.store.versions import upgrade
from data import fill, random_rows, settings
from templates import Templates

TODAY = date(2026, 11, 23)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
INTEGRITY = {
    "rows_missing_or_extra",
    "broken_ranks",
    "scores_out_of_order",
    "already_rated",
    "already_seen",
    "filtered_films",
    "unknown_films",
    "unknown_users",
    "scores_not_finite",
    "films_of_settings",
    "unreadable_reasons",
    "broken_popular_list",
    "broken_similar_lists",
    "changed_rows",
    "no_rows",
}
SHARES = sorted(f"{what}_share_{name}" for what in ("users", "rows") for name in PUBLISHED)

RMSE = [f"rmse_of_bias_{name}" for name in PUBLISHED]
"""Further checks of a first night with 25 users, fewer than 20 of whom liked a held-out film."""


def night(database: Database, folder: Path, order: Order | None = None, **environ: str) -> Outcome:
    return nightly.run(database, settings(folder, **environ), order or Order(TODAY))


Copy = Callable[..., Database]


@pytest.fixture
def copy_of_nights(database: Database, templates: Templates, tmp_path: Path) -> Copy:
    """The database after nights on random ratings, a copy of one that is made once.

    For each night it takes `publish.top_n`; lists of one film have no spare ones.
    """

    def copied(*lengths: int) -> Database:
        def nights(template: Database, folder: Path) -> None:
            upgrade(template)
            fill(template, folder)
            for top_n in lengths:
                length = {"RECBATCH_PUBLISH__TOP_N": str(top_n)}
                if top_n == 1:
                    length["RECBATCH_PUBLISH__SPARE"] = "0"
                night(template, folder, **length)

        name = "_".join(["nights", *map(str, lengths)])
        templates.copy(name, nights, database, tmp_path)
        return database

    return copied


def rows(database: Database, sql: str) -> list[tuple[object, ...]]:
    with database.reader.connect() as connection:
        return [tuple(row) for row in connection.execute(text(sql))]


@pytest.mark.promise("D9")
def test_every_user_gets_five_films_of_every_model(database: Database, tmp_path: Path) -> None:
    """A run publishes top_n rows for every user and model, and records what it worked on."""
    fill(database, tmp_path)
    outcome = night(database, tmp_path)
    assert outcome.status == "published"
    assert outcome.rows == dict.fromkeys(PUBLISHED, 125)
    counts = "model, count(*), count(DISTINCT user_key)"
    by_model = rows(database, f"SELECT {counts} FROM current_recommendations GROUP BY model")
    assert sorted(by_model) == [(name, 125, 25) for name in sorted(PUBLISHED)]
    columns = "status, n_users, n_movies, rows_written, rating_min, rating_max, forced"
    assert rows(database, f"SELECT {columns} FROM runs") == [
        ("published", 25, 40, 500, 0.5, 5.0, 0)
    ]
    passed = {check.name for check in outcome.checks if check.passed}
    assert passed == {*INTEGRITY, "ratings", "users_judged", *RMSE}
    assert len(rows(database, "SELECT * FROM run_checks")) == len(outcome.checks)
    assert rows(database, "SELECT count(*) FROM run_metrics WHERE metric = 'own.rmse'") == [(5,)]


@pytest.mark.promise("D9")
def test_weights_are_kept_with_their_fingerprint(database: Database, tmp_path: Path) -> None:
    """What the models learnt is in one safetensors file whose sha256 the run records."""
    fill(database, tmp_path)
    night(database, tmp_path)
    [(file, sha256)] = rows(database, "SELECT artifact, artifact_sha256 FROM runs")
    assert hashlib.sha256(Path(str(file)).read_bytes()).hexdigest() == sha256
    network = {f"neural.{name}" for name in ("W1", "W2", "b1", "b2", "penalty")}
    arrays = load_file(str(file)).keys()
    assert arrays >= network | {"ids.users", "ids.movies", "ids.genres", "settings.models"}
    others = {name.partition(".")[0] for name in arrays - network}
    assert others == {"ids", "liking", "preference", "settings"}


@pytest.mark.promise("D7")
def test_nothing_rated_is_recommended(copy_of_nights: Copy) -> None:
    """No published film is one that its user has rated."""
    database = copy_of_nights(5)
    rated = "ratings r ON r.user_id = l.user_id AND r.movie_id = l.movie_id"
    assert rows(database, f"SELECT count(*) FROM recommendations l JOIN {rated}") == [(0,)]


@pytest.mark.promise("D1")
def test_order_of_ingestion_does_not_matter(
    database: Database, sqlite_url: str, tmp_path: Path
) -> None:
    """The same ratings in another order and database give the same lists and fingerprints."""
    from batch.store.database import open_database
    from batch.store.versions import prepare

    other = open_database(sqlite_url.replace("recbatch.db", "other.db"))
    prepare(other)
    shuffled = random_rows(0)[::-1]
    fill(database, tmp_path / "a")
    fill(other, tmp_path / "b", shuffled)
    columns = "user_key, model, rank, movie_key, score, predicted_rating"
    results = []
    for filled in (database, other):
        night(filled, tmp_path)
        lists = sorted(rows(filled, f"SELECT {columns} FROM current_recommendations"))
        fingerprints = rows(filled, "SELECT data_sha256, config_sha256 FROM runs")
        results.append((lists, fingerprints))
    assert results[0] == results[1]


@pytest.mark.promise("A10")
def test_a_night_with_half_its_users_is_refused(copy_of_nights: Copy, tmp_path: Path) -> None:
    """A run with lists for too few users is rejected and kept, and readers see no change."""
    database = copy_of_nights(5)
    with database.writer.begin() as connection:
        connection.execute(text("DELETE FROM ratings WHERE user_id > 12"))
    second = night(database, tmp_path)
    assert second.status == "rejected"
    assert sorted(check.name for check in second.failed_checks) == SHARES
    assert rows(database, "SELECT run_id FROM publication") == [(1,)]
    of_second = f"SELECT count(*) FROM recommendations WHERE run_id = {second.run_id}"
    assert rows(database, f"{of_second} AND rank <= 5") == [(240,)]
    third = night(database, tmp_path, Order(TODAY, force=True))
    assert third.status == "published"
    assert rows(database, f"SELECT forced FROM runs WHERE run_id = {third.run_id}") == [(1,)]


def test_an_empty_database_publishes_nothing(database: Database, tmp_path: Path) -> None:
    """Without a single rating the run is refused rather than an empty list published."""
    outcome = night(database, tmp_path)
    assert outcome.status == "rejected"
    assert [check.name for check in outcome.failed_checks] == ["no_rows", "ratings"]
    assert rows(database, "SELECT * FROM publication") == []


def test_a_night_that_judges_nobody_is_refused(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no rating reaches the liked threshold the night is refused, unless it is forced."""
    fill(database, tmp_path)
    nobody = {"RECBATCH_INGEST__SCALE": "[0.5, 40]"}
    outcome = night(database, tmp_path, **nobody)
    assert outcome.status == "rejected"
    [check] = [check for check in outcome.failed_checks if check.name == "users_judged"]
    assert (check.value, check.threshold) == (0.0, 1.0)
    outcome_lines(outcome)
    line = "gate users_judged: 0, at least 1 wanted (who liked a held-out film, of 25 with held-out"
    assert line in capsys.readouterr().out
    assert outcome.warnings == []
    assert night(database, tmp_path, Order(TODAY, force=True), **nobody).status == "published"


def test_a_small_night_says_that_it_judges_nobody(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With fewer users than gates need it is published, with a line in output and report."""
    fill(database, tmp_path, [(f"u{u}", f"m{u + i}", 4, 10**9) for u in range(3) for i in range(4)])
    outcome = night(database, tmp_path)
    assert outcome.status == "published"
    outcome_lines(outcome)
    message = (
        "nobody could be judged: 0 users have five ratings or more, and gates compare lists from"
        " 20 such users on (gate.min_users_judged)"
    )
    assert f"\nwarning: {message}\n" in capsys.readouterr().out
    with database.reader.connect() as connection:
        page = report(connection, file=tmp_path / "page.html").read_text()
    assert message in page
    other = night(database, tmp_path, RECBATCH_GATE__MIN_USERS_JUDGED="7")
    assert "from 7 such users on" in other.warnings[0]["message"]


@pytest.mark.parametrize(("judged", "n_warnings"), [(0.0, 1), (1.0, 0)])
def test_whoever_is_judged_ends_the_warning(judged: float, n_warnings: int) -> None:
    """One user who liked a held-out film is enough, however few there are."""
    metrics = RunMetrics.of({"bias": {"raters": 3.0}, "popular": {"users": judged}}, "own")
    assert len(judged_warnings(metrics, Gates())) == n_warnings


FIRST_ROW = "run_id = 1 AND user_id = 3 AND model = 'neural' AND rank = 1"
SAME_FILM = f"SELECT movie_id FROM recommendations WHERE {FIRST_ROW}"
SEEN_FILM = "SELECT min(movie_id) FROM ratings WHERE user_id = 3"


@pytest.mark.promise("D7")
@pytest.mark.parametrize(
    ("check", "damage", "rank"),
    [
        ("rows_missing_or_extra", "DELETE FROM recommendations", 20),
        ("broken_ranks", "UPDATE recommendations SET rank = 22", 20),
        ("broken_ranks", f"UPDATE recommendations SET movie_id = ({SAME_FILM})", 2),
        ("scores_out_of_order", "UPDATE recommendations SET score = 99", 3),
        ("unknown_films", "UPDATE recommendations SET movie_id = 1000000", 3),
        ("unknown_users", "UPDATE recommendations SET user_id = 1000000", 1),
        ("already_rated", f"UPDATE recommendations SET movie_id = ({SEEN_FILM})", 17),
        ("scores_not_finite", "UPDATE recommendations SET score = 1000000", 1),
        ("scores_not_finite", "UPDATE recommendations SET predicted_rating = -1000000", 3),
        ("scores_not_finite", "UPDATE recommendations SET support = 1000000000000", 3),
        ("already_rated", f"UPDATE recommendations SET movie_id = ({SEEN_FILM})", 4),
    ],
)
def test_damage_is_detected(copy_of_nights: Copy, check: str, damage: str, rank: int) -> None:
    """Each integrity check detects its damage; a run that fails it cannot be published."""
    database = copy_of_nights(1 if check == "unknown_users" else 5, 5)
    with database.writer.begin() as connection:
        row = f"run_id = 1 AND user_id = 3 AND model = 'neural' AND rank = {rank}"
        assert connection.execute(text(f"{damage} WHERE {row}")).rowcount == 1
    with pytest.raises(publish.CannotPublishError, match=f"integrity checks: .*{check}"):
        republish(database, FilterSettings(), lambda _: 1)
    failed = rows(database, "SELECT name FROM run_checks WHERE run_id = 1 AND passed = 0")
    assert set(failed) == {(check,), ("changed_rows",)}
    assert rows(database, "SELECT run_id FROM publication") == [(2,)]


def test_a_model_without_predictions_is_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that has no prediction for anybody any more keeps the run from being published."""
    fill(database, tmp_path)
    night(database, tmp_path)
    from batch.models.neural import PerMovie

    no_predictions = Scores(*[np.full((25, 40), np.nan)] * 3)
    monkeypatch.setattr(PerMovie, "score", lambda *_: no_predictions)
    outcome = night(database, tmp_path)
    assert (outcome.status, outcome.rows["neural"]) == ("rejected", 125)  # of popular films
    about = ("users_share", "rows_share", "films_share", "rmse_of_bias", "rmse_of_published")
    assert {check.name for check in outcome.failed_checks} == {f"{name}_neural" for name in about}


def test_a_person_may_publish_an_older_run_of_a_night(database: Database, tmp_path: Path) -> None:
    """A scheduled run that was left ready can be published after another of the same night."""
    fill(database, tmp_path)
    night(database, tmp_path, Order(TODAY, "schedule", publish=False, due_at=NOON))
    night(database, tmp_path, Order(TODAY, "schedule", due_at=NOON))
    assert republish(database, FilterSettings(), lambda _: 1).run_id == 1
    assert rows(database, "SELECT run_id, previous_run_id FROM publication") == [(1, 2)]


def test_a_file_that_cannot_be_removed_does_not_fail_the_run(
    database: Database, tmp_path: Path
) -> None:
    """A published run stays published, and says so, where an old file cannot be removed."""
    fill(database, tmp_path)
    night(database, tmp_path, RECBATCH_PUBLISH__KEEP_RUNS="2")
    [(artifact,)] = rows(database, "SELECT artifact FROM runs")
    Path(str(artifact)).unlink()
    Path(str(artifact)).mkdir()
    for _ in range(3):
        assert night(database, tmp_path, RECBATCH_PUBLISH__KEEP_RUNS="2").status == "published"
    assert rows(database, "SELECT DISTINCT run_id FROM recommendations ORDER BY 1") == [(3,), (4,)]


def test_integrity_cannot_be_forced(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list with a rated film is not published, even with --force."""
    fill(database, tmp_path)
    best_unseen = ensemble.best_unseen

    def best_of_all(score: Any, seen: Any, places: Any, n: int) -> Any:
        return best_unseen(score, csr_array(seen.shape), places, n)

    monkeypatch.setattr(ensemble, "best_unseen", best_of_all)
    outcome = night(database, tmp_path, Order(TODAY, force=True))
    assert outcome.status == "rejected"
    assert [check.name for check in outcome.failed_checks] == ["already_rated"]
    with pytest.raises(publish.CannotPublishError, match="already_rated"):
        republish(database, FilterSettings(), lambda _: outcome.run_id)


@pytest.mark.promise("A4")
def test_a_crash_leaves_the_old_list_and_its_reason(database: Database, tmp_path: Path) -> None:
    """An exception during a run leaves it failed, with the reason, and the published list as is."""
    fill(database, tmp_path)
    first = night(database, tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:  # not the fixture, which would fit models again
        patch.setattr(steps, "audit_integrity", full)
        with pytest.raises(OSError, match="No space left"):
            night(database, tmp_path)
    assert rows(database, "SELECT status, error FROM runs WHERE run_id = 2") == [
        ("failed", "[Errno 28] No space left on device")
    ]
    assert rows(database, "SELECT run_id FROM publication") == [(first.run_id,)]
    night(database, tmp_path)
    assert rows(database, "SELECT DISTINCT run_id FROM recommendations ORDER BY 1") == [(1,), (3,)]


def test_as_of_uses_only_earlier_ratings(database: Database, tmp_path: Path) -> None:
    """A run as of a past day leaves out later ratings, ends ready, and can be published."""
    early, late = 1_000_000_000, 1_000_200_000  # 9 and 11 September 2001
    pairs = [(u, i) for u in range(6) for i in range(6) if (u + i) % 3]
    earlier = [(f"u{u}", f"m{i}", 1 + (u + i) % 5, early) for u, i in pairs]
    fill(database, tmp_path, [*earlier, ("u0", "m0", 5, late), ("u1", "m2", 5, late)])
    past = date(2001, 9, 10)
    order = Order(past, as_of=past, publish=False)
    outcome = night(database, tmp_path, order, RECBATCH_PUBLISH__LEAST_RATINGS="1")
    assert outcome.status == "ready"
    assert outcome.failed_checks == []
    assert rows(database, "SELECT n_ratings FROM runs") == [(len(earlier),)]
    assert rows(database, "SELECT * FROM publication") == []
    republish(database, FilterSettings(), lambda _: outcome.run_id)
    assert rows(database, "SELECT run_id FROM publication") == [(outcome.run_id,)]
    before_all = date(2001, 9, 8)
    empty = night(database, tmp_path, Order(before_all, as_of=before_all, publish=False))
    assert empty.status == "rejected"  # without rows it may never be published
    assert sorted(check.name for check in empty.failed_checks) == ["no_rows", "ratings", *SHARES]


@pytest.mark.promise("B4")
def test_a_scheduled_night_is_published_once(database: Database, tmp_path: Path) -> None:
    """A second scheduled run of a due moment does nothing; a manual one publishes again."""
    fill(database, tmp_path)
    first = night(database, tmp_path, Order(TODAY, "schedule", due_at=NOON))
    for trigger in ("schedule", "catchup"):
        again = night(database, tmp_path, Order(TODAY, trigger, due_at=NOON))
        assert (again.status, again.run_id) == ("already_published", first.run_id)
    assert rows(database, "SELECT count(*) FROM runs") == [(1,)]
    assert night(database, tmp_path, Order(TODAY, due_at=NOON)).run_id == 2
    assert rows(database, "SELECT run_id, status, triggered_by FROM runs ORDER BY run_id") == [
        (1, "published", "schedule"),
        (2, "published", "manual"),
    ]
    evening = NOON + timedelta(hours=6)
    assert night(database, tmp_path, Order(TODAY, "schedule", due_at=evening)).run_id == 3


def test_a_night_before_due_moments_counts(database: Database, tmp_path: Path) -> None:
    """A run without a due moment, from an older version, is of the night that it began after."""
    fill(database, tmp_path)
    night(database, tmp_path, Order(TODAY, "schedule"))
    with database.writer.begin() as connection:
        connection.execute(update(schema.runs).values(started_at=NOON + timedelta(minutes=1)))
    later = Order(TODAY, "schedule", due_at=NOON + timedelta(hours=6))
    again = night(database, tmp_path, Order(TODAY, "schedule", due_at=NOON))
    assert (again.status, again.run_id) == ("already_published", 1)
    assert night(database, tmp_path, later).status == "published"


@pytest.mark.promise("B1")
def test_one_job_at_a_time(database: Database, tmp_path: Path) -> None:
    """While one job holds the lock another is refused at once; once it is released it is free."""
    with run_lock(database), pytest.raises(LockedError):
        night(database, tmp_path)
    with run_lock(database):
        pass


@pytest.mark.promise("A9")
def test_rollback_and_purge(database: Database, tmp_path: Path) -> None:
    """Rollback shows the run before; purge keeps the newest, the current and the previous run."""
    fill(database, tmp_path)
    for _ in range(4):
        night(database, tmp_path)
    republish(database, FilterSettings(), publish.previous)
    url = database.url.render_as_string(hide_password=False)
    with query.snapshot(url, database.schema_name) as connection:
        current = query.published(connection)
        assert current is not None
        assert (current.run_id, current.previous_run_id) == (3, 4)
    republish(database, FilterSettings(), lambda _: 1)
    oldest = "SELECT artifact FROM runs WHERE run_id < 3 ORDER BY run_id"
    [(kept,), (purged,)] = rows(database, oldest)
    with run_lock(database):
        assert publish.purge(database, 2) == [2]
    with_lists = rows(database, "SELECT DISTINCT run_id FROM recommendations ORDER BY 1")
    assert with_lists == [(1,), (3,), (4,)]
    assert (Path(str(kept)).exists(), Path(str(purged)).exists()) == (True, False)
    with database.reader.connect() as connection:
        runs = history(connection, 3)
    states = [(run["run_id"], run["current"], run["purged"]) for run in runs]
    assert states == [(4, False, False), (3, False, False), (2, False, True)]
    with pytest.raises(publish.CannotPublishError, match="purged"):
        republish(database, FilterSettings(), lambda _: 2)


@pytest.mark.promise("B3")
def test_a_run_that_was_taken_over_cannot_publish(database: Database, tmp_path: Path) -> None:
    """The publish statement itself refuses a run that another process marked abandoned."""
    fill(database, tmp_path)
    columns = {"forced": 0, "top_n": 5, "seed": 1, "config_sha256": "", "versions": "{}"}
    with database.writer.begin() as connection:
        slow = publish.open_run(connection, TODAY, "manual", **columns)
    with database.writer.begin() as connection:
        publish.open_run(connection, TODAY, "manual", **columns)
    with (
        database.writer.begin() as connection,
        pytest.raises(publish.CannotPublishError, match="taken over"),
    ):
        publish.publish(connection, slow)
    other_owner = publish.RunKey(slow.run_id + 1, "somebody else")
    with (
        database.writer.begin() as connection,
        pytest.raises(publish.CannotPublishError, match="taken over"),
    ):
        publish.publish(connection, other_owner)
    assert rows(database, "SELECT status FROM runs ORDER BY run_id") == [
        ("abandoned",),
        ("running",),
    ]


@pytest.mark.promise("B4")
def test_a_night_never_goes_backwards(copy_of_nights: Copy) -> None:
    """A run older than the published one cannot publish itself."""
    database = copy_of_nights(5, 5)
    with database.writer.begin() as connection:
        connection.execute(text("UPDATE runs SET status = 'running' WHERE run_id = 1"))
        owner = connection.execute(text("SELECT owner FROM runs WHERE run_id = 1")).scalar_one()
    with (
        pytest.raises(publish.CannotPublishError, match="older"),
        database.writer.begin() as connection,
    ):
        publish.publish(connection, publish.RunKey(1, owner))
    assert rows(database, "SELECT run_id FROM publication") == [(2,)]


@pytest.mark.promise("A3")
def test_a_reader_keeps_its_snapshot(copy_of_nights: Copy, tmp_path: Path) -> None:
    """What a reader reads stays whole and of one run, even while that run is purged."""
    database = copy_of_nights(5)
    with database.reader.connect() as reader:
        before = list(query.lists(reader, model="item_item"))
        night(database, tmp_path)
        night(database, tmp_path)
        with run_lock(database):
            publish.purge(database, 2)
        assert list(query.lists(reader, model="item_item")) == before
    assert rows(database, "SELECT run_id, previous_run_id FROM publication") == [(3, 2)]


def test_files_in_the_settings_are_ingested_first(database: Database, tmp_path: Path) -> None:
    """A run ingests what ingest.paths names; a broken file is reported and does not stop it."""
    fill(database, tmp_path / "old")
    (tmp_path / "new.csv").write_text("user,movie,rating\nu0,m0,5\nnew user,m1,3\n")
    (tmp_path / "broken.csv").write_text("what,is,this\n1,2,3\n")
    paths = f"[{tmp_path / 'new.csv'}, {tmp_path / 'broken.csv'}]"
    outcome = night(database, tmp_path, RECBATCH_INGEST__PATHS=paths)
    assert [report.status for report in outcome.ingested] == ["refused", "merged"]
    assert outcome.status == "published"
    assert rows(database, "SELECT count(*) FROM users WHERE user_key = 'new user'") == [(1,)]


def test_a_plan_writes_nothing(database: Database, tmp_path: Path) -> None:
    """A dry run reports what a run would work on and writes nothing."""
    fill(database, tmp_path)
    inputs = {"PATHS": "[new.csv]", "QUERY": "SELECT 1", "FILMS_QUERY": "SELECT 2"}
    environ = {f"RECBATCH_INGEST__{name}": value for name, value in inputs.items()}
    plan = plan_run(database, settings(tmp_path, **environ), Order(TODAY))
    assert (plan["users"], plan["films"], plan["rows_at_most"]) == (25, 40, 500)
    assert plan["ingest_first"] == ["new.csv", "ingest.films_query", "ingest.query"]
    assert [query["status"] for query in plan["queries"].values()] == ["refused", "refused"]
    assert rows(database, "SELECT * FROM runs") == []


def test_moments_are_utc(database: Database, tmp_path: Path) -> None:
    """A run's times are stored in UTC and come back as such from both databases."""
    fill(database, tmp_path)
    before = datetime.now(UTC)
    night(database, tmp_path)
    with database.reader.connect() as connection:
        current = query.published(connection)
    assert current is not None
    assert before <= current.published_at <= datetime.now(UTC)
    assert current.published_at.utcoffset() == UTC.utcoffset(None)
