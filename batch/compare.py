"""Two runs -> their figures side by side, and what their lists have in common, counted by the database."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, and_, case, cast, distinct, func, select

from batch import schema
from batch.checks import ROWS

_lists, _runs = schema.recommendations, schema.runs


@dataclass(frozen=True)
class Volume:
    """What one model's lists amount to."""

    users: int
    rows: int
    films: int  # different ones


@dataclass(frozen=True)
class Side:
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
class Shared:
    """What became of one model's lists, over the users who have one in both runs."""

    users: int
    same: int  # the same films in the same places
    replaced: int  # no film in both
    overlap: float  # films in both / films of the longer list, the mean over users


def sides(connection: Connection, run_ids: list[int]) -> tuple[int, list[Side]]:
    """The runs in this order, down to the rank that all have, so that lists of other lengths stay comparable."""
    known = select(_runs.c.run_id, _runs.c.top_n).where(_runs.c.run_id.in_(run_ids))
    ranks = min(row.top_n for row in connection.execute(known))
    return ranks, [_side(connection, run_id, ranks) for run_id in run_ids]


def _side(connection: Connection, run_id: int, ranks: int) -> Side:
    run = connection.execute(select(_runs.c.top_n, _runs.c.n_ratings).where(_runs.c.run_id == run_id)).one()
    m = schema.run_metrics.c
    metrics: dict[str, dict[str, float]] = {}
    for model, metric, value in connection.execute(select(m.model, m.metric, m.value).where(m.run_id == run_id)):
        metrics.setdefault(model, {})[metric] = value
    firsts = func.sum(case((_lists.c.rank == 1, 1), else_=0))  # as many as users, and cheaper to count
    counted = select(_lists.c.model, firsts, func.count(), func.count(distinct(_lists.c.movie_id)))
    lists = counted.where(_lists.c.run_id == run_id, _lists.c.rank <= ranks)
    found = connection.execute(lists.group_by(_lists.c.model).order_by(_lists.c.model))
    volumes = {model: Volume(int(users), int(rows), int(films)) for model, users, rows, films in found}
    return Side(run_id, run.top_n, run.n_ratings or 0, metrics, volumes)


def shared_lists(connection: Connection, run_id: int, other_id: int, ranks: int) -> dict[str, Shared]:
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
        .group_by(one.c.user_id, one.c.model)
        .subquery()
        .c
    )
    # Lists of a and b films make a * b pairs, of which at most the shorter's are in place: all are where a = b.
    same = func.sum(case((pair.in_place * pair.in_place == pair.pairs, 1), else_=0))
    replaced = func.sum(case((pair.common == 0, 1), else_=0))
    overlap = func.avg(cast(pair.common, schema.Real) / pair.longer)
    counted = select(pair.model, func.count(), same, replaced, overlap).group_by(pair.model).order_by(pair.model)
    return {
        model: Shared(int(users), int(unchanged), int(changed), float(share))
        for model, users, unchanged, changed, share in connection.execute(counted)
    }
