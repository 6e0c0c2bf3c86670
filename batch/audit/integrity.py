"""A written run -> integrity checks passed or failed: what must be true of every list."""

from sqlalchemy import (
    Column,
    Connection,
    Select,
    Table,
    and_,
    case,
    distinct,
    exists,
    func,
    not_,
    or_,
    select,
)

from batch.config import FilterSettings
from batch.params import LARGEST, POPULAR_KEPT
from batch.store import schema
from batch.store.checks import ROWS, SPARE_ROWS, Check, no_violations
from batch.store.digests import changed_models
from batch.store.filters import at_moment, films_of_settings, is_filtered, now_on

_lists, _popular, _runs = schema.recommendations, schema.popular_items, schema.runs
_similar = schema.similar_items


def audit_integrity(connection: Connection, run_id: int, rules: FilterSettings) -> list[Check]:
    """Count violations of what must be true of every list; none is allowed.

    A refresh has lists of some users, which may all be empty, and nothing for everyone.
    `rules` are the filters of the settings, which have become rows of `item_filters`.
    """
    counts = {
        "rows_missing_or_extra": _rows_off(connection, run_id),
        "broken_ranks": _broken_ranks(connection, run_id),
        "scores_out_of_order": _out_of_order(connection, run_id),
        "already_rated": _already_rated(connection, run_id),
        "already_seen": _already_seen(connection, run_id),
        "filtered_films": _filtered(connection, run_id),
        "films_of_settings": _named_by_settings(connection, run_id, rules),
        "unknown_films": _unknown(connection, run_id, _lists, schema.movies, "movie_id")
        + _unknown(connection, run_id, _popular, schema.movies, "movie_id")
        + _unknown(connection, run_id, _similar, schema.movies, "movie_id")
        + _unknown_others(connection, run_id),
        "unknown_users": _unknown(connection, run_id, _lists, schema.users, "user_id"),
        "scores_not_finite": _not_finite(connection, run_id),
        "unreadable_reasons": _unreadable_reasons(connection, run_id),
        "changed_rows": len(changed_models(connection, run_id)),
    }
    if _is_night(connection, run_id):
        counts |= {
            "broken_popular_list": _broken_popular(connection, run_id),
            "broken_similar_lists": _broken_similar(connection, run_id),
            "no_rows": _without_rows(connection, run_id),
        }
    return [no_violations(name, count) for name, count in counts.items()]


def _is_night(connection: Connection, run_id: int) -> bool:
    kind = select(_runs.c.kind).where(_runs.c.run_id == run_id)
    return connection.execute(kind).scalar_one() == "night"


def _rows_off(connection: Connection, run_id: int) -> int:
    """The absolute difference of rows in the table and rows counted while writing."""
    in_table = (
        select(_lists.c.model, func.count())
        .where(_lists.c.run_id == run_id)
        .group_by(_lists.c.model)
    )
    m = schema.run_metrics.c
    counted = (
        select(m.model, func.sum(m.value))
        .where(m.run_id == run_id, m.metric.in_([ROWS, SPARE_ROWS]))
        .group_by(m.model)
    )
    rows: dict[str, int] = dict(connection.execute(in_table).all())
    expected = dict(connection.execute(counted).all())
    models = {*rows, *expected}
    return sum(abs(rows.get(model, 0) - int(expected.get(model, 0))) for model in models)


