"""The whole night, on both databases: what it writes, refuses, repeats and leaves behind."""

import hashlib
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.sparse import csr_array
from sqlalchemy import text

from batch import query
from batch.job import nightly
from batch.job.nightly import Order, Outcome
from batch.job.republish import republish
from batch.models import PUBLISHED, Scores
from batch.ranking import ensemble
from batch.serve.history import history
from batch.store import publish
from batch.store.database import Database, LockedError, run_lock
from data import fill, random_rows, settings

TODAY = date(2026, 11, 23)
INTEGRITY = {
    "rows_missing_or_extra", "broken_ranks", "scores_out_of_order", "already_rated", "filtered_films",
    "unknown_films", "unknown_users", "scores_not_finite",
}  # fmt: skip
SHARES = sorted(f"{what}_share_{name}" for what in ("users", "rows") for name in PUBLISHED)

RMSE = [f"rmse_of_bias_{name}" for name in PUBLISHED]
"""What else is asked of a first night with 25 users, of whom fewer than 20 liked anything that was held out."""


def night(database: Database, folder: Path, order: Order | None = None, **environ: str) -> Outcome:
    return nightly.run(database, settings(folder, **environ), order or Order(TODAY))


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
    found = rows(
        database,
        "SELECT model, count(*), count(DISTINCT user_key) FROM current_recommendations GROUP BY model",
    )
    assert sorted(found) == [(name, 125, 25) for name in sorted(PUBLISHED)]
    run = rows(
        database,
        "SELECT status, n_users, n_movies, rows_written, rating_min, rating_max, forced FROM runs",
    )
    assert run == [("published", 25, 40, 500, 0.5, 5.0, 0)]
    assert {check.name for check in outcome.checks if check.passed} == {
        *INTEGRITY,
        "ratings",
        *RMSE,
    }
    assert len(rows(database, "SELECT * FROM run_checks")) == len(outcome.checks)
    assert rows(database, "SELECT count(*) FROM run_metrics WHERE metric = 'rmse'") == [(5,)]


@pytest.mark.promise("D9")
def test_weights_are_kept_with_their_fingerprint(database: Database, tmp_path: Path) -> None:
    """The network's weights lie in one safetensors file whose sha256 the run records."""
    fill(database, tmp_path)
    night(database, tmp_path)
    [(file, sha256)] = rows(database, "SELECT artifact, artifact_sha256 FROM runs")
    assert hashlib.sha256(Path(str(file)).read_bytes()).hexdigest() == sha256
    assert sorted(load_file(str(file))) == ["neural.W1", "neural.W2", "neural.b1", "neural.b2"]


@pytest.mark.promise("D7")
def test_nothing_rated_is_recommended(database: Database, tmp_path: Path) -> None:
    """No published film is one that its user has rated."""
    fill(database, tmp_path)
    night(database, tmp_path)
    both = "SELECT count(*) FROM recommendations l JOIN ratings r ON r.user_id = l.user_id AND r.movie_id = l.movie_id"
    assert rows(database, both) == [(0,)]


@pytest.mark.promise("D1")
def test_order_of_ingestion_does_not_matter(
    database: Database, sqlite_url: str, tmp_path: Path
) -> None:
    """The same ratings in another order, in another database of another kind, give the same lists and fingerprint."""
    from batch.store.database import open_database, prepare

    other = open_database(sqlite_url.replace("recbatch.db", "other.db"))
    prepare(other)
    shuffled = random_rows(0)[::-1]
    fill(database, tmp_path / "a")
    fill(other, tmp_path / "b", shuffled)
    lists = "SELECT user_key, model, rank, movie_key, score, predicted_rating FROM current_recommendations"
    found = []
    for each in (database, other):
        night(each, tmp_path)
        found.append(
            (sorted(rows(each, lists)), rows(each, "SELECT data_sha256, config_sha256 FROM runs"))
        )
    assert found[0] == found[1]


