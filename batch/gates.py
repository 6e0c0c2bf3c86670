"""A written run beside the published one -> gates passed or failed: what keeps a bad night from readers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, case, distinct, func, select

from batch import schema
from batch.checks import ROWS, Check, at_least, at_most, said_by_model
from batch.params import Gates

RANKED = ("blend", "user_user", "item_item")
"""Models whose lists must hold what people like. Not `neural`: it knows a film by its genres only, and its precision
changes by half with the seed of its first weights; its stars are what it is held to."""

_lists, _runs = schema.recommendations, schema.runs


@dataclass(frozen=True)
class Volume:
    """What one model's lists amount to, less what stands in for what it could not say."""

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


Churn = Mapping[str, tuple[int, int]]
"""By model: users with a list in both runs, and how many of them have no film in both."""


def audit_gates(connection: Connection, run_id: int, limits: Gates) -> list[Check]:
    """Hold a run against its own baselines and, after the first night, against the published run.

    Everything is read from the tables. A gate whose figures rest on fewer than `limits.min_users_judged` users is not
    asked, and leaves no check.
    """
    current = connection.execute(select(schema.publication.c.run_id)).scalar()
    numbers = [run_id] if current is None else [run_id, int(current)]
    top_n = dict(connection.execute(select(_runs.c.run_id, _runs.c.top_n).where(_runs.c.run_id.in_(numbers))).all())
    shared = min(top_n.values())  # lists that a new setting made longer or shorter stay comparable
    sides = [_side(connection, number, shared) for number in numbers]
    tonight = sides[0]
    checks = [*_ratings(tonight), *_against_bias(tonight, limits), *_against_popular(tonight, limits)]
    for published in sides[1:]:
        checks += _volumes(tonight, published, limits)
        checks += _rmse(tonight, published, limits)
        checks += _precision(tonight, published, limits)
        checks += _churn(_changed(connection, tonight, published, shared), published, limits)
    return checks


def _ratings(tonight: Side) -> Iterator[Check]:
    yield at_least("ratings", float(tonight.n_ratings), 1.0, "ratings to learn from")


def _against_bias(tonight: Side, limits: Gates) -> Iterator[Check]:
    """A model that predicts worse than user and film means, even at the better end of its interval."""
    bias, users = tonight.metric("bias", "rmse"), tonight.metric("bias", "raters") or 0
    if bias and users >= limits.min_users_judged:
        for model in tonight.models:
            yield _error("rmse_of_bias", model, tonight, bias, f"{bias:.3f} of bias", limits.max_rmse_of_bias)


def _against_popular(tonight: Side, limits: Gates) -> Iterator[Check]:
    """Lists that hold less of what people like than the same most rated films for everyone."""
    n = tonight.top_n
    popular, users = tonight.metric("popular", f"precision@{n}"), tonight.metric("popular", "users") or 0
    if popular and users >= limits.min_users_judged:
        threshold = limits.min_precision_of_popular
        for model in _ranked(tonight):
            yield _hits("precision_of_popular", model, tonight, popular, f"{popular:.3f} of popular", threshold)


def _rmse(tonight: Side, published: Side, limits: Gates) -> Iterator[Check]:
    for model in tonight.models:
        worst, users = published.metric(model, "rmse_high"), published.metric(model, "raters") or 0
        if worst and users >= limits.min_users_judged:
            against = f"up to {worst:.3f} of run {published.run_id}"
            yield _error("rmse_of_published", model, tonight, worst, against, limits.max_rmse_of_published)


def _precision(tonight: Side, published: Side, limits: Gates) -> Iterator[Check]:
    for model in _ranked(tonight):
        worst, users = published.metric(model, f"precision_low@{tonight.top_n}"), published.metric(model, "users") or 0
        if worst and users >= limits.min_users_judged:
            against, threshold = f"{worst:.3f} or more of run {published.run_id}", limits.min_precision_of_published
            yield _hits("precision_of_published", model, tonight, worst, against, threshold)


