"""`recbatch check` for monitors: the age of the list, how the last run ended, the exit code."""

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


def end_of_newest_run(database: Database) -> datetime:
    newest = schema.runs.select().order_by(schema.runs.c.run_id.desc())
    with database.reader.connect() as connection:
        run = connection.execute(newest).first()
    assert run is not None
    return run.finished_at


def change(database: Database, statement: str) -> None:
    with database.writer.begin() as connection:
        assert connection.execute(text(statement)).rowcount > 0, statement


def levels(database: Database, now: datetime) -> dict[str, str]:
    """The level of each finding by its name."""
    return {finding.name: finding.level for finding in examine(database, now, AGES)}


def findings(database: Database, name: str, after: timedelta = MINUTE) -> list[Finding]:
    """The findings of one name, some time after the end of the newest run."""
    now = end_of_newest_run(database) + after
    return [finding for finding in examine(database, now, AGES) if finding.name == name]


def finding(database: Database, name: str) -> Finding:
    """The only finding of this name."""
    [only] = findings(database, name)
    return only


@pytest.mark.usefixtures("nights")
def test_a_list_ages(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """A list is fine up to the first limit, then a warning, from the second on stale."""
    end = end_of_newest_run(database)
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
    lines = capsys.readouterr().out.splitlines()
    names = [line.split(":")[0] for line in lines]
    assert names == ["ok schema", "ok freshness", "ok data", "ok last_run"]


@pytest.mark.usefixtures("nights")
def test_a_rollback_makes_no_list_younger(database: Database) -> None:
    """After a rollback the age is that of the run that readers see, not that of the rollback."""
    change(database, "UPDATE runs SET finished_at = '2026-01-01T00:00:00.000000+00:00'")
    assert command("-q", "run") == 0
    assert levels(database, end_of_newest_run(database))["freshness"] == "ok"
    assert command("rollback") == 0
    assert levels(database, end_of_newest_run(database))["freshness"] == "error"


@pytest.mark.usefixtures("nights")
def test_limits_come_from_the_settings_or_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A warning exits 0, a stale list 5, as JSON too; limits that contradict are wrong use."""
    capsys.readouterr()
    assert command("check", "--warn-after", "0") == FINE
    assert "warning freshness: run 1, published " in capsys.readouterr().out
    assert command("check", "--warn-after", "0", "--error-after", "0", "--json") == UNHEALTHY
    result = json.loads(capsys.readouterr().out)
    assert result["status"] == "error"
    freshness = result["findings"][1]
    assert (freshness["name"], freshness["level"]) == ("freshness", "error")
    assert command("check", "--warn-after", "60") == WRONG_USE
    monkeypatch.setenv("RECBATCH_CHECK__WARN_AFTER_HOURS", "0.000001")
    monkeypatch.setenv("RECBATCH_CHECK__ERROR_AFTER_HOURS", "0.000001")
    assert command("check") == UNHEALTHY
    monkeypatch.setenv("RECBATCH_CHECK__WARN_AFTER_HOURS", "3")
    assert command("check") == WRONG_USE


@pytest.mark.usefixtures("nights")
def test_how_the_last_run_ended(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed or rejected run is an error with its reason, also while the next one runs."""
    monkeypatch.setenv("RECBATCH_GATE__MAX_RMSE_OF_BIAS", "0.1")
    assert command("-q", "run") == 3
    rejected = finding(database, "last_run")
    assert rejected.level == "error"
    gates = "rmse_of_bias_blend, rmse_of_bias_item_item"
    assert rejected.about.startswith(f"run 2 is rejected: {gates}")
    assert command("publish", "2") == 0
    assert finding(database, "last_run") == Finding("last_run", "ok", "run 2 is published")
    assert finding(database, "gates").level == "warning"
    assert command("-q", "run", "--no-publish") == 0
    assert finding(database, "last_run") == Finding("last_run", "ok", "run 3 is ready")
    change(database, "UPDATE runs SET status = 'failed', error = 'disk full' WHERE run_id = 3")
    assert finding(database, "last_run") == Finding(
        "last_run", "error", "run 3 is failed: disk full"
    )
    change(database, "UPDATE runs SET status = 'abandoned' WHERE run_id = 3")
    assert finding(database, "last_run").level == "warning"
    change(database, "UPDATE runs SET status = 'failed' WHERE run_id = 2")
    change(database, "UPDATE runs SET status = 'running' WHERE run_id = 3")
    at_work, failed = findings(database, "last_run")
    assert (at_work.level, at_work.about[:16]) == ("ok", "run 3 is at work")
    assert (failed.level, failed.about[:15]) == ("error", "run 2 is failed")
    stuck = findings(database, "last_run", after=timedelta(hours=27))
    assert [finding.level for finding in stuck] == ["warning", "error"]


@pytest.mark.usefixtures("nights")
def test_a_damaged_published_run_is_an_error(database: Database) -> None:
    """If the published run fails its integrity audit, `check` names the checks that failed."""
    assert command("-q", "run") == 0
    first_rows = "run_id = 2 AND rank = 1 AND model = 'blend'"
    change(database, f"DELETE FROM recommendations WHERE {first_rows}")
    assert command("publish", "2") == 1
    about = (
        "run 2 was audited once more, and fails: broken_ranks, changed_rows, rows_missing_or_extra;"
        " publish another run"
    )
    assert finding(database, "integrity") == Finding("integrity", "error", about)
    assert findings(database, "gates") == []
    assert command("publish", "1") == 0
    assert findings(database, "integrity") == []


@pytest.mark.usefixtures("nights")
def test_files_that_came_since(database: Database, tmp_path: Path) -> None:
    """Files that were merged after the published run read the tables are counted."""
    assert "since" not in finding(database, "data").about
    (tmp_path / "more.csv").write_text("user,movie,rating,timestamp\nu1,m1,4,1700000000\n")
    assert command("ingest", "more.csv") == 0
    assert finding(database, "data").about.endswith("; 1 files were merged since")
    assert command("-q", "run", "--force") == 0
    assert finding(database, "data").about == "its newest rating is of 2023-11-14 22:13 UTC"


def test_where_nothing_was_ever_published(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a published run, with other tables and without a database, `check` exits 5."""
    monkeypatch.chdir(tmp_path)
    url = database.url.render_as_string(hide_password=False)
    monkeypatch.setenv("RECBATCH_DATABASE__URL", url)
    assert command("check") == UNHEALTHY
    lines = capsys.readouterr().out.splitlines()
    advice = (
        "bring in ratings with 'recbatch ingest FILES', or name files in ingest.paths,"
        " then run 'recbatch run'"
    )
    assert lines[1] == f"error freshness: nothing was ever published; {advice}"
    change(database, "UPDATE alembic_version SET version_num = '0001'")
    assert command("check") == UNHEALTHY
    assert f"at schema version 0001, this program needs {schema.HEAD}" in capsys.readouterr().out
    missing = f"sqlite:///{tmp_path / 'none.db'}"
    monkeypatch.setenv("RECBATCH_DATABASE__URL", missing)
    assert command("check") == UNHEALTHY
    assert "error schema: no database at" in capsys.readouterr().out
    assert not (tmp_path / "none.db").exists()
    assert rows(open_database(url), "SELECT * FROM publication") == []
