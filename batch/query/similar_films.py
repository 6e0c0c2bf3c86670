"""A film -> the films most like it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, exists, select

from batch import RecbatchError, reasons
from batch.query.find import UnknownFilmError
from batch.query.run import run_with_lists
from batch.store import schema
from batch.store.filters import is_filtered, now_on

_similar, _movies = schema.similar_items, schema.movies


class NoSimilarFilmsError(RecbatchError):
    """The run made no lists of similar films; the message says what makes them."""


@dataclass(frozen=True)
class SimilarFilm:
    """A film that the people who liked another film liked too.

    `score`, 0 to 1, orders the list. `support` is how many of them liked it, and `why` says so.
    """

    rank: int
    movie_key: str
    title: str
    score: float
    support: int
    why: str


@dataclass(frozen=True)
class SimilarFilms:
    """The films most like one film; none where nobody liked it together with another."""

    movie_key: str
    title: str
    run_id: int
    published_at: datetime | None  # None for a run that was never published
    films: tuple[SimilarFilm, ...]


def similar(
    connection: Connection,
    film: str,
    *,
    n: int | None = None,
    run_id: int | None = None,
) -> SimilarFilms:
    """The films most like a film, by key, at most n, of the published run or of `run_id`.

    Films that are filtered for everyone now are left out; the others keep their ranks. Raises
    NoSuchRunError, UnknownFilmError, and NoSimilarFilmsError where no film has such a list.
    """
    run = run_with_lists(connection, run_id)
    s, m = _similar.c, _movies.c
    by_key = select(m.movie_id, m.title).where(m.movie_key == film)
    row = connection.execute(by_key).first()
    if row is None:
        raise UnknownFilmError(f"no film has the key {film!r}")
    films = (
        select(s.rank, m.movie_key, m.title, s.score, s.support)
        .join_from(_similar, _movies, m.movie_id == s.other_id)
        .where(s.run_id == run.run_id, s.movie_id == row.movie_id)
        .where(~is_filtered(now_on(connection.dialect), s.other_id))
        .order_by(s.rank)
    )
    rows = connection.execute(films.limit(n)).all()
    if not rows:
        _require_similar(connection, run.run_id)
    listed = tuple(SimilarFilm(*each, reasons.liked_by(each.support)) for each in rows)
    return SimilarFilms(film, row.title, run.run_id, run.published_at, listed)


def _require_similar(connection: Connection, run_id: int) -> None:
    """Raise NoSimilarFilmsError unless the run has rows of similar films."""
    any_row = select(exists().where(_similar.c.run_id == run_id))
    if not connection.execute(any_row).scalar_one():
        raise NoSimilarFilmsError(
            f"run {run_id} has no lists of similar films; the next run makes them, where"
            " similar.n is not 0 and anybody has liked two films"
        )
