"""The scheduler: when the job is due, that it runs once a night, and that it ends cleanly."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise, takewhile
from pathlib import Path
from textwrap import dedent
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from batch.config import ConfigError, ScheduleSettings
from batch.job import schedule
from batch.job.nights import Night, Nights
from batch.job.schedule import Clock, final_status
from batch.store import publish
from batch.store.database import Database, open_database
from batch.store.versions import prepare
from data import fill
from fixed import command
from tables import rows


def nights(cron: str, zone: str = "UTC") -> Nights:
    return Nights(ScheduleSettings(cron=cron, timezone=zone))


def utc(text: str) -> datetime:
    """A moment in UTC from its text."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def due(cron: str, zone: str, after: datetime, count: int) -> list[tuple[str, str]]:
    """The next times, in UTC, and the date of the night that each is for."""
    coming = islice(nights(cron, zone).after(after), count)
    return [(f"{night.due:%Y-%m-%d %H:%M}", str(night.logical_date)) for night in coming]


@pytest.mark.promise("B4")
def test_a_repeated_hour_counts_once() -> None:
    """Where clocks go back the job is due once, the first time the hour comes."""
    autumn = due("30 2 * * *", "Europe/Oslo", datetime(2026, 10, 24, 12, tzinfo=UTC), 2)
    assert autumn == [("2026-10-25 00:30", "2026-10-25"), ("2026-10-26 01:30", "2026-10-26")]


@pytest.mark.promise("B4")
def test_a_skipped_hour_counts_once() -> None:
    """Where clocks skip the time, or midnight itself, the job is due all the same."""
    spring = due("30 2 * * *", "Europe/Oslo", datetime(2026, 3, 28, 12, tzinfo=UTC), 2)
    assert spring == [("2026-03-29 01:30", "2026-03-29"), ("2026-03-30 00:30", "2026-03-30")]
    midnight = due("0 0 * * *", "America/Sao_Paulo", datetime(2018, 11, 3, 12, tzinfo=UTC), 2)
    assert midnight == [("2018-11-04 03:00", "2018-11-04"), ("2018-11-05 02:00", "2018-11-05")]


@pytest.mark.parametrize(
    ("weekday", "expected"),
    [
        ("0", ["Sun"]),
        ("7", ["Sun"]),
        ("1-5", ["Mon", "Tue", "Wed", "Thu", "Fri"]),
        ("5-7", ["Fri", "Sat", "Sun"]),
        ("*/3", ["Wed", "Sat", "Sun"]),
        ("1,sat", ["Mon", "Sat"]),
        ("mon-wed", ["Mon", "Tue", "Wed"]),
    ],
)
def test_weekdays_are_crons(weekday: str, expected: list[str]) -> None:
    """Weekday numbers mean what they mean in cron: 0 and 7 are Sunday."""
    monday = datetime(2026, 11, 22, 23, tzinfo=UTC)
    coming = nights(f"0 3 * * {weekday}").after(monday)
    week = takewhile(lambda night: night.due < monday + timedelta(days=7), coming)
    assert [f"{night.due:%a}" for night in week] == expected


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "30 2 * *",
        "61 2 * * *",
        "0 3 30 2 *",
        "0 3 * * 8",
        "0 3 1 * 1",
        "x y * * *",
        "0 3 * * 5-2",
    ],
)
def test_a_wrong_expression_is_refused(cron: str) -> None:
    """A cron expression that cannot be read is an error that quotes it."""
    with pytest.raises(ConfigError, match=r"schedule\.cron"):
        nights(cron)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-23 02:29", "2026-11-22"),
        ("2026-11-23 02:30", "2026-11-23"),
        ("2026-11-24 02:00", "2026-11-23"),
    ],
)
def test_the_latest_night(now: str, expected: str) -> None:
    """The newest night that is due by now is found on both sides of its minute."""
    latest = nights("30 2 * * *").latest(utc(now))
    assert latest == Night(utc(f"{expected} 02:30"), date.fromisoformat(expected))


def test_a_yearly_job_is_found() -> None:
    """A night that is months ago is found, without a long search."""
    now = datetime(2026, 11, 23, tzinfo=UTC)
    latest = nights("0 4 1 2 *").latest(now)
    assert latest is not None
    assert latest.logical_date == date(2026, 2, 1)


