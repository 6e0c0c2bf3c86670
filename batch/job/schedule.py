"""The clock -> the nightly job: one run for each moment when it is due."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from queue import SimpleQueue
from threading import Lock

from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from batch.config import ScheduleSettings
from batch.job.nights import Night, Nights
from batch.job.shutdown import Interrupted
from batch.store import schema
from batch.store.database import Database
from batch.store.runs import is_for
from batch.telemetry import log_error, log_info, log_warning

TICK = 20
"""Seconds between looks at the clock, and the longest delay after the machine slept."""
LATE = timedelta(minutes=10)
"""A night that starts later than this after it was due is recorded as a catch-up."""
ATTEMPTS = 3
"""Runs of one night that may be killed before it is left to a person."""
MAX_PAUSE = timedelta(minutes=15)
"""Longest pause between attempts that leave no row in `runs`, such as without a database."""
GRACE = 30
"""Seconds that a running job has to end after SIGTERM, as much as Kubernetes gives."""


@dataclass(frozen=True)
class StartedJob:
    """A process that runs the job, the night that it is for, and when it is to be ended."""

    process: subprocess.Popen[bytes]
    night: Night | None  # None: a refresh
    end_at: float  # seconds of time.monotonic()


def final_status(database: Database, night: Night) -> str | None:
    """The status after which a night is not started again; None: start it."""
    runs = schema.runs.c
    runs_of_night = select(runs.status, runs.triggered_by).where(
        is_for(night.due, night.logical_date)
    )
    with database.reader.connect() as connection:
        rows = connection.execute(runs_of_night).all()
    # A manual run counts only if it was published.
    statuses = [
        row.status for row in rows if row.status == "published" or row.triggered_by != "manual"
    ]
    for status in ("published", "rejected", "failed", "ready"):
        if status in statuses:
            return status
    # `running` is a run at work, or one that was killed and is not yet marked
    # abandoned.
    n_died = statuses.count("abandoned") + statuses.count("running")
    return "abandoned" if n_died >= ATTEMPTS else None


def run_forever(database: Database, settings: ScheduleSettings, command: list[str]) -> None:
    """Run the job whenever it is due, until SIGTERM or SIGINT, which end a running job too.

    Each run is a process of its own, started by the command that a person would
    type: a crash leaves the scheduler up, and memory is returned. Raises
    Interrupted.
    """
    clock = Clock(database, settings, command)
    scheduler = BackgroundScheduler(timezone=UTC)
    scheduler.add_job(
        clock.tick,
        "interval",
        seconds=TICK,
        next_run_time=datetime.now(UTC),
        coalesce=True,
        max_instances=1,
        misfire_grace_time=None,
    )
    # Handlers only pass the number on: an exception that a handler raises could
    # be dropped, because APScheduler logs every exception and continues.
    signals: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: signals.put(number))
    for night in islice(clock.nights.after(datetime.now(UTC)), 1):
        log_info("scheduler started", next=_text(night), night=night.logical_date)
    scheduler.start()
    end = Interrupted(128 + signals.get())
    clock.stop()
    raise end


class Clock:
    """Keeps the running job, the last night done and the pause after failures."""

    def __init__(self, database: Database, settings: ScheduleSettings, command: list[str]) -> None:
        self.nights = Nights(settings)
        self._database = database
        self._command = command
        self._catchup = timedelta(hours=settings.catchup_hours)
        self._max_duration = timedelta(hours=settings.max_hours)
        self._between_refreshes: timedelta | None = None
        if settings.refresh_minutes is not None:
            self._between_refreshes = timedelta(minutes=settings.refresh_minutes)
        self._refreshed_at = datetime.min.replace(tzinfo=UTC)
        self._job: StartedJob | None = None
        self._start_lock = Lock()
        self._stopped = False
        self._done: datetime | None = None  # the due moment of a night
        self._pause = timedelta()
        self._paused_at = datetime.min.replace(tzinfo=UTC)

    def tick(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Run the newest night that is due, unless it is done, too old or just failed.

        Where there is none, refresh the lists, if that is due.

        An unexpected error is logged, and makes a pause. A job that was at work then is
        remembered: the next tick waits for it.
        """
        try:
            self._look(now)
        except Exception as error:  # raised, it would be forgotten by APScheduler
            log_error("unexpected error in the scheduler", error)
            self._wait_longer(now())

    def _look(self, now: Callable[[], datetime]) -> None:
        moment = now()
        if self._pauses(moment):
            return
        if self._job is not None:
            self._after(self._wait(self._job), now)
            return
        night = self.nights.latest(moment)
        if night is None or night.due == self._done or moment - night.due > self._catchup:
            self._refresh_if_due(moment)
            return
        try:
            status = final_status(self._database, night)
        except DBAPIError as error:
            reason = " ".join(str(error.orig).split())
            log_warning("database unreachable", database=self._database.label, error=reason)
            self._wait_longer(moment)
            return
        if status:
            self._done = night.due
            log_info("night has run", night=night.logical_date, due=_text(night), status=status)
            return
        job = self._start(night, moment)
        if job is not None:
            self._after(self._wait(job), now)

    def stop(self) -> None:
        """Start no job from now on, and end a running one."""
        with self._start_lock:
            self._stopped = True
        self._end_job()

    def _start(self, night: Night, moment: datetime) -> StartedJob | None:
        """Start a night's job; returns None if the scheduler was stopped before."""
        trigger = "catchup" if moment - night.due > LATE else "schedule"
        log_info("starting", night=night.logical_date, due=_text(night), trigger=trigger)
        return self._start_command(
            night, "run", "--scheduled-for", _text(night), "--trigger", trigger
        )

    def _refresh_if_due(self, moment: datetime) -> None:
        """Refresh the lists and wait; a failure needs no pause, because the next one is later."""
        if self._between_refreshes is None:
            return
        if moment - self._refreshed_at < self._between_refreshes:
            return
        self._refreshed_at = moment
        log_info("starting a refresh")
        job = self._start_command(None, "refresh", "--trigger", "schedule")
        if job is not None:
            self._wait(job)

    def _start_command(self, night: Night | None, *words: str) -> StartedJob | None:
        """Start a command of this program; returns None if the scheduler was stopped before."""
        arguments = [*self._command, *words]
        with self._start_lock:
            if self._stopped:
                return None
            end_at = time.monotonic() + self._max_duration.total_seconds()
            process = subprocess.Popen(arguments)  # noqa: S603  our own command
            self._job = StartedJob(process, night, end_at)
        return self._job

    def _wait(self, job: StartedJob) -> int:
        """Wait for a job, and end it when it takes too long; returns its exit code."""
        due = "refresh" if job.night is None else _text(job.night)
        try:
            exit_code = job.process.wait(max(job.end_at - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            log_warning("longer than schedule.max_hours", due=due)
            if job.night is not None:
                self._done = job.night.due  # another run would take as long
            self._end_job()
            exit_code = job.process.wait()
        self._job = None
        log = log_info if exit_code == 0 else log_warning
        log("job ended", due=due, exit_code=exit_code)
        return exit_code

    def _after(self, exit_code: int, now: Callable[[], datetime]) -> None:
        """Pause after a failure, and not after a success."""
        if exit_code == 0:
            self._pause = timedelta()
        else:
            self._wait_longer(now())

    def _pauses(self, moment: datetime) -> bool:
        return timedelta() <= moment - self._paused_at < self._pause

    def _wait_longer(self, moment: datetime) -> None:
        """Double the pause: a job that fails at once must not start all night long."""
        self._paused_at = moment
        self._pause = min(max(2 * self._pause, timedelta(seconds=TICK)), MAX_PAUSE)

    def _end_job(self) -> None:
        """Send SIGTERM to a running job and wait; kill it after GRACE seconds."""
        job = self._job
        if job is None:
            return
        job.process.terminate()
        try:
            job.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            job.process.kill()


def _text(night: Night) -> str:
    """When a night is due, as --scheduled-for takes it."""
    return night.due.isoformat()


def command(*options: str) -> list[str]:
    """This program with these options, as a command for a child process."""
    return [sys.executable, "-m", "batch", *options]
