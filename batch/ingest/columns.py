"""The header of a table -> which of its columns is the user, the movie, the rating, the time."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from batch.ingest.errors import RefusedError

Names: TypeAlias = tuple[frozenset[str], ...]
"""Usual names of a column, folded, in classes: the first class that has one decides."""
Named: TypeAlias = Mapping[str, str | int | None]
"""What ingest.columns says: user, movie, rating, time -> a name, or a number from 1."""
Places: TypeAlias = dict[str, int | None]
"""user, movie, rating, time -> the place of its column in a row, from 0."""


def name_set(text: str) -> frozenset[str]:
    """Names that are written in one text, separated by blanks."""
    return frozenset(text.split())


_THINGS = (
    "movie film item anime manga book product show series song track artist album game recipe "
    "restaurant business article place hotel joke course video title"
)
_PEOPLE = "user customer member reviewer viewer profile person rater critic account client reader"
USER_NAMES: Names = (
    name_set("userkey userid uid usrid useridx userno")
    | frozenset(f"{name}id" for name in _PEOPLE.split()),
    name_set(_PEOPLE),
    name_set("username usernickname nickname nick login email profilename reviewername membername"),
)
TITLE_NAMES: Names = (
    name_set("title movietitle filmtitle itemtitle primarytitle booktitle"),
    name_set("name moviename filmname itemname englishname originaltitle"),
)
MOVIE_NAMES: Names = (
    name_set(
        "moviekey filmkey itemkey movieidx mid iid isbn asin tconst const imdbid tmdbid sku malid"
    )
    | frozenset(f"{name}id" for name in _THINGS.split()),
    name_set("parentasin"),
    name_set(_THINGS) - {"title"},
    *TITLE_NAMES,
)
BARE_MOVIE_NAMES = MOVIE_NAMES[2]
"""Names such as movie and film, of a key, or beside a key of a title."""
RATING_NAMES: Names = (
    name_set("yourrating userrating myrating myscore bookrating movierating filmrating itemrating"),
    name_set("rating ratings stars star score overall ratingscore starrating reviewrating"),
    name_set("grade vote points rate ratingvalue reviewscore preference"),
)
TIME_NAMES: Names = (
    name_set("ratedat timestamp ratingtimestamp unixreviewtime unixtime ts timestamps epoch"),
    name_set("time date datetime ratedon daterated ratingdate ratingtime rateddate reviewdate")
    | name_set("createdat created createdon watcheddate reviewedat"),
    name_set("updatedat reviewtime"),
)
RATINGS_COLUMNS: dict[str, Names] = {
    "user": USER_NAMES,
    "movie": MOVIE_NAMES,
    "rating": RATING_NAMES,
    "time": TIME_NAMES,
}
MOVIES_COLUMNS: dict[str, Names] = {
    "movie": (*MOVIE_NAMES[:3], name_set("id key")),
    "title": TITLE_NAMES,
    "genres": (name_set("genres genre genrenames movegenres moviegenres categories category"),),
}
INDEX_NAMES = {"", "index", "unnamed0", "level0", "rownames"}
"""Headers of a column that numbers the rows, folded."""
_TYPE = re.compile(r":(token|token_seq|float|float_seq)\Z")
"""The type behind a name in RecBole's atomic files."""


def fold(name: str) -> str:
    """`User-ID` -> userid: the name without case, blanks and punctuation."""
    text = _TYPE.sub("", name.strip()).casefold()
    return "".join(character for character in text if character.isalnum())


def is_name_of(name: str, names: Names) -> bool:
    """Whether this header is a usual name of a column."""
    folded = fold(name)
    return any(folded in of_class for of_class in names)


def find_column(header: Sequence[str], what: str, names: Names) -> int | None:
    """The place of a column with a usual name, or None. Of two titles the first counts.

    Raises RefusedError where two have a name that is otherwise used.
    """
    folded = [fold(name) for name in header]
    for of_class in names:
        places = [place for place, name in enumerate(folded) if name in of_class]
        if len(places) > 1 and of_class not in TITLE_NAMES:
            if header[places[0]] == header[places[1]]:
                raise _same_name(what, header[places[0]])
            both = " and ".join(repr(header[place]) for place in places[:2])
            message = f"{both} may both be the {what}; name the one in ingest.columns.{what}"
            raise RefusedError("AMBIGUOUS_COLUMNS", message, 1)
        if places:
            return places[0]
    return None


def find_columns(header: Sequence[str], columns: Mapping[str, Names], named: Named) -> Places:
    """The place of each column: the one that the settings name, else one with a usual name.

    Raises RefusedError where the settings name a column that is not there, or two columns fit.
    """
    places: Places = {}
    for what in columns:
        name = named.get(what)
        if name is not None:
            places[what] = named_column(header, what, name)
    _require_different(header, places)
    for what, names in columns.items():
        if what not in places:
            others = [
                name if place not in places.values() else "" for place, name in enumerate(header)
            ]
            places[what] = find_column(others, what, names)
    return {what: places[what] for what in columns}


def named_column(header: Sequence[str], what: str, name: str | int) -> int:
    """The place of a column that the settings name, or number. Raises RefusedError."""
    number = column_number(name)
    if number is not None and number <= len(header):
        return number - 1
    if str(name) in header:
        if header.count(str(name)) > 1:
            raise _same_name(what, str(name))
        return header.index(str(name))
    message = (
        f"ingest.columns.{what} names the column {name!r}, "
        f"but this file has {shown(header)}; correct the setting, which holds for all files"
    )
    raise RefusedError("NO_SUCH_COLUMN", message, 1)


def _same_name(what: str, name: str) -> RefusedError:
    message = (
        f"two columns have the name {name!r}; give the number of one, from 1, in "
        f"ingest.columns.{what}"
    )
    return RefusedError("HEADER_DUPLICATE", message, 1)


def _require_different(header: Sequence[str], places: Places) -> None:
    """Raise RefusedError where the settings name one column as two things."""
    of_places: dict[int | None, str] = {}
    for what, place in places.items():
        other = of_places.setdefault(place, what)
        if other != what and place is not None:
            column = repr(header[place]) if header[place] else f"column {place + 1}"
            message = (
                f"ingest.columns.{other} and ingest.columns.{what} both name {column}; "
                "correct one of them (columns are numbered from 1)"
            )
            raise RefusedError("SAME_COLUMN", message, 1)


def column_number(name: str | int | None) -> int | None:
    """The number that a setting gives instead of a name, from 1."""
    text = str(name)
    return int(text) if re.fullmatch("[1-9][0-9]{0,5}", text) else None


def shown(header: Iterable[str]) -> str:
    """The columns of a file as a message lists them."""
    names = [name or "(unnamed)" for name in header]
    if len(names) > 20:
        return f"{', '.join(names[:20])} and {len(names) - 20:,} more"
    return ", ".join(names)
