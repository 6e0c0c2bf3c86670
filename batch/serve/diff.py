"""Two runs -> what changed for readers between them: lists, films, users and metrics."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, exists, func, select

from batch.audit.run_comparison import ComparedRun, Overlap, Volume, compared_runs, list_overlap
from batch.query import NoSuchModelError, models
from batch.ranking.metric_names import RunMetrics
from batch.store import schema
from batch.store.checks import is_model_row
from batch.store.database import without_nested_loops

MOST_MOVED = 5
"""Films named of those that entered most lists, and of those that left most."""
METRICS = ("rmse", "precision", "ndcg", "coverage", "fallback_share")
"""Metrics that are compared; those of lists are at each run's own list length."""

_lists = schema.recommendations
_movies = schema.movies


@dataclass(frozen=True)
class MovedFilm:
    """A film, and how many lists it entered or left."""

    movie_key: str
    title: str
    lists: int


@dataclass(frozen=True)
class MetricChange:
    """One metric of both runs; None where it was not measured."""

    before: float | None
    after: float | None


@dataclass(frozen=True)
class ModelDiff:
    """How one model's lists changed. The shares are over users with a list in both runs."""

    model: str
    users: int  # with a list in both
    same_share: float | None  # whose list is the same, film by film; None without users
    overlap: float | None  # films in both / films of the longer list, the mean over users
    replaced: int  # users none of whose films stayed
    new_users: int
    gone_users: int
    entered: tuple[MovedFilm, ...]  # in most lists first
    left: tuple[MovedFilm, ...]
    metrics: Mapping[str, MetricChange]


@dataclass(frozen=True)
class Diff:
    """What changed between two runs, over the ranks that both have."""

    before: int
    after: int
    ranks: int
    models: tuple[ModelDiff, ...]


def diff(connection: Connection, before: int, after: int, model: str | None = None) -> Diff:
    """What changed from one run to another, for one model or all of them.

    Raises query.NoSuchRunError, NoSuchModelError.
    """
    all_models = {*models(connection, run_id=before), *models(connection, run_id=after)}
    available = sorted(all_models)
    if model is not None and model not in available:
        names = ", ".join(available) or "none"
        raise NoSuchModelError(f"no lists of a model {model!r}; there are {names}")
    ranks, (old, new) = compared_runs(connection, [before, after])
    overlaps = list_overlap(connection, after, before, ranks)
    entered = _moved(connection, after, before, ranks)
    left = _moved(connection, before, after, ranks)
    no_overlap = Overlap(0, 0.0, {})
    changes = tuple(
        _model_diff(
            name,
            old,
            new,
            overlap=overlaps.get(name, no_overlap),
            entered=entered.get(name, []),
            left=left.get(name, []),
        )
        for name in ([model] if model else available)
    )
    return Diff(before, after, ranks, changes)


def _model_diff(
    model: str,
    old: ComparedRun,
    new: ComparedRun,
    *,
    overlap: Overlap,
    entered: Sequence[MovedFilm],
    left: Sequence[MovedFilm],
) -> ModelDiff:
    no_lists = Volume(0, 0, 0)
    has_users = overlap.users > 0
    return ModelDiff(
        model=model,
        users=overlap.users,
        same_share=overlap.same / overlap.users if has_users else None,
        overlap=overlap.overlap if has_users else None,
        replaced=overlap.replaced,
        new_users=new.volumes.get(model, no_lists).users - overlap.users,
        gone_users=old.volumes.get(model, no_lists).users - overlap.users,
        entered=tuple(entered),
        left=tuple(left),
        metrics=_metric_changes(model, old.metrics, new.metrics),
    )


def _metric_changes(model: str, old: RunMetrics, new: RunMetrics) -> dict[str, MetricChange]:
    """Both in the cut that the newer run is judged by."""
    old = old.within(new.cut)
    return {
        metric: MetricChange(before=old.get(model, metric), after=new.get(model, metric))
        for metric in METRICS
    }


def _moved(
    connection: Connection, run_id: int, other_id: int, ranks: int
) -> Mapping[str, list[MovedFilm]]:
    """Films of a run's lists that the same lists of the other run lack, by model.

    Only users with a list in both runs count. The films of most lists come first.
    """
    own = _lists.alias("own").c
    other = _lists.alias("other").c
    same_list = (
        other.run_id == other_id,
        other.user_id == own.user_id,
        other.model == own.model,
        is_model_row(other.support),
    )
    in_both = exists().where(*same_list, other.rank == 1)
    stayed = exists().where(*same_list, other.movie_id == own.movie_id, other.rank <= ranks)
    counted = (
        select(own.model, own.movie_id, func.count().label("lists"))
        .where(own.run_id == run_id, own.rank <= ranks, is_model_row(own.support))
        .where(in_both)
        .where(~stayed)
        .group_by(own.model, own.movie_id)
        .subquery()
    )
    place = func.row_number().over(
        partition_by=counted.c.model,
        order_by=(counted.c.lists.desc(), _movies.c.movie_key),
    )
    columns = (counted.c.model, _movies.c.movie_key, _movies.c.title, counted.c.lists)
    ranked = (
        select(*columns, place.label("place"))
        .join_from(counted, _movies, _movies.c.movie_id == counted.c.movie_id)
        .subquery()
    )
    most_moved = (
        select(ranked).where(ranked.c.place <= MOST_MOVED).order_by(ranked.c.model, ranked.c.place)
    )
    with without_nested_loops(connection):
        rows = connection.execute(most_moved).all()
    films: dict[str, list[MovedFilm]] = defaultdict(list)
    for row in rows:
        films[row.model].append(MovedFilm(row.movie_key, row.title, row.lists))
    return films
