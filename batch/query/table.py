"""Lists -> one row a film, and a pandas table."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection

from batch import reasons
from batch.query.models_of_run import models
from batch.query.user_lists import Answer, lists

if TYPE_CHECKING:
    import pandas

_FRAME_TYPES = {
    "user_key": "str",
    "user_name": "str",
    "model": "str",
    "rank": "int64",
    "movie_key": "str",
    "title": "str",
    "score": "float64",
    "predicted_rating": "float64",
    "reason": "str",
    "run_id": "int64",
    "published_at": "datetime64[us, UTC]",
    "why": "str",
}
"""Types of pandas for the columns of `frame`: those of a table without rows too."""
FRAME_BLOCK = 50_000
"""Rows that are Python objects at a time: as a table they take a quarter of the memory."""


class Row(NamedTuple):
    """One film of one user's list: the columns of the view `current_recommendations`, and `why`.

    `why` is `reason` as a sentence; both are None where the model gives no
    reason. Every row of a run has the same `run_id` and `published_at`.
    """

    user_key: str | None
    user_name: str | None
    model: str
    rank: int
    movie_key: str
    title: str
    score: float
    predicted_rating: float | None
    reason: dict[str, Any] | None
    run_id: int
    published_at: datetime | None
    why: str | None

    def cells(self) -> tuple[Any, ...]:
        """The values, with `reason` as JSON text: for tables, whose cells hold no objects."""
        values = self._asdict()
        values["reason"] = reasons.as_text(self.reason)
        return tuple(values.values())


def rows(
    connection: Connection,
    *,
    model: str | None = None,
    run_id: int | None = None,
) -> Iterator[Row]:
    """Every film of every list, as `lists` gives them: of one model, or of all by name.

    Rows are read as they are needed, not held in memory. Raises
    NoSuchRunError, NoSuchModelError, at the call.
    """
    names = models(connection, run_id=run_id) if model is None else (model,)
    answers = [lists(connection, model=name, run_id=run_id) for name in names]
    return _rows(chain.from_iterable(answers))


def _rows(answers: Iterable[Answer]) -> Iterator[Row]:
    for answer in answers:
        for film in answer.films:
            yield Row(
                user_key=answer.user_key,
                user_name=answer.user_name,
                model=answer.model,
                rank=film.rank,
                movie_key=film.movie_key,
                title=film.title,
                score=film.score,
                predicted_rating=film.predicted_rating,
                reason=film.reason,
                run_id=answer.run_id,
                published_at=answer.published_at,
                why=film.why or None,
            )


def frame(
    connection: Connection,
    *,
    model: str | None = None,
    run_id: int | None = None,
) -> "pandas.DataFrame":
    """The rows of `rows` as a pandas table, `reason` as JSON text, missing where None.

    Loads pandas, and holds the whole table in memory. Raises
    NoSuchRunError, NoSuchModelError.
    """
    import pandas

    cells = (row.cells() for row in rows(connection, model=model, run_id=run_id))
    blocks = [_block([], pandas)]
    while block := list(islice(cells, FRAME_BLOCK)):
        blocks.append(_block(block, pandas))
    return pandas.concat(blocks, ignore_index=True)


def _block(cells: Sequence[tuple[Any, ...]], pandas: Any) -> Any:
    return pandas.DataFrame(cells, columns=Row._fields).astype(_FRAME_TYPES)
