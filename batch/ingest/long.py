"""Long tables, one rating a row, with or without a header -> rows."""

from batch.ingest.columns import (
    BARE_MOVIE_NAMES,
    RATINGS_COLUMNS,
    TITLE_NAMES,
    Named,
    Places,
    column_number,
    find_column,
    find_columns,
    shown,
)
from batch.ingest.errors import RefusedError
from batch.ingest.file_format import Format, Layout, NearMiss, Sample
from batch.ingest.long_rows import LongTable
from batch.ingest.parsing import NUMBER
from batch.ingest.rows import most
from batch.ingest.times import SECONDS, TimeFormat, recognise_times

LONG = Format("long file", family="long", kind="ratings")
QUERY = Format("rows of a query", family="query", kind="ratings")

MAX_LONG_COLUMNS = 12
"""A table with more columns, not all of which are named, is rather a matrix than a long file."""
MAX_RATING = 100
"""Larger numbers in most rows are ids or times, not ratings."""
NUMBERED_HEADER = "its first row is 0, 1, 2, ..., which names no column; remove or rename it"
SEEN_REMEDY = (
    "films that were seen, without ratings, come in through 'recbatch ingest --seen', "
    "ingest.seen_paths or ingest.seen_query"
)
USUAL = {
    "user": "user_id, user, username, reviewer",
    "movie": "movie_id, movie, film, item, title",
    "rating": "rating, stars, score",
}


def recognise(sample: Sample, format_: Format = LONG) -> Layout | NearMiss | None:
    """A layout by the names in the header, or by rows that are plainly ratings.

    Raises RefusedError where the header fits two readings, or the settings name no column of it.
    """
    numbered = _numbered_columns(sample)
    if numbered is not None:
        if _numbers_its_columns(sample.header):
            raise RefusedError("NUMBERED_HEADER", NUMBERED_HEADER, 1)
        return _without_header(sample, numbered, format_)
    places = find_columns(sample.header, RATINGS_COLUMNS, sample.choices.columns)
    if _is_complete(places, sample):
        return _with_header(sample, places, format_)
    if _numbers_its_columns(sample.header) and sample.header[0] != "":
        return NearMiss("NUMBERED_HEADER", NUMBERED_HEADER)
    if all(place is None for place in places.values()):
        order = _order_without_header(sample)
        if order is not None:
            return _without_header(sample, order, format_)
    return _near_miss(sample, places)


def read_of_query(sample: Sample) -> Layout:
    """The layout of the rows of a query. Raises RefusedError."""
    layout = recognise(sample, QUERY)
    if isinstance(layout, Layout) and layout.has_header:
        return layout
    places = find_columns(sample.header, RATINGS_COLUMNS, sample.choices.columns)
    raise RefusedError("HEADER_MISSING", missing_column(sample.header, places), 1)


def missing_column(header: list[str], places: Places) -> str:
    """A message that lists the columns, and the one that is missing."""
    missing = [what for what in ("user", "movie", "rating") if places[what] is None]
    lacks = " and ".join(f"the {what} (such as {USUAL[what]})" for what in missing)
    settings = " and ".join(f"ingest.columns.{what}" for what in missing)
    message = (
        f"its columns are {shown(header)}; none of them is known to be {lacks}: "
        f"name it in {settings}"
    )
    if missing == ["rating"]:
        return f"{message}; {SEEN_REMEDY}"
    if missing == ["user"]:
        return (
            f"{message}, or the one user of this file in ingest.user; "
            "of a catalogue of films remove the column of ratings"
        )
    return message


def _is_complete(places: Places, sample: Sample) -> bool:
    has_user = places["user"] is not None or sample.choices.user is not None
    return has_user and places["movie"] is not None and places["rating"] is not None


def _with_header(sample: Sample, places: Places, format_: Format) -> Layout:
    header = sample.header
    movie = places["movie"]
    others = [name if place != movie else "" for place, name in enumerate(header)]
    title = find_column(others, "title", (*TITLE_NAMES, BARE_MOVIE_NAMES))
    named = [f"{what} = {header[place]}" for what, place in places.items() if place is not None]
    why = f"its header names {', '.join(named)}"
    unused = [name for place, name in enumerate(header) if place not in (*places.values(), title)]
    if places["time"] is None and any(unused):
        why += f", and no time; not used: {shown(name for name in unused if name)}"
    return _layout(sample, format_, why, places, header, title=title)


