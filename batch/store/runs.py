"""`runs` -> Run: how a run began and ended, what it knew, and what it measured of itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Select, select

from batch.store import schema

_runs, _publication, _metrics = schema.runs, schema.publication, schema.run_metrics

NIGHT = "night"
"""The `model` of a run's own figures in `run_metrics`."""
SECONDS = "seconds_"
"""What the names of those figures begin with that say how long a step took."""
NEWEST_RATING = "newest_rating"
"""The figure that says when the newest rating was given that the run knew, seconds since 1970 UTC."""


@dataclass(frozen=True)
class Run:
    """One row of `runs`."""

    run_id: int
    logical_date: date
    triggered_by: str
    status: str
    started_at: datetime
    finished_at: datetime | None
    published_at: datetime | None  # when it was published last; None: never
    purged_at: datetime | None  # when its lists were deleted
    forced: bool
    n_users: int | None
    n_movies: int | None
    n_ratings: int | None
    top_n: int
    rows_written: int | None
    rating_min: float | None  # the scale of its ratings, stars; None where it learnt from none
    rating_max: float | None
    seed: int
    config_sha256: str
    data_sha256: str | None
    known_until: int | None  # seconds since 1970 UTC; None: every rating counted
    versions: Mapping[str, str]
    error: str | None
    current_since: datetime | None  # since when readers see it; None: they do not

    @property
    def current(self) -> bool:
        """Whether readers see it."""
        return self.current_since is not None

    @property
    def purged(self) -> bool:
        """Whether its lists are gone."""
        return self.purged_at is not None

    @property
    def has_lists(self) -> bool:
        """Whether it came far enough to have lists, and still has them."""
        return self.status in schema.WITH_LISTS and not self.purged

    @property
    def scale(self) -> tuple[float, float] | None:
        """Lowest and highest rating, stars."""
        if self.rating_min is None or self.rating_max is None:
            return None
        return self.rating_min, self.rating_max


def find_run(connection: Connection, run_id: int) -> Run | None:
    """The run of this number, if there is one."""
    row = connection.execute(_select_runs().where(_runs.c.run_id == run_id)).mappings().first()
    return None if row is None else _run(row)


def current_run(connection: Connection) -> Run | None:
    """The run that readers see; None before the first is published."""
    current = _select_runs().where(_publication.c.run_id.is_not(None))
    row = connection.execute(current).mappings().first()
    return None if row is None else _run(row)


def newest_runs(connection: Connection, limit: int) -> list[Run]:
    """The newest runs, newest first."""
    newest = _select_runs().order_by(_runs.c.run_id.desc()).limit(limit)
    return [_run(row) for row in connection.execute(newest).mappings()]


def step_seconds(figures: Mapping[str, float]) -> dict[str, float]:
    """Seconds by step, of a run's own figures by name."""
    return {
        name.removeprefix(SECONDS): value
        for name, value in figures.items()
        if name.startswith(SECONDS)
    }


def _select_runs() -> Select[Any]:
    since = _publication.c.published_at.label("current_since")
    joined = _runs.outerjoin(_publication, _publication.c.run_id == _runs.c.run_id)
    return select(_runs, since).select_from(joined)


def _run(row: Mapping[Any, Any]) -> Run:
    values = {name: row[name] for name in Run.__dataclass_fields__}
    values["forced"] = bool(row["forced"])
    if isinstance(row["versions"], str):  # SQLite stores JSON as text
        values["versions"] = json.loads(row["versions"])
    return Run(**values)
