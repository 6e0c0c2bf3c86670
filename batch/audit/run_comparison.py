"""Two runs -> their metrics side by side, and what their lists have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection, and_, case, cast, distinct, func, select

from batch.ranking.metric_names import Cut, RunMetrics
from batch.store import schema
from batch.store.checks import ROWS, is_model_row
from batch.store.database import without_nested_loops

_lists, _runs = schema.recommendations, schema.runs


@dataclass(frozen=True)
class Volume:
    """Size of one model's lists, without fallback rows."""

    users: int
    rows: int
    films: int  # different ones


@dataclass(frozen=True)
class ComparedRun:
    """One of the compared runs, down to the rank that all of them have."""

    run_id: int
    top_n: int
    n_ratings: int
    metrics: RunMetrics
    volumes: Mapping[str, Volume]  # by model

    @property
    def models(self) -> list[str]:
        """The models whose lists were to be written."""
        names = self.metrics.by_model
        return sorted(model for model in names if self.metrics.get(model, ROWS) is not None)


@dataclass(frozen=True)
class Overlap:
    """What two runs' lists of one model have in common, without fallback rows.

    Only users with a list in both runs are compared.
    """

    same: int  # users with the same films in the same places
    overlap: float  # films in both / films of the longer list, the mean over users
    kept: Mapping[int, int]  # number of films in both -> users

    @property
    def users(self) -> int:
        return sum(self.kept.values())

    @property
    def replaced(self) -> int:
        """Users with no film in both lists."""
        return self.kept.get(0, 0)


def compared_runs(connection: Connection, run_ids: list[int]) -> tuple[int, list[ComparedRun]]:
    """The lowest rank that all runs have, and the runs in this order, down to that rank.

    The limit makes lists of different lengths comparable.
    """
    lengths = select(_runs.c.top_n).where(_runs.c.run_id.in_(run_ids))
    ranks = min(connection.execute(lengths).scalars())
    return ranks, [_run(connection, run_id, ranks) for run_id in run_ids]


def _run(connection: Connection, run_id: int, ranks: int) -> ComparedRun:
    columns = select(_runs.c.top_n, _runs.c.n_ratings, _runs.c.headline)
    run = connection.execute(columns.where(_runs.c.run_id == run_id)).one()
    return ComparedRun(
        run_id=run_id,
        top_n=run.top_n,
        n_ratings=run.n_ratings or 0,
        metrics=_metrics(connection, run_id, run.headline),
        volumes=_volumes(connection, run_id, ranks),
    )


def _metrics(connection: Connection, run_id: int, cut: Cut | None) -> RunMetrics:
    m = schema.run_metrics.c
    rows = connection.execute(select(m.model, m.metric, m.value).where(m.run_id == run_id))
    by_model: dict[str, dict[str, float]] = {}
    for model, metric, value in rows:
        by_model.setdefault(model, {})[metric] = value
    return RunMetrics.of(by_model, cut)


def _volumes(connection: Connection, run_id: int, ranks: int) -> dict[str, Volume]:
    """Sizes of lists by model, without fallback rows, which would hide missing predictions."""
    # A user has one first rank, which is cheaper to count than different users.
    users = func.sum(case((_lists.c.rank == 1, 1), else_=0))
    films = func.count(distinct(_lists.c.movie_id))
    counts = (
        select(_lists.c.model, users, func.count(), films)
        .where(_lists.c.run_id == run_id, _lists.c.rank <= ranks)
        .where(is_model_row(_lists.c.support))
        .group_by(_lists.c.model)
        .order_by(_lists.c.model)
    )
    return {
        model: Volume(int(n_users), int(n_rows), int(n_films))
        for model, n_users, n_rows, n_films in connection.execute(counts)
    }


def list_overlap(
    connection: Connection, run_id: int, other_id: int, ranks: int
) -> dict[str, Overlap]:
    """By model, what the lists of two runs have in common.

    One statement for all models: it joins each list with the other run's list of
    the same user, film by film, in the order in which both are stored.
    """
    one, other = _lists.alias("one"), _lists.alias("other")
    same_film = one.c.movie_id == other.c.movie_id
    same_rank = one.c.rank == other.c.rank
    length, other_length = func.max(one.c.rank), func.max(other.c.rank)
    pair = (
        select(
            one.c.model,
            func.count().label("pairs"),
            func.sum(case((same_film, 1), else_=0)).label("common"),
            func.sum(case((and_(same_film, same_rank), 1), else_=0)).label("in_place"),
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
    # Lists of a and b films make a * b pairs, of which at most the shorter's length are in
    # place: all of both lists are where in_place is a = b.
    is_same = pair.in_place * pair.in_place == pair.pairs
    counts = (
        select(
            pair.model,
            pair.common,
            func.count().label("users"),
            func.sum(case((is_same, 1), else_=0)).label("same"),
            func.sum(cast(pair.common, schema.Real) / pair.longer).label("overlap"),
        )
        .group_by(pair.model, pair.common)
        .order_by(pair.model, pair.common)
    )
    with without_nested_loops(connection):
        counted = connection.execute(counts).all()
    overlaps = {}
    for model, group in groupby(counted, key=lambda row: row.model):
        rows = list(group)
        kept = {int(row.common): int(row.users) for row in rows}
        same = sum(int(row.same) for row in rows)
        share = sum(row.overlap for row in rows) / sum(kept.values())
        overlaps[model] = Overlap(same, float(share), kept)
    return overlaps
