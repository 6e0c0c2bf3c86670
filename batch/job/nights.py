"""A cron expression -> the moments when the job is due."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from batch.config import ConfigError, ScheduleSettings

WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
LOOK_BACK_DAYS = (2, 8, 32, 366)
"""How far `latest` looks back for a night, trying short spans first."""


@dataclass(frozen=True)
class Night:
    """A moment when the job is due, and the local date it is for."""

    due: datetime  # UTC
    logical_date: date


class Nights:
    """The times of a cron expression in local time, each of them once.

    Cron itself fires twice or never on days when clocks change. Here the expression is
    applied to dates and times without a time zone. A time that the zone skips
    is due when the clock has moved on; a time that it repeats is due the first
    time.
    """

    def __init__(self, settings: ScheduleSettings) -> None:
        self._zone = ZoneInfo(settings.timezone)
        self._trigger = cron_trigger(settings.cron)

    def after(self, moment: datetime) -> Iterator[Night]:
        """Every night that is due after a moment, in order."""
        # One day earlier, because a local time may be up to a day off UTC.
        wall_clock = (moment.astimezone(self._zone) - timedelta(days=1)).replace(tzinfo=UTC)
        last_due = moment
        while True:
            wall_due = self._trigger.get_next_fire_time(None, wall_clock)
            if wall_due is None:
                return
            local_due = wall_due.replace(tzinfo=self._zone)
            night = Night(local_due.astimezone(UTC), local_due.date())
            # Times that are skipped are due at the same moments as those an hour later.
            if night.due > last_due:
                last_due = night.due
                yield night
            wall_clock = wall_due + timedelta(seconds=1)

    def at(self, moment: datetime) -> Night:
        """The night of a moment, in local time where it has no time zone."""
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self._zone)
        return Night(moment.astimezone(UTC), moment.astimezone(self._zone).date())

    def of_day(self, day: date, now: datetime) -> Night:
        """The newest night of a day that is due by now, else its first.

        The beginning of the day where the expression has no time on it.
        """
        midnight = self.at(datetime.combine(day, time()))
        nights = takewhile(
            lambda night: night.logical_date <= day,
            self.after(midnight.due - timedelta(days=1)),
        )
        of_day = [night for night in nights if night.logical_date == day]
        due = [night for night in of_day if night.due <= now]
        if due:
            return due[-1]
        return of_day[0] if of_day else midnight

    def latest(self, now: datetime) -> Night | None:
        """The newest night that is due by now; None if there was none for a year."""
        for days in LOOK_BACK_DAYS:
            latest = None
            for night in self.after(now - timedelta(days=days)):
                if night.due > now:
                    break
                latest = night
            if latest:
                return latest
        return None


def cron_trigger(cron: str) -> CronTrigger:
    """The trigger of a cron expression. Raises ConfigError."""
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
        trigger = CronTrigger(
            minute=minute,
            hour=hour,
            day=day,
            month=month,
            day_of_week=_weekday_names(weekday),
            timezone=UTC,
        )
    except ValueError as error:
        raise ConfigError(f"schedule.cron: {cron!r}: {error}") from None
    if trigger.get_next_fire_time(None, datetime.now(UTC)) is None:
        raise ConfigError(f"schedule.cron: {cron!r} never comes")
    return trigger


def _weekday_names(field: str) -> str:
    """Cron's weekdays, 0 and 7 = Sunday, as names: APScheduler counts from Monday."""
    if not any(character.isdigit() for character in field):
        return field
    names = []
    for part in field.split(","):
        span, _, stride = part.partition("/")
        first, _, last = ("0", "-", "6") if span == "*" else span.partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            names.append(part)
            continue
        start = int(first)
        end = int(last or first)
        if not start <= end <= 7:
            raise ValueError(f"weekday {span!r} is not within 0-7, 0 and 7 being Sunday")
        names += [WEEKDAYS[number] for number in range(start, end + 1, int(stride or 1))]
    return ",".join(dict.fromkeys(names))
