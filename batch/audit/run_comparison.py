"""Two runs -> their figures side by side, and what their lists have in common, counted by the database."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection, and_, case, cast, distinct, func, select

from batch.store import schema
from batch.store.checks import ROWS, is_model_row

_lists, _runs = schema.recommendations, schema.runs


@dataclass(frozen=True)
class Volume:
    """What one model's lists amount to, less what stands in for what it could not say."""

    users: int
    rows: int
    films: int  # different ones


@dataclass(frozen=True)
class ComparedRun:
    """One of the two runs, down to the rank that both have."""

    run_id: int
    top_n: int
    n_ratings: int
    metrics: Mapping[str, Mapping[str, float]]  # by model
    volumes: Mapping[str, Volume]  # by model

    @property
    def models(self) -> list[str]:
        """The models that lists were to be written of."""
        return sorted(model for model, measured in self.metrics.items() if ROWS in measured)

    def metric(self, model: str, name: str) -> float | None:
        """None where nothing was measured."""
        return self.metrics.get(model, {}).get(name)


@dataclass(frozen=True)
class Overlap:
    """What became of one model's lists, less what stands in, over the users who have one in both runs."""

    same: int  # users who have the same films in the same places
    overlap: float  # films in both / films of the longer list, the mean over users
    kept: Mapping[int, int]  # by how many films are in both, the users

    @property
    def users(self) -> int:
        return sum(self.kept.values())

    @property
    def replaced(self) -> int:
        """Users of whose films none stayed."""
        return self.kept.get(0, 0)


def compared_runs(connection: Connection, run_ids: list[int]) -> tuple[int, list[ComparedRun]]:
    """The runs in this order, down to the rank that all have, so that lists of other lengths stay comparable."""
    known = select(_runs.c.run_id, _runs.c.top_n).where(_runs.c.run_id.in_(run_ids))
    ranks = min(row.top_n for row in connection.execute(known))
    return ranks, [_side(connection, run_id, ranks) for run_id in run_ids]


def _side(connection: Connection, run_id: int, ranks: int) -> ComparedRun:
    run = connection.execute(
        select(_runs.c.top_n, _runs.c.n_ratings).where(_runs.c.run_id == run_id)
    ).one()
    m = schema.run_metrics.c
    metrics: dict[str, dict[str, float]] = {}
    for model, metric, value in connection.execute(
        select(m.model, m.metric, m.value).where(m.run_id == run_id)
    ):
        metrics.setdefault(model, {})[metric] = value
    firsts = func.sum(
        case((_lists.c.rank == 1, 1), else_=0)
    )  # as many as users, and cheaper to count
    counted = select(_lists.c.model, firsts, func.count(), func.count(distinct(_lists.c.movie_id)))
    said = is_model_row(
        _lists.c.support
    )  # a model that has fallen silent must not hide behind what stands in for it
    lists = counted.where(_lists.c.run_id == run_id, _lists.c.rank <= ranks, said)
    found = connection.execute(lists.group_by(_lists.c.model).order_by(_lists.c.model))
    volumes = {
        model: Volume(int(users), int(rows), int(films)) for model, users, rows, films in found
    }
    return ComparedRun(run_id, run.top_n, run.n_ratings or 0, metrics, volumes)


def list_overlap(
    connection: Connection, run_id: int, other_id: int, ranks: int
) -> dict[str, Overlap]:
    """One statement for all models: each list beside its other self, film by film, in the order both are stored."""
    one, other = _lists.alias("one"), _lists.alias("other")
    film, place = one.c.movie_id == other.c.movie_id, one.c.rank == other.c.rank
    length, other_length = func.max(one.c.rank), func.max(other.c.rank)
    pair = (
        select(
            one.c.model,
            func.count().label("pairs"),
            func.sum(case((film, 1), else_=0)).label("common"),
            func.sum(case((and_(film, place), 1), else_=0)).label("in_place"),
            case((length > other_length, length), else_=other_length).label("longer"),
        )
        .where(one.c.run_id == run_id, other.c.run_id == other_id)
        .where(other.c.user_id == one.c.user_id, other.c.model == one.c.model)
        .where(one.c.rank <= ranks, other.c.rank <= ranks)
        .where(is_model_row(one.c.support), is_model_row(other.c.support))
        .group_by(one.c.user_id, one.c.model)
        .subquery()
        .c
    )
    # Lists of a and b films make a * b pairs, of which at most the shorter's are in place: all are where a = b.
    same = func.sum(case((pair.in_place * pair.in_place == pair.pairs, 1), else_=0))
    overlap = func.sum(cast(pair.common, schema.Real) / pair.longer)
    counted = select(
        pair.model,
        pair.common,
        func.count().label("users"),
        same.label("same"),
        overlap.label("overlap"),
    )
    by_model = groupby(
        connection.execute(
            counted.group_by(pair.model, pair.common).order_by(pair.model, pair.common)
        ),
        key=lambda row: row.model,
    )
    found = {}
    for model, group in by_model:
        rows = list(group)
        kept = {int(row.common): int(row.users) for row in rows}
        share = sum(row.overlap for row in rows) / sum(kept.values())
        found[model] = Overlap(sum(int(row.same) for row in rows), float(share), kept)
    return found
