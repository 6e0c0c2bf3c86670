"""Text fields -> keys, ratings and times, or the reason why not."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

MAX_KEY = 400
"""Characters of a key or title; longer ones are a broken file."""
MAX_TEXT = 1024
"""Characters of a rejected row that are kept."""
NUMBER = re.compile(r"-?[0-9]{1,4}(?:\.[0-9]{1,6})?\Z")
EPOCH = re.compile(r"[0-9]{1,12}\Z")
MOVIELENS_ID = re.compile(r"[0-9]{1,16}\Z")
A_DAY = 86_400
MOST_WARNINGS = 100
"""Of one file; how many more there are is told."""
REMEMBERED = 10_000
"""Texts of ratings; a file has some dozens, or is out to fill the memory."""

RatingRow: TypeAlias = tuple[int, str, str, float, int | None]
"""line, user_key, movie_key, rating in stars, seconds since 1970 UTC or None."""


class MovieRow(NamedTuple):
    """A film of a catalogue."""

    line: int
    movie_key: str
    title: str
    genres: tuple[str, ...]


class Reject(NamedTuple):
    """A row that is not taken, with what a person needs to mend it."""

    line: int
    field: str | None
    code: str
    message: str
    text: str


class BadRowError(Exception):
    """A field that cannot be read: its name, a code to count by, and a message with value and remedy."""

    def __init__(self, name: str | None, code: str, message: str) -> None:
        super().__init__(message)
        self.name, self.code = name, code


class RefusedError(Exception):
    """A file that cannot be taken at all: a code to count by, a message with the remedy, and the line, if any."""

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.code, self.line = code, line

    def about(self, file: object) -> str:
        """The message with the place it is about: `FILE:LINE: ...`."""
        return f"{file}: {self}" if self.line is None else f"{file}:{self.line}: {self}"


@dataclass
class Reading:
    """What is known while one file is read, and what its reader learns besides rows."""

    limits: tuple[float, float] | None  # lowest and highest rating that is accepted, stars
    columns: dict[str, str | None]  # user, movie, rating, time -> column named in the settings
    now: int  # seconds since 1970 UTC
    titles: dict[str, str] = field(
        default_factory=dict
    )  # movie_key -> title, where ratings files know it
    names: dict[str, str] = field(default_factory=dict)  # user_key -> name
    _warnings: list[str] = field(default_factory=list)
    _unsaid: int = 0  # further warnings
    _ratings: dict[str, float] = field(default_factory=dict)

    def rating(self, text: str, name: str = "rating") -> float:
        """Stars, finite and within the limits."""
        known = self._ratings.get(text)  # the same dozen texts, millions of times
        if known is not None:
            return known
        if not NUMBER.match(text.strip()):
            raise BadRowError(
                name,
                "BAD_RATING",
                f"rating {_shown(text)} is not a number such as 4 or 3.5; fix the row",
            )
        value = float(text) + 0.0  # -0.0 becomes 0.0
        if self.limits and not self.limits[0] <= value <= self.limits[1]:
            low, high = self.limits
            message = f"rating {text.strip()} is outside {low:g}..{high:g}; fix the row or widen ingest.scale"
            raise BadRowError(name, "RATING_RANGE", message)
        if len(self._ratings) < REMEMBERED:
            self._ratings[text] = value
        return value

    def warn(self, message: str) -> None:
        """Tell a person something about the file."""
        if len(self._warnings) < MOST_WARNINGS:
            self._warnings.append(message)
        else:
            self._unsaid += 1

    @property
    def warnings(self) -> list[str]:
        """What there is to tell."""
        return self._warnings + ([f"and {self._unsaid:,} more like these"] if self._unsaid else [])

    def time(self, text: str, name: str = "timestamp") -> int | None:
        """Seconds since 1970 UTC, from seconds or ISO 8601 (UTC where it has no offset); None for an empty field."""
        text = text.strip()
        if not text:
            return None
        if EPOCH.match(text):
            seconds = int(text)
        else:
            try:
                moment = datetime.fromisoformat(text)
                seconds = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
            except (ValueError, OverflowError):
                message = f"time {_shown(text)} is neither seconds since 1970 nor a date such as 2026-11-23T02:30:00Z"
                raise BadRowError(name, "BAD_TIME", f"{message}; fix the row") from None
        if seconds > self.now + A_DAY or seconds < 0:
            raise BadRowError(
                name,
                "TIME_RANGE",
                f"time {_shown(text)} is before 1970 or in the future; fix the row",
            )
        return seconds


def key(text: str, name: str) -> str:
    """A key or title: text as it stands, spaces around it aside, in one Unicode form (NFC)."""
    if (
        text.isascii()
        and 0 < len(text) <= MAX_KEY
        and text.isprintable()
        and text[0] != " "
        and text[-1] != " "
    ):
        return text
    cleaned = unicodedata.normalize("NFC", text).strip()
    if not cleaned:
        raise BadRowError(name, "EMPTY_KEY", f"{name} is empty; fix the row")
    if len(cleaned) > MAX_KEY:
        raise BadRowError(
            name,
            "KEY_TOO_LONG",
            f"{name} has {len(cleaned)} characters, more than {MAX_KEY}; fix the row",
        )
    if "\0" in cleaned:
        raise BadRowError(
            name, "NUL_BYTE", f"{name} {_shown(cleaned)} holds a NUL byte; fix the row"
        )
    if any("\ud800" <= sign <= "\udfff" for sign in cleaned):
        raise BadRowError(
            name,
            "BAD_ENCODING",
            f"{name} {_shown(cleaned)} is not valid UTF-8; save the file as UTF-8",
        )
    return cleaned


def movielens_id(text: str, name: str) -> str:
    """A MovieLens id: digits, kept as text."""
    if not MOVIELENS_ID.match(text):
        raise BadRowError(name, "BAD_ID", f"{name} {_shown(text)} is not a number; fix the row")
    return text


def unique_key(text: str, what: str, taken: dict[str, int], reading: Reading) -> str:
    """A key for a text that is a name: a repeat becomes `text #2` in order of appearance, with a warning.

    `taken` holds every key there is, and how often it has come as a text.
    """
    number = taken.get(text, 0) + 1
    candidate = text if number == 1 else f"{text} #{number}"
    while candidate in taken:
        number += 1
        candidate = f"{text} #{number}"
    taken[text] = number
    taken.setdefault(candidate, 1)
    if number > 1:
        reading.warn(f"{what} {text!r} is repeated; this one gets the key {candidate!r}")
    return candidate


def rejected(line: int, error: BadRowError, text: str) -> Reject:
    """The record of a row that is not taken; bytes that are no text are shown as escapes."""
    safe = text[:MAX_TEXT].encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return Reject(line, error.name, error.code, str(error), safe)


def field_count(fields: list[str], expected: int) -> None:
    """Raise BadRowError unless the row has as many fields as it should."""
    if len(fields) != expected:
        message = f"{len(fields)} fields where {expected} belong; fix the row, or quote a field that holds the separator"
        raise BadRowError(None, "FIELD_COUNT", message)


def _shown(text: str) -> str:
    return (
        repr(text if len(text) <= 40 else text[:40] + "...")
        .encode("ascii", "backslashreplace")
        .decode()
    )


Reader: TypeAlias = Callable[[Any, Reading], Iterator[RatingRow | MovieRow | Reject]]
"""Lines of text and what is known -> rows and rejects."""