def _broken_ranks(connection: Connection, run_id: int) -> int:
    """Lists whose ranks are not 1..m, m <= top_n + spare, or that contain a film twice."""
    length = _runs.c.top_n + func.coalesce(_runs.c.spare, 0)
    longest = connection.execute(select(length).where(_runs.c.run_id == run_id)).scalar_one()
    last_rank = func.max(_lists.c.rank)
    films = func.count(distinct(_lists.c.movie_id))
    broken = (
        select(_lists.c.user_id)
        .where(_lists.c.run_id == run_id)
        .group_by(_lists.c.user_id, _lists.c.model)
        .having(or_(last_rank != func.count(), films != func.count(), last_rank > longest))
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
    return _listed_pairs(connection, run_id, schema.ratings, schema.ratings.c.rated_at)


def _already_seen(connection: Connection, run_id: int) -> int:
    """Listed films that the user has seen, by the marks that the run used."""
    return _listed_pairs(connection, run_id, schema.seen, schema.seen.c.seen_at)


def _listed_pairs(
    connection: Connection, run_id: int, table: Table, time: Column[int | None]
) -> int:
    """Listed films whose pair is in a table, with a batch and a time that the run used."""
    run = connection.execute(
        select(_runs.c.last_batch_id, _runs.c.known_until).where(_runs.c.run_id == run_id)
    ).one()
    used = table.c.batch_id <= (run.last_batch_id or 0)
    if run.known_until is not None:
        used = and_(used, or_(time.is_(None), time < run.known_until))
    same = and_(table.c.user_id == _lists.c.user_id, table.c.movie_id == _lists.c.movie_id)
    rows = select(func.count()).select_from(_lists.join(table, same))
    return _count(connection, rows.where(_lists.c.run_id == run_id, used))


def _filtered(connection: Connection, run_id: int) -> int:
    """Rows of lists, popular and similar films that were filtered when the run began.

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
    similar = is_filtered(started_at, _similar.c.other_id, None, existed)
    n_similar = select(func.count()).where(_similar.c.run_id == run_id, similar)
    return sum(_count(connection, rows) for rows in (n_listed, n_popular, n_similar))


def _named_by_settings(connection: Connection, run_id: int, rules: FilterSettings) -> int:
    """Rows of films that the settings name, and that readers would see all the same."""
    if not (rules.films or rules.genres):
        return 0
    now = now_on(connection.dialect)
    shown = 0
    for listed in (_lists.c.movie_id, _popular.c.movie_id, _similar.c.other_id):
        named = listed.in_(films_of_settings(rules))
        is_shown = not_(is_filtered(now, listed))
        rows = select(func.count()).where(listed.table.c.run_id == run_id, named, is_shown)
        shown += _count(connection, rows)
    return shown


def _unknown(connection: Connection, run_id: int, listed: Table, table: Table, column: str) -> int:
    """Rows whose film or user is not in its table."""
    joined = listed.outerjoin(table, table.c[column] == listed.c[column])
    rows = select(func.count()).select_from(joined)
    return _count(connection, rows.where(listed.c.run_id == run_id, table.c[column].is_(None)))


def _unknown_others(connection: Connection, run_id: int) -> int:
    """Rows of similar films that are not in `movies`."""
    movie_id = schema.movies.c.movie_id
    joined = _similar.outerjoin(schema.movies, movie_id == _similar.c.other_id)
    rows = select(func.count()).select_from(joined)
    return _count(connection, rows.where(_similar.c.run_id == run_id, movie_id.is_(None)))


def _unreadable_reasons(connection: Connection, run_id: int) -> int:
    """Rows whose reason is no JSON object with a kind."""
    reason = _lists.c.reason
    if connection.dialect.name == "postgresql":
        kind = func.jsonb_extract_path_text(reason, "kind")
        is_object = func.jsonb_typeof(reason) == "object"
    else:
        # CASE, because the other functions fail on what is no JSON.
        valid = case((func.json_valid(reason) == 1, reason), else_="null")
        kind = func.json_extract(valid, "$.kind")
        is_object = func.json_type(valid) == "object"
    unreadable = or_(not_(is_object), kind.is_(None))
    rows = select(func.count()).where(_lists.c.run_id == run_id, reason.is_not(None), unreadable)
    return _count(connection, rows)


def _broken_popular(connection: Connection, run_id: int) -> int:
    """1 if the list for everyone is empty, too long, has ranks other than 1..m, or a film twice."""
    top_n = connection.execute(select(_runs.c.top_n).where(_runs.c.run_id == run_id)).scalar_one()
    rank, movie_id = _popular.c.rank, _popular.c.movie_id
    n_rows = func.count()
    is_whole = and_(
        n_rows > 0,
        func.min(rank) == 1,
        func.max(rank) == n_rows,
        func.max(rank) <= max(POPULAR_KEPT, top_n),
        func.count(distinct(movie_id)) == n_rows,
    )
    broken = select(case((is_whole, 0), else_=1)).where(_popular.c.run_id == run_id)
    if _without_rows(connection, run_id):  # a finding of its own
        return 0
    return _count(connection, broken)


def _broken_similar(connection: Connection, run_id: int) -> int:
    """Films whose similar films have ranks other than 1..m, or scores out of order.

    Or have a film twice, or the film itself. That scores are finite, from 0 to 1, is a CHECK.
    """
    s = _similar.c
    above = func.lag(s.score).over(partition_by=s.movie_id, order_by=s.rank)
    columns = select(s.movie_id, s.rank, s.other_id, s.score, above.label("above"))
    rows = columns.where(s.run_id == run_id).subquery().c
    wrong = or_(rows.other_id == rows.movie_id, rows.score > func.coalesce(rows.above, 1))
    broken = (
        select(rows.movie_id)
        .group_by(rows.movie_id)
        .having(
            or_(
                func.max(rows.rank) != func.count(),
                func.count(distinct(rows.other_id)) != func.count(),
                func.max(case((wrong, 1), else_=0)) == 1,
            )
        )
    )
    return _count(connection, select(func.count()).select_from(broken.subquery()))


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
