"""Shared by merging ratings and merging films: limits, counts of rows, and ids for keys."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection, Table, select

from batch.ingest.errors import RefusedError
from batch.ingest.fast_ratings import Block, Column
from batch.ingest.file_format import FileRow
from batch.ingest.parsing import Reject
from batch.ingest.plausible import Seen
from batch.ratings import Ints
from batch.store.database import next_id

ALWAYS_TOLERATED = 10
"""Up to this many rejected rows a file is not refused: in small files their share says little."""


@dataclass(frozen=True)
class Limits:
    """The limits on rejected rows above which a file is refused."""

    max_rejects: int
    max_reject_share: float


@dataclass
class Counts:
    """Counts of the rows of one file: read = accepted + rejected + duplicate."""

    read: int = 0
    accepted: int = 0
    rejects: list[Reject] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)
    superseded: int | None = None  # stored ratings that were overwritten; None: a catalogue

    @property
    def duplicate(self) -> int:
        """Rows that repeat what is stored, or are older."""
        return self.read - self.accepted - len(self.rejects)


@dataclass
class Batch:
    """One file's number in `ingest_batches`, and the counts of its rows so far."""

    batch_id: int
    snapshot_at: int  # seconds since 1970 UTC: the time assumed for rows without one
    counts: Counts = field(default_factory=Counts)


@dataclass
class Keys:
    """Keys -> ids of the rows of a table; new keys get the next ids."""

    table: Table
    ids: dict[str, int]
    new: list[str]  # keys that are not in the table yet
    next_id: int

    def id_of(self, key: str) -> int:
        """The id of a key, a new one if the table has none."""
        known_id = self.ids.get(key)
        if known_id is not None:
            return known_id
        new_id = self.next_id
        self.next_id += 1
        self.ids[key] = new_id
        self.new.append(key)
        return new_id

    def ids_of(self, column: Column) -> Ints:
        """The ids, (k,), of the keys of k ratings; new ones in order of appearance."""
        ids = np.array([self.id_of(key) for key in column.keys], dtype=np.int64)
        return ids[column.places]

    def twin_warnings(self, what: str, remedy: str) -> list[str]:
        """A warning where a new key and another differ by .0 only, as 1 and 1.0 do.

        Such ids come from a program that took a column of whole numbers for decimals. `what` is
        users or films, `remedy` what to do with the file. Only new keys are looked at, of which
        even large files have few.
        """
        whole_numbers = dict.fromkeys(key.removesuffix(".0") for key in self.new)
        twins = [
            number
            for number in whole_numbers
            if number.isdecimal() and number in self.ids and f"{number}.0" in self.ids
        ]
        if not twins:
            return []
        first = twins[0]
        return [
            f"{len(twins):,} {what} have two ids that differ by .0 only, such as {first!r} and"
            f" '{first}.0', and count as two each; {remedy}"
        ]


def read_keys(connection: Connection, table: Table) -> Keys:
    """All keys of `users` or `movies`."""
    id_column, key_column = list(table.columns)[:2]
    ids = dict(connection.execute(select(key_column, id_column)).all())
    return Keys(table, ids, [], next_id(connection, id_column))


def accepted_rows(
    rows: Iterable[FileRow | Reject], counts: Counts, limits: Limits
) -> Iterator[FileRow]:
    """Count all rows, keep the rejects, and yield the others.

    Raises RefusedError as soon as there are too many rejects for a file of any length.
    """
    for row in rows:
        counts.read += len(row.stars) if isinstance(row, Block) else 1
        if isinstance(row, Reject):
            counts.rejects.append(row)
            if len(counts.rejects) > max(limits.max_rejects, ALWAYS_TOLERATED):
                raise _too_many_rejects(counts)
        else:
            yield row


def check_rejects(counts: Counts, limits: Limits) -> None:
    """Raise RefusedError where so many rows are rejected that the file must be broken."""
    rejected = len(counts.rejects)
    allowed = min(limits.max_rejects, limits.max_reject_share * counts.read)
    too_many = rejected > max(ALWAYS_TOLERATED, allowed)
    all_rejected = rejected > 0 and rejected == counts.read
    if too_many or all_rejected:
        raise _too_many_rejects(counts)


def _too_many_rejects(counts: Counts) -> RefusedError:
    first = counts.rejects[0]
    rejected = len(counts.rejects)
    message = f"{rejected:,} of {counts.read:,} rows cannot be read; the first: {first.message}"
    return RefusedError("TOO_MANY_REJECTS", message, first.line)
