"""`runs` -> Run: how a run began and ended, and what it was computed from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, TypedDict

from sqlalchemy import ColumnElement, Connection, Select, and_, or_, select

from batch import RecbatchError
from batch.ranking.metric_names import Cut
from batch.store import schema

_runs, _publication = schema.runs, schema.publication

IS_NIGHT: ColumnElement[bool] = _runs.c.kind == "night"
"""Whether a row of `runs` is one of a night, not of a refresh of its lists."""

ROWS = "rows"
"""The metric of each published model: rows written for it, without spare ones."""
SPARE_ROWS = "spare_rows"
"""The metric of each published model: its rows beyond those."""
FALLBACK_ROWS = "fallback_rows"
"""The metric of each published model: the share of its rows that are fallbacks."""
NIGHT = "night"
"""The `model` of the metrics of a run itself in `run_metrics`."""
SECONDS = "seconds_"
"""Prefix of the metrics of a run that are the duration of a step."""
NEWEST_RATING = "newest_rating"
"""The metric of a run: its newest rating's time, seconds since 1970 UTC."""


class NoSuchRunError(RecbatchError):
    """A run that does not exist, or has no lists."""


class UnknownRunError(NoSuchRunError):
    """A number that no run has."""

    def __init__(self, run_id: int) -> None:
        super().__init__(f"there is no run {run_id}; 'recbatch runs' lists them")


WarningKind = Literal["source", "scale", "unjudged"]
"""A configured source without data; values far outside the scale; users too few to judge by."""


class RunWarning(TypedDict):
    """What a run warned of, as `runs.warnings` keeps it."""

    kind: WarningKind
    about: str  # the source, the value; empty where the message says it all
    message: str  # one line, with the remedy


@dataclass(frozen=True)
class Run:
    """One row of `runs`."""

    run_id: int
    logical_date: date
    due_at: datetime | None  # when it was due; None: a run of the past, or before version 0007
    triggered_by: str
    kind: Literal["night", "refresh"]
    base_run_id: int | None  # the run that a refresh brings up to date
    status: str
    started_at: datetime
    finished_at: datetime | None
    published_at: datetime | None  # when it was last published; None: never
    purged_at: datetime | None  # when its lists were deleted
    forced: bool
    n_users: int | None
    n_movies: int | None
    n_ratings: int | None
    top_n: int
    spare: int | None  # films stored of a list beyond top_n; None: none, before version 0010
    preset: str | None  # None: before version 0010
    rows_written: int | None
    rating_min: float | None  # lowest rating of the scale, stars; None without ratings
    rating_max: float | None  # highest rating
    seed: int
    config_sha256: str
    data_sha256: str | None
    last_batch_id: int | None  # the newest batch whose ratings it used
    known_until: int | None  # seconds since 1970 UTC; None: no rating was left out
    headline: Cut | None  # the cut it was judged by; None: not measured, or before version 0009
    half_life: float | None  # days, of `popular`; None: all ratings count the same
    least_ratings: int | None  # users with fewer got popular films; None: not known
    versions: Mapping[str, str]
    artifact: str | None  # the file of its arrays
    artifact_sha256: str | None
    error: str | None
    warnings: list[RunWarning] | None  # None: the run did not come as far as its sources
    current_since: datetime | None  # since when readers see it; None: they do not

    @property
    def current(self) -> bool:
        """Whether readers see it."""
        return self.current_since is not None

    @property
    def purged(self) -> bool:
        """Whether its lists were deleted."""
        return self.purged_at is not None

    @property
    def has_lists(self) -> bool:
        """Whether it completed its lists and still has them."""
        return self.status in schema.WITH_LISTS and not self.purged

    @property
    def scale(self) -> tuple[float, float] | None:
        """Lowest and highest rating of the scale, stars."""
        if self.rating_min is None or self.rating_max is None:
            return None
        return self.rating_min, self.rating_max


def require_night(run: Run) -> None:
    """Raise NoSuchRunError for a refresh, whose lists are part of another run's."""
    if run.kind == "refresh":
        raise NoSuchRunError(
            f"run {run.run_id} is a refresh: its lists are part of those of run {run.base_run_id}"
        )


def find_run(connection: Connection, run_id: int) -> Run | None:
    """The run of this number, if there is one."""
    by_id = _select_runs().where(_runs.c.run_id == run_id)
    row = connection.execute(by_id).mappings().first()
    return None if row is None else _run(row)


def current_run(connection: Connection) -> Run | None:
    """The run that readers see; None before the first is published."""
    current = _select_runs().where(_publication.c.run_id.is_not(None))
    row = connection.execute(current).mappings().first()
    return None if row is None else _run(row)


def newest_runs(connection: Connection, limit: int, *, refreshes: bool = False) -> list[Run]:
    """The newest runs, newest first: nights, or refreshes too."""
    newest = _select_runs().order_by(_runs.c.run_id.desc()).limit(limit)
    if not refreshes:
        newest = newest.where(IS_NIGHT)
    return [_run(row) for row in connection.execute(newest).mappings()]


def newest_with_sources(connection: Connection) -> Run | None:
    """The newest night that came as far as its sources, however it ended."""
    with_sources = _select_runs().where(_runs.c.warnings.is_not(None), IS_NIGHT)
    newest = with_sources.order_by(_runs.c.run_id.desc()).limit(1)
    row = connection.execute(newest).mappings().first()
    return None if row is None else _run(row)


def is_for(due_at: datetime, logical_date: date) -> ColumnElement[bool]:
    """Whether a row of `runs` is for this due moment, whose date is `logical_date`.

    Runs before version 0007 have no due moment: one of the same date that began at or after it
    counts. Runs of the past, which are for none, have `known_until`.
    """
    r = _runs.c
    began_after = and_(r.logical_date == logical_date, r.started_at >= due_at)
    before_0007 = and_(r.due_at.is_(None), r.known_until.is_(None), began_after)
    return or_(r.due_at == due_at, before_0007)


def step_seconds(metrics: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each step, from a run's own metrics by name."""
    durations = {}
    for name, value in metrics.items():
        if name.startswith(SECONDS):
            durations[name.removeprefix(SECONDS)] = value
    return durations


def _select_runs() -> Select[Any]:
    current_since = _publication.c.published_at.label("current_since")
    joined = _runs.outerjoin(_publication, _publication.c.run_id == _runs.c.run_id)
    return select(_runs, current_since).select_from(joined)


def _run(row: Mapping[Any, Any]) -> Run:
    values = {name: row[name] for name in Run.__dataclass_fields__}
    values["forced"] = bool(row["forced"])
    if isinstance(row["versions"], str):  # SQLite stores JSON as text
        values["versions"] = json.loads(row["versions"])
    return Run(**values)
