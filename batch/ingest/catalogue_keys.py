"""Catalogues and ratings -> a warning where no rated film has a key of a catalogue."""

from sqlalchemy import Connection, func, select

from batch.store import schema


def unmatched_warning(connection: Connection) -> str | None:
    """What to do where catalogues describe films and none of them is rated, but others are.

    Ratings are looked at from the first on until one is of a film that a catalogue describes: one
    is enough, so that all are read only where the warning is due.
    """
    m = schema.movies.c
    r = schema.ratings.c
    rated = schema.ratings.join(schema.movies, m.movie_id == r.movie_id)
    described_key = connection.scalar(select(func.min(m.movie_key)).where(m.batch_id.is_not(None)))
    if described_key is None:
        return None
    of_described = select(m.movie_key).select_from(rated).where(m.batch_id.is_not(None))
    if connection.execute(of_described.limit(1)).first() is not None:
        return None
    rated_key = connection.scalar(select(m.movie_key).select_from(rated).limit(1))
    if rated_key is None:
        return None
    return (
        "no film that is rated is in a catalogue: ratings have ids such as "
        f"{rated_key!r}, catalogues {described_key!r}; name the catalogue's column of the same "
        "ids in ingest.columns.movie, and ingest it again"
    )
