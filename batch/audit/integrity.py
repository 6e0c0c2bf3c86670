"""A written run -> integrity checks passed or failed: what must be true of every list."""

from sqlalchemy import Connection, Select, Table, and_, case, distinct, exists, func, or_, select

from batch.params import LARGEST
from batch.store import schema
from batch.store.checks import ROWS, Check, no_violations
from batch.store.filters import at_moment, is_filtered

_lists, _popular, _runs = schema.recommendations, schema.popular_items, schema.runs


def audit_integrity(connection: Connection, run_id: int) -> list[Check]:
    """Count violations of what must be true of every list; none is allowed."""
    counts = {
        "rows_missing_or_extra": _rows_off(connection, run_id),
        "broken_ranks": _broken_ranks(connection, run_id),
        "scores_out_of_order": _out_of_order(connection, run_id),
        "already_rated": _already_rated(connection, run_id),
        "filtered_films": _filtered(connection, run_id),
        "unknown_films": _unknown(connection, run_id, schema.movies, "movie_id"),
        "unknown_users": _unknown(connection, run_id, schema.users, "user_id"),
        "scores_not_finite": _not_finite(connection, run_id),
        "no_rows": _without_rows(connection, run_id),
    }
    return [no_violations(name, count) for name, count in counts.items()]


def _rows_off(connection: Connection, run_id: int) -> int:
    """The absolute difference of rows in the table and rows counted while writing."""
    in_table = (
        select(_lists.c.model, func.count())
        .where(_lists.c.run_id == run_id)
        .group_by(_lists.c.model)
    )
    m = schema.run_metrics.c
    counted = select(m.model, m.value).where(m.run_id == run_id, m.metric == ROWS)
    rows: dict[str, int] = dict(connection.execute(in_table).all())
    expected = dict(connection.execute(counted).all())
    models = {*rows, *expected}
    return sum(abs(rows.get(model, 0) - int(expected.get(model, 0))) for model in models)


def _broken_ranks(connection: Connection, run_id: int) -> int:
    """Lists whose ranks are not 1..m, m <= the run's top_n, or that contain a film twice."""
    top_n = connection.execute(select(_runs.c.top_n).where(_runs.c.run_id == run_id)).scalar_one()
    last_rank = func.max(_lists.c.rank)
    films = func.count(distinct(_lists.c.movie_id))
    broken = (
        select(_lists.c.user_id)
        .where(_lists.c.run_id == run_id)
        .group_by(_lists.c.user_id, _lists.c.model)
        .having(or_(last_rank != func.count(), films != func.count(), last_rank > top_n))
    )
    return _count(connection, select(func.count()).select_from(broken.subquery()))


def _out_of_order(connection: Connection, run_id: int) -> int:
    """Rows with a higher score than the row above them."""
    above = func.lag(_lists.c.score).over(
        partition_by=[_lists.c.user_id, _lists.c.model], order_by=_lists.c.rank
    )
    rows = select(_lists.c.score, above.label("above")).where(_lists.c.run_id == run_id).subquery()
    return _count(connection, select(func.count()).where(rows.c.score > rows.c.above))


def _already_rated(connection: Connection, run_id: int) -> int:
    """Listed films that the user has rated, by the ratings that the run used.

    Ratings ingested later do not count.
    """
    run = connection.execute(
        select(_runs.c.last_batch_id, _runs.c.known_until).where(_runs.c.run_id == run_id)
    ).one()
    r = schema.ratings.c
    used = r.batch_id <= (run.last_batch_id or 0)
    if run.known_until is not None:
        used = and_(used, or_(r.rated_at.is_(None), r.rated_at < run.known_until))
    same = and_(r.user_id == _lists.c.user_id, r.movie_id == _lists.c.movie_id)
    rows = select(func.count()).select_from(_lists.join(schema.ratings, same))
    return _count(connection, rows.where(_lists.c.run_id == run_id, used))


def _filtered(connection: Connection, run_id: int) -> int:
    """Rows of lists and of popular films that were filtered when the run began.

    Filters added later do not count.
    """
    run = connection.execute(
        select(_runs.c.started_at, _runs.c.last_filter_id).where(_runs.c.run_id == run_id)
    ).one()
    if not run.last_filter_id:
        return 0
    existed = schema.item_filters.c.filter_id <= run.last_filter_id
    started_at = at_moment(run.started_at)
    listed = is_filtered(started_at, _lists.c.movie_id, _lists.c.user_id, existed)
    popular = is_filtered(started_at, _popular.c.movie_id, None, existed)
    n_listed = select(func.count()).where(_lists.c.run_id == run_id, listed)
    n_popular = select(func.count()).where(_popular.c.run_id == run_id, popular)
    return _count(connection, n_listed) + _count(connection, n_popular)


def _unknown(connection: Connection, run_id: int, table: Table, column: str) -> int:
    """Rows whose film or user is not in its table."""
    joined = _lists.outerjoin(table, table.c[column] == _lists.c[column])
    rows = select(func.count()).select_from(joined)
    return _count(connection, rows.where(_lists.c.run_id == run_id, table.c[column].is_(None)))


def _not_finite(connection: Connection, run_id: int) -> int:
    """Rows at the limits of their columns, which values are clipped to: a model has diverged."""
    stars = func.coalesce(func.abs(_lists.c.predicted_rating), 0)
    is_inside = and_(
        func.abs(_lists.c.score) < LARGEST,
        _lists.c.support < schema.MAX_SUPPORT,
        stars < LARGEST,
    )
    outside = func.coalesce(func.sum(case((is_inside, 0), else_=1)), 0)
    return _count(connection, select(outside).where(_lists.c.run_id == run_id))


def _without_rows(connection: Connection, run_id: int) -> int:
    """1 if no list has a row: such a run would only take away what readers have."""
    any_row = exists().where(_lists.c.run_id == run_id)
    return _count(connection, select(case((any_row, 0), else_=1)))


def _count(connection: Connection, statement: Select[int]) -> int:
    return connection.execute(statement).scalar_one()
