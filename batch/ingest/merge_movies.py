"""A catalogue of films -> `movies`, `genres` and `movie_genres`; the later description wins."""

from collections.abc import Iterable, Iterator
from typing import Any, cast

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from batch.ingest.file_format import FileRow
from batch.ingest.merge import (
    Batch,
    Keys,
    Limits,
    accepted_rows,
    check_rejects,
    read_keys,
)
from batch.ingest.parsing import MovieRow, Reading, Reject
from batch.store import schema
from batch.store.bulk_insert import bulk_insert
from batch.store.database import next_id

Description = tuple[int, str, tuple[str, ...]]
"""snapshot_at, title, genres: of two descriptions of a film the greater wins."""
TWINS_REMEDY = "write them as the ratings have them, and ingest the file again"
"""A catalogue cannot be undone; films that no rating names are in no list."""


def merge_movies(
    connection: Connection,
    rows: Iterable[FileRow | Reject],
    reading: Reading,
    batch: Batch,
    limits: Limits,
) -> None:
    """Merge the films of one catalogue; `batch` gets the counts.

    A film that the file describes twice in different ways keeps the first description.
    Raises RefusedError where too many rows are rejected; the caller then rolls back.
    """
    counts = batch.counts
    described: dict[str, MovieRow] = {}
    for row in cast("Iterator[MovieRow]", accepted_rows(rows, counts, limits)):
        first = described.setdefault(row.movie_key, row)
        if (first.title, first.genres) != (row.title, row.genres):
            counts.rejects.append(_conflict(row, first))
    check_rejects(counts, limits)
    keys = read_keys(connection, schema.movies)
    stored = _descriptions(connection)
    newer = []
    for row in described.values():
        description = (batch.snapshot_at, row.title, row.genres)
        if row.movie_key not in stored or description > stored[row.movie_key]:
            newer.append(row)
    counts.accepted = len(newer)
    if newer:
        _write_movies(connection, newer, keys, batch.batch_id)
        _write_genres(connection, newer, keys)
    for warning in keys.twin_warnings("films", TWINS_REMEDY):
        reading.warn(warning)


def _conflict(row: MovieRow, first: MovieRow) -> Reject:
    message = f"film {row.movie_key} is different at line {first.line}; remove one of the two"
    return Reject(row.line, None, "CONFLICTING_DUPLICATE", message, row.title)


def _descriptions(connection: Connection) -> dict[str, Description]:
    """The descriptions, by movie_key, of the films that a catalogue has described."""
    m = schema.movies
    g = schema.genres
    b = schema.ingest_batches
    links = schema.movie_genres
    genres: dict[int, list[str]] = {}
    pairs = select(links.c.movie_id, g.c.name).join(g, g.c.genre_id == links.c.genre_id)
    for movie_id, name in connection.execute(pairs):
        genres.setdefault(movie_id, []).append(name)
    films = select(m.c.movie_id, m.c.movie_key, m.c.title, b.c.snapshot_at)
    films = films.join(b, b.c.batch_id == m.c.batch_id)
    descriptions: dict[str, Description] = {}
    for movie_id, movie_key, title, snapshot_at in connection.execute(films):
        names = tuple(sorted(genres.get(movie_id, ())))
        descriptions[movie_key] = (snapshot_at, title, names)
    return descriptions


def _write_movies(connection: Connection, rows: list[MovieRow], keys: Keys, batch_id: int) -> None:
    """Insert new films, and update the titles of the others, whose genres are deleted."""
    movies = schema.movies
    links = schema.movie_genres
    inserts = []
    updates = []
    for row in rows:
        if row.movie_key in keys.ids:
            updates.append({"id": keys.ids[row.movie_key], "new_title": row.title})
        else:
            movie_id = keys.id_of(row.movie_key)
            inserts.append((movie_id, row.movie_key, row.title, batch_id))
    columns = ["movie_id", "movie_key", "title", "batch_id"]
    bulk_insert(connection, movies, columns, inserts)
    if updates:
        values: dict[str, Any] = {
            "title": bindparam("new_title"),
            "batch_id": batch_id,
            "undone_batch_id": None,
        }
        described = update(movies).where(movies.c.movie_id == bindparam("id"))
        connection.execute(described.values(values), updates)
        old_links = delete(links).where(links.c.movie_id == bindparam("id"))
        connection.execute(old_links, [{"id": film["id"]} for film in updates])


def _write_genres(connection: Connection, rows: list[MovieRow], keys: Keys) -> None:
    """Insert the genres of these films, and delete genres that no film has any more."""
    links = schema.movie_genres
    names = {name for row in rows for name in row.genres}
    genre_ids = _genre_ids(connection, names)
    pairs = ((keys.ids[row.movie_key], genre_ids[name]) for row in rows for name in row.genres)
    bulk_insert(connection, links, ["movie_id", "genre_id"], pairs)
    genre_id = schema.genres.c.genre_id
    unused = genre_id.not_in(select(links.c.genre_id))
    connection.execute(delete(schema.genres).where(unused))


def _genre_ids(connection: Connection, names: set[str]) -> dict[str, int]:
    """name -> id of these and all stored genres; new ones are inserted."""
    genres = schema.genres
    stored = select(genres.c.name, genres.c.genre_id)
    ids = dict(connection.execute(stored).all())
    genre_id = next_id(connection, genres.c.genre_id)
    inserts = []
    for name in sorted(names - set(ids)):
        ids[name] = genre_id
        inserts.append({"genre_id": genre_id, "name": name})
        genre_id += 1
    if inserts:
        connection.execute(insert(genres), inserts)
    return ids
