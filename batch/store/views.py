"""Stored lists, less what was rated, seen or filtered since -> the SQL of the views, of any run.

The lists of a run are stored longer than they are shown. What may still be shown of a list is
numbered from 1 and ends at the run's `top_n`.
"""

from sqlalchemy import ColumnElement, Dialect, literal_column

from batch.store import filters

PUBLISHED = "publication p JOIN runs t ON t.run_id = p.run_id"
"""The source of the views: the published run."""
ANY_RUN = "(SELECT * FROM runs WHERE run_id = :run_id) t"
"""The source of a statement with the parameter `run_id`."""
REFRESHED = "COALESCE(f.run_id, t.run_id)"
"""The run that a user is shown: a refresh of the published run, or that run itself."""
AS_OF_RUN = "t.run_id"
"""The run itself, without refreshes."""
SHELVED = "blend"
"""The model whose stored films are put on shelves by genre: the one that is made to be shown."""

_EACH_USER = """{source}
    CROSS JOIN users u
    LEFT JOIN refreshed_users f ON f.user_id = u.user_id"""

# Run by run, user by user and model by model, the first rows that may be shown. The database
# stops reading a list there, and a condition on `user_key` is one on the table of users, also
# where the view is joined. Both would be lost with a window over all lists. CROSS JOIN makes
# SQLite keep this order of joins; json_each stands for LATERAL, which it does not have.
_ON_SQLITE = """
    SELECT u.user_key, u.name AS user_name, k.model, shown.key + 1 AS rank, m.movie_key, m.title,
           l.score, l.predicted_rating, l.reason, t.run_id, {published_at}
    FROM {each_user}
    CROSS JOIN recommendations k ON k.run_id = {run_id} AND k.user_id = u.user_id AND k.rank = 1
    CROSS JOIN json_each((
        SELECT '[' || group_concat(rank) || ']' FROM (
            SELECT r.rank FROM recommendations r
            WHERE r.model = k.model AND {may_be_shown}
            ORDER BY r.rank LIMIT (SELECT t.top_n FROM {source})))) shown
    CROSS JOIN recommendations l ON l.run_id = k.run_id AND l.user_id = u.user_id
        AND l.model = k.model AND l.rank = shown.value
    CROSS JOIN movies m ON m.movie_id = l.movie_id"""

_ON_POSTGRES = """
    SELECT u.user_key, u.name AS user_name, l.model, CAST(l.place AS SMALLINT) AS rank,
           m.movie_key, m.title, l.score, l.predicted_rating, l.reason, t.run_id, {published_at}
    FROM {each_user}
    CROSS JOIN LATERAL (
        SELECT r.*, row_number() OVER (PARTITION BY r.model ORDER BY r.rank) AS place
        FROM recommendations r
        WHERE {may_be_shown}) l
    JOIN movies m ON m.movie_id = l.movie_id
    WHERE l.place <= t.top_n"""

# The same genre by genre, down to the last stored row.
_SHELVES_ON_SQLITE = """
    SELECT u.user_key, u.name AS user_name, g.name AS genre, shown.key + 1 AS rank, m.movie_key,
           m.title, l.score, t.run_id, p.published_at
    FROM {each_user}
    CROSS JOIN genres g
    CROSS JOIN json_each((
        SELECT '[' || group_concat(rank) || ']' FROM (
            SELECT r.rank FROM recommendations r
            CROSS JOIN movie_genres h ON h.movie_id = r.movie_id AND h.genre_id = g.genre_id
            WHERE r.model = '{model}' AND {may_be_shown}
            ORDER BY r.rank))) shown
    CROSS JOIN recommendations l ON l.run_id = {run_id} AND l.user_id = u.user_id
        AND l.model = '{model}' AND l.rank = shown.value
    CROSS JOIN movies m ON m.movie_id = l.movie_id"""

# Films are joined to the few rows of one user: joined to the result, the whole table would be read.
_SHELVES_ON_POSTGRES = """
    SELECT u.user_key, u.name AS user_name, l.genre, CAST(l.place AS SMALLINT) AS rank,
           l.movie_key, l.title, l.score, t.run_id, p.published_at
    FROM {each_user}
    CROSS JOIN LATERAL (
        SELECT g.name AS genre, m.movie_key, m.title, r.score,
               row_number() OVER (PARTITION BY g.genre_id ORDER BY r.rank) AS place
        FROM recommendations r
        JOIN movies m ON m.movie_id = r.movie_id
        JOIN movie_genres h ON h.movie_id = r.movie_id
        JOIN genres g ON g.genre_id = h.genre_id
        WHERE r.model = '{model}' AND {may_be_shown}) l"""

_POPULAR = """
    SELECT CAST(i.place AS SMALLINT) AS rank, m.movie_key, m.title, i.score, i.run_id,
           p.published_at
    FROM publication p
    JOIN runs t ON t.run_id = p.run_id
    JOIN (
        SELECT i.*, row_number() OVER (PARTITION BY i.run_id ORDER BY i.rank) AS place
        FROM popular_items i WHERE NOT ({is_filtered})) i ON i.run_id = p.run_id
    JOIN movies m ON m.movie_id = i.movie_id
    WHERE i.place <= t.top_n"""

