"""Two runs -> what changed for readers between them: lists, films, users and metrics."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, exists, func, select

from batch.audit.run_comparison import ComparedRun, Overlap, Volume, compared_runs, list_overlap
from batch.query import NoSuchModelError, models
from batch.store import schema
from batch.store.checks import is_model_row

MOST_MOVED = 5
"""Films named of those that entered lists, and of those that left: as many as one looks at."""
METRICS = ("rmse", "precision", "ndcg", "coverage", "fallback_share")
"""What tells a better night from a worse one; of lists at each run's own length."""

_lists, _movies = schema.recommendations, schema.movies


@dataclass(frozen=True)
class Moved:
    """A film, and how many lists it entered or left."""

    movie_key: str
    title: str
    lists: int


@dataclass(frozen=True)
class Beside:
    """One metric of both runs, None where it was not measured."""

    before: float | None
    after: float | None


@dataclass(frozen=True)
class ModelDiff:
    """What became of one model's lists. The shares are over users with a list in both runs."""

    model: str
    users: int  # with a list in both
    same_share: float | None  # whose list is the same, film by film; None without users
    overlap: float | None  # films in both / films of the longer list, the mean over users
    replaced: int  # users none of whose films stayed
    new_users: int
    gone_users: int
    entered: tuple[Moved, ...]  # in most lists first
    left: tuple[Moved, ...]
    metrics: Mapping[str, Beside]


@dataclass(frozen=True)
class Diff:
    """All of it, down to the rank that both runs have."""

    before: int
    after: int
    ranks: int
    models: tuple[ModelDiff, ...]


def diff(connection: Connection, before: int, after: int, model: str | None = None) -> Diff:
    """What changed from one run to another. Raises query.NoSuchRunError, NoSuchModelError."""
    known = sorted({*models(connection, run_id=before), *models(connection, run_id=after)})
    if model is not None and model not in known:
        raise NoSuchModelError(
            f"no lists of a model {model!r}; there are {', '.join(known) or 'none'}"
        )
    ranks, (old, new) = compared_runs(connection, [before, after])
    shared = list_overlap(connection, after, before, ranks)
    entered, left = (
        _moved(connection, after, before, ranks),
        _moved(connection, before, after, ranks),
    )
    return Diff(
        before, after, ranks,
        tuple(
            _of_model(name, old, new, shared.get(name, Overlap(0, 0.0, {})), entered[name], left[name])
            for name in ([model] if model else known)
        ),
    )  # fmt: skip


def _of_model(
    name: str,
    old: ComparedRun,
    new: ComparedRun,
    shared: Overlap,
    entered: Sequence[Moved],
    left: Sequence[Moved],
) -> ModelDiff:
    nothing = Volume(0, 0, 0)
    return ModelDiff(
        model=name,
        users=shared.users,
        same_share=shared.same / shared.users if shared.users else None,
        overlap=shared.overlap if shared.users else None,
        replaced=shared.replaced,
        new_users=new.volumes.get(name, nothing).users - shared.users,
        gone_users=old.volumes.get(name, nothing).users - shared.users,
        entered=tuple(entered),
        left=tuple(left),
        metrics={
            metric: Beside(_figure(old, name, metric), _figure(new, name, metric))
            for metric in METRICS
        },
    )


def _figure(side: ComparedRun, model: str, metric: str) -> float | None:
    whole = side.metric(model, metric)
    return side.metric(model, f"{metric}@{side.top_n}") if whole is None else whole


def _moved(
    connection: Connection, run_id: int, other_id: int, ranks: int
) -> Mapping[str, list[Moved]]:
    """By model, the films of a run's lists that those of the other run lack, for users who have both."""
    one, other = _lists.alias("one").c, _lists.alias("other").c
    same_list = (other.run_id == other_id, other.user_id == one.user_id, other.model == one.model)
    others = (*same_list, is_model_row(other.support))
    counted = (
        select(one.model, one.movie_id, func.count().label("lists"))
        .where(one.run_id == run_id, one.rank <= ranks, is_model_row(one.support))
        .where(exists().where(*others, other.rank == 1))
        .where(~exists().where(*others, other.movie_id == one.movie_id, other.rank <= ranks))
        .group_by(one.model, one.movie_id)
        .subquery()
    )
    place = func.row_number().over(
        partition_by=counted.c.model, order_by=(counted.c.lists.desc(), _movies.c.movie_key)
    )
    ranked = (
        select(
            counted.c.model,
            _movies.c.movie_key,
            _movies.c.title,
            counted.c.lists,
            place.label("place"),
        )
        .join_from(counted, _movies, _movies.c.movie_id == counted.c.movie_id)
        .subquery()
    )
    most = (
        select(ranked).where(ranked.c.place <= MOST_MOVED).order_by(ranked.c.model, ranked.c.place)
    )
    found: dict[str, list[Moved]] = defaultdict(list)
    for row in connection.execute(most):
        found[row.model].append(Moved(row.movie_key, row.title, row.lists))
    return found
