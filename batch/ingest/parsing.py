"""Text fields -> keys, ratings and times, or an error that says what is wrong with them."""

import math
import re
import unicodedata
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from batch.ingest.errors import BadRowError
from batch.ingest.times import DAY_SECONDS, ISO, NOTHING, SECONDS, TimeFormat

MAX_KEY = 400
"""Maximum characters of a key or title; a longer one is a sign of a broken file."""
MAX_TEXT = 1024
"""Maximum characters of a rejected row that are stored."""
MAX_SHOWN = 40
"""Maximum characters of a bad field that a message quotes."""
MAX_WARNINGS = 100
"""Warnings that are kept for one file; the rest are counted."""
MAX_CACHED = 10_000
"""Distinct texts of ratings to cache: real files have dozens, a hostile one may have millions."""

NUMBER = re.compile(r"-?[0-9]{1,4}(?:[.,][0-9]{1,30})?\Z")
MARKS = (0.0, -1.0)
"""Ratings that often mean "not rated"."""
DECIMALS = 6
"""Decimals of a rating that are stored; more are rounded."""
MOVIELENS_ID = re.compile(r"[0-9]{1,16}\Z")

RatingRow: TypeAlias = tuple[int, str, str, float, int | None]
"""line, user_key, movie_key, rating in stars or nan of a film that was seen, seconds since 1970 UTC
or None."""


class MovieRow(NamedTuple):
    """A film of a catalogue."""

    line: int
    movie_key: str
    title: str
    genres: tuple[str, ...]


class Reject(NamedTuple):
    """A row that is not accepted, with what a person needs to fix it."""

    line: int
    field: str | None
    code: str
    message: str
    text: str


@dataclass
class Reading:
    """The settings for reading one file, and the titles, names and warnings found in it."""

    limits: tuple[float, float] | None  # lowest and highest rating that is accepted, stars
    now: int  # seconds since 1970 UTC
    unrated: frozenset[float] = frozenset()  # values that mean "not rated"
    blank_is_unrated: bool = False  # ingest.unrated is set: rows without a rating are left out
    times: TimeFormat = SECONDS
    titles: dict[str, str] = field(default_factory=dict)  # movie_key -> title, of ratings files
    names: dict[str, str] = field(default_factory=dict)  # user_key -> name
    n_unrated: int = 0  # rows whose rating means "not rated"
    _warnings: list[str] = field(default_factory=list)
    _more_warnings: int = 0  # those beyond MAX_WARNINGS
    _ratings: dict[str, float] = field(default_factory=dict)  # text -> stars, a cache

    def rating(self, text: str, name: str = "rating") -> float:
        """The rating in stars, finite and within the limits. Raises BadRowError.

        Values that mean "not rated" are within all limits; nothing, if it means that, is nan.
        """
        cached = self._ratings.get(text)  # the same dozen texts, millions of times
        if cached is not None:
            return cached
        number = text.strip().replace(",", ".")
        is_blank = number.casefold() in NOTHING
        if is_blank and self.blank_is_unrated:
            return math.nan
        if not NUMBER.match(number):
            message = f"rating {_quoted(text)} is not a number such as 4 or 3.5; fix the row"
            if is_blank:
                message += ", or set ingest.unrated, such as to [0], to leave such rows out"
            raise BadRowError(name, "BAD_RATING", message)
        stars = round(float(number), DECIMALS) + 0.0  # -0.0 becomes 0.0
        if self.limits is not None and stars not in self.unrated:
            low, high = self.limits
            if not low <= stars <= high:
                message = (
                    f"rating {text.strip()} is outside {low:g}..{high:g}; "
                    f"fix the row or widen ingest.scale"
                )
                if stars in MARKS:
                    message += f', or name {stars:g} in ingest.unrated if it means "not rated"'
                raise BadRowError(name, "RATING_RANGE", message)
        if len(self._ratings) < MAX_CACHED:
            self._ratings[text] = stars
        return stars

    def time(self, text: str, name: str = "timestamp") -> int | None:
        """Seconds since 1970 UTC, or None where there is no time. Raises BadRowError.

        The text is a time as most of its column are written, or ISO 8601; both are in UTC
        where they have no offset.
        """
        text = text.strip()
        if text.casefold() in NOTHING:
            return None
        try:
            seconds = self._seconds(text)
        except ValueError:
            if self.times in (SECONDS, ISO):
                expected = f"neither {SECONDS.name} nor a date such as 2026-11-23T02:30:00Z"
            else:
                expected = f"not among {self.times.name}, as the others of its column are"
            message = f"time {_quoted(text)} is {expected}; fix the row"
            raise BadRowError(name, "BAD_TIME", message) from None
        if seconds > self.now + DAY_SECONDS or seconds < 0:
            message = f"time {_quoted(text)} is before 1970 or in the future; fix the row"
            raise BadRowError(name, "TIME_RANGE", message)
        return seconds

    def _seconds(self, text: str) -> int:
        """Raises ValueError."""
        try:
            return self.times.seconds(text)
        except ValueError:
            return ISO.seconds(text)

    def warn(self, message: str) -> None:
        """Keep a warning about the file, or count it where there are many."""
        if len(self._warnings) < MAX_WARNINGS:
            self._warnings.append(message)
        else:
            self._more_warnings += 1

    @property
    def warnings(self) -> list[str]:
        """The warnings, and how many more there were."""
        if not self._more_warnings:
            return list(self._warnings)
        return [*self._warnings, f"and {self._more_warnings:,} more like these"]


