"""What `recbatch check` tells a monitor: how old the list is, how the last run ended, and the exit code."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from batch.serve.health import Ages, Finding, examine, worst
from batch.store import schema
from batch.store.database import Database, open_database
from fixed import command
from tables import rows

AGES = Ages(timedelta(hours=26), timedelta(hours=50))
MINUTE = timedelta(minutes=1)
FINE, UNHEALTHY, WRONG_USE = 0, 5, 2


def made(database: Database) -> datetime:
    """When the newest run ended."""
    with database.reader.connect() as connection:
        found = connection.execute(
            schema.runs.select().order_by(schema.runs.c.run_id.desc())
        ).first()
    assert found is not None
    return found.finished_at


def change(database: Database, statement: str) -> None:
    with database.writer.begin() as connection:
        assert connection.execute(text(statement)).rowcount > 0, statement


def levels(database: Database, now: datetime) -> dict[str, str]:
    return {finding.name: finding.level for finding in examine(database, now, AGES)}


def found(database: Database, name: str) -> Finding:
    [finding] = [
        each for each in examine(database, made(database) + MINUTE, AGES) if each.name == name
    ]
    return finding


@pytest.mark.usefixtures("nights")
def test_a_list_ages(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """A list is fine until the first limit, warned of from there, and stale from the second on, to the minute."""
    end = made(database)
    for hours, before, after in ((26, "ok", "warning"), (50, "warning", "error")):
        limit = end + timedelta(hours=hours)
        assert levels(database, limit - MINUTE)["freshness"] == before
        assert levels(database, limit)["freshness"] == after
    fresh = examine(database, end + timedelta(hours=3), AGES)
    assert [finding.name for finding in fresh] == ["schema", "freshness", "data", "last_run"]
    assert (worst(fresh), fresh[1].hours) == ("ok", 3.0)
    assert fresh[1].about.endswith("was made 3.0 h ago")
    assert fresh[2].about.startswith("its newest rating is of 2001-09-09 01:")
    capsys.readouterr()
    assert command("check") == FINE
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        "ok schema", "ok freshness", "ok data", "ok last_run",
    ]  # fmt: skip


@pytest.mark.usefixtures("nights")
def test_a_rollback_makes_no_list_younger(database: Database) -> None:
    """After a rollback the age is that of the run that readers now see, not of the moment of the rollback."""
    change(database, "UPDATE runs SET finished_at = '2026-01-01T00:00:00.000000+00:00'")
    assert command("-q", "run") == 0
    assert levels(database, made(database))["freshness"] == "ok"
    assert command("rollback") == 0
    assert levels(database, made(database))["freshness"] == "error"


@pytest.mark.usefixtures("nights")
def test_limits_come_from_the_settings_or_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Warnings are printed and exit 0, a stale list exits 5, as JSON too; limits that contradict are wrong use."""
    capsys.readouterr()
    assert command("check", "--warn-after", "0") == FINE
    assert "warning freshness: run 1, published " in capsys.readouterr().out
    assert command("check", "--warn-after", "0", "--error-after", "0", "--json") == UNHEALTHY
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == "error"
    assert [(each["name"], each["level"]) for each in told["findings"]][1] == ("freshness", "error")
    assert command("check", "--warn-after", "60") == WRONG_USE
    monkeypatch.setenv("RECBATCH_CHECK__WARN_AFTER_HOURS", "0.000001")
    monkeypatch.setenv("RECBATCH_CHECK__ERROR_AFTER_HOURS", "0.000001")
    assert command("check") == UNHEALTHY
    monkeypatch.setenv("RECBATCH_CHECK__WARN_AFTER_HOURS", "3")
    assert command("check") == WRONG_USE


