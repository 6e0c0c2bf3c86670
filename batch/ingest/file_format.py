"""What a file format is: its name, its group, and how its lines become rows."""

import csv
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from batch.ingest.fast_ratings import PlainLayout
from batch.ingest.parsing import Reader, RefusedError


@dataclass(frozen=True)
class Sample:
    """The first lines of a file, by which its format is recognised."""

    lines: list[str]  # up to ten that are not blank, without their ends
    columns: dict[str, str | None]  # user, movie, rating, time -> column named in the settings
    separator: str = ","

    @cached_property
    def header(self) -> list[str]:
        """The fields of the first row, without outer spaces. Raises RefusedError."""
        if self.separator != ",":
            names = self.lines[0].split(self.separator)
            return [name.strip().strip('"') for name in names]
        try:
            names = next(csv.reader(self.lines, strict=True))
        except csv.Error as error:
            message = f"the header is not CSV ({error}); fix its quotes"
            raise RefusedError("CSV_SYNTAX", message, 1) from None
        return [name.strip() for name in names]


@dataclass(frozen=True)
class Format:
    """One kind of file, and how it is read."""

    name: str
    family: str  # files of a family in one folder are a group, merged in one transaction
    kind: Literal["ratings", "movies"]
    read: Reader
    usual_name: str | None = None  # by which a file that cannot be read is put into its group
    limits: tuple[float, float] | None = None  # lowest and highest rating accepted, stars
    scale: tuple[float, float] | None = None  # what the format fixes; None: the ratings seen
    legacy_encoding: bool = False  # may be latin-1
    plain: PlainLayout | None = None  # where it can be read in blocks
