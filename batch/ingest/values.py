"""Values of databases, Parquet, Excel and JSON -> texts, as a person would write them."""

import json
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any


def text_of(value: Any) -> str:
    """4, not 4.000000; nothing for NULL and NaN; a list as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, date):  # includes datetime
        return value.isoformat()
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value.normalize():f}"
    if isinstance(value, float):
        if value != value:
            return ""
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def texts_of(row: Iterable[Any]) -> list[str]:
    return [text_of(value) for value in row]