@pytest.mark.usefixtures("nights")
def test_how_the_last_run_ended(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that failed or was refused is an error with its reason, also while the next is at work; others are fine."""
    monkeypatch.setenv("RECBATCH_GATE__MAX_RMSE_OF_BIAS", "0.1")
    assert command("-q", "run") == 3
    assert found(database, "last_run").level == "error"
    assert found(database, "last_run").about.startswith(
        "run 2 is rejected: rmse_of_bias_blend, rmse_of_bias_item_item"
    )
    assert command("publish", "2") == 0
    assert found(database, "last_run") == Finding("last_run", "ok", "run 2 is published")
    assert found(database, "gates").level == "warning"
    assert command("-q", "run", "--no-publish") == 0
    assert found(database, "last_run") == Finding("last_run", "ok", "run 3 is ready")
    change(database, "UPDATE runs SET status = 'failed', error = 'disk full' WHERE run_id = 3")
    assert found(database, "last_run") == Finding("last_run", "error", "run 3 is failed: disk full")
    change(database, "UPDATE runs SET status = 'abandoned' WHERE run_id = 3")
    assert found(database, "last_run").level == "warning"
    change(database, "UPDATE runs SET status = 'failed' WHERE run_id = 2")
    change(database, "UPDATE runs SET status = 'running' WHERE run_id = 3")
    later = examine(database, made(database) + MINUTE, AGES)
    assert [(each.level, each.about[:14]) for each in later if each.name == "last_run"] == [
        ("ok", "run 3 is at wo"), ("error", "run 2 is faile"),
    ]  # fmt: skip
    stuck = examine(database, made(database) + timedelta(hours=27), AGES)
    assert [each.level for each in stuck if each.name == "last_run"] == ["warning", "error"]


@pytest.mark.usefixtures("nights")
def test_a_published_run_that_was_damaged_is_found(database: Database) -> None:
    """Where the published run fails its integrity checks when it is audited again, a monitor hears which."""
    assert command("-q", "run") == 0
    change(
        database, "DELETE FROM recommendations WHERE run_id = 2 AND rank = 1 AND model = 'blend'"
    )
    assert command("publish", "2") == 1
    told = "run 2 was audited once more, and fails: broken_ranks, rows_missing_or_extra; publish another run"
    assert found(database, "integrity") == Finding("integrity", "error", told)
    assert all(each.name != "gates" for each in examine(database, made(database), AGES))
    assert command("publish", "1") == 0
    assert all(each.name != "integrity" for each in examine(database, made(database), AGES))


@pytest.mark.usefixtures("nights")
def test_files_that_came_since(database: Database, tmp_path: Path) -> None:
    """Files that were merged after the published run saw the tables are counted."""
    assert "since" not in found(database, "data").about
    (tmp_path / "more.csv").write_text("user,movie,rating,timestamp\nu1,m1,4,1700000000\n")
    assert command("ingest", "more.csv") == 0
    assert found(database, "data").about.endswith("; 1 files were merged since")
    assert command("-q", "run", "--force") == 0
    assert found(database, "data").about == "its newest rating is of 2023-11-14 22:13 UTC"


def test_where_nothing_was_ever_published(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a published run, with tables of another version and without a database, `check` exits 5 and says why."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECBATCH_DATABASE__URL", database.url.render_as_string(hide_password=False))
    assert command("check") == UNHEALTHY
    assert (
        capsys.readouterr().out.splitlines()[1]
        == "error freshness: nothing was ever published; run 'recbatch run'"
    )
    change(database, "UPDATE alembic_version SET version_num = '0001'")
    assert command("check") == UNHEALTHY
    assert f"at schema version 0001, this program needs {schema.HEAD}" in capsys.readouterr().out
    missing = f"sqlite:///{tmp_path / 'none.db'}"
    monkeypatch.setenv("RECBATCH_DATABASE__URL", missing)
    assert command("check") == UNHEALTHY
    assert "error schema: no database at" in capsys.readouterr().out
    assert not (tmp_path / "none.db").exists()
    assert (
        rows(
            open_database(database.url.render_as_string(hide_password=False)),
            "SELECT * FROM publication",
        )
        == []
    )
