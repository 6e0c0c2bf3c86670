"""Questions of applications to the views -> the SQL that answers them, by kind of database."""

from batch.serve.view_columns import Kind
from batch.store.schema import quoted

_AGE = {
    "postgres": "round(CAST(extract(epoch FROM now() - max(published_at)) / 3600 AS numeric), 1)",
    "sqlite": "round((julianday('now') - julianday(max(published_at))) * 24, 1)",
}
"""SQL for the hours since the run was published."""


def examples(kind: Kind, schema_name: str) -> dict[str, str]:
    """Question -> one SQL statement without parameters.

    `customers(user_key)` stands for a table of the application.
    """
    prefix = f"{quoted(schema_name)}." if kind == "postgres" else ""
    lists = f"{prefix}current_recommendations"
    popular = f"{prefix}current_popular"
    shelves = f"{prefix}current_shelves"
    similar = f"{prefix}current_similar"
    outcomes = f"{prefix}run_outcomes_by_run"
    return {
        "The top five of one user": f"""\
SELECT rank, movie_key, title, predicted_rating
FROM {lists}
WHERE user_key = '42' AND model = 'blend' AND rank <= 5
ORDER BY rank""",
        "The top five of each of your own users, by a table of yours that has the key": f"""\
SELECT c.user_key, r.rank, r.movie_key, r.title
FROM customers AS c
JOIN {lists} AS r ON r.user_key = c.user_key AND r.model = 'blend'
WHERE r.rank <= 5
ORDER BY c.user_key, r.rank""",
        "The popular list for those of your users who have none of their own": f"""\
SELECT c.user_key, p.rank, p.movie_key, p.title
FROM customers AS c
CROSS JOIN {popular} AS p
WHERE NOT EXISTS (SELECT 1 FROM {lists} AS r WHERE r.user_key = c.user_key AND r.model = 'blend')
ORDER BY c.user_key, p.rank""",
        "The best films of one user by genre": f"""\
SELECT genre, rank, movie_key, title
FROM {shelves}
WHERE user_key = '42' AND rank <= 3
ORDER BY genre, rank""",
        "What else the people liked who liked the film that somebody is looking at": f"""\
SELECT rank, other_key, other_title, support
FROM {similar}
WHERE movie_key = '318'
ORDER BY rank""",
        "Whether people liked what was listed, run by run, beside the popular list": f"""\
SELECT run_id, users, promised_precision, precision, popular_precision
FROM {outcomes}
WHERE model = 'blend'
ORDER BY run_id""",
        "Which run is current, and since when": f"""\
SELECT DISTINCT run_id, published_at
FROM {popular}""",
        "How many hours readers have seen it": f"""\
SELECT run_id, {_AGE[kind]} AS hours
FROM {popular}
GROUP BY run_id""",
    }
