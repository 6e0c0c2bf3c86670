"""What a file format is, the first rows of a table by which it is recognised, and a layout."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

from batch.ingest.columns import Named
from batch.ingest.fast_ratings import Block, PlainLayout
from batch.ingest.parsing import MovieRow, RatingRow, Reading, Reject
from batch.ingest.rows import TableRows
from batch.ingest.times import SECONDS, TimeFormat
from batch.store.scale import FIXED_SCALES

FileRow: TypeAlias = Block | RatingRow | MovieRow
"""What the rows of a file become."""
RowParser: TypeAlias = Callable[[TableRows, Reading], Iterator[FileRow | Reject]]
"""The rows of a table, after its header -> ratings or films. Raises RefusedError."""


@dataclass(frozen=True)
class Choices:
    """The settings that decide how files are read where their content does not."""

    columns: Named = field(default_factory=dict)
    format: Literal["long", "wide"] | None = None
    user: str | None = None  # of files without a column for the user
    unrated: tuple[float, ...] | None = None  # ratings that mean "not rated"; None: undecided
    seen: bool = False  # the files list films that were seen, not ratings


@dataclass(frozen=True)
class Format:
    """One kind of file."""

    name: str
    family: str  # files of a family in one folder are a group, merged in one transaction
    kind: Literal["ratings", "movies", "seen"]
    usual_name: str | None = None  # by which a file that cannot be read is put into its group
    limits: tuple[float, float] | None = None  # lowest and highest rating accepted, stars

    @property
    def scale(self) -> tuple[float, float] | None:
        """Lowest and highest rating where the format fixes them, stars; None: those seen."""
        return FIXED_SCALES.get(self.name)


@dataclass(frozen=True)
class Sample:
    """The first rows of a table, of which the first may be its header."""

    rows: list[list[str]]  # not blank, at least one
    choices: Choices

    @cached_property
    def header(self) -> list[str]:
        """The first row, without outer blanks, and without blank columns at its end."""
        names = [name.strip() for name in self.rows[0]]
        while len(names) > 1 and not names[-1] and not self.column(len(names) - 1):
            names.pop()
        return names

    def column(self, place: int, first_row: int = 1) -> list[str]:
        """The fields of one column, from this row on, where they are not blank."""
        fields = [row[place].strip() for row in self.rows[first_row:] if len(row) > place]
        return [text for text in fields if text]


@dataclass(frozen=True)
class Layout:
    """How the rows of one table are read."""

    format: Format
    why: str  # how it was recognised
    parse: RowParser
    width: int  # fields of a row
    has_header: bool = True
    times: TimeFormat = SECONDS
    plain: PlainLayout | None = None  # where it can be read in blocks of bytes


@dataclass(frozen=True)
class NearMiss:
    """Why a table that looks like a format is not quite of that format."""

    code: str
    message: str