def _without_header(sample: Sample, order: Places, format_: Format) -> Layout:
    """The layout of columns that are known by their order or numbers."""
    names = ["" for _ in sample.header]
    numbered = []
    for what, place in order.items():
        if place is not None:
            names[place] = what
            numbered.append(f"{what} = column {place + 1}")
    rating = order["rating"]
    has_header = rating is not None and not is_rating(sample.header[rating])
    start = "" if has_header else "it has no header, and is read as "
    return _layout(sample, format_, start + ", ".join(numbered), order, names, has_header)


def _layout(
    sample: Sample,
    format_: Format,
    why: str,
    places: Places,
    names: list[str],
    has_header: bool = True,
    title: int | None = None,
) -> Layout:
    movie = places["movie"]
    rating = places["rating"]
    time = places["time"]
    if movie is None or rating is None:
        raise RefusedError("HEADER_MISSING", missing_column(names, places), 1)
    times = SECONDS
    if time is not None:
        texts = sample.column(time, first_row=int(has_header))
        times = recognise_times(texts, names[time])
    one_user = None if places["user"] is not None else sample.choices.user
    table = LongTable(
        names=tuple(names),
        user=places["user"],
        movie=movie,
        rating=rating,
        time=time,
        title=title,
        one_user=one_user,
    )
    return Layout(format_, why, table.parse, len(names), has_header, times)


def _numbered_columns(sample: Sample) -> Places | None:
    """The places that ingest.columns gives by number, for a table without those names."""
    named: Named = sample.choices.columns
    chosen = {what: name for what, name in named.items() if name is not None}
    numbers = {what: column_number(name) for what, name in chosen.items()}
    if not chosen or None in numbers.values():
        return None
    places = find_columns(sample.header, dict.fromkeys(chosen, ()), named)
    order: Places = {what: places.get(what) for what in RATINGS_COLUMNS}
    if not _is_complete(order, sample):
        usual = find_columns(sample.header, RATINGS_COLUMNS, named)
        return usual if _is_complete(usual, sample) else None
    return order


def _numbers_its_columns(header: list[str]) -> bool:
    """Whether a header is 0, 1, 2, ..., maybe behind the unnamed index of a data frame."""
    names = header[1:] if header[0] == "" else header
    return names == [str(number) for number in range(len(names))]


def _order_without_header(sample: Sample) -> Places | None:
    """user, movie, rating and maybe time, if all rows, also the first, are plainly that."""
    width = len(sample.header)
    has_user_column = sample.choices.user is None
    first = 0 if has_user_column else -1
    n_needed = 3 + first
    if width not in (n_needed, n_needed + 1):
        return None
    movie = first + 1
    rating = first + 2
    time = first + 3 if width > n_needed else None
    if not _are_ratings([row[rating] for row in sample.rows if len(row) > rating]):
        return None
    if not is_rating(sample.rows[0][rating]):
        return None
    if time is not None:
        texts = sample.column(time, first_row=0)
        format_ = recognise_times(texts, "time")
        if not most(is_time(text, format_) for text in texts):
            return None
    return {
        "user": 0 if has_user_column else None,
        "movie": movie,
        "rating": rating,
        "time": time,
    }


def is_rating(text: str) -> bool:
    """Whether a text is a number in the range of ratings."""
    number = text.strip().replace(",", ".")
    return NUMBER.match(number) is not None and abs(float(number)) <= MAX_RATING


def _are_ratings(texts: list[str]) -> bool:
    """Whether most texts are ratings, of which many are the same."""
    ratings = [text for text in texts if is_rating(text)]
    few_values = len(set(ratings)) <= max(11, len(ratings) / 2)
    return len(ratings) * 2 > len(texts) and few_values


def is_time(text: str, format_: TimeFormat) -> bool:
    try:
        seconds = format_.seconds(text)
    except ValueError:
        return False
    return format_ is not SECONDS or seconds > 10**8  # smaller numbers are ids or counts


def _near_miss(sample: Sample, places: Places) -> NearMiss | None:
    """What is missing of a narrow table of which two columns are named like a long file's."""
    n_named = sum(place is not None for place in places.values())
    if n_named < 2 or (n_named == 2 and len(sample.header) > MAX_LONG_COLUMNS):
        return None
    return NearMiss("HEADER_MISSING", missing_column(sample.header, places))