@pytest.mark.promise("A10")
def test_a_night_with_half_its_users_is_refused(database: Database, tmp_path: Path) -> None:
    """A run with lists for too few of the published run's users is rejected, kept, and changes nothing for readers."""
    fill(database, tmp_path)
    first = night(database, tmp_path)
    with database.writer.begin() as connection:
        connection.execute(text("DELETE FROM ratings WHERE user_id > 12"))
    second = night(database, tmp_path)
    assert second.status == "rejected"
    assert sorted(check.name for check in second.failed_checks) == SHARES
    assert rows(database, "SELECT run_id FROM publication") == [(first.run_id,)]
    assert rows(
        database, f"SELECT count(*) FROM recommendations WHERE run_id = {second.run_id}"
    ) == [(240,)]
    third = night(database, tmp_path, Order(TODAY, force=True))
    assert third.status == "published"
    assert rows(database, f"SELECT forced FROM runs WHERE run_id = {third.run_id}") == [(1,)]


def test_an_empty_database_publishes_nothing(database: Database, tmp_path: Path) -> None:
    """Without a single rating the run is refused rather than an empty list published."""
    outcome = night(database, tmp_path)
    assert outcome.status == "rejected"
    assert [check.name for check in outcome.failed_checks] == ["ratings"]
    assert rows(database, "SELECT * FROM publication") == []


SAME_FILM = "SELECT movie_id FROM recommendations WHERE run_id = 1 AND user_id = 3 AND model = 'neural' AND rank = 1"
SEEN_FILM = "SELECT min(movie_id) FROM ratings WHERE user_id = 3"


@pytest.mark.promise("D7")
@pytest.mark.parametrize(
    ("check", "damage", "rank"),
    [
        ("rows_missing_or_extra", "DELETE FROM recommendations", 5),
        ("broken_ranks", "UPDATE recommendations SET rank = 7", 5),
        ("broken_ranks", f"UPDATE recommendations SET movie_id = ({SAME_FILM})", 2),
        ("scores_out_of_order", "UPDATE recommendations SET score = 99", 3),
        ("unknown_films", "UPDATE recommendations SET movie_id = 1000000", 3),
        ("unknown_users", "UPDATE recommendations SET user_id = 1000000", 1),
        ("scores_not_finite", "UPDATE recommendations SET score = 1000000", 1),
        ("scores_not_finite", "UPDATE recommendations SET predicted_rating = -1000000", 3),
        ("scores_not_finite", "UPDATE recommendations SET support = 1000000000000", 3),
        ("already_rated", f"UPDATE recommendations SET movie_id = ({SEEN_FILM})", 4),
    ],
)
def test_a_damaged_run_is_found_out(
    database: Database, tmp_path: Path, check: str, damage: str, rank: int
) -> None:
    """Each integrity check finds what it is there for, and a run that fails it cannot be published, only recorded."""
    fill(database, tmp_path)
    night(database, tmp_path, RECBATCH_PUBLISH__TOP_N="1" if check == "unknown_users" else "5")
    night(database, tmp_path)
    with database.writer.begin() as connection:
        row = f"run_id = 1 AND user_id = 3 AND model = 'neural' AND rank = {rank}"
        assert connection.execute(text(f"{damage} WHERE {row}")).rowcount == 1
    with pytest.raises(publish.CannotPublishError, match=f"integrity checks: {check}$"):
        republish(database, lambda _: 1)
    assert rows(database, "SELECT name FROM run_checks WHERE run_id = 1 AND passed = 0") == [
        (check,)
    ]
    assert rows(database, "SELECT run_id FROM publication") == [(2,)]


