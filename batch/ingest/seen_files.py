"""Tables of users and the films that they have seen, without ratings -> rows."""

from batch.ingest.columns import (
    BARE_MOVIE_NAMES,
    RATINGS_COLUMNS,
    TITLE_NAMES,
    Places,
    find_column,
    find_columns,
    shown,
)
from batch.ingest.errors import RefusedError
from batch.ingest.fast_ratings import PlainLayout
from batch.ingest.file_format import Format, Layout, NearMiss, Sample
from batch.ingest.long import USUAL, is_time
from batch.ingest.long_rows import LongTable
from batch.ingest.parsing import MOVIELENS_ID
from batch.ingest.rows import most
from batch.ingest.times import SECONDS, recognise_times

SEEN = Format("seen films", family="seen", kind="seen")
SEEN_QUERY = Format("seen films of a query", family="query", kind="seen")
SEEN_FORMATS = (SEEN.name, SEEN_QUERY.name)
"""Formats of batches whose rows are in `seen`."""

FIRST_ROW_UNCLEAR = (
    "its first row may be a header, or a user and a film; begin it with a header, such as "
    "userId,movieId"
)


def recognise(sample: Sample, format_: Format = SEEN) -> Layout | NearMiss:
    """A layout by the names in the header, or by rows that are plainly a user and a film.

    The columns of the settings count where a table has them. One with a column of ratings is
    none of films seen. Raises RefusedError where the header fits two readings.
    """
    header = sample.header
    named = {what: name for what, name in sample.choices.columns.items() if name in header}
    places = find_columns(header, RATINGS_COLUMNS, named)
    if any(place is not None for place in places.values()):
        if not _is_complete(places, sample) or places["rating"] is not None:
            return _missing(sample, places)
        return _with_header(sample, places, format_)
    order = _order_without_header(sample)
    if order is None:
        return _missing(sample, places)
    is_data = _begins_with_data(sample, order)
    if is_data is None:
        return NearMiss("HEADER_MISSING", FIRST_ROW_UNCLEAR)
    return _without_header(sample, order, format_) if is_data else _missing(sample, places)


def read_of_query(sample: Sample) -> Layout:
    """The layout of the rows of a query. Raises RefusedError."""
    layout = recognise(sample, SEEN_QUERY)
    if isinstance(layout, Layout) and layout.has_header:
        return layout
    places = find_columns(sample.header, RATINGS_COLUMNS, {})
    raise RefusedError("HEADER_MISSING", _missing(sample, places).message, 1)


def require_seen(format_: Format, why: str) -> None:
    """Raise RefusedError for a file of ratings or of films, given as one of films seen."""
    if format_.kind == "seen":
        return
    what = "a file of ratings" if format_.kind == "ratings" else "a catalogue of films"
    message = (
        f"{what} ({why}), not a list of films seen: ingest it without --seen, and name it in "
        "ingest.paths, not ingest.seen_paths"
    )
    raise RefusedError("NOT_SEEN", message)


def _is_complete(places: Places, sample: Sample) -> bool:
    has_user = places["user"] is not None or sample.choices.user is not None
    return has_user and places["movie"] is not None


def _missing(sample: Sample, places: Places) -> NearMiss:
    """What a table lacks, or has too much of, to be one of films seen."""
    start = f"its columns are {shown(sample.header)}"
    missing = [what for what in ("user", "movie") if places[what] is None]
    if missing:
        lacks = " and ".join(f"the {what} (such as {USUAL[what]})" for what in missing)
        settings = " and ".join(f"ingest.columns.{what}" for what in missing)
        message = f"{start}; none of them is known to be {lacks}: name it in {settings}"
    else:
        message = f"{start}, with ratings; films seen have a user, a film and maybe a time"
    return NearMiss("HEADER_MISSING", message)


def _with_header(sample: Sample, places: Places, format_: Format) -> Layout:
    header = sample.header
    movie = places["movie"]
    others = [name if place != movie else "" for place, name in enumerate(header)]
    title = find_column(others, "title", (*TITLE_NAMES, BARE_MOVIE_NAMES))
    named = [f"{what} = {header[place]}" for what, place in places.items() if place is not None]
    return _layout(sample, format_, f"its header names {', '.join(named)}", places, header, title)


def _without_header(sample: Sample, order: Places, format_: Format) -> Layout:
    names = ["" for _ in sample.header]
    numbered = []
    for what, place in order.items():
        if place is not None:
            names[place] = what
            numbered.append(f"{what} = column {place + 1}")
    why = f"it has no header, and is read as {', '.join(numbered)}"
    return _layout(sample, format_, why, order, names, title=None, has_header=False)


def _layout(
    sample: Sample,
    format_: Format,
    why: str,
    places: Places,
    names: list[str],
    title: int | None,
    has_header: bool = True,
) -> Layout:
    user, movie, time = places["user"], places["movie"], places["time"]
    if movie is None:
        raise RefusedError("HEADER_MISSING", _missing(sample, places).message, 1)
    times = SECONDS
    if time is not None:
        times = recognise_times(sample.column(time, first_row=int(has_header)), names[time])
    table = LongTable(
        names=tuple(names),
        user=user,
        movie=movie,
        rating=None,
        time=time,
        title=title,
        one_user=None if user is not None else sample.choices.user,
    )
    in_order = [user, movie, time][: len(names)] == list(range(len(names)))
    has_ids = all(_are_ids(sample.column(place, int(has_header))) for place in (0, movie))
    plain = None
    if in_order and has_ids and times is SECONDS:
        header = ",".join(names).encode() if has_header else None
        plain = PlainLayout(b",", header, has_rating=False, has_time=time is not None)
    return Layout(format_, why, table.parse, len(names), has_header, times, plain)


def _order_without_header(sample: Sample) -> Places | None:
    """user, movie and maybe time, if there are as many columns and the last has times."""
    width = len(sample.header)
    user = 0 if sample.choices.user is None else None
    movie = 0 if user is None else 1
    time = movie + 1 if width == movie + 2 else None
    if width not in (movie + 1, movie + 2):
        return None
    if time is not None:
        texts = sample.column(time, first_row=0)
        format_ = recognise_times(texts, "time")
        if not most(is_time(text, format_) for text in texts):
            return None
    return {"user": user, "movie": movie, "rating": None, "time": time}


def _begins_with_data(sample: Sample, order: Places) -> bool | None:
    """Whether the first row of a table is data, not a header of unknown names; None: unclear.

    A header is no time, and no number above ids, and occurs once.
    """
    first = sample.rows[0]
    time = order["time"]
    if time is not None:
        return is_time(first[time].strip(), recognise_times(sample.column(time), "time"))
    places = [place for place in (order["user"], order["movie"]) if place is not None]
    has_ids = [place for place in places if _are_ids(sample.column(place, first_row=0))]
    if has_ids:
        return all(MOVIELENS_ID.match(first[place].strip()) for place in has_ids)
    recurs = any(first[place].strip() in sample.column(place) for place in places)
    return True if recurs else None


def _are_ids(texts: list[str]) -> bool:
    return most(MOVIELENS_ID.match(text) for text in texts)
