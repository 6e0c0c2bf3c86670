"""A ratings file -> the rating of each pair of user and film; nothing is written."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

from batch import RecbatchError
from batch.ingest.batches import File, Settings
from batch.ingest.errors import RefusedError
from batch.ingest.fast_ratings import Block
from batch.ingest.parsing import RatingRow, Reject
from batch.ingest.survey import survey


class UnreadableError(RecbatchError):
    """A ratings file that cannot be measured on; the message has the place and the reason."""


def read_pairs(path: Path, settings: Settings) -> dict[tuple[str, str], float]:
    """The ratings of a file or folder in any format: (user_key, movie_key) -> stars.

    Of several ratings of a pair the later counts, then the higher. Raises UnreadableError for a
    file that `ingest` would refuse and for a row that it would reject: a measurement must use every
    row.
    """
    reports, files = survey([path], settings, None)
    refused = [report.why for report in reports if report.status == "refused"]
    if refused:
        raise UnreadableError("; ".join(refused))
    best: dict[tuple[str, str], tuple[int, float]] = {}
    for file in files:
        if file.format.kind != "ratings":
            continue
        try:
            for _, user_key, movie_key, stars, rated_at in _rating_rows(file, settings):
                time = file.snapshot_at if rated_at is None else rated_at
                pair = (user_key, movie_key)
                rank = (time, stars)
                best[pair] = max(rank, best.get(pair, rank))
        except RefusedError as error:
            raise UnreadableError(error.with_place(file.name)) from None
    return {pair: stars for pair, (_, stars) in best.items()}


def _rating_rows(file: File, settings: Settings) -> Iterator[RatingRow]:
    """The ratings of a file. Raises RefusedError for the first row that would be rejected."""
    with closing(file.read(file.reading(settings), lambda _: None)) as rows:
        for row in rows:
            if isinstance(row, Reject):
                raise RefusedError(row.code, row.message, row.line)
            if isinstance(row, Block):
                yield from row.ratings()
            else:
                yield cast("RatingRow", row)
