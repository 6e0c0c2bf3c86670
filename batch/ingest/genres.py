"""The text of a film's genres -> their names."""

import ast
import csv
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from batch.ingest.errors import BadRowError
from batch.ingest.parsing import key
from batch.ingest.times import NOTHING

NO_GENRES = "(no genres listed)"
SEPARATORS = ("|", ";", ",")
"""What separates genres, in the order in which it is looked for: names may contain commas."""

WITHOUT_COMMAS = re.compile(r"['\"]\s+['\"]")
QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


@dataclass(frozen=True)
class GenreColumn:
    """How the genres of a film are written in a column."""

    separator: str

    def names(self, text: str) -> tuple[str, ...]:
        """`Comedy|Drama`, a list in JSON, or an array of Postgres -> names, sorted.

        Raises BadRowError.
        """
        text = text.strip()
        if text == NO_GENRES or text.casefold() in NOTHING:
            return ()
        if text[0] + text[-1] == "[]":
            names = _listed(text)
        elif text[0] + text[-1] == "{}":
            names = _of_array(text)
        else:
            names = text.split(self.separator)
        genres = {key(name, "genre") for name in names if name.strip()}
        return tuple(sorted(genres - {NO_GENRES}))


def genre_column(texts: Iterable[str]) -> GenreColumn:
    """How these texts separate genres."""
    plain = [text for text in texts if not text.startswith(("[", "{"))]
    for separator in SEPARATORS:
        if any(separator in text for text in plain):
            return GenreColumn(separator)
    return GenreColumn("|")


def _listed(text: str) -> list[str]:
    """The names of a list as JSON or Python write it, of texts or of objects with a name."""
    if WITHOUT_COMMAS.search(text):  # numpy's arrays
        return [single or double for single, double in QUOTED.findall(text)]
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        try:
            values = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            message = f"genres {text[:40]!r} is not a list; fix the row"
            raise BadRowError("genres", "BAD_LIST", message) from None
    return [_name(value) for value in values]


def _name(value: Any) -> str:
    """The text of one value of a list. Raises BadRowError."""
    if isinstance(value, dict):
        value = value.get("name")
    if isinstance(value, str):
        return value
    message = f"genres has {value!r} in its list, which is no text; fix the row"
    raise BadRowError("genres", "BAD_LIST", message)


def _of_array(text: str) -> list[str]:
    """The names of an array as Postgres writes it: `{Drama,"Film Noir"}`, or of a set of Python."""
    if text[1:2] == "'":
        return _listed(f"[{text[1:-1]}]")
    reader = csv.reader([text[1:-1]], escapechar="\\", doublequote=False)
    return next(reader, [])
