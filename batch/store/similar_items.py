"""Lists of similar films -> rows of `similar_items`; a forgotten person -> fewer of them."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, union

from batch.models.similar_films import SimilarFilms
from batch.params import SCORE_DECIMALS
from batch.ratings import NOBODY, Ratings
from batch.store import digests, schema
from batch.store.bulk_insert import insert_columns

_similar = schema.similar_items

FILMS_AT_ONCE = 500
"""Films whose lists are renewed together: a statement takes a limited number of values."""


def write_similar(
    connection: Connection, run_id: int, ratings: Ratings, similar: SimilarFilms
) -> int:
    """Write the lists of all films; returns the rows written."""
    films, ranks = (similar.listed != NOBODY).nonzero()  # (n_rows,) each, film by film
    columns = {
        "movie_id": ratings.movie_ids[films],
        "rank": ranks + 1,
        "other_id": ratings.movie_ids[similar.listed[films, ranks]],
        "score": similar.score[films, ranks].round(SCORE_DECIMALS),
        "support": similar.support[films, ranks],
    }
    return insert_columns(connection, _similar, {"run_id": run_id}, columns)


def delete_only_support(connection: Connection, user_id: int) -> None:
    """Delete the rows that this user's ratings alone may support; lists close up, digests follow.

    Such a row tells of a person that they liked both films. A row with the support of several
    tells of nobody. The caller deletes the ratings afterwards.
    """
    rated = set(connection.execute(_rated_by(user_id)).scalars())
    with_lists = select(schema.runs.c.run_id).where(schema.runs.c.purged_at.is_(None))
    for run_id in connection.execute(with_lists).scalars().all():
        for films in _supported_by_one(connection, run_id, user_id, rated):
            _renew(connection, run_id, films, rated)


def _rated_by(user_id: int) -> Any:
    """The films that the user has rated, also those whose rating a later file overwrote."""
    tables = (schema.ratings, schema.superseded_ratings)
    return union(*(select(table.c.movie_id).where(table.c.user_id == user_id) for table in tables))


def _supported_by_one(
    connection: Connection, run_id: int, user_id: int, rated: set[int]
) -> Iterator[list[int]]:
    """The films with a row that has to be deleted, in parts."""
    s = _similar.c
    by_user = s.movie_id.in_(_rated_by(user_id))
    alone = select(s.movie_id, s.other_id).where(s.run_id == run_id, s.support == 1, by_user)
    films = sorted({film for film, other in connection.execute(alone) if other in rated})
    for start in range(0, len(films), FILMS_AT_ONCE):
        yield films[start : start + FILMS_AT_ONCE]


def _renew(connection: Connection, run_id: int, films: Sequence[int], rated: set[int]) -> None:
    """Write the lists of these films anew, without the rows to delete."""
    before = digests.of_similar(connection, run_id, films)
    of_films = (_similar.c.run_id == run_id, _similar.c.movie_id.in_(films))
    ordered = select(_similar).where(*of_films).order_by(_similar.c.movie_id, _similar.c.rank)
    lists: dict[int, list[dict[str, Any]]] = {film: [] for film in films}
    for row in connection.execute(ordered).mappings():
        if row["support"] > 1 or row["other_id"] not in rated:
            kept = lists[row["movie_id"]]
            kept.append({**row, "rank": len(kept) + 1})
    connection.execute(delete(_similar).where(*of_films))
    rows = [row for kept in lists.values() for row in kept]
    if rows:
        connection.execute(insert(_similar), rows)
    after = digests.of_similar(connection, run_id, films)
    digests.replace_similar(connection, run_id, before, after)
