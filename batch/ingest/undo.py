"""A merged batch -> its rows are gone, and those that it overwrote are back."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from sqlalchemy import (
    Column,
    Connection,
    Row,
    Table,
    and_,
    delete,
    exists,
    insert,
    or_,
    select,
    update,
)

from batch import RecbatchError
from batch.ingest.seen_files import SEEN_FORMATS
from batch.store import schema
from batch.store.batches import NoSuchBatchError
from batch.store.database import Database
from batch.store.leftovers import delete_leftovers, mark_leftovers, unmark_leftovers

_batches = schema.ingest_batches
_ratings, _superseded_ratings = schema.ratings, schema.superseded_ratings
_seen, _superseded_seen = schema.seen, schema.superseded_seen

BatchRow: TypeAlias = Row[Any]
"""A row of `ingest_batches`."""

SHOWN_BATCHES = 20
"""Batches that a message names at most."""


class CannotUndoError(RecbatchError):
    """The batch cannot be undone, now or at all; the message says what to do instead."""


@dataclass(frozen=True)
class Undone:
    """What became of the rows of an undone batch."""

    batch_id: int
    file: str
    of_seen: bool  # its rows were films that were seen, not ratings
    deleted: int  # rows of pairs that have none now
    restored: int  # rows that are again as they were before the batch
    users: int  # deleted: nothing names them any more
    films: int
    to_ingest_again: tuple[str, ...]  # files of later batches, see `_mark_later_batches`


def undo(database: Database, batch_id: int) -> Undone:
    """Take back what a batch of ratings or of films seen changed, as if it had never come.

    One transaction; the caller holds the run lock. Lists that are stored stay as they
    are. Raises NoSuchBatchError, and CannotUndoError where nothing can be, or later
    batches must be undone first.
    """
    with database.writer.begin() as connection:
        batch = _find(connection, batch_id)
        _require_undoable(connection, batch)
        if _is_of_seen(batch):
            _note_users(connection, batch_id, _seen)
            restored = _restore_seen(connection, batch_id)
            of_batch = _seen.c.batch_id == batch_id
            deleted = connection.execute(delete(_seen).where(of_batch)).rowcount
        else:
            _note_users(connection, batch_id, _ratings)
            restored = _restore_ratings(connection, batch_id)
            of_batch = _ratings.c.batch_id == batch_id
            mark_leftovers(connection, batch_id)
            deleted = connection.execute(delete(_ratings).where(of_batch)).rowcount
            unmark_leftovers(connection, _ratings)
        leftovers = delete_leftovers(connection)
        files = _mark_later_batches(connection, batch) if batch.rows_accepted else ()
        status = {"status": "undone", "undone_at": datetime.now(UTC)}
        undone = update(_batches).where(_batches.c.batch_id == batch_id)
        connection.execute(undone.values(status))
    return Undone(
        batch_id=batch_id,
        file=batch.file,
        of_seen=_is_of_seen(batch),
        deleted=deleted,
        restored=restored,
        users=leftovers["users"],
        films=leftovers["movies"],
        to_ingest_again=files,
    )


def _find(connection: Connection, batch_id: int) -> BatchRow:
    row = connection.execute(select(_batches).where(_batches.c.batch_id == batch_id)).first()
    if row is None:
        raise NoSuchBatchError(f"there is no batch {batch_id}; 'recbatch ingest list' lists them")
    return row


def _is_of_seen(batch: BatchRow) -> bool:
    return batch.format in SEEN_FORMATS


def _require_undoable(connection: Connection, batch: BatchRow) -> None:
    """Raise CannotUndoError unless it is merged, no catalogue, and the newest of its pairs."""
    name = f"batch {batch.batch_id}"
    of_seen = _is_of_seen(batch)
    if batch.status == "undone":
        option = "--seen " if of_seen else ""
        raise CannotUndoError(
            f"{name} is undone already; 'recbatch ingest {option}FILE' merges its file again"
        )
    if batch.status == "refused":
        raise CannotUndoError(f"{name} was refused: none of its rows were merged, nothing to undo")
    if batch.rows_superseded is None and batch.scale_min is None and not of_seen:
        raise CannotUndoError(
            f"{name} is a catalogue of films, which cannot be undone; ingest the right one: of two"
            " descriptions of a film that of the newer file stays (--snapshot-at sets its age)"
        )
    if batch.rows_superseded is None:
        raise CannotUndoError(
            f"{name} cannot be undone: the ratings that it overwrote are no longer stored, or were"
            " never; ingest a file with the right ratings and later times, or go back to a backup"
        )
    later = _batches_to_undo_first(connection, batch)
    if later:
        rows = "times" if of_seen else "ratings"
        raise CannotUndoError(
            f"{name} cannot be undone before {_in_words(later)}: later files that overwrote its"
            f" {rows}, or have the same content; begin with 'recbatch ingest undo {later[0]}'"
        )


def _in_words(batch_ids: list[int]) -> str:
    """`batch 3`, or `batches 5, 4 and 3`."""
    shown = [str(batch_id) for batch_id in batch_ids[:SHOWN_BATCHES]]
    n_more = len(batch_ids) - len(shown)
    if n_more:
        return f"batches {', '.join(shown)} and {n_more} more"
    if len(shown) == 1:
        return f"batch {shown[0]}"
    return f"batches {', '.join(shown[:-1])} and {shown[-1]}"


def _batches_to_undo_first(connection: Connection, batch: BatchRow) -> list[int]:
    """The batches that depend on this one, and those that depend on them, newest first."""
    superseded = _superseded_seen if _is_of_seen(batch) else _superseded_ratings
    dependent: set[int] = set()
    unvisited = [batch.batch_id]
    while unvisited:
        new = set(_dependent_on(connection, unvisited.pop(), superseded)) - dependent
        dependent |= new
        unvisited += new
    return sorted(dependent, reverse=True)


def _dependent_on(connection: Connection, batch_id: int, superseded: Table) -> list[int]:
    """Later merged batches that overwrote a row of this one, or have the same content."""
    b = _batches.c
    overwrote = exists().where(
        superseded.c.batch_id == b.batch_id, superseded.c.previous_batch_id == batch_id
    )
    content = select(b.sha256).where(b.batch_id == batch_id).scalar_subquery()
    later = select(b.batch_id).where(
        b.batch_id > batch_id,
        b.status == "merged",
        or_(and_(b.rows_superseded > 0, overwrote), b.sha256 == content),
    )
    return list(connection.execute(later).scalars())


def _note_users(connection: Connection, batch_id: int, table: Table) -> None:
    """Record the users of these rows: the next refresh makes new lists for them."""
    users = select(table.c.batch_id, table.c.user_id).where(table.c.batch_id == batch_id)
    columns = ["batch_id", "user_id"]
    connection.execute(insert(schema.undone_users).from_select(columns, users.distinct()))


def _restore_ratings(connection: Connection, batch_id: int) -> int:
    """Put back the ratings that a batch overwrote; returns how many."""
    o = _superseded_ratings.c
    earlier = {"rating": o.rating, "rated_at": o.rated_at, "batch_id": o.previous_batch_id}
    return _restore(connection, batch_id, _ratings, _superseded_ratings, earlier)


def _restore_seen(connection: Connection, batch_id: int) -> int:
    """Put back the times of films seen that a batch overwrote by earlier ones; returns how many."""
    o = _superseded_seen.c
    before = {"seen_at": o.seen_at, "batch_id": o.previous_batch_id}
    return _restore(connection, batch_id, _seen, _superseded_seen, before)


def _restore(
    connection: Connection,
    batch_id: int,
    table: Table,
    superseded: Table,
    values: Mapping[str, Column[Any]],
) -> int:
    r = table.c
    o = superseded.c
    same_pair = and_(r.user_id == o.user_id, r.movie_id == o.movie_id)
    overwritten = and_(o.batch_id == batch_id, r.batch_id == batch_id, same_pair)
    restored = connection.execute(update(table).where(overwritten).values(values)).rowcount
    connection.execute(delete(superseded).where(o.batch_id == batch_id))
    return restored


def _mark_later_batches(connection: Connection, batch: BatchRow) -> tuple[str, ...]:
    """Mark the batches with rows that may have lost against this one; returns their files.

    Such rows were not stored, so they cannot be put back: a marked file is merged again
    when it is next read.
    """
    b = _batches.c
    of_kind = b.format.in_(SEEN_FORMATS) if _is_of_seen(batch) else b.scale_min.is_not(None)
    later = and_(b.batch_id > batch.batch_id, b.status == "merged", b.rows_duplicate > 0, of_kind)
    files = connection.execute(select(b.file).where(later).order_by(b.batch_id)).scalars().all()
    connection.execute(update(_batches).where(later).values(lost_to_batch_id=batch.batch_id))
    return tuple(dict.fromkeys(files))
