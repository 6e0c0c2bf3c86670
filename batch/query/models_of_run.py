"""A run -> the models that it made lists of."""

from difflib import get_close_matches

from sqlalchemy import Connection, select

from batch import RecbatchError
from batch.query.run import run_with_lists
from batch.store import schema
from batch.store.runs import ROWS

_metrics = schema.run_metrics


class NoSuchModelError(RecbatchError):
    """The run has no lists of this model; the message names the models it has."""


def models(
    connection: Connection,
    *,
    run_id: int | None = None,
) -> tuple[str, ...]:
    """The models that a run made lists of, empty ones included.

    Raises NoSuchRunError.
    """
    return _models(connection, run_with_lists(connection, run_id).run_id)


def _models(connection: Connection, run_id: int) -> tuple[str, ...]:
    """By the metrics: a run counts the rows of each model, which may be 0."""
    m = _metrics.c
    with_lists = select(m.model).where(m.run_id == run_id, m.metric == ROWS)
    return tuple(sorted(connection.execute(with_lists).scalars()))


def require_model(connection: Connection, run_id: int, model: str) -> None:
    available = _models(connection, run_id)
    if model in available:
        return
    message = f"run {run_id} has no lists of a model {model!r}"
    message += f"; it has {', '.join(available) or 'none'}"
    close = get_close_matches(model.lower(), available, n=1)
    if close:
        message += f"; did you mean {close[0]!r}?"
    raise NoSuchModelError(message)