def test_a_model_that_falls_silent_is_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that gives nobody a list any more keeps the night from being published."""
    fill(database, tmp_path)
    night(database, tmp_path)
    from batch.models.neural import PerMovie

    silence = Scores(*[np.full((25, 40), np.nan)] * 3)
    monkeypatch.setattr(PerMovie, "score", lambda *_: silence)
    outcome = night(database, tmp_path)
    assert (outcome.status, outcome.rows["neural"]) == ("rejected", 125)  # all of which stand in
    about = ("users_share", "rows_share", "films_share", "rmse_of_bias", "rmse_of_published")
    assert {check.name for check in outcome.failed_checks} == {f"{name}_neural" for name in about}


def test_a_person_may_publish_an_older_run_of_a_night(database: Database, tmp_path: Path) -> None:
    """A scheduled run that was left ready can be published after another one of the same night was."""
    fill(database, tmp_path)
    night(database, tmp_path, Order(TODAY, "schedule", publish=False))
    night(database, tmp_path, Order(TODAY, "schedule"))
    assert republish(database, lambda _: 1) == 1
    assert rows(database, "SELECT run_id, previous_run_id FROM publication") == [(1, 2)]


def test_files_that_cannot_be_tidied_do_not_fail_the_night(
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
    """A list that names a rated film is not published, not even by force."""
    fill(database, tmp_path)
    seen_too = ensemble.best_unseen
    monkeypatch.setattr(
        ensemble,
        "best_unseen",
        lambda score, seen, places, n: seen_too(score, csr_array(seen.shape), places, n),
    )
    outcome = night(database, tmp_path, Order(TODAY, force=True))
    assert outcome.status == "rejected"
    assert [check.name for check in outcome.failed_checks] == ["already_rated"]
    with pytest.raises(publish.CannotPublishError, match="already_rated"):
        republish(database, lambda _: outcome.run_id)


@pytest.mark.promise("A4")
def test_a_crash_leaves_the_old_list_and_its_reason(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised during a run leaves it failed, with the reason, and the published list as it was."""
    fill(database, tmp_path)
    first = night(database, tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(nightly, "save_weights", full)
        with pytest.raises(OSError, match="No space left"):
            night(database, tmp_path)
    assert rows(database, "SELECT status, error FROM runs WHERE run_id = 2") == [
        ("failed", "[Errno 28] No space left on device")
    ]
    assert rows(database, "SELECT run_id FROM publication") == [(first.run_id,)]
    night(database, tmp_path)
    assert rows(database, "SELECT DISTINCT run_id FROM recommendations ORDER BY 1") == [(1,), (3,)]


def test_as_of_knows_only_what_was_known(database: Database, tmp_path: Path) -> None:
    """A run as of a past day leaves out later ratings, ends ready, and is published when asked."""
    early, late = 1_000_000_000, 1_000_200_000  # 9 and 11 September 2001
    known = [
        (f"u{u}", f"m{i}", 1 + (u + i) % 5, early)
        for u in range(6)
        for i in range(6)
        if (u + i) % 3
    ]
    fill(database, tmp_path, [*known, ("u0", "m0", 5, late), ("u1", "m2", 5, late)])
    past = date(2001, 9, 10)
    outcome = night(
        database,
        tmp_path,
        Order(past, as_of=past, publish=False),
        RECBATCH_PUBLISH__LEAST_RATINGS="1",
    )
    assert outcome.status == "ready"
    assert outcome.failed_checks == []
    assert rows(database, "SELECT n_ratings FROM runs") == [(len(known),)]
    assert rows(database, "SELECT * FROM publication") == []
    republish(database, lambda _: outcome.run_id)
    assert rows(database, "SELECT run_id FROM publication") == [(outcome.run_id,)]
    before_all = date(2001, 9, 8)
    nobody = night(database, tmp_path, Order(before_all, as_of=before_all, publish=False))
    assert nobody.status == "ready"  # gates guard publication only
    assert sorted(check.name for check in nobody.failed_checks) == ["ratings", *SHARES]


@pytest.mark.promise("B4")
def test_a_scheduled_night_is_published_once(database: Database, tmp_path: Path) -> None:
    """A second scheduled or catch-up run of a published date does nothing; a manual one publishes again."""
    fill(database, tmp_path)
    first = night(database, tmp_path, Order(TODAY, "schedule"))
    again = [
        night(database, tmp_path, Order(TODAY, trigger)) for trigger in ("schedule", "catchup")
    ]
    assert [(outcome.status, outcome.run_id) for outcome in again] == [
        ("already_published", first.run_id)
    ] * 2
    assert night(database, tmp_path).run_id == 2
    assert rows(database, "SELECT run_id, status, triggered_by FROM runs ORDER BY run_id") == [
        (1, "published", "schedule"),
        (2, "published", "manual"),
    ]


@pytest.mark.promise("B1")
def test_one_job_at_a_time(database: Database, tmp_path: Path) -> None:
    """While one job holds the lock another is refused at once, and nothing is left behind when it is let go."""
    with run_lock(database), pytest.raises(LockedError):
        night(database, tmp_path)
    with run_lock(database):
        pass


@pytest.mark.promise("A9")
def test_rollback_and_purge(database: Database, tmp_path: Path) -> None:
    """Rollback shows the run before; purge keeps the newest runs, the current one and the one before it."""
    fill(database, tmp_path)
    for _ in range(4):
        night(database, tmp_path)
    republish(database, publish.previous)
    with query.snapshot(
        database.url.render_as_string(hide_password=False), database.schema_name
    ) as connection:
        now = query.published(connection)
        assert now is not None
        assert (now.run_id, now.previous_run_id) == (3, 4)
    republish(database, lambda _: 1)
    [(kept,), (gone,)] = rows(
        database, "SELECT artifact FROM runs WHERE run_id < 3 ORDER BY run_id"
    )
    with run_lock(database):
        assert publish.purge(database, 2) == [2]
    assert rows(database, "SELECT DISTINCT run_id FROM recommendations ORDER BY 1") == [
        (1,),
        (3,),
        (4,),
    ]
    assert (Path(str(kept)).exists(), Path(str(gone)).exists()) == (True, False)
    with database.reader.connect() as connection:
        told = [(run.run_id, run.current, run.purged) for run in history(connection, 3)]
    assert told == [(4, False, False), (3, False, False), (2, False, True)]
    with pytest.raises(publish.CannotPublishError, match="purged"):
        republish(database, lambda _: 2)


@pytest.mark.promise("B3")
def test_a_run_that_was_taken_over_cannot_publish(database: Database, tmp_path: Path) -> None:
    """A process that another has declared dead is refused by the publish statement itself."""
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
    stranger = publish.RunKey(slow.run_id + 1, "somebody else")
    with (
        database.writer.begin() as connection,
        pytest.raises(publish.CannotPublishError, match="taken over"),
    ):
        publish.publish(connection, stranger)
    assert rows(database, "SELECT status FROM runs ORDER BY run_id") == [
        ("abandoned",),
        ("running",),
    ]


@pytest.mark.promise("B4")
def test_a_night_never_goes_backwards(database: Database, tmp_path: Path) -> None:
    """A run older than the published one cannot publish itself."""
    fill(database, tmp_path)
    night(database, tmp_path)
    night(database, tmp_path)
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
def test_a_reader_keeps_its_snapshot(database: Database, tmp_path: Path) -> None:
    """What a reader began to read stays whole and of one run, through a publication and a purge of that run."""
    fill(database, tmp_path)
    night(database, tmp_path)
    with database.reader.connect() as reader:
        before = list(query.lists(reader, model="item_item"))
        night(database, tmp_path)
        night(database, tmp_path)
        with run_lock(database):
            publish.purge(database, 2)
        assert list(query.lists(reader, model="item_item")) == before
    assert rows(database, "SELECT run_id, previous_run_id FROM publication") == [(3, 2)]


def test_files_in_the_settings_are_ingested_first(database: Database, tmp_path: Path) -> None:
    """A run ingests what ingest.paths names; a broken file there is reported and does not stop the night."""
    fill(database, tmp_path / "old")
    (tmp_path / "new.csv").write_text("user,movie,rating\nu0,m0,5\nnew user,m1,3\n")
    (tmp_path / "broken.csv").write_text("what,is,this\n1,2,3\n")
    paths = f"[{tmp_path / 'new.csv'}, {tmp_path / 'broken.csv'}]"
    outcome = night(database, tmp_path, RECBATCH_INGEST__PATHS=paths)
    assert [report.status for report in outcome.ingested] == ["refused", "merged"]
    assert outcome.status == "published"
    assert rows(database, "SELECT count(*) FROM users WHERE user_key = 'new user'") == [(1,)]


def test_a_plan_writes_nothing(database: Database, tmp_path: Path) -> None:
    """A dry run tells what a run would work on and leaves no trace."""
    fill(database, tmp_path)
    inputs = {"PATHS": "[new.csv]", "QUERY": "SELECT 1", "FILMS_QUERY": "SELECT 2"}
    chosen = settings(
        tmp_path, **{f"RECBATCH_INGEST__{name}": value for name, value in inputs.items()}
    )
    told = nightly.plan(database, chosen, Order(TODAY))
    assert (told["users"], told["films"], told["rows_at_most"]) == (25, 40, 500)
    assert told["ingest_first"] == ["new.csv", "ingest.films_query", "ingest.query"]
    assert rows(database, "SELECT * FROM runs") == []


def test_moments_are_utc(database: Database, tmp_path: Path) -> None:
    """A run's times are stored in UTC and come back as such from both databases."""
    fill(database, tmp_path)
    before = datetime.now(UTC)
    night(database, tmp_path)
    with database.reader.connect() as connection:
        now = query.published(connection)
    assert now is not None
    assert before <= now.published_at <= datetime.now(UTC)
    assert now.published_at.utcoffset() == UTC.utcoffset(None)
