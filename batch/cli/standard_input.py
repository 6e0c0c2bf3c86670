"""Standard input -> a temporary file, which is read like any other and shown as `-`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from batch.cli.arguments import FAILED, stop
from batch.cli.help import WRONG_USE

if TYPE_CHECKING:  # help must not wait for the imports that read files
    from batch.ingest.sources import Source

DASH = "-"
"""The path that means standard input; a file of that name can be piped in."""
COPY = "standard-input"
"""The name of the copy in its temporary folder."""


@contextmanager
def reading_standard_input(paths: Sequence[Path]) -> Iterator[list[Path | Source]]:
    """The paths, with a copy of standard input, removed in the end, in place of a `-`.

    A copy, because a file is read several times: its format, its checksum, its rows. Ends the
    program where `-` is given twice, standard input is a terminal, or there is no room.
    """
    from batch.ingest.sources import Source

    dashes = [path for path in paths if str(path) == DASH]
    if not dashes:
        yield list(paths)
        return
    _require_input(len(dashes))
    with TemporaryDirectory(prefix="recbatch-") as folder:
        copy = Path(folder) / COPY
        _copy_input(copy)
        source = Source(copy, None, label=DASH)
        yield [source if str(path) == DASH else path for path in paths]


def _require_input(n_dashes: int) -> None:
    """End with WRONG_USE unless standard input can be read, once."""
    if n_dashes > 1:
        stop(WRONG_USE, "- is given twice, but standard input can be read only once")
    if sys.stdin is None or sys.stdin.isatty():
        stop(
            WRONG_USE,
            "- reads standard input, into which nothing is piped; pipe a file into it, as in"
            " 'recbatch ingest - < ratings.csv'",
        )


def _copy_input(file: Path) -> None:
    """Write standard input into a file; ends with FAILED where that cannot be done."""
    try:
        with file.open("wb") as output:
            shutil.copyfileobj(sys.stdin.buffer, output)
    except OSError as error:
        stop(
            FAILED,
            f"standard input cannot be copied to {file.parent} ({error.strerror}); make room"
            " there, or set TMPDIR to another folder",
        )