def _record(database: Database, night: Night, trigger: str, status: str) -> None:
    """Insert a run of that night with that status."""
    columns = {
        "forced": 0,
        "top_n": 5,
        "seed": 1,
        "config_sha256": "",
        "versions": "{}",
    }
    with database.writer.begin() as connection:
        run = publish.open_run(connection, night.logical_date, trigger, due_at=night.due, **columns)
        publish.finish(connection, run, status)


def test_what_settles_a_night(database: Database) -> None:
    """A night is done once published, refused or failed; a killed run is tried three times."""
    night = nights("30 2 * * *").at(utc("2026-11-23 02:30"))
    assert final_status(database, night) is None
    _record(database, night, "manual", "failed")
    assert final_status(database, night) is None
    for attempt in range(3):
        assert final_status(database, night) is None, attempt
        _record(database, night, "schedule", "abandoned")
    assert final_status(database, night) == "abandoned"
    for trigger, status in (
        ("schedule", "failed"),
        ("catchup", "rejected"),
        ("manual", "published"),
    ):
        other = nights("30 2 * * *").at(utc(f"2026-11-0{len(trigger)} 02:30"))
        _record(database, other, trigger, status)
        assert final_status(database, other) == status


class FakeJob:
    """A job that appends its arguments to a file, to count the runs that are started."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "started"
        program = "import sys; open(sys.argv[1], 'a').write(' '.join(sys.argv[2:]) + '\\n')"
        self.command = [sys.executable, "-c", program, str(self.log)]

    def started(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.mark.promise("B5")
@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (
            "2026-11-23 02:30:05",
            ["schedule"],
        ),
        (
            "2026-11-23 07:30:00",
            ["catchup"],
        ),
        (
            "2026-11-23 22:29:59",
            ["catchup"],
        ),
        ("2026-11-23 22:31:00", []),
    ],
)
def test_a_missed_night_is_made_up(
    sqlite_url: str, tmp_path: Path, now: str, expected: list[str]
) -> None:
    """On start the newest missed night is run if it is younger than catchup_hours."""
    database = open_database(sqlite_url)
    prepare(database)
    job = FakeJob(tmp_path)
    Clock(database, ScheduleSettings(), job.command).tick(lambda: utc(now))
    command = "run --scheduled-for 2026-11-23T02:30:00+00:00 --trigger"
    assert job.started() == [f"{command} {trigger}" for trigger in expected]


def test_lists_are_refreshed_between_nights(sqlite_url: str, tmp_path: Path) -> None:
    """At the start and each `refresh_minutes`, where no night is due; not at all by default."""
    database = open_database(sqlite_url)
    prepare(database)
    job = FakeJob(tmp_path)
    Clock(database, ScheduleSettings(), job.command).tick(lambda: utc("2026-11-23 22:31:00"))
    assert job.started() == []
    clock = Clock(database, ScheduleSettings(refresh_minutes=5), job.command)
    refreshes = 0
    for moment, is_due in [
        ("22:31:00", True), ("22:31:20", False), ("22:35:59", False), ("22:36:00", True),
        ("22:46:00", True), ("22:46:20", False),
    ]:  # fmt: skip
        clock.tick(lambda now=f"2026-11-23 {moment}": utc(now))  # type: ignore[misc]
        refreshes += is_due
        assert job.started() == ["refresh --trigger schedule"] * refreshes, moment
    clock.tick(lambda: utc("2026-11-24 02:30:01"))
    assert job.started()[refreshes:] == [
        "run --scheduled-for 2026-11-24T02:30:00+00:00 --trigger schedule"
    ]


@pytest.mark.promise("B4")
def test_each_of_several_times_a_day_is_run_once(sqlite_url: str, tmp_path: Path) -> None:
    """Of `0 */6 * * *` each due moment is run once; of several that were missed the newest."""
    database = open_database(sqlite_url)
    prepare(database)
    job = FakeJob(tmp_path)
    settings = ScheduleSettings(cron="0 */6 * * *")
    clock = Clock(database, settings, job.command)

    def tick(moment: str) -> str | None:
        """The due moment of the job that a look at the clock starts, and publishes."""
        before = len(job.started())
        clock.tick(lambda: utc(moment))
        started = [line.split()[2] for line in job.started()[before:]]
        for due_at in started:
            night = clock.nights.at(datetime.fromisoformat(due_at))
            _record(database, night, "schedule", "published")
        return started[0].removesuffix(":00+00:00") if started else None

    assert tick("2026-11-23 00:00:10") == "2026-11-23T00:00"
    assert tick("2026-11-23 00:00:30") is None
    assert tick("2026-11-23 06:00:10") == "2026-11-23T06:00"
    # A machine was off, or a run took longer than six hours.
    assert tick("2026-11-23 18:10:00") == "2026-11-23T18:00"
    assert tick("2026-11-23 18:10:20") is None
    restarted = Clock(database, settings, job.command)
    restarted.tick(lambda: utc("2026-11-23 18:11:00"))
    assert len(job.started()) == 3


@pytest.mark.promise("B4")
@pytest.mark.parametrize("day", [date(2026, 3, 28), date(2026, 10, 24)])
def test_clocks_change_under_several_times_a_day(day: date) -> None:
    """Due moments are distinct and in order where clocks change, for every minute too."""
    start = datetime(day.year, day.month, day.day, 20, tzinfo=UTC)
    for cron in ("* * * * *", "*/20 * * * *", "0 */2 * * *", "30 1-3 * * *"):
        coming = nights(cron, "Europe/Oslo").after(start)
        moments = [
            night.due for night in takewhile(lambda n: n.due < start + timedelta(days=1), coming)
        ]
        assert moments == sorted(set(moments)), cron
        local = {f"{moment.astimezone(ZoneInfo('Europe/Oslo')):%d %H:%M}" for moment in moments}
        assert len(local) == len(moments), cron  # no local time counts twice


@pytest.mark.parametrize(
    ("day", "due_at"),
    [
        ("2026-11-23", "2026-11-23 12:00"),
        ("2026-11-22", "2026-11-22 18:00"),
        ("2026-11-24", "2026-11-24 00:00"),
    ],
)
def test_the_newest_time_of_a_day(day: str, due_at: str) -> None:
    """A date stands for its newest due moment, or its first where none is due yet."""
    six_hourly = nights("0 */6 * * *")
    night = six_hourly.of_day(date.fromisoformat(day), utc("2026-11-23 13:00"))
    assert night == Night(utc(due_at), date.fromisoformat(day))


def test_a_day_without_a_due_time() -> None:
    """A day on which nothing is due stands for its beginning, in local time."""
    night = nights("0 4 * * mon", "Europe/Oslo").of_day(date(2026, 11, 25), utc("2026-11-26 12:00"))
    assert night == Night(utc("2026-11-24 23:00"), date(2026, 11, 25))


@pytest.mark.usefixtures("nights")
def test_runs_of_several_times_a_day(database: Database) -> None:
    """Each due moment of a day is published once, whatever form --scheduled-for has."""
    for moment in ("2026-11-02T00:00", "2026-11-02T06:00", "2026-11-02T06:00Z", "2026-11-02T06:00"):
        assert command("-q", "run", "--scheduled-for", moment) == 0
    assert command("-q", "run") == 0
    assert command("-q", "run", "--as-of", "2026-11-02") == 0
    runs = "SELECT triggered_by, due_at IS NULL, logical_date FROM runs ORDER BY run_id"
    listed = [(row[0], bool(row[1]), str(row[2])) for row in rows(database, runs)]
    today = listed[3][2]
    assert listed[1:] == [
        ("schedule", False, "2026-11-02"),
        ("schedule", False, "2026-11-02"),
        ("manual", False, today),
        ("manual", True, "2026-11-02"),
    ]


@pytest.mark.promise("B6")
def test_a_clock_that_jumps_starts_no_night_twice(sqlite_url: str, tmp_path: Path) -> None:
    """A clock that is set back past the time of a night that ran does not run it again."""
    database = open_database(sqlite_url)
    prepare(database)
    job = FakeJob(tmp_path)
    clock = Clock(database, ScheduleSettings(), job.command)
    moments: list[datetime] = [datetime(2026, 11, 23, 2, 31, tzinfo=UTC)]
    clock.tick(lambda: moments[0])
    _record(database, clock.nights.at(utc("2026-11-23 02:30")), "schedule", "published")
    for minutes in (1, -5, 2, 300, -295):
        moments[0] += timedelta(minutes=minutes)
        clock.tick(lambda: moments[0])
    started = [line.split()[2] for line in job.started()]
    # At 02:27 the night before is the newest again, but it is older than catchup_hours.
    assert started == ["2026-11-23T02:30:00+00:00"]


def test_a_job_that_keeps_dying_is_not_restarted_at_once(sqlite_url: str, tmp_path: Path) -> None:
    """A job that leaves no run is tried again after pauses that double up to 15 minutes."""
    database = open_database(sqlite_url)
    prepare(database)
    job = FakeJob(tmp_path)
    job.command[2] += "; sys.exit(1)"
    clock = Clock(database, ScheduleSettings(), job.command)
    moment = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
    starts = []
    for tick in range(3 * 3600 // 20):
        before = len(job.started())
        clock.tick(lambda: moment + timedelta(seconds=20 * tick))  # noqa: B023  called at once
        if len(job.started()) > before:
            starts.append(20 * tick)
    pauses = [later - sooner for sooner, later in pairwise(starts)]
    assert pauses[:6] == [20, 40, 80, 160, 320, 640]
    assert set(pauses[6:]) == {900}


@pytest.mark.promise("B8")
@pytest.mark.parametrize("stubborn", [False, True])
def test_a_night_that_hangs_is_ended(
    stubborn: bool, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that takes too long is terminated or killed, and not started again that night."""
    database = open_database(sqlite_url)
    prepare(database)
    monkeypatch.setattr(schedule, "GRACE", 0.5)
    job = FakeJob(tmp_path)
    ignore_signal = (
        "; import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" if stubborn else ""
    )
    job.command[2] += f"{ignore_signal}; import time; time.sleep(600)"
    clock = Clock(database, ScheduleSettings(max_hours=1 / 3600), job.command)
    for minute in (31, 32, 52):
        clock.tick(lambda: datetime(2026, 11, 23, 2, minute, tzinfo=UTC))  # noqa: B023  called at once
    assert len(job.started()) == 1


