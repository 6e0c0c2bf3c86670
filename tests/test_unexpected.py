"""Errors that nobody expected: their cause is in the log, and nothing is started twice."""

import json
import logging
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from textwrap import dedent

import pytest

from batch import telemetry
from batch.config import ScheduleSettings
from batch.job.schedule import Clock
from batch.store.database import open_database
from batch.store.versions import prepare

pytestmark = pytest.mark.usefixtures("logging_as_before")


def _log_an_error(level: telemetry.Level, style: telemetry.Style) -> None:
    telemetry.start_logging(level=level, style=style)
    try:
        {}["no such\nkey\x1b"]  # type: ignore[index]
    except KeyError:
        # as APScheduler does
        logging.getLogger("apscheduler").exception("Job raised an exception")


@pytest.mark.parametrize("level", ["info", "warning"])
def test_a_text_line_has_the_cause(
    level: telemetry.Level, capsys: pytest.CaptureFixture[str]
) -> None:
    """A text line about an exception has its class and message, and is one line."""
    _log_an_error(level, "text")
    [line] = capsys.readouterr().err.splitlines()
    assert 'level=error event="Job raised an exception" error="KeyError: ' in line
    assert "no such" in line


def test_debug_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """With --log-level debug the traceback follows a text line, indented and printable."""
    _log_an_error("debug", "text")
    first, *lines = capsys.readouterr().err.splitlines()
    assert "KeyError" in first
    assert lines[0] == "  Traceback (most recent call last):"
    assert any("test_unexpected.py" in line for line in lines)
    assert all(line.startswith("  ") and line.isprintable() for line in lines)


def test_json_has_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """A JSON line about an exception has its class, message and traceback."""
    _log_an_error("warning", "json")
    line = json.loads(capsys.readouterr().err)
    assert line["level"] == "error"
    assert line["error"].startswith("KeyError: 'no such")
    assert "test_unexpected.py" in line["traceback"]


UNEXPECTED = """
from batch import cli
from batch.cli import runs

def fail(*_):
    raise KeyError("a\\nb")

runs.open_ready = fail
cli.main()
"""


@pytest.mark.parametrize("options", [[], ["--log-level", "debug"], ["--log-format", "json"]])
def test_an_unexpected_error_is_exit_1_and_named(options: list[str], tmp_path: Path) -> None:
    """A command that meets a fault of its own exits 1 with class and message of the error."""
    done = subprocess.run(
        [sys.executable, "-c", UNEXPECTED, "--log-format", "text", *options, "runs"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    *log, last = done.stderr.splitlines()
    assert last.startswith("recbatch: unexpected error, KeyError: 'a\\nb'")
    with_traceback = bool(options)
    assert ("Traceback" in done.stderr) == with_traceback
    if "json" in options:
        [line] = log
        assert json.loads(line)["traceback"].startswith("Traceback")


def _sleeper(folder: Path) -> list[str]:
    """A job that writes a line to `started` and sleeps."""
    program = f"""
        import pathlib, time
        with pathlib.Path({str(folder / "started")!r}).open("a") as file:
            file.write("x\\n")
        time.sleep(1)"""
    return [sys.executable, "-c", dedent(program)]


def _started(folder: Path) -> int:
    file = folder / "started"
    return len(file.read_text().splitlines()) if file.exists() else 0


@pytest.mark.promise("B9")
def test_the_scheduler_remembers_its_job(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an unexpected error the scheduler waits for the job at work and starts no other."""
    database = open_database(sqlite_url)
    prepare(database)
    clock = Clock(database, ScheduleSettings(), _sleeper(tmp_path))
    moment = datetime(2026, 11, 23, 2, 31, tzinfo=UTC)
    seconds = count(step=20)
    wait = subprocess.Popen.wait
    waits = iter([RuntimeError("unexpected"), None])

    def sometimes(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        fault = next(waits, None)
        if fault is not None:
            raise fault
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", sometimes)
    clock.tick(lambda: moment)
    clock.tick(lambda: moment + timedelta(seconds=1))  # the pause after the error
    assert _started(tmp_path) <= 1
    clock.tick(lambda: moment + timedelta(seconds=20))  # waits for the job, which then has ended
    assert _started(tmp_path) == 1
    clock.tick(lambda: moment + timedelta(seconds=40 + next(seconds)))
    assert _started(tmp_path) == 2
    clock.stop()


@pytest.mark.promise("B9")
def test_the_scheduler_waits_after_an_unexpected_error(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unexpected errors make the scheduler wait, longer each time, and never end it."""
    database = open_database(sqlite_url)
    prepare(database)
    clock = Clock(database, ScheduleSettings(), _sleeper(tmp_path))
    begin = datetime(2026, 11, 23, 2, 31, tzinfo=UTC)
    moments = [begin]
    looks = []

    def fail(*_: object) -> None:
        looks.append((moments[-1] - begin).total_seconds())
        raise RuntimeError("unexpected")

    monkeypatch.setattr("batch.job.schedule.final_status", fail)
    for _ in range(60):
        clock.tick(lambda: moments[-1])
        moments.append(moments[-1] + timedelta(seconds=20))
    assert looks == [0, 20, 60, 140, 300, 620]
    assert _started(tmp_path) == 0
