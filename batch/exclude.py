"""`item_filters` and the settings -> columns that no list may hold; those are found by key and id here."""

import numpy as np
from scipy import sparse
from sqlalchemy import Connection, func, select

from batch import schema
from batch.barred import Barred
from batch.config import FilterSettings
from batch.filters import active, at_moment, now_on
from batch.load import Loaded
from batch.telemetry import warn

_filters, _genres, _links = schema.item_filters, schema.genres, schema.movie_genres


def exclude(
    connection: Connection, loaded: Loaded, rules: FilterSettings, run_id: int | None = None
) -> tuple[Barred, int]:
    """What is barred as a run begins, or now where none is named, and the number of the newest filter known by now.

    A film or genre of the settings that nobody has heard of is warned of, not refused: a catalogue may bring it later.
    """
    f = _filters.c
    ratings = loaded.ratings
    r, moment = schema.runs.c, now_on(connection)
    if run_id is not None:
        moment = at_moment(connection.execute(select(r.started_at).where(r.run_id == run_id)).scalar_one())
    newest = connection.execute(select(func.coalesce(func.max(f.filter_id), 0))).scalar_one()
    pairs = connection.execute(select(f.movie_id, f.user_id).where(active(moment))).all()
    column_of = {number: column for column, number in enumerate(ratings.movie_ids.tolist())}
    row_of = {number: row for row, number in enumerate(ratings.user_ids.tolist())}
    everyone = {column_of[movie_id] for movie_id, user_id in pairs if user_id is None}
    everyone |= _of_settings(connection, loaded, rules, column_of)
    own = {(row_of[user_id], column_of[movie_id]) for movie_id, user_id in pairs if user_id is not None}
    cells = np.array(sorted(own), dtype=np.int64).reshape(-1, 2)
    matrix = sparse.csr_array((np.ones(len(cells)), tuple(cells.T)), shape=ratings.matrix.shape)
    return Barred(np.array(sorted(everyone), dtype=np.int64), matrix), int(newest)


def _of_settings(connection: Connection, loaded: Loaded, rules: FilterSettings, column_of: dict[int, int]) -> set[int]:
    """The columns of `filters.films`, and of films that have one of `filters.genres`."""
    keys = {key: column for column, key in enumerate(loaded.movie_keys)} if rules.films else {}
    known = set(connection.execute(select(_genres.c.name)).scalars()) if rules.genres else set()
    for what, unknown in (("films", set(rules.films) - set(keys)), ("genres", set(rules.genres) - known)):
        for name in sorted(unknown):
            warn(f"filters.{what}: {name!r} is in no table yet, and keeps nothing out; mend it, or ingest first")
    named = select(_links.c.movie_id).join(_genres, _genres.c.genre_id == _links.c.genre_id)
    films = connection.execute(named.where(_genres.c.name.in_(rules.genres))).scalars() if rules.genres else ()
    return {keys[key] for key in rules.films if key in keys} | {column_of[movie_id] for movie_id in films}
