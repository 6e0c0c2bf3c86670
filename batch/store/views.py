"""The published run, less its filtered films -> the SQL of the views."""

from sqlalchemy import ColumnElement, Dialect, literal_column

from batch.store import filters

# CROSS JOIN makes SQLite keep this order of joins: it does not see that
# `publication` has one row, and would read the lists of every kept run.
_RECOMMENDATIONS = """
    SELECT u.user_key, u.name AS user_name, r.model, r.rank, m.movie_key, m.title,
           r.score, r.predicted_rating, r.reason, r.run_id, p.published_at
    FROM publication p
    CROSS JOIN users u
    JOIN recommendations r ON r.run_id = p.run_id AND r.user_id = u.user_id
    JOIN movies m ON m.movie_id = r.movie_id
    WHERE NOT ({is_filtered})"""

_POPULAR = """
    SELECT i.rank, m.movie_key, m.title, i.score, i.run_id, p.published_at
    FROM publication p
    JOIN popular_items i ON i.run_id = p.run_id
    JOIN movies m ON m.movie_id = i.movie_id
    WHERE NOT ({is_filtered})"""


_SIMILAR = """
    SELECT f.movie_key, f.title, s.rank, m.movie_key AS other_key, m.title AS other_title,
           s.score, s.support, s.run_id, p.published_at
    FROM publication p
    CROSS JOIN movies f
    JOIN similar_items s ON s.run_id = p.run_id AND s.movie_id = f.movie_id
    JOIN movies m ON m.movie_id = s.other_id
    WHERE NOT ({is_filtered})"""


def view_queries(dialect: Dialect) -> dict[str, str]:
    """The SELECT of each view of `schema.VIEWS`, by name.

    Filters are those active when the view is read, by the predicate that
    statements of this program use too.
    """
    now = filters.now_on(dialect)
    movie_id: ColumnElement[int] = literal_column("r.movie_id")
    user_id: ColumnElement[int] = literal_column("r.user_id")
    for_user = filters.is_filtered(now, movie_id, user_id)
    for_everyone = filters.is_filtered(now, literal_column("i.movie_id"))
    lists = _RECOMMENDATIONS.format(is_filtered=_sql(for_user, dialect))
    popular = _POPULAR.format(is_filtered=_sql(for_everyone, dialect))
    return {
        "current_recommendations": lists,
        "current_popular": popular,
        "current_similar": similar_query(dialect),
    }


def similar_query(dialect: Dialect) -> str:
    """The SELECT of `current_similar`, less the films filtered for everyone."""
    now = filters.now_on(dialect)
    for_everyone = filters.is_filtered(now, literal_column("s.other_id"))
    return _SIMILAR.format(is_filtered=_sql(for_everyone, dialect))


def _sql(condition: ColumnElement[bool], dialect: Dialect) -> str:
    options = {"literal_binds": True}
    return str(condition.compile(dialect=dialect, compile_kwargs=options))
