"""A merged batch -> its ratings are gone, and those that it overwrote are back."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, and_, delete, exists, insert, or_, select, update

from batch import RecbatchError
from batch.store import schema
from batch.store.batches import NoSuchBatchError
from batch.store.database import Database
from batch.store.leftovers import delete_leftovers, mark_leftovers, unmark_leftovers

_batches = schema.ingest_batches
_ratings = schema.ratings
_superseded = schema.superseded_ratings

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
    deleted: int  # ratings of pairs that have none now
    restored: int  # ratings that are again as they were before the batch
    users: int  # deleted: nothing names them any more
    films: int
    to_ingest_again: tuple[str, ...]  # files of later batches, see `_mark_later_batches`


def undo(database: Database, batch_id: int) -> Undone:
    """Take back what a batch of ratings changed, as if its file had never come.

    One transaction; the caller holds the run lock. Lists that are stored stay as they
    are. Raises NoSuchBatchError, and CannotUndoError where nothing can be, or later
    batches must be undone first.
    """
    with database.writer.begin() as connection:
        batch = _find(connection, batch_id)
        _require_undoable(connection, batch)
        of_batch = _ratings.c.batch_id == batch_id
        _note_users(connection, batch_id)
        restored = _restore(connection, batch_id)
        mark_leftovers(connection, batch_id)
        deleted = connection.execute(delete(_ratings).where(of_batch)).rowcount
        unmark_leftovers(connection, _ratings)
        leftovers = delete_leftovers(connection)
        files = _mark_later_batches(connection, batch_id) if batch.rows_accepted else ()
        status = {"status": "undone", "undone_at": datetime.now(UTC)}
        undone = update(_batches).where(_batches.c.batch_id == batch_id)
        connection.execute(undone.values(status))
    return Undone(
        batch_id=batch_id,
        file=batch.file,
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


def _require_undoable(connection: Connection, batch: BatchRow) -> None:
    """Raise CannotUndoError unless the batch is of ratings, merged, and the newest of its pairs."""
    name = f"batch {batch.batch_id}"
    if batch.status == "undone":
        raise CannotUndoError(
            f"{name} is undone already; 'recbatch ingest FILE' merges its file again"
        )
    if batch.status == "refused":
        raise CannotUndoError(f"{name} was refused: none of its rows were merged, nothing to undo")
    if batch.rows_superseded is None and batch.scale_min is None:
        raise CannotUndoError(
            f"{name} is a catalogue of films, which cannot be undone; ingest the right one: of two"
            " descriptions of a film that of the newer file stays (--snapshot-at sets its age)"
        )
    if batch.rows_superseded is None:
        raise CannotUndoError(
            f"{name} cannot be undone: the ratings that it overwrote are no longer stored, or were"
            " never; ingest a file with the right ratings and later times, or go back to a backup"
        )
    later = _batches_to_undo_first(connection, batch.batch_id)
    if later:
        raise CannotUndoError(
            f"{name} cannot be undone before {_in_words(later)}: later files that overwrote its"
            f" ratings, or have the same content; begin with 'recbatch ingest undo {later[0]}'"
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


def _batches_to_undo_first(connection: Connection, batch_id: int) -> list[int]:
    """The batches that depend on this one, and those that depend on them, newest first."""
    dependent: set[int] = set()
    unvisited = [batch_id]
    while unvisited:
        new = set(_dependent_on(connection, unvisited.pop())) - dependent
        dependent |= new
        unvisited += new
    return sorted(dependent, reverse=True)


def _dependent_on(connection: Connection, batch_id: int) -> list[int]:
    """Later merged batches that overwrote a rating of this one, or have the same content."""
    b = _batches.c
    overwrote = exists().where(
        _superseded.c.batch_id == b.batch_id, _superseded.c.previous_batch_id == batch_id
    )
    content = select(b.sha256).where(b.batch_id == batch_id).scalar_subquery()
    later = select(b.batch_id).where(
        b.batch_id > batch_id,
        b.status == "merged",
        or_(and_(b.rows_superseded > 0, overwrote), b.sha256 == content),
    )
    return list(connection.execute(later).scalars())


def _note_users(connection: Connection, batch_id: int) -> None:
    """Keep whose rows these are: the next refresh makes new lists for them."""
    users = select(_ratings.c.batch_id, _ratings.c.user_id).where(_ratings.c.batch_id == batch_id)
    columns = ["batch_id", "user_id"]
    connection.execute(insert(schema.undone_users).from_select(columns, users.distinct()))


def _restore(connection: Connection, batch_id: int) -> int:
    """Put back the ratings that a batch overwrote; returns how many."""
    r = _ratings.c
    o = _superseded.c
    same_pair = and_(r.user_id == o.user_id, r.movie_id == o.movie_id)
    overwritten = and_(o.batch_id == batch_id, r.batch_id == batch_id, same_pair)
    earlier = {"rating": o.rating, "rated_at": o.rated_at, "batch_id": o.previous_batch_id}
    restored = connection.execute(update(_ratings).where(overwritten).values(earlier)).rowcount
    connection.execute(delete(_superseded).where(o.batch_id == batch_id))
    return restored


def _mark_later_batches(connection: Connection, batch_id: int) -> tuple[str, ...]:
    """Mark the batches with rows that may have lost against this one; returns their files.

    Such rows were not stored, so they cannot be put back: a marked file is merged again
    when it is next read.
    """
    b = _batches.c
    later = and_(
        b.batch_id > batch_id,
        b.status == "merged",
        b.rows_duplicate > 0,
        b.scale_min.is_not(None),
    )
    files = connection.execute(select(b.file).where(later).order_by(b.batch_id)).scalars().all()
    connection.execute(update(_batches).where(later).values(lost_to_batch_id=batch_id))
    return tuple(dict.fromkeys(files))