def _volumes(tonight: Side, published: Side, limits: Gates) -> Iterator[Check]:
    """Users, rows and films that are gone; a model that is gone has none of any."""
    for model, before in published.volumes.items():
        now = tonight.volumes.get(model, Volume(0, 0, 0))
        for what, found, was, threshold in (
            ("users", now.users, before.users, limits.min_users_share),
            ("rows", now.rows, before.rows, limits.min_rows_share),
            ("films", now.films, before.films, limits.min_films_share),
        ):
            if what != "films" or before.users >= limits.min_users_judged:
                about = f"{what} {found:,} against {was:,} of run {published.run_id}"
                yield at_least(f"{what}_share_{model}", found / was, threshold, about)


def _churn(changed: Churn, published: Side, limits: Gates) -> Iterator[Check]:
    for model, (users, strangers) in changed.items():
        if users >= limits.min_users_judged:
            about = f"{strangers:,} of {users:,} users keep no film of run {published.run_id}"
            yield at_most(f"churn_{model}", strangers / users, limits.max_churn, about)


def _error(name: str, model: str, tonight: Side, other: float, against: str, threshold: float) -> Check:
    best = tonight.metric(model, "rmse_low")
    if best is None:  # it said nothing of any held-out rating
        return at_most(f"{name}_{model}", schema.LARGEST, threshold, f"no RMSE against {against}")
    return at_most(f"{name}_{model}", best / other, threshold, f"RMSE of {best:.3f} or more against {against}")


def _hits(name: str, model: str, tonight: Side, other: float, against: str, threshold: float) -> Check:
    metric = f"precision@{tonight.top_n}"
    best = tonight.metric(model, f"precision_high@{tonight.top_n}") or 0.0  # none: nobody liked anything
    return at_least(f"{name}_{model}", best / other, threshold, f"{metric} of up to {best:.3f} against {against}")


def _ranked(side: Side) -> list[str]:
    return [model for model in side.models if model in RANKED]


def _side(connection: Connection, run_id: int, ranks: int) -> Side:
    run = connection.execute(select(_runs.c.top_n, _runs.c.n_ratings).where(_runs.c.run_id == run_id)).one()
    m = schema.run_metrics.c
    metrics: dict[str, dict[str, float]] = {}
    for model, metric, value in connection.execute(select(m.model, m.metric, m.value).where(m.run_id == run_id)):
        metrics.setdefault(model, {})[metric] = value
    firsts = func.sum(case((_lists.c.rank == 1, 1), else_=0))  # as many as users, and cheaper to count
    counted = select(_lists.c.model, firsts, func.count(), func.count(distinct(_lists.c.movie_id)))
    said = said_by_model(_lists.c.reason)  # a model that has fallen silent must not hide behind what stands in for it
    lists = counted.where(_lists.c.run_id == run_id, _lists.c.rank <= ranks, said)
    found = connection.execute(lists.group_by(_lists.c.model).order_by(_lists.c.model))
    volumes = {model: Volume(int(users), int(rows), int(films)) for model, users, rows, films in found}
    return Side(run_id, run.top_n, run.n_ratings or 0, metrics, volumes)


def _changed(connection: Connection, tonight: Side, published: Side, ranks: int) -> Churn:
    """One statement for all models: each list beside its published self, film by film, in the order both are stored."""
    now, before = _lists.alias("now"), _lists.alias("before")
    kept = func.max(case((now.c.movie_id == before.c.movie_id, 1), else_=0)).label("kept")
    both = (
        select(now.c.model, kept)
        .where(now.c.run_id == tonight.run_id, before.c.run_id == published.run_id)
        .where(before.c.user_id == now.c.user_id, before.c.model == now.c.model)
        .where(now.c.rank <= ranks, before.c.rank <= ranks)
        .group_by(now.c.user_id, now.c.model)
        .subquery()
    )
    counted = select(both.c.model, func.count(), func.count() - func.sum(both.c.kept))
    found = connection.execute(counted.group_by(both.c.model).order_by(both.c.model))
    return {model: (int(users), int(changed)) for model, users, changed in found}
