"""A written run -> integrity checks passed or failed: what must hold of any list, whoever asks for it."""

from collections.abc import Container

from sqlalchemy import Connection, Table, and_, case, distinct, func, or_, select, union

from batch.params import LARGEST
from batch.store import schema
from batch.store.checks import ROWS, Check, no_violations
from batch.store.filters import at_moment, is_filtered

_lists, _popular, _runs = schema.recommendations, schema.popular_items, schema.runs


def audit_integrity(connection: Connection, run_id: int, mask: Container[int] = ()) -> list[Check]:
    """What must hold of any list, counted in violations, of which there may be none.

    `mask` are ids of films that the settings keep out, besides what `item_filters` does.
    """
    counts = {
        "rows_missing_or_extra": _rows_off(connection, run_id),
        "broken_ranks": _broken_ranks(connection, run_id),
        "scores_out_of_order": _out_of_order(connection, run_id),
        "already_rated": _already_rated(connection, run_id),
        "filtered_films": _filtered(connection, run_id) + _barred(connection, run_id, mask),
        "unknown_films": _unknown(connection, run_id, schema.movies, "movie_id"),
        "unknown_users": _unknown(connection, run_id, schema.users, "user_id"),
        "scores_not_finite": _not_finite(connection, run_id),
    }
    return [no_violations(name, count) for name, count in counts.items()]


def _rows_off(connection: Connection, run_id: int) -> int:
    """Rows that lie in the table without having been counted while writing, or the other way round."""
    m = schema.run_metrics.c
    by_model = (
        select(_lists.c.model, func.count())
        .where(_lists.c.run_id == run_id)
        .group_by(_lists.c.model)
    )
    counted = select(m.model, m.value).where(m.run_id == run_id, m.metric == ROWS)
    found: dict[str, int] = dict(connection.execute(by_model).all())
    expected = dict(connection.execute(counted).all())
    return sum(
        abs(found.get(model, 0) - int(expected.get(model, 0))) for model in {*found, *expected}
    )


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
    above = func.lag(_lists.c.score).over(
        partition_by=[_lists.c.user_id, _lists.c.model], order_by=_lists.c.rank
    )
    rows = select(_lists.c.score, above.label("above")).where(_lists.c.run_id == run_id).subquery()
    return connection.execute(select(func.count()).where(rows.c.score > rows.c.above)).scalar_one()


def _already_rated(connection: Connection, run_id: int) -> int:
    """Listed films that the user had rated, among the ratings the run knew: later ones are not its fault."""
    run = connection.execute(
        select(_runs.c.last_batch_id, _runs.c.known_until).where(_runs.c.run_id == run_id)
    ).one()
    r = schema.ratings.c
    known = r.batch_id <= (run.last_batch_id or 0)
    if run.known_until is not None:
        known = and_(known, or_(r.rated_at.is_(None), r.rated_at < run.known_until))
    same = and_(r.user_id == _lists.c.user_id, r.movie_id == _lists.c.movie_id)
    rows = (
        select(func.count())
        .select_from(_lists.join(schema.ratings, same))
        .where(_lists.c.run_id == run_id, known)
    )
    return connection.execute(rows).scalar_one()


def _filtered(connection: Connection, run_id: int) -> int:
    """Rows of lists and popular films that a filter held back as the run began: later filters are not its fault."""
    run = connection.execute(
        select(_runs.c.started_at, _runs.c.last_filter_id).where(_runs.c.run_id == run_id)
    ).one()
    if not run.last_filter_id:
        return 0
    knew = schema.item_filters.c.filter_id <= run.last_filter_id
    begun, found = at_moment(run.started_at), 0
    for table, user_id in ((_lists, _lists.c.user_id), (_popular, None)):
        held = is_filtered(begun, table.c.movie_id, user_id, knew)
        found += connection.execute(
            select(func.count()).where(table.c.run_id == run_id, held)
        ).scalar_one()
    return found


def _barred(connection: Connection, run_id: int, mask: Container[int]) -> int:
    """Films in lists, or popular ones, that the settings keep out."""
    if not mask:
        return 0
    listed = [
        select(table.c.movie_id).where(table.c.run_id == run_id) for table in (_lists, _popular)
    ]
    return sum(movie_id in mask for movie_id in connection.execute(union(*listed)).scalars())


def _unknown(connection: Connection, run_id: int, table: Table, column: str) -> int:
    """Rows whose film or user is in no table."""
    joined = _lists.outerjoin(table, table.c[column] == _lists.c[column])
    rows = (
        select(func.count())
        .select_from(joined)
        .where(_lists.c.run_id == run_id, table.c[column].is_(None))
    )
    return connection.execute(rows).scalar_one()


def _not_finite(connection: Connection, run_id: int) -> int:
    """Rows at the edge of what the columns hold, where `publish` puts what lies beyond: a model run wild."""
    inside = and_(func.abs(_lists.c.score) < LARGEST, _lists.c.support < schema.MOST_SUPPORT)
    stars = func.coalesce(func.abs(_lists.c.predicted_rating), 0) < LARGEST
    bad = func.coalesce(func.sum(case((and_(inside, stars), 0), else_=1)), 0)
    return connection.execute(select(bad).where(_lists.c.run_id == run_id)).scalar_one()
