"""A written run -> checks passed or failed, and whether it may be published."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, Table, and_, case, distinct, func, or_, select

from batch import schema
from batch.database import bulk_insert

_lists, _runs = schema.recommendations, schema.runs
ROWS = "rows"
"""The metric of each model that says how many rows were written for it."""


@dataclass(frozen=True)
class Check:
    """One figure against its threshold. `integrity` can never be overridden, a `gate` can, by a person."""

    name: str
    value: float
    threshold: float
    severity: Literal["integrity", "gate"]
    passed: bool


def audit_integrity(connection: Connection, run_id: int) -> list[Check]:
    """What must hold of any list, counted in violations, of which there may be none."""
    counts = {
        "rows_missing_or_extra": _rows_off(connection, run_id),
        "broken_ranks": _broken_ranks(connection, run_id),
        "scores_out_of_order": _out_of_order(connection, run_id),
        "already_rated": _already_rated(connection, run_id),
        "unknown_films": _unknown(connection, run_id, schema.movies, "movie_id"),
        "unknown_users": _unknown(connection, run_id, schema.users, "user_id"),
        "scores_not_finite": _not_finite(connection, run_id),
    }
    return [Check(name, float(count), 0.0, "integrity", count == 0) for name, count in counts.items()]


def audit_gates(connection: Connection, run_id: int, n_ratings: int, min_users_share: float) -> list[Check]:
    """What keeps a bad night from replacing a good one: some ratings, and each model's users as on the published."""
    current = connection.execute(select(schema.publication.c.run_id)).scalar()
    before = _users(connection, current) if current is not None else {}
    found = _users(connection, run_id)
    checks = [Check("ratings", float(n_ratings), 1.0, "gate", n_ratings >= 1)]
    for model, users in before.items():
        share = found.get(model, 0) / users
        checks.append(Check(f"users_share_{model}", share, min_users_share, "gate", share >= min_users_share))
    return checks


def record(connection: Connection, run_id: int, checks: list[Check]) -> None:
    """Keep the evidence in `run_checks`, in place of what an earlier audit of the run left."""
    c = schema.run_checks
    connection.execute(c.delete().where(c.c.run_id == run_id, c.c.name.in_([check.name for check in checks])))
    columns = ["run_id", "name", "value", "threshold", "severity", "passed"]
    rows = ((run_id, k.name, k.value, k.threshold, k.severity, int(k.passed)) for k in checks)
    bulk_insert(connection, c, columns, rows)


def _rows_off(connection: Connection, run_id: int) -> int:
    """Rows that lie in the table without having been counted while writing, or the other way round."""
    m = schema.run_metrics.c
    by_model = select(_lists.c.model, func.count()).where(_lists.c.run_id == run_id).group_by(_lists.c.model)
    counted = select(m.model, m.value).where(m.run_id == run_id, m.metric == ROWS)
    found: dict[str, int] = dict(connection.execute(by_model).all())
    expected = dict(connection.execute(counted).all())
    return sum(abs(found.get(model, 0) - int(expected.get(model, 0))) for model in {*found, *expected})


def _broken_ranks(connection: Connection, run_id: int) -> int:
    """Lists whose ranks are not 1..m, m <= the run's top_n, or that name a film twice."""
    top_n = connection.execute(select(_runs.c.top_n).where(_runs.c.run_id == run_id)).scalar_one()
    rank, films = func.max(_lists.c.rank), func.count(distinct(_lists.c.movie_id))
    broken = (
        select(_lists.c.user_id)
        .where(_lists.c.run_id == run_id)
        .group_by(_lists.c.user_id, _lists.c.model)
        .having(or_(rank != func.count(), films != func.count(), rank > top_n))
    )
    return connection.execute(select(func.count()).select_from(broken.subquery())).scalar_one()


def _out_of_order(connection: Connection, run_id: int) -> int:
    """Rows that score higher than the row above them."""
    above = func.lag(_lists.c.score).over(partition_by=[_lists.c.user_id, _lists.c.model], order_by=_lists.c.rank)
    rows = select(_lists.c.score, above.label("above")).where(_lists.c.run_id == run_id).subquery()
    return connection.execute(select(func.count()).where(rows.c.score > rows.c.above)).scalar_one()


def _already_rated(connection: Connection, run_id: int) -> int:
    """Listed films that the user had rated, among the ratings the run knew: later ones are not its fault."""
    run = connection.execute(select(_runs.c.last_batch_id, _runs.c.known_until).where(_runs.c.run_id == run_id)).one()
    r = schema.ratings.c
    known = r.batch_id <= (run.last_batch_id or 0)
    if run.known_until is not None:
        known = and_(known, or_(r.rated_at.is_(None), r.rated_at < run.known_until))
    same = and_(r.user_id == _lists.c.user_id, r.movie_id == _lists.c.movie_id)
    rows = select(func.count()).select_from(_lists.join(schema.ratings, same)).where(_lists.c.run_id == run_id, known)
    return connection.execute(rows).scalar_one()


def _unknown(connection: Connection, run_id: int, table: Table, column: str) -> int:
    """Rows whose film or user is in no table."""
    joined = _lists.outerjoin(table, table.c[column] == _lists.c[column])
    rows = select(func.count()).select_from(joined).where(_lists.c.run_id == run_id, table.c[column].is_(None))
    return connection.execute(rows).scalar_one()


def _not_finite(connection: Connection, run_id: int) -> int:
    finite = and_(_lists.c.score.between(-1e6, 1e6), _lists.c.support.between(0, 1e12))
    bad = func.coalesce(func.sum(case((finite, 0), else_=1)), 0)
    return connection.execute(select(bad).where(_lists.c.run_id == run_id)).scalar_one()


def _users(connection: Connection, run_id: int) -> dict[str, int]:
    """Users with a list, by model."""
    users = select(_lists.c.model, func.count(distinct(_lists.c.user_id))).where(_lists.c.run_id == run_id)
    return dict(connection.execute(users.group_by(_lists.c.model)).all())
