"""Nested settings over nested settings -> one mapping."""

from collections.abc import Mapping
from typing import Any


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings in one; the second wins key by key."""
    result = dict(under)
    for key, value in over.items():
        before = result.get(key)
        if not isinstance(before, dict):
            result[key] = value
        elif isinstance(value, dict):
            result[key] = merged(before, value)
        elif value is not None:  # None is a section whose keys are all commented out
            result[key] = value
    return result
