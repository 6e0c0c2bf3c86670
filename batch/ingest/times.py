"""A column of times -> the one way in which it is written, and seconds since 1970 UTC."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product

from batch.ingest.errors import RefusedError

NOTHING = frozenset({"", "-", "\\n", "n/a", "na", "nan", "nat", "none", "null", "<na>"})
"""Texts, in lower case, that mean "no value" in files of pandas, R and databases."""

DAY_SECONDS = 86_400
EXCEL_FIRST_DAY = datetime(1899, 12, 30, tzinfo=UTC)
"""Day 0 of Excel's calendar, from March 1900 on."""
SECONDS_FORM = re.compile(r"[0-9]{1,12}(\.[0-9]+)?\Z")
WHOLE_FRACTIONS = {13: 1_000, 16: 1_000_000, 19: 1_000_000_000}
"""Digits of a present time in milli-, micro- and nanoseconds -> units in a second."""
YEARS = range(1900, 2101)
EXCEL_DAYS = range(30_000, 60_000)
"""Days from 1982 to 2064."""
PLACES = ("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y")
"""Dates whose day and month may be confused."""
DATES = (
    *PLACES,
    *("%Y/%m/%d", "%d.%m.%Y", "%Y.%m.%d"),
    *("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y"),
    *("%d-%b-%Y", "%d-%B-%Y", "%m %d, %Y", "%a, %d %b %Y"),
)
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", " %H:%M:%S %z")


@dataclass(frozen=True)
class TimeFormat:
    """One way to write times."""

    name: str
    seconds: Callable[[str], int]  # raises ValueError for a text that is written otherwise


def _of_seconds(text: str) -> int:
    if not SECONDS_FORM.match(text):
        raise ValueError
    return int(text.partition(".")[0])


def _of_fractions(text: str) -> int:
    text = text.removesuffix(".0")
    if not (text.isascii() and text.isdigit()):
        raise ValueError
    units = WHOLE_FRACTIONS.get(len(text))
    if units is None:
        raise ValueError
    return int(text) // units


def _of_date_digits(text: str) -> int:
    text = text.removesuffix(".0")
    if not (text.isascii() and text.isdigit()) or len(text) not in (8, 14):
        raise ValueError
    moment = datetime.strptime(text, "%Y%m%d" if len(text) == 8 else "%Y%m%d%H%M%S")
    if moment.year not in YEARS:
        raise ValueError
    return int(moment.replace(tzinfo=UTC).timestamp())


def _of_year(text: str) -> int:
    text = text.removesuffix(".0")
    if not (text.isascii() and text.isdigit() and len(text) == 4) or int(text) not in YEARS:
        raise ValueError
    return int(datetime(int(text), 1, 1, tzinfo=UTC).timestamp())


def _of_excel_day(text: str) -> int:
    if not re.fullmatch(r"[0-9]{5}([.,][0-9]+)?", text, re.ASCII):
        raise ValueError
    days = float(text.replace(",", "."))
    if int(days) not in EXCEL_DAYS:
        raise ValueError
    moment = EXCEL_FIRST_DAY + timedelta(days=days)
    return round(moment.timestamp())


def _of_iso(text: str) -> int:
    """Among dates seconds since 1970 are accepted where they cannot be digits of a date."""
    if text.isdigit():
        if len(text) in (9, 10):
            return int(text)
        raise ValueError
    return _utc_seconds(datetime.fromisoformat(text.removesuffix(" UTC")))


def _of_pattern(pattern: str) -> Callable[[str], int]:
    def seconds(text: str) -> int:
        return _utc_seconds(datetime.strptime(text, pattern))

    return seconds


def _utc_seconds(moment: datetime) -> int:
    """Raises ValueError for a moment that no clock can show."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return int(moment.timestamp())
    except OverflowError:
        raise ValueError from None


SECONDS = TimeFormat("seconds since 1970", _of_seconds)
ISO = TimeFormat("dates such as 2026-11-23T02:30:00Z", _of_iso)
DIGITS = (
    TimeFormat("dates such as 20261123", _of_date_digits),
    TimeFormat("years", _of_year),
    TimeFormat("Excel's day numbers", _of_excel_day),
    TimeFormat("milli-, micro- or nanoseconds since 1970", _of_fractions),
    SECONDS,
)
"""Digits in the order in which they are tried: seconds would take most of them."""


def recognise_times(texts: Iterable[str], name: str) -> TimeFormat:
    """The format that most of these times have; `name` is their column.

    Raises RefusedError where days and months cannot be distinguished.
    """
    present = list(dict.fromkeys(text.strip() for text in texts))
    present = [text for text in present if text.casefold() not in NOTHING]
    if not present:
        return SECONDS
    for format_ in (*DIGITS, ISO):
        if _n_readable(present, format_) * 2 > len(present):
            return format_
    written = {format_: _n_readable(present, format_) for format_ in _pattern_formats(present)}
    most = max(written.values(), default=0)
    best = [format_ for format_, n_readable in written.items() if n_readable == most]
    if most * 2 <= len(present):
        return SECONDS  # rows that are written otherwise are rejected one by one
    if len(best) > 1:
        both = " or ".join(format_.name for format_ in best)
        message = (
            f"the dates of {name}, such as {present[0]!r}, fit {both}; "
            "write them as year-month-day, such as 2026-11-23"
        )
        raise RefusedError("AMBIGUOUS_TIMES", message)
    return best[0]


def _pattern_formats(texts: list[str]) -> Iterator[TimeFormat]:
    """The formats of written dates that one of the first texts fits."""
    for date, clock in product(DATES, CLOCKS):
        format_ = TimeFormat(f"dates such as {_example(date + clock)}", _of_pattern(date + clock))
        if _n_readable(texts[:5], format_):
            yield format_


def _example(pattern: str) -> str:
    return datetime(2026, 11, 23, 14, 30, tzinfo=UTC).strftime(pattern)


def _n_readable(texts: Iterable[str], format_: TimeFormat) -> int:
    """How many of the texts have this format."""
    readable = 0
    for text in texts:
        try:
            format_.seconds(text)
        except ValueError:
            continue
        readable += 1
    return readable