def key(text: str, name: str) -> str:
    """A key or title: the text without outer spaces, in one Unicode form (NFC).

    Raises BadRowError where it is empty, too long, or not text.
    """
    if (
        text.isascii()
        and 0 < len(text) <= MAX_KEY
        and text.isprintable()
        and text[0] != " "
        and text[-1] != " "
    ):
        return text  # most keys need no cleaning, which is slow
    cleaned = unicodedata.normalize("NFC", text).strip()
    if not cleaned:
        raise BadRowError(name, "EMPTY_KEY", f"{name} is empty; fix the row")
    if len(cleaned) > MAX_KEY:
        message = f"{name} has {len(cleaned)} characters, more than {MAX_KEY}; fix the row"
        raise BadRowError(name, "KEY_TOO_LONG", message)
    if "\0" in cleaned:
        message = f"{name} {_quoted(cleaned)} contains a NUL byte; fix the row"
        raise BadRowError(name, "NUL_BYTE", message)
    if any("\ud800" <= character <= "\udfff" for character in cleaned):
        message = f"{name} {_quoted(cleaned)} is not valid UTF-8; save the file as UTF-8"
        raise BadRowError(name, "BAD_ENCODING", message)
    return cleaned


def movielens_id(text: str, name: str) -> str:
    """A MovieLens id: digits, kept as text. Raises BadRowError."""
    if not MOVIELENS_ID.match(text):
        message = f"{name} {_quoted(text)} is not a number; fix the row"
        raise BadRowError(name, "BAD_ID", message)
    return text


def unique_key(text: str, what: str, taken: dict[str, int], reading: Reading) -> str:
    """A key for a name: a repeat becomes `text #2` in order of appearance, with a warning.

    `taken` maps each key to how often that name has occurred; this name is added.
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
    """The record of a rejected row; bytes that are not text are shown as escapes."""
    escaped = text[:MAX_TEXT].encode("utf-8", "backslashreplace").decode()
    return Reject(line, error.name, error.code, str(error), escaped.replace("\0", "\\0"))


def require_field_count(fields: list[str], expected: int) -> None:
    """Raise BadRowError unless the row has the expected number of fields."""
    if len(fields) != expected:
        message = (
            f"{len(fields)} fields instead of {expected}; "
            "fix the row, or quote a field that contains the separator"
        )
        raise BadRowError(None, "FIELD_COUNT", message)


def _quoted(text: str) -> str:
    """A field as a message shows it: shortened, in quotes, in ASCII."""
    if len(text) > MAX_SHOWN:
        text = text[:MAX_SHOWN] + "..."
    return repr(text).encode("ascii", "backslashreplace").decode()
