"""A clock -> the nightly job: what is due, once a night, made up if it was missed."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from queue import SimpleQueue
from threading import Lock
from zoneinfo import ZoneInfo

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from batch.config import ConfigError, ScheduleSettings
from batch.job.shutdown import Interrupted
from batch.store import schema
from batch.store.database import Database
from batch.telemetry import log_info, log_warning

TICK = 20
"""Seconds between looks at the clock: a clock that was set, or a machine that slept, delays a night by no more."""
LATE = timedelta(minutes=10)
"""A night that starts later than this after it was due is recorded as a catch-up."""
ATTEMPTS = 3
"""Runs of one night that may die without a word, killed or out of memory, before it is left to a person."""
LONGEST_PAUSE = timedelta(minutes=15)
"""Between tries of a night that keep failing before they leave a trace, such as without a database."""
GRACE = 30
"""Seconds a running job gets to end after SIGTERM, as much as Kubernetes gives."""
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
LOOK_BACK = timedelta(days=366)


@dataclass(frozen=True)
class Night:
    """One time the job is due, and the date it stands for."""

    due: datetime  # UTC
    logical_date: date


class Nights:
    """The times of a cron expression, counted on the wall clock, so that each comes once on days of clock changes too.

    Cron in local time fires twice or never on such days. Here the expression is applied to dates and times without a
    zone; one that the zone skips counts from when the clock has moved on, one that it repeats counts the first time.
    """

    def __init__(self, settings: ScheduleSettings) -> None:
        self._zone = ZoneInfo(settings.timezone)
        self._trigger = _trigger(settings.cron)

    def after(self, moment: datetime) -> Iterator[Night]:
        """Every night due after that moment, in order."""
        wall = (moment.astimezone(self._zone) - timedelta(days=1)).replace(tzinfo=UTC)
        while wall_due := self._trigger.get_next_fire_time(None, wall):
            local = wall_due.replace(tzinfo=self._zone)
            night = Night(local.astimezone(UTC), local.date())
            if night.due > moment:
                yield night
            wall = wall_due + timedelta(seconds=1)

    def latest(self, now: datetime) -> Night | None:
        """The newest night that is due by now; None if the expression has not come up for a year."""
        for days in (2, 8, 32, LOOK_BACK.days):
            latest = None
            for night in self.after(now - timedelta(days=days)):
                if night.due > now:
                    break
                latest = night
            if latest:
                return latest
        return None


def _trigger(cron: str) -> CronTrigger:
    fields = cron.split()
    if len(fields) != 5:
        raise ConfigError(
            f"schedule.cron: {cron!r} needs five fields: minute hour day month weekday"
        )
    minute, hour, day, month, weekday = fields
    if day != "*" and weekday != "*":
        raise ConfigError(
            f"schedule.cron: {cron!r} restricts both day and weekday; leave one of them *"
        )
    try:
        days = _weekdays(weekday)
        trigger = CronTrigger(
            minute=minute, hour=hour, day=day, month=month, day_of_week=days, timezone=UTC
        )
    except ValueError as error:
        raise ConfigError(f"schedule.cron: {cron!r}: {error}") from None
    if trigger.get_next_fire_time(None, datetime.now(UTC)) is None:
        raise ConfigError(f"schedule.cron: {cron!r} never comes")
    return trigger


def _weekdays(field: str) -> str:
    """Cron's weekday numbers, 0 and 7 = Sunday, as names: APScheduler counts from Monday."""
    if not any(sign.isdigit() for sign in field):
        return field
    names = []
    for part in field.split(","):
        span, _, stride = part.partition("/")
        first, _, last = ("0", "-", "6") if span == "*" else span.partition("-")
        if first.isdigit() and (last or first).isdigit():
            end = int(last or first)
            if not int(first) <= end <= 7:
                raise ValueError(f"weekday {span!r} is not within 0-7, 0 and 7 being Sunday")
            names += [WEEKDAYS[number] for number in range(int(first), end + 1, int(stride or 1))]
        else:
            names.append(part)
    return ",".join(dict.fromkeys(names))


