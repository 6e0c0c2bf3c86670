"""`recommendations` -> a caller: each user's list, from which run, published when.

from batch.query import snapshot, top

with snapshot("sqlite:///recbatch.db") as connection:
    answer = top(connection, "1", model="item_item")
    for film in answer.films:
        print(film.rank, film.title, film.score)

It imports no numerical library, so that it starts fast; only `frame` loads pandas.
"""

from batch.query.find import (
    AmbiguousFilmError,
    AmbiguousUserError,
    UnknownFilmError,
    UnknownUserError,
    find_film,
    find_user,
)
from batch.query.models_of_run import NoSuchModelError, models
from batch.query.names import Names
from batch.query.run import Publication, published, snapshot
from batch.query.shelves import Shelf, ShelfFilm, shelves
from batch.query.similar_films import NoSimilarFilmsError, SimilarFilm, SimilarFilms, similar
from batch.query.table import Row, frame, rows
from batch.query.user_lists import Answer, Film, hidden_titles, lists, popular, top
from batch.store.runs import NoSuchRunError

__all__ = [
    "AmbiguousFilmError",
    "AmbiguousUserError",
    "Answer",
    "Film",
    "Names",
    "NoSimilarFilmsError",
    "NoSuchModelError",
    "NoSuchRunError",
    "Publication",
    "Row",
    "Shelf",
    "ShelfFilm",
    "SimilarFilm",
    "SimilarFilms",
    "UnknownFilmError",
    "UnknownUserError",
    "find_film",
    "find_user",
    "frame",
    "hidden_titles",
    "lists",
    "models",
    "popular",
    "published",
    "rows",
    "shelves",
    "similar",
    "snapshot",
    "top",
]