_SIMILAR = """
    SELECT f.movie_key, f.title, s.rank, m.movie_key AS other_key, m.title AS other_title,
           s.score, s.support, s.run_id, p.published_at
    FROM publication p
    CROSS JOIN movies f
    JOIN similar_items s ON s.run_id = p.run_id AND s.movie_id = f.movie_id
    JOIN movies m ON m.movie_id = s.other_id
    WHERE NOT ({is_filtered})"""

# A metric of lists is stored with their length, such as precision@5.
_OUTCOMES = """
    SELECT t.run_id, t.logical_date, t.published_at, o.model, t.top_n,
           CAST(max(CASE WHEN o.metric = 'users' THEN o.value END) AS BIGINT) AS users,
           (SELECT m.value FROM run_metrics m
            WHERE m.run_id = t.run_id AND m.model = o.model
              AND m.metric = COALESCE(t.headline || '.', '') || 'precision@' || t.top_n
           ) AS promised_precision,
           max(CASE WHEN o.metric = 'precision@' || t.top_n THEN o.value END) AS precision,
           max(CASE WHEN o.metric = 'precision_low@' || t.top_n THEN o.value END) AS precision_low,
           max(CASE WHEN o.metric = 'precision_high@' || t.top_n THEN o.value END)
               AS precision_high,
           (SELECT p.value FROM run_outcomes p
            WHERE p.run_id = t.run_id AND p.model = 'popular'
              AND p.metric = 'precision@' || t.top_n) AS popular_precision,
           max(CASE WHEN o.metric = 'hit_rate@' || t.top_n THEN o.value END) AS hit_rate,
           CAST(max(CASE WHEN o.metric = 'rated' THEN o.value END) AS BIGINT) AS rated,
           max(CASE WHEN o.metric = 'stars' THEN o.value END) AS stars,
           max(CASE WHEN o.metric = 'predicted' THEN o.value END) AS predicted_stars,
           max(CASE WHEN o.metric = 'calibration' THEN o.value END) AS calibration,
           CAST(max(CASE WHEN o.metric = 'spare_hits' THEN o.value END) AS BIGINT) AS spare_hits
    FROM runs t
    JOIN run_outcomes o ON o.run_id = t.run_id
    WHERE o.model <> 'popular'
    GROUP BY t.run_id, o.model"""


def view_queries(dialect: Dialect) -> dict[str, str]:
    """The SELECT of each view of `schema.VIEWS`, by name.

    Ratings, films seen and filters are those of the moment when the view is read.
    """
    return {
        **list_views(dialect),
        "current_shelves": shelves_query(dialect),
        "current_similar": similar_query(dialect),
        "run_outcomes_by_run": outcomes_query(),
    }


def list_views(dialect: Dialect) -> dict[str, str]:
    """The SELECT of the views of lists, by name."""
    is_filtered = filters.is_filtered(filters.now_on(dialect), literal_column("i.movie_id"))
    return {
        "current_recommendations": lists_query(dialect, PUBLISHED, REFRESHED, "p.published_at"),
        "current_popular": _POPULAR.format(is_filtered=_sql(is_filtered, dialect)),
    }


def lists_query(dialect: Dialect, source: str, run_id: str, published_at: str) -> str:
    """The SELECT of all lists of the run of this `source`, as they may be shown now.

    `run_id` is REFRESHED or AS_OF_RUN.
    """
    template = _ON_POSTGRES if dialect.name == "postgresql" else _ON_SQLITE
    return template.format(
        source=source,
        each_user=_EACH_USER.format(source=source),
        run_id=run_id,
        published_at=published_at,
        may_be_shown=_may_be_shown(dialect, run_id),
    )


def shelves_query(dialect: Dialect) -> str:
    """The SELECT of `current_shelves`: all stored films that may be shown now, by genre."""
    template = _SHELVES_ON_POSTGRES if dialect.name == "postgresql" else _SHELVES_ON_SQLITE
    return template.format(
        each_user=_EACH_USER.format(source=PUBLISHED),
        run_id=REFRESHED,
        model=SHELVED,
        may_be_shown=_may_be_shown(dialect, REFRESHED),
    )


def _may_be_shown(dialect: Dialect, run_id: str) -> str:
    """Whether a stored row `r` is one of the user `u` that may be shown now."""
    user_id: ColumnElement[int] = literal_column("r.user_id")
    movie_id: ColumnElement[int] = literal_column("r.movie_id")
    is_out = filters.is_rated_or_filtered(filters.now_on(dialect), user_id, movie_id)
    is_theirs = f"r.run_id = {run_id} AND r.user_id = u.user_id"
    return f"{is_theirs} AND NOT ({_sql(is_out, dialect)})"


def similar_query(dialect: Dialect) -> str:
    """The SELECT of `current_similar`, less the films filtered for everyone."""
    now = filters.now_on(dialect)
    for_everyone = filters.is_filtered(now, literal_column("s.other_id"))
    return _SIMILAR.format(is_filtered=_sql(for_everyone, dialect))


def outcomes_query() -> str:
    """The SELECT of `run_outcomes_by_run`: a row for each run and model."""
    return _OUTCOMES


def _sql(condition: ColumnElement[bool], dialect: Dialect) -> str:
    options = {"literal_binds": True}
    return str(condition.compile(dialect=dialect, compile_kwargs=options))
