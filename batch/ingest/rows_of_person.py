"""A rejected row, and the texts of a person -> whether it names them; in doubt it does.

Rows are rejected because they are not what they should be: another separator, other letters or
bytes of another encoding. So the texts are looked for in the row as it was, and not in its fields.
"""

import json
import re
from collections.abc import Collection
from contextlib import suppress
from unicodedata import normalize

from batch.ingest.encoding import ESCAPE
from batch.ingest.formats import FORMATS
from batch.ingest.movielens import MOVIELENS
from batch.ingest.movielens_100k import U_DATA
from batch.ingest.movielens_dat import DAT
from batch.ingest.netflix import NETFLIX
from batch.ingest.wide import WIDE

USER_FIRST = {MOVIELENS.name, DAT.name, U_DATA.name, NETFLIX.name}
"""Formats whose rows begin with the user: any number further on may be a film's or a rating."""
CATALOGUES = {format_.name for format_ in FORMATS if format_.kind == "movies"}

BEFORE = r"(?<![\w.+@-])(?<!\w['’])"
AFTER = r"(?![\w@]|[.+'’-]\w)"
"""No letter or digit, nor what joins them to one word, as in ann@example.org, 4.5 or O'Neil."""
NUMBER = re.compile(r"\s*[-+]?\d+([.,]\d+)?\s*")


class PersonTexts:
    """A person's key and name, prepared for the search in many rows."""

    def __init__(self, texts: Collection[str]) -> None:
        self._texts = {_folded(text) for text in texts}
        spellings = {spelling for text in texts for spelling in _spellings(text)}
        longest_first = sorted(spellings, key=len, reverse=True)
        any_text = "|".join(map(re.escape, longest_first))
        self._anywhere = re.compile(f"{BEFORE}(?:{any_text}){AFTER}")
        self._first = re.compile(rf"[\W_]*(?:{any_text}){AFTER}")

    def are_in(self, format_: str | None, field: str | None, row: str) -> bool:
        """Whether a rejected row of a file of this format names the person.

        `field` is the column at fault. Rows of catalogues and ratings of a wide matrix name
        nobody, but the columns of a matrix may be users.
        """
        if format_ in CATALOGUES:
            return False
        if format_ == WIDE.name:
            if field is not None and _folded(field) in self._texts:
                return True
            if NUMBER.fullmatch(row):
                return False
        if format_ in USER_FIRST:
            return self._first.match(_folded(row)) is not None
        return self._anywhere.search(_folded(row)) is not None


def _spellings(text: str) -> set[str]:
    """A text as it may stand in a row: as it is, quoted for CSV, for JSON, in bytes of Latin-1."""
    spellings = {_folded(text), _folded(text.replace('"', '""')), _folded(json.dumps(text)[1:-1])}
    for case in (text, text.lower(), text.upper()):
        with suppress(UnicodeEncodeError):  # not a text of Latin-1
            escaped = case.encode("latin-1").decode("ascii", ESCAPE)
            spellings.add(_folded(escaped.encode("utf-8", "backslashreplace").decode()))
    return spellings


def _folded(text: str) -> str:
    return normalize("NFC", text).casefold()