def settled(database: Database, logical_date: date) -> str | None:
    """Why nothing is to be started for that night: it ran, whatever came of it. None: it is to be started."""
    r = schema.runs.c
    with database.reader.connect() as connection:
        rows = connection.execute(
            select(r.status, r.triggered_by).where(r.logical_date == logical_date)
        ).all()
    statuses = [
        row.status for row in rows if row.status == "published" or row.triggered_by != "manual"
    ]
    for status in ("published", "rejected", "failed", "ready"):
        if status in statuses:
            return status
    died = statuses.count("abandoned") + statuses.count(
        "running"
    )  # running: at work, or dead and not yet reaped
    return "abandoned" if died >= ATTEMPTS else None


def stay(database: Database, settings: ScheduleSettings, command: list[str]) -> None:
    """Run the job whenever it is due, until SIGTERM or SIGINT, which end a running job first.

    Each run is a process of its own, the same command that a person would type: a crash cannot take the scheduler
    along, and memory is given back. Raises Interrupted.
    """
    clock = _Clock(database, settings, command)
    scheduler = BackgroundScheduler(timezone=UTC)
    scheduler.add_job(
        clock.tick, "interval", seconds=TICK, next_run_time=datetime.now(UTC), coalesce=True, max_instances=1,
        misfire_grace_time=None,
    )  # fmt: skip
    # An exception that a signal raises would be dropped where APScheduler logs whatever comes and goes on.
    asked: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: asked.put(number))
    for night in islice(clock.nights.after(datetime.now(UTC)), 1):
        log_info("scheduler started", next=night.due.isoformat(), night=night.logical_date)
    scheduler.start()
    end = Interrupted(128 + asked.get())
    clock.stop()
    raise end


class _Clock:
    """Lives between ticks: the job that is running, the night that is done with, and how long to wait after trouble."""

    def __init__(self, database: Database, settings: ScheduleSettings, command: list[str]) -> None:
        self.nights = Nights(settings)
        self._database, self._command = database, command
        self._catchup = timedelta(hours=settings.catchup_hours)
        self._longest = timedelta(hours=settings.max_hours)
        self._job: subprocess.Popen[bytes] | None = None
        self._starting, self._stopped = Lock(), False
        self._settled: date | None = None
        self._pause, self._paused_at = timedelta(), datetime.min.replace(tzinfo=UTC)

    def tick(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Start the newest night that is due, unless it is too old or has run, or the last try was just now."""
        moment = now()
        night = self.nights.latest(moment)
        if (
            night is None
            or night.logical_date == self._settled
            or moment - night.due > self._catchup
        ):
            return
        if timedelta() <= moment - self._paused_at < self._pause:
            return
        try:
            reason = settled(self._database, night.logical_date)
        except DBAPIError as error:
            log_warning("database unreachable", error=str(error.orig).strip())
            self._wait_longer(moment)
            return
        if reason:
            self._settled = night.logical_date
            log_info("night has run", night=night.logical_date, status=reason)
            return
        trigger = "catchup" if moment - night.due > LATE else "schedule"
        log_info("starting", night=night.logical_date, trigger=trigger)
        order = [
            *self._command,
            "run",
            "--scheduled-for",
            night.logical_date.isoformat(),
            "--trigger",
            trigger,
        ]
        with self._starting:
            if self._stopped:
                return
            self._job = subprocess.Popen(order)  # noqa: S603  our own command
        try:
            code = self._job.wait(self._longest.total_seconds())
        except subprocess.TimeoutExpired:
            log_warning("longer than schedule.max_hours", night=night.logical_date)
            self._settled = night.logical_date  # it would only take as long again
            self._end_job()
            code = self._job.wait()
        self._job = None
        (log_info if code == 0 else log_warning)(
            "job ended", night=night.logical_date, exit_code=code
        )
        if code == 0:
            self._pause = timedelta()
        else:
            self._wait_longer(now())

    def _wait_longer(self, moment: datetime) -> None:
        """Twice as long as the last time: a job that dies at once must not be started all night long."""
        self._paused_at = moment
        self._pause = min(max(2 * self._pause, timedelta(seconds=TICK)), LONGEST_PAUSE)

    def stop(self) -> None:
        """Start nothing any more, and end what was started."""
        with self._starting:
            self._stopped = True
        self._end_job()

    def _end_job(self) -> None:
        """Send SIGTERM to a running job and wait for it, killing it after its grace."""
        job = self._job
        if job is None:
            return
        job.terminate()
        try:
            job.wait(GRACE)
        except subprocess.TimeoutExpired:
            job.kill()


def command(*options: str) -> list[str]:
    """This program with these options, as a child process is to be called."""
    return [sys.executable, "-m", "batch", *options]
