"""Ratings that came after a run -> what became of the films it listed; and `run_outcomes`.

A published run's window is the batches above its `last_batch_id`, up to that of the run that was
published next, by `runs.published_at`; of the current run, and of one that none followed, up to
now. A version of a rating lasts from the batch that brought it to the one that overwrote it: of
each pair that had no version at the run, the one at the end of the window counts. Undone batches
left no version.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, delete, exists, insert, select, text

from batch.ranking.metrics import Metrics
from batch.ranking.outcome import POPULAR, SPARE_HITS, Rated
from batch.ratings import Floats, Ints
from batch.store import schema
from batch.store.runs import ROWS

_outcomes, _metrics = schema.run_outcomes, schema.run_metrics

NOW = 2**62
"""The end of a window that is still open: above the number of any batch."""
LASTS = NOW + 1
"""The end of a version that nothing overwrote: after every window."""

_WINDOWS = f"""
    windows AS (
        SELECT run_id, top_n, spare, rating_min, rating_max, purged_at, last_batch_id AS after,
            CASE WHEN run_id = (SELECT run_id FROM publication) THEN {NOW} ELSE
                COALESCE(LEAD(last_batch_id) OVER (ORDER BY published_at, run_id), {NOW})
            END AS until
        FROM runs WHERE status = 'published' AND kind = 'night'),
    kept AS MATERIALIZED (
        SELECT * FROM windows
        WHERE purged_at IS NULL AND run_id = COALESCE(:run_id, run_id))"""  # noqa: S608  constants

_KEPT = f"WITH {_WINDOWS} SELECT * FROM kept ORDER BY run_id"  # noqa: S608  constants

# `changed` reads the ratings once for all windows. A row of a user without a list is of no use:
# the run listed nothing for them.
_NEW = f"""
    changed AS MATERIALIZED (
        SELECT user_id, movie_id, rating, batch_id AS since, {LASTS} AS until FROM ratings
        WHERE batch_id > :first
        UNION ALL
        SELECT user_id, movie_id, rating, previous_batch_id, batch_id FROM superseded_ratings
        WHERE batch_id > :first),
    new AS MATERIALIZED (
        SELECT k.run_id, c.user_id, c.movie_id, c.rating
        FROM kept k
        JOIN changed c ON c.since > k.after AND c.since <= k.until AND c.until > k.until
        LEFT JOIN changed b ON b.user_id = c.user_id AND b.movie_id = c.movie_id
            AND b.since <= k.after
        WHERE b.user_id IS NULL AND EXISTS (
            SELECT 1 FROM recommendations l WHERE l.run_id = k.run_id AND l.user_id = c.user_id)),
    raters AS MATERIALIZED (
        SELECT run_id, user_id, max(rating) AS best FROM new GROUP BY run_id, user_id)"""  # noqa: S608  constants

# Of the list for everyone a user would have seen the first top_n films that they had not rated.
# count(*), not EXISTS: Postgres would hash all overwritten ratings again for each row.
_WAS_RATED = """
    EXISTS (
        SELECT 1 FROM ratings r
        WHERE r.user_id = n.user_id AND r.movie_id = e.movie_id AND (
            r.batch_id <= k.after OR (
                SELECT count(*) FROM superseded_ratings s
                WHERE s.user_id = r.user_id AND s.movie_id = r.movie_id
                  AND s.previous_batch_id <= k.after
                  AND s.batch_id IN (
                      SELECT batch_id FROM ingest_batches
                      WHERE batch_id > k.after AND rows_superseded > 0)) > 0))"""

# The order of joins is that of the sizes: CROSS JOIN makes SQLite keep it.
_ROWS = f"""
    WITH {_WINDOWS}, {_NEW}
    SELECT run_id, NULL AS model, user_id, 0 AS rank, best AS rating, NULL AS predicted
    FROM raters
    UNION ALL
    SELECT n.run_id, l.model, n.user_id, l.rank, n.rating, l.predicted_rating
    FROM raters a
    CROSS JOIN recommendations l
    CROSS JOIN new n
    WHERE l.run_id = a.run_id AND l.user_id = a.user_id
      AND n.run_id = l.run_id AND n.user_id = l.user_id AND n.movie_id = l.movie_id
    UNION ALL
    SELECT n.run_id, '{POPULAR}', n.user_id, 1, n.rating, NULL
    FROM kept k
    CROSS JOIN popular_items i
    CROSS JOIN new n
    WHERE i.run_id = k.run_id AND n.run_id = i.run_id AND n.movie_id = i.movie_id
      AND k.top_n > (
          SELECT count(*) FROM (
              SELECT e.rank FROM popular_items e
              WHERE e.run_id = k.run_id AND e.rank < i.rank AND NOT {_WAS_RATED}
              LIMIT (SELECT max(top_n) FROM kept)) above)"""  # noqa: S608  constants


@dataclass(frozen=True)
class Window:
    """A published run with lists."""

    run_id: int
    top_n: int
    has_spare: bool
    scale: tuple[float, float]
    after: int  # the last batch whose ratings it used


@dataclass(frozen=True)
class NewRatings:
    """What was rated in the window of a run by users who had a list of it."""

    users: Ints  # (u,) user_id of those who rated a film that was new to them, in order
    best: Floats  # (u,) stars of their highest such rating
    by_model: Mapping[str, Rated]  # POPULAR among them


def windows(connection: Connection, run_id: int | None = None) -> list[Window]:
    """The published runs that still have lists, or the one of this number."""
    rows = connection.execute(_with(_KEPT, run_id=run_id))
    return [
        Window(
            run_id=row.run_id,
            top_n=row.top_n,
            has_spare=bool(row.spare),
            scale=(row.rating_min, row.rating_max),
            after=row.after,
        )
        for row in rows
    ]


def new_ratings(connection: Connection, run_id: int | None = None) -> dict[int, NewRatings]:
    """By run, what was rated since; runs of `windows` without any are left out."""
    # A number, not a subquery: Postgres plans with the few ratings that came after it.
    first = min((window.after for window in windows(connection, run_id)), default=NOW)
    found = connection.execute(_with(_ROWS, run_id=run_id, first=first))
    rows = sorted(found, key=attrgetter("run_id"))
    return {
        number: _new_ratings(of_run, _models(connection, number))
        for number, of_run in groupby(rows, key=attrgetter("run_id"))
    }


def _with(sql: str, **values: int | None) -> Any:
    parameters = [bindparam(name, value, type_=schema.Id) for name, value in values.items()]
    return text(sql).bindparams(*parameters)


def _models(connection: Connection, run_id: int) -> list[str]:
    """The models that the run made lists of."""
    with_lists = select(_metrics.c.model).where(
        _metrics.c.run_id == run_id, _metrics.c.metric == ROWS
    )
    return sorted(connection.execute(with_lists).scalars())


def _new_ratings(rows: Iterable[Any], models: Sequence[str]) -> NewRatings:
    by_model: dict[str | None, list[Any]] = {model: [] for model in (None, *models, POPULAR)}
    for row in rows:
        by_model[row.model].append(row)
    raters = sorted((row.user_id, row.rating) for row in by_model.pop(None))
    return NewRatings(
        users=np.array([user_id for user_id, _ in raters], dtype=np.int64),
        best=np.array([best for _, best in raters], dtype=np.float64),
        by_model={str(model): _rated(of_model) for model, of_model in by_model.items()},
    )


def _rated(rows: Sequence[Any]) -> Rated:
    return Rated(
        users=np.array([row.user_id for row in rows], dtype=np.int64),
        ranks=np.array([row.rank for row in rows], dtype=np.int64),
        stars=np.array([row.rating for row in rows], dtype=np.float64),
        predicted=np.array([row.predicted for row in rows], dtype=np.float64),  # NULL: nan
    )


# What is stored


def write_outcome(
    connection: Connection, run_id: int, metrics: Mapping[str, Metrics], *, has_spare: bool
) -> None:
    """Store the outcome of a run, in place of an earlier one.

    What spare rows added stays as it was once the run has none.
    """
    earlier = delete(_outcomes).where(_outcomes.c.run_id == run_id)
    if not has_spare:
        earlier = earlier.where(_outcomes.c.metric != SPARE_HITS)
    connection.execute(earlier)
    rows = [
        {"run_id": run_id, "model": model, "metric": metric, "value": value}
        for model, values in metrics.items()
        for metric, value in values.items()
    ]
    if rows:
        connection.execute(insert(_outcomes), rows)


def stored_outcome(connection: Connection, run_id: int) -> dict[str, dict[str, float]]:
    """The stored metrics of a run's outcome, by model and name; empty where there is none."""
    o = _outcomes.c
    rows = connection.execute(select(o.model, o.metric, o.value).where(o.run_id == run_id))
    by_model: dict[str, dict[str, float]] = {}
    for model, metric, value in rows:
        by_model.setdefault(model, {})[metric] = value
    return by_model


def delete_of_one_user(connection: Connection) -> None:
    """Delete the figures of each run and model that are about one user only.

    They would reveal that user's ratings. The next night writes the figures of runs with lists
    again.
    """
    alone = _outcomes.alias("alone")
    of_one = exists().where(
        alone.c.run_id == _outcomes.c.run_id,
        alone.c.model == _outcomes.c.model,
        alone.c.metric.in_(("users", "raters")),
        alone.c.value == 1,
    )
    connection.execute(delete(_outcomes).where(of_one))
