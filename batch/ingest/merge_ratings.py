"""Ratings, or films seen, of one file -> a temporary table, then the tables they belong in.

The order in which files are merged never changes the result.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from math import isnan
from typing import Any, cast

import numpy as np
from sqlalchemy import Connection, bindparam, select, update

from batch.ingest.fast_ratings import Block
from batch.ingest.file_format import FileRow
from batch.ingest.merge import (
    Batch,
    Counts,
    Keys,
    Limits,
    accepted_rows,
    check_rejects,
    read_keys,
)
from batch.ingest.merge_statements import (
    RATINGS,
    SEEN,
    STAGE,
    STAGE_COLUMNS,
    Target,
)
from batch.ingest.parsing import RatingRow, Reading, Reject
from batch.ingest.plausible import MAX_VALUES, Seen
from batch.store import schema
from batch.store.bulk_insert import bulk_insert, insert_columns
from batch.store.leftovers import unmark_films, unmark_leftovers

TWINS_REMEDY = (
    "write the ids alike, take this file back with 'recbatch ingest undo' and its number in "
    "'recbatch ingest list', and ingest it again"
)


def merge_ratings(
    connection: Connection,
    rows: Iterable[FileRow | Reject],
    reading: Reading,
    batch: Batch,
    limits: Limits,
    check_whole: Callable[[Seen], None],
) -> None:
    """Merge the ratings of one file, with their users and films; `batch` gets the counts.

    Raises RefusedError where too many rows are rejected, or `check_whole` does, which gets all
    ratings together; the caller then rolls back.
    """
    _merge_pairs(connection, rows, reading, batch, limits, check_whole, RATINGS)


def merge_seen(
    connection: Connection,
    rows: Iterable[FileRow | Reject],
    reading: Reading,
    batch: Batch,
    limits: Limits,
    check_whole: Callable[[Seen], None],
) -> None:
    """Merge the films seen of one file, as `merge_ratings` merges ratings.

    Users and films that nothing else has named are marked: models do not learn of them.
    """
    _merge_pairs(connection, rows, reading, batch, limits, check_whole, SEEN)


def _merge_pairs(
    connection: Connection,
    rows: Iterable[FileRow | Reject],
    reading: Reading,
    batch: Batch,
    limits: Limits,
    check_whole: Callable[[Seen], None],
    target: Target,
) -> None:
    mark = None if target is RATINGS else batch.batch_id
    users = read_keys(connection, schema.users)
    movies = read_keys(connection, schema.movies)
    counts = batch.counts
    STAGE.create(connection)
    accepted = cast("Iterator[Block | RatingRow]", accepted_rows(rows, counts, limits))
    distinct = _fill_stage(connection, accepted, users, movies, counts)
    check_rejects(counts, limits)
    check_whole(counts.seen)
    _update_names(connection, reading.names)
    _update_titles(connection, reading.titles)
    _insert_users(connection, users, reading.names, mark)
    _insert_movies(connection, movies, reading.titles, mark)
    for what, keys in (("users", users), ("films", movies)):
        for warning in keys.twin_warnings(what, TWINS_REMEDY):
            reading.warn(warning)
    _merge_stage(connection, batch, target, distinct)
    if target is RATINGS:
        unmark_leftovers(connection, STAGE)
        unmark_films(connection, reading.titles)
    STAGE.drop(connection)


def _merge_stage(connection: Connection, batch: Batch, target: Target, distinct: bool) -> None:
    """Merge the staged rows, and keep those that they overwrite.

    New pairs are inserted first. Where that was all of them, as in a first load,
    nothing more is read or written. `distinct`: each pair is staged once.
    """
    counts = batch.counts
    n_staged = counts.read - len(counts.rejects)
    parameters = {"batch_id": batch.batch_id, "snapshot_at": batch.snapshot_at}
    any_row = select(target.table.c.user_id).limit(1)
    had_rows = connection.execute(any_row).first() is not None
    statements = target.distinct_pairs if distinct else target.any_pairs
    n_new = connection.execute(statements.insert, parameters).rowcount
    counts.superseded = 0
    if had_rows and n_new < n_staged:
        counts.superseded = connection.execute(statements.supersede, parameters).rowcount
    if counts.superseded:
        connection.execute(statements.overwrite, parameters)
    counts.accepted = n_new + counts.superseded


def _fill_stage(
    connection: Connection,
    rows: Iterator[Block | RatingRow],
    users: Keys,
    movies: Keys,
    counts: Counts,
) -> bool:
    """Stage blocks and rows; returns True if all pairs are certainly distinct and in order."""
    distinct = True
    last_pair = (0, 0)
    for in_blocks, run in groupby(rows, lambda row: isinstance(row, Block)):
        if not in_blocks:
            distinct = False
            staged = _stage_rows(cast("Iterator[RatingRow]", run), users, movies, counts)
            bulk_insert(connection, STAGE, STAGE_COLUMNS, staged)
            continue
        for block in cast("Iterator[Block]", run):
            user_ids = users.ids_of(block.users)
            movie_ids = movies.ids_of(block.movies)
            order = np.lexsort((movie_ids, user_ids))
            user_ids = user_ids[order]
            movie_ids = movie_ids[order]
            same_user = np.diff(user_ids) == 0
            same_movie = np.diff(movie_ids) == 0
            if last_pair >= (user_ids[0], movie_ids[0]) or (same_user & same_movie).any():
                distinct = False
            last_pair = (user_ids[-1], movie_ids[-1])
            _see_block(block, counts.seen)
            columns = (user_ids, movie_ids, block.stars[order], block.times[order])
            staged_columns = dict(zip(STAGE_COLUMNS, columns, strict=True))
            insert_columns(connection, STAGE, {}, staged_columns)
    return distinct


def _stage_rows(
    rows: Iterator[RatingRow], users: Keys, movies: Keys, counts: Counts
) -> Iterator[tuple[Any, ...]]:
    """The rows with ids instead of keys."""
    seen = counts.seen
    stars: Counter[float] = Counter()
    for _, user_key, movie_key, rating, rated_at in rows:
        if not isnan(rating):
            stars[rating] += 1
        if len(stars) > MAX_VALUES:
            seen.add(stars)
            stars.clear()
        if rated_at is not None:
            seen.add_times(1, rated_at)
        yield users.id_of(user_key), movies.id_of(movie_key), rating, rated_at
    if stars:
        seen.add(stars)


def _see_block(block: Block, seen: Seen) -> None:
    """Count the ratings and times of a block."""
    values, counts = np.unique(block.stars[~np.isnan(block.stars)], return_counts=True)
    if len(values):
        seen.add(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    times = block.times[~np.isnan(block.times)]
    if len(times):
        seen.add_times(len(times), float(times.max()))


def _update_names(connection: Connection, names: dict[str, str]) -> None:
    """Names for stored users; of several names the first by text stays, in any order of files."""
    if not names:
        return
    u = schema.users
    stored = dict(connection.execute(select(u.c.user_key, u.c.name)).all())
    changes = []
    for user_key, name in names.items():
        if user_key not in stored:
            continue
        stored_name = stored[user_key]
        if stored_name is None or name < stored_name:
            changes.append({"key": user_key, "new_name": name})
    if changes:
        values: dict[str, Any] = {"name": bindparam("new_name")}
        statement = update(u).where(u.c.user_key == bindparam("key")).values(values)
        connection.execute(statement, changes)


def _update_titles(connection: Connection, titles: dict[str, str]) -> None:
    """Titles for films that no catalogue describes, by the same rule; else the title is the key."""
    if not titles:
        return
    m = schema.movies
    undescribed = select(m.c.movie_key, m.c.title).where(m.c.batch_id.is_(None))
    stored = dict(connection.execute(undescribed).all())
    changes = []
    for movie_key, title in titles.items():
        stored_title = stored.get(movie_key)
        if stored_title is not None and (stored_title == movie_key or title < stored_title):
            changes.append({"key": movie_key, "new_title": title})
    if changes:
        values: dict[str, Any] = {"title": bindparam("new_title")}
        statement = update(m).where(m.c.movie_key == bindparam("key")).values(values)
        connection.execute(statement, changes)


def _insert_users(
    connection: Connection, users: Keys, names: dict[str, str], mark: int | None
) -> None:
    rows = ((users.ids[key], key, names.get(key), mark) for key in users.new)
    columns = ["user_id", "user_key", "name", "undone_batch_id"]
    bulk_insert(connection, schema.users, columns, rows)


def _insert_movies(
    connection: Connection, movies: Keys, titles: dict[str, str], mark: int | None
) -> None:
    for key in titles:
        movies.id_of(key)  # films of a wide matrix that nobody rated
    rows = ((movies.ids[key], key, titles.get(key, key), mark) for key in movies.new)
    columns = ["movie_id", "movie_key", "title", "undone_batch_id"]
    bulk_insert(connection, schema.movies, columns, rows)