@pytest.mark.promise("B6")
def test_a_machine_that_sleeps(
    sqlite_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A scheduler that was stopped at the time of a night starts it when it continues."""
    if not request.config.getoption("--soak"):
        pytest.skip("takes minutes: only with --soak")
    database = open_database(sqlite_url)
    prepare(database)
    fill(database, tmp_path / "data")
    minute = datetime.now(UTC) + timedelta(seconds=70)
    yesterday = nights("0 0 * * *").at(minute.replace(second=0) - timedelta(days=1))
    _record(database, yesterday, "schedule", "published")
    environ = os.environ | {
        "RECBATCH_DATABASE__URL": sqlite_url,
        "RECBATCH_SCHEDULE__CRON": f"{minute.minute} {minute.hour} * * *",
    }
    program = [sys.executable, "-m", "batch", "schedule"]
    process = subprocess.Popen(
        program, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True
    )
    try:
        time.sleep(5)
        process.send_signal(signal.SIGSTOP)
        time.sleep(90)
        with database.reader.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM runs")).scalar() == 1
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: (tmp_path / "artifacts").is_dir(), seconds=schedule.TICK + 40)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_a_damaged_database_does_not_stop_the_scheduler(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the database cannot be read no night is started, and the scheduler stays up."""
    database = open_database(sqlite_url)
    prepare(database)
    assert database.file is not None
    database.file.write_bytes(b"no database" * 500)
    job = FakeJob(tmp_path)
    clock = Clock(database, ScheduleSettings(), job.command)
    clock.tick(lambda: datetime(2026, 11, 23, 2, 31, tzinfo=UTC))
    assert job.started() == []


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "timed out"
        time.sleep(0.1)


def test_the_scheduler_runs_a_night_and_ends_on_sigterm(sqlite_url: str, tmp_path: Path) -> None:
    """`recbatch schedule` publishes the due night once, stays up, and ends with 143 on SIGTERM."""
    database = open_database(sqlite_url)
    prepare(database)
    fill(database, tmp_path / "data")
    minute = datetime.now(UTC) - timedelta(minutes=2)
    environ = os.environ | {
        "RECBATCH_DATABASE__URL": sqlite_url,
        "RECBATCH_SCHEDULE__CRON": f"{minute.minute} {minute.hour} * * *",
    }
    program = [sys.executable, "-m", "batch", "--log-format", "text", "schedule"]
    process = subprocess.Popen(
        program, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True
    )

    def statuses() -> list[tuple[str, str]]:
        query = text("SELECT status, triggered_by FROM runs")
        with database.reader.connect() as connection:
            return [(row.status, row.triggered_by) for row in connection.execute(query)]

    try:
        wait_for(lambda: ("published", "schedule") in statuses())
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert process.returncode == 143, log
    assert statuses() == [("published", "schedule")]
    assert "event=starting" in log
    assert " run=1 event=finished status=published" in log  # runs log in the same format


@pytest.mark.promise("B7")
def test_a_stopped_clock_starts_nothing(sqlite_url: str, tmp_path: Path) -> None:
    """A tick that is under way when the scheduler ends starts no job."""
    database = open_database(sqlite_url)
    prepare(database)
    job = FakeJob(tmp_path)
    clock = Clock(database, ScheduleSettings(), job.command)
    clock.stop()
    clock.tick(lambda: datetime(2026, 11, 23, 2, 31, tzinfo=UTC))
    assert job.started() == []


@pytest.mark.promise("B7")
@pytest.mark.parametrize("moment", ["as the clock hands over a tick", "as a job was just started"])
def test_a_signal_is_never_lost(moment: str, sqlite_url: str, tmp_path: Path) -> None:
    """SIGTERM inside APScheduler, or just after a job starts, ends scheduler and job."""
    database = open_database(sqlite_url)
    prepare(database)
    sent = tmp_path / "job"
    program = f"""
        import os, signal, subprocess, sys, time
        from apscheduler.executors.base import BaseExecutor
        from datetime import UTC, datetime, timedelta
        from pathlib import Path
        from batch import cli
        from batch.job import schedule
        from batch.cli import help
        from batch.config import ScheduleSettings
        from batch.store.database import open_database

        submit, start = BaseExecutor.submit_job, subprocess.Popen

        def submitted(*arguments):
            os.kill(os.getpid(), signal.SIGTERM)
            return submit(*arguments)

        def started(*arguments):
            job = start(*arguments)
            Path({str(sent)!r}).write_text(str(job.pid))
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)
            return job

        if {moment == "as a job was just started"}:
            subprocess.Popen = started
        else:
            BaseExecutor.submit_job = submitted
        due = datetime.now(UTC) - timedelta(minutes=2)
        settings = ScheduleSettings(cron=f"{{due.minute}} {{due.hour}} * * *")
        sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
        database = open_database({sqlite_url!r})
        help.call = lambda _app: schedule.run_forever(database, settings, sleeping)
        cli.main()"""
    script = tmp_path / "script.py"
    script.write_text(dedent(program))
    process = subprocess.run([sys.executable, script], capture_output=True, timeout=30)
    assert process.returncode == 143
    if moment == "as a job was just started":
        with pytest.raises(ProcessLookupError):
            os.kill(int(sent.read_text()), 0)


@pytest.mark.promise("B7")
def test_sigterm_ends_a_run_cleanly(sqlite_url: str, tmp_path: Path) -> None:
    """SIGTERM during a run exits 143, leaves it abandoned and lets the next one start at once."""
    database = open_database(sqlite_url)
    prepare(database)
    pairs = [(u, m) for u in range(60) for m in range(60) if (u * 7 + m * 3) % 4]
    ratings = [(f"u{u}", f"m{m}", 1 + (u * m) % 5, 0) for u, m in pairs]
    fill(database, tmp_path / "data", ratings)
    environ = os.environ | {
        "RECBATCH_DATABASE__URL": sqlite_url,
        "RECBATCH_MODELS__NEURAL__EPOCHS": "100000",
        "RECBATCH_MODELS__NEURAL__PATIENCE": "100000",
    }
    program = [sys.executable, "-m", "batch", "run"]
    process = subprocess.Popen(
        program, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True
    )

    def running() -> bool:
        query = text("SELECT n_ratings FROM runs WHERE status = 'running'")
        with database.reader.connect() as connection:
            return connection.execute(query).scalar() is not None

    try:
        wait_for(running)
        time.sleep(0.5)
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    assert process.returncode == 143, log
    with database.reader.connect() as connection:
        runs = connection.execute(text("SELECT status, error FROM runs")).all()
        assert [tuple(row) for row in runs] == [("abandoned", "ended by a signal")]
        assert connection.execute(text("SELECT count(*) FROM publication")).scalar() == 0
    program += ["--dry-run"]
    again = subprocess.run(program, cwd=tmp_path, env=environ, check=False, capture_output=True)
    assert again.returncode == 0
