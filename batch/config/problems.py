"""What pydantic finds wrong with a value -> what is allowed, in this program's words."""

import difflib
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from batch.config.limits import PATTERNS

WHOLE_NUMBER = "must be a whole number"
NUMBER = "must be a number"
LIST = "must be a list, such as [a, b]"
A_TIME = "must be a time such as 2026-11-23 or 2026-11-23T02:30"
WORDS = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be {le} or less",
    "finite_number": "must be a finite number",
    "int_type": WHOLE_NUMBER,
    "int_parsing": WHOLE_NUMBER,
    "int_parsing_size": WHOLE_NUMBER,
    "int_from_float": WHOLE_NUMBER,
    "float_type": NUMBER,
    "float_parsing": NUMBER,
    "string_type": "must be text, in quotes where it could be something else",
    "path_type": "must be a path, in quotes where it could be something else",
    "tuple_type": LIST,
    "list_type": LIST,
    "missing": "is missing",
    "too_long": "must have {max_length} values",
    "too_short": "must have {min_length} values",
    "literal_error": "must be {expected}",
    "datetime_type": A_TIME,
    "datetime_parsing": A_TIME,
    "datetime_from_date_parsing": A_TIME,
    "datetime_object_invalid": A_TIME,
}
"""By pydantic's names of errors: what is allowed."""
OTHER = "cannot be used"
"""For an error of pydantic that no setting or option has so far."""
SECTION = ("model_type", "model_attributes_type", "dict_type")
"""Errors of a value where a section must be."""
NUMBERS_AND_CHOICES = ("int", "float", "finite", "greater", "less", "literal", "datetime")
"""Prefixes of the errors of a number, a choice or a time."""
MAX_SHOWN = 60
"""Characters of a wrong value that are repeated in a message."""
FORMATS = re.compile(r"does not match the formats '([^']+)'")
"""Typer's words for a date or time that has another format than an option asks for."""
EXAMPLE = datetime(2026, 11, 23, 2, 30)

Path = tuple[str, ...]
"""The names of a setting and of the sections that it is in."""


def wording(problems: list[ErrorDetails]) -> str:
    """What is allowed, and what the value is if it is a number, a choice or a time.

    There are several problems only where a setting may be of one type or another.
    """
    return ", or ".join(map(_allowed, problems)) + _value(problems[0])


def _allowed(problem: ErrorDetails) -> str:
    kind = problem["type"]
    if kind == "value_error":
        message = problem["msg"].removeprefix("Value error, ")
        formats = FORMATS.search(message)
        if formats is None:
            return message
        return f"must be as in {EXAMPLE:{formats[1]}}; it is {problem['input']!r}"
    context = problem.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(context["pattern"], OTHER)
    return WORDS.get(kind, OTHER).format(**{name: _plain(of) for name, of in context.items()})


def _plain(limit: Any) -> Any:
    """A limit as people write it: whole numbers without a point."""
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _value(problem: ErrorDetails) -> str:
    """The value, if it is a number or a choice: other text may be a misplaced secret."""
    value = problem["input"]
    is_single = isinstance(value, str | int | float)
    is_shown = is_single and problem["type"].startswith(NUMBERS_AND_CHOICES)
    return f"; it is {value!r}" if is_shown and len(repr(value)) <= MAX_SHOWN else ""


def setting_of(problem: ErrorDetails, settings: type[BaseModel]) -> Path:
    """The path of the wrong setting, without the names of types that pydantic appends."""
    section: type[BaseModel] | None = settings
    path: list[str] = []
    for part in map(str, problem["loc"]):
        fields = _fields(section) if section else {}
        is_last_unknown = problem["type"] == "extra_forbidden" and section is not None
        if part in fields:
            section = _section(fields[part].annotation)
        elif not (is_last_unknown or part.isdigit()):
            break
        path.append(part)
    return tuple(path)


def about_section(path: Path, settings: type[BaseModel]) -> tuple[Path, ...]:
    """The settings of a section, for a message about a value in its place."""
    section: type[BaseModel] | None = settings
    for name in path:
        section = _section(_fields(section)[name].annotation) if section else None
    return tuple((*path, name) for name in (_fields(section) if section else {}))


def similar(path: Path, settings: type[BaseModel], others: tuple[Path, ...]) -> Path | None:
    """The setting that an unknown one may stand for; `others` are settings too."""
    known = [*_paths(settings), *others]
    by_letters = {_letters(each): each for each in known}
    same_letters = by_letters.get(_letters(path))
    if same_letters is not None:
        return same_letters
    beside = {each[-1]: each for each in known if each[:-1] == path[:-1]}
    close = difflib.get_close_matches(path[-1], beside, n=1)
    if close:
        return beside[close[0]]
    elsewhere = [each for each in known if each[-1] == path[-1].replace("-", "_")]
    return elsewhere[0] if len(elsewhere) == 1 else None


def _letters(path: Path) -> str:
    """A path without what people get wrong: the signs between words and levels."""
    return re.sub(r"[_\-.]", "", "".join(path)).lower()


def _paths(section: type[BaseModel], before: Path = ()) -> Iterator[Path]:
    """Every section and setting."""
    for name, field in _fields(section).items():
        path = (*before, name)
        yield path
        below = _section(field.annotation)
        if below is not None:
            yield from _paths(below, path)


def _fields(section: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in section.model_fields.items()}


def _section(annotation: Any) -> type[BaseModel] | None:
    """The class of a section; None for a setting."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None
