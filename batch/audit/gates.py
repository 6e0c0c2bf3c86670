"""A written run beside the published one -> gates passed or failed: what keeps a bad night from readers."""

from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, select

from batch.audit.run_comparison import ComparedRun, Overlap, Volume, compared_runs, list_overlap
from batch.params import LARGEST, Gates
from batch.store import schema
from batch.store.checks import CHURN, Check, at_least, at_most

RANKED = ("blend", "user_user", "item_item")
"""Models whose lists must hold what people like. Not `neural`: it knows a film by its genres only, and its precision
changes by half with the seed of its first weights; its stars are what it is held to."""


def audit_gates(connection: Connection, run_id: int, limits: Gates) -> list[Check]:
    """Hold a run against its own baselines and, after the first night, against the published run.

    Everything is read from the tables. A gate whose figures rest on fewer than `limits.min_users_judged` users is not
    asked, and leaves no check.
    """
    current = connection.execute(select(schema.publication.c.run_id)).scalar()
    ranks, (tonight, *before) = compared_runs(
        connection, [run_id] if current is None else [run_id, int(current)]
    )
    checks = [
        *_ratings(tonight),
        *_against_bias(tonight, limits),
        *_against_popular(tonight, limits),
    ]
    for published in before:
        checks += _volumes(tonight, published, limits)
        checks += _rmse(tonight, published, limits)
        checks += _precision(tonight, published, limits)
        shared = list_overlap(connection, tonight.run_id, published.run_id, ranks)
        checks += _churn(shared, published, limits)
    return checks


def _ratings(tonight: ComparedRun) -> Iterator[Check]:
    yield at_least("ratings", float(tonight.n_ratings), 1.0, "ratings to learn from")


def _against_bias(tonight: ComparedRun, limits: Gates) -> Iterator[Check]:
    """A model that predicts worse than user and film means, even at the better end of its interval."""
    bias, users = tonight.metric("bias", "rmse"), tonight.metric("bias", "raters") or 0
    if bias and users >= limits.min_users_judged:
        for model in tonight.models:
            yield _error(
                "rmse_of_bias", model, tonight, bias, f"{bias:.3f} of bias", limits.max_rmse_of_bias
            )


def _against_popular(tonight: ComparedRun, limits: Gates) -> Iterator[Check]:
    """Lists that hold less of what people like than the same most rated films for everyone."""
    n = tonight.top_n
    popular, users = (
        tonight.metric("popular", f"precision@{n}"),
        tonight.metric("popular", "users") or 0,
    )
    if popular and users >= limits.min_users_judged:
        threshold = limits.min_precision_of_popular
        for model in _ranked(tonight):
            yield _hits(
                "precision_of_popular",
                model,
                tonight,
                popular,
                f"{popular:.3f} of popular",
                threshold,
            )


def _rmse(tonight: ComparedRun, published: ComparedRun, limits: Gates) -> Iterator[Check]:
    for model in tonight.models:
        worst, users = published.metric(model, "rmse_high"), published.metric(model, "raters") or 0
        if worst and users >= limits.min_users_judged:
            against = f"up to {worst:.3f} of run {published.run_id}"
            yield _error(
                "rmse_of_published", model, tonight, worst, against, limits.max_rmse_of_published
            )


def _precision(tonight: ComparedRun, published: ComparedRun, limits: Gates) -> Iterator[Check]:
    for model in _ranked(tonight):
        worst, users = (
            published.metric(model, f"precision_low@{tonight.top_n}"),
            published.metric(model, "users") or 0,
        )
        if worst and users >= limits.min_users_judged:
            against, threshold = (
                f"{worst:.3f} or more of run {published.run_id}",
                limits.min_precision_of_published,
            )
            yield _hits("precision_of_published", model, tonight, worst, against, threshold)


def _volumes(tonight: ComparedRun, published: ComparedRun, limits: Gates) -> Iterator[Check]:
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


def _churn(shared: Mapping[str, Overlap], published: ComparedRun, limits: Gates) -> Iterator[Check]:
    for model, lists in shared.items():
        if lists.users >= limits.min_users_judged:
            about = f"{lists.replaced:,} of {lists.users:,} users keep no film of run {published.run_id}"
            yield at_most(f"{CHURN}{model}", lists.replaced / lists.users, limits.max_churn, about)


def _error(
    name: str, model: str, tonight: ComparedRun, other: float, against: str, threshold: float
) -> Check:
    best = tonight.metric(model, "rmse_low")
    if best is None:  # it said nothing of any held-out rating
        return at_most(f"{name}_{model}", LARGEST, threshold, f"no RMSE against {against}")
    return at_most(
        f"{name}_{model}", best / other, threshold, f"RMSE of {best:.3f} or more against {against}"
    )


def _hits(
    name: str, model: str, tonight: ComparedRun, other: float, against: str, threshold: float
) -> Check:
    metric = f"precision@{tonight.top_n}"
    best = (
        tonight.metric(model, f"precision_high@{tonight.top_n}") or 0.0
    )  # none: nobody liked anything
    return at_least(
        f"{name}_{model}",
        best / other,
        threshold,
        f"{metric} of up to {best:.3f} against {against}",
    )


def _ranked(side: ComparedRun) -> list[str]:
    return [model for model in side.models if model in RANKED]
