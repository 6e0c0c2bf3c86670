"""What each night would build again, compiled SQL, the parser, models -> built once."""

from functools import cache
from hashlib import sha256
from typing import Any

import pytest
import typer
from sqlalchemy import Engine, create_engine

from batch.job import steps
from batch.models import Model, fit
from batch.params import Models
from batch.ranking.evaluate import Evaluation, Inputs, evaluate
from batch.ratings import Ratings
from batch.store import engines


class _SharedCache(dict[Any, Any]):
    """Compiled statements by the dialect's name; SQLAlchemy's keys have one engine's dialect."""

    def get(self, key: Any, default: Any = None) -> Any:
        dialect, *statement = key
        return super().get((dialect.name, *statement), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        dialect, *statement = key
        super().__setitem__((dialect.name, *statement), compiled)


def share_compiled_sql(patch: pytest.MonkeyPatch) -> None:
    """Let all engines that the program creates from now on use one cache of compiled SQL.

    All tests use one version of each database, and nothing else that SQL depends on differs
    between engines.
    """
    options = {"compiled_cache": _SharedCache()}

    def create_sharing(*arguments: Any, **named: Any) -> Engine:
        return create_engine(*arguments, execution_options=options, **named)

    patch.setattr(engines, "create_engine", create_sharing)


def share_parser(patch: pytest.MonkeyPatch) -> None:
    """Build the command line's parser once: an eighth of a night of fixed arithmetic."""
    patch.setattr(typer.main, "get_command", cache(typer.main.get_command))


_results: dict[tuple[Any, ...], Any] = {}


def share_results(patch: pytest.MonkeyPatch) -> None:
    """Let nights on the same ratings and settings share one evaluation and the fitted models.

    They are most of a small night's time. `evaluate` and `fit` are pure: they would return the
    same again.
    """

    def evaluate_once(
        ratings: Ratings, models: Models, inputs: Inputs, min_users: int
    ) -> Evaluation:
        key = (_digest(ratings), models.model_dump_json(), min_users, *sorted(inputs.items()))
        if key not in _results:
            _results[key] = evaluate(ratings, models, inputs, min_users)
        return _results[key]

    def fit_once(name: str, ratings: Ratings, params: Any, seed: int, **chosen: Any) -> Model:
        key = (name, _digest(ratings), repr(params), str(seed), repr(chosen))
        if key not in _results:
            _results[key] = fit(name, ratings, params, seed, **chosen)
        return _results[key]

    patch.setattr(steps, "evaluate", evaluate_once)
    patch.setattr(steps, "fit", fit_once)
    patch.setattr("batch.ranking.evaluate.fit", fit_once)  # `explain` fits what a night fitted


def _digest(ratings: Ratings) -> str:
    """A name for everything that these ratings consist of."""
    matrix = ratings.matrix
    digest = sha256(repr((matrix.shape, matrix.data.dtype, ratings.scale)).encode())
    arrays = [matrix.data, matrix.indices, matrix.indptr, ratings.user_ids, ratings.movie_ids]
    arrays += [ratings.genres, ratings.genre_ids]
    if ratings.rated_at is not None:
        arrays.append(ratings.rated_at)
    for array in arrays:
        digest.update(repr((array.shape, array.dtype)).encode() + array.tobytes())
    return digest.hexdigest()
