"""What a run met -> its warnings, each one line with the remedy."""

from collections.abc import Mapping

from batch.store.runs import RunWarning


def source_warnings(dead: Mapping[str, str]) -> list[RunWarning]:
    """One for each source without data; `dead` is source -> why, which begins with the file."""
    return [
        RunWarning(kind="source", about=source, message=f"source {why}")
        for source, why in dead.items()
    ]
