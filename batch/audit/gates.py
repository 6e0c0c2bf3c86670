"""A written run beside the published one -> quality gates passed or failed."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from sqlalchemy import Connection, select

from batch.audit.run_comparison import ComparedRun, Overlap, Volume, compared_runs, list_overlap
from batch.params import LARGEST, Gates
from batch.ranking.metric_names import RunMetrics
from batch.ranking.outcome import POPULAR
from batch.store import schema
from batch.store.checks import CHURN, Check, at_least, at_most
from batch.store.outcomes import stored_outcome

RANKED = ("blend", "user_user", "item_item")
"""Models whose precision is checked.

Not `neural`: it sees a film by its genres only, and its precision changes by half
with the seed of its first weights. Its RMSE is checked.
"""

Checks = Iterator[Check]


def audit_gates(connection: Connection, run_id: int, limits: Gates) -> list[Check]:
    """Compare a run with its own baselines and, after the first night, with the published run.

    Everything is read from the tables. A gate whose values rest on fewer than
    `limits.min_users_judged` users is skipped, and leaves no check.
    """
    published_id = connection.execute(select(schema.publication.c.run_id)).scalar()
    run_ids = [run_id]
    if published_id is not None:
        run_ids.append(int(published_id))
    ranks, (tonight, *before) = compared_runs(connection, run_ids)
    checks = [
        *_ratings(tonight),
        *_judged(tonight, limits),
        *_against_bias(tonight, limits),
        *_against_popular(tonight, limits),
    ]
    for published in before:
        checks += _outcome(connection, published, limits)
        # Like with like: a run without tonight's cut has no figures in it, and is not compared.
        published = replace(published, metrics=published.metrics.within(tonight.metrics.cut))
        checks += _volumes(tonight, published, limits)
        checks += _rmse(tonight, published, limits)
        checks += _precision(tonight, published, limits)
        shared = list_overlap(connection, tonight.run_id, published.run_id, ranks)
        checks += _churn(shared, published, limits)
    return checks


def _ratings(tonight: ComparedRun) -> Checks:
    yield at_least("ratings", float(tonight.n_ratings), 1.0, "ratings to learn from")


def _judged(tonight: ComparedRun, limits: Gates) -> Checks:
    """Whether anyone liked a held-out film: if not, every gate on lists is skipped."""
    metrics = tonight.metrics
    if metrics.held_out_users >= limits.min_users_judged:
        about = (
            f"who liked a held-out film, of {metrics.held_out_users:,} with held-out ratings;"
            " liked is from evaluation.relevant_from on"
        )
        yield at_least("users_judged", float(metrics.judged_users), 1.0, about)


def _against_bias(tonight: ComparedRun, limits: Gates) -> Checks:
    """Models that predict worse than user and film means.

    Point estimates are compared: both are of the same ratings, so that chance
    hardly moves their ratio.
    """
    bias = tonight.metrics.get("bias", "rmse")
    if not bias or tonight.metrics.held_out_users < limits.min_users_judged:
        return
    for model in tonight.models:
        name = f"rmse_of_bias_{model}"
        rmse = tonight.metrics.get(model, "rmse")
        if rmse is None:  # no prediction for any held-out rating
            about = f"no RMSE against {bias:.3f} of bias"
            yield at_most(name, LARGEST, limits.max_rmse_of_bias, about)
        else:
            about = f"RMSE of {rmse:.3f} against {bias:.3f} of bias"
            yield at_most(name, rmse / bias, limits.max_rmse_of_bias, about)


def _against_popular(tonight: ComparedRun, limits: Gates) -> Checks:
    """Models whose lists are less precise than the same popular films for everyone.

    The blend is held against the better one of both baselines, models that know
    no time against the one that knows none.
    """
    metrics = tonight.metrics
    precisions = {
        name: metrics.get(name, "precision") or 0.0 for name in ("popular", "popular_all")
    }
    if metrics.judged_users < limits.min_users_judged:
        return
    for model in _ranked(tonight):
        name = "popular_all"
        if model == "blend":
            name = max(precisions, key=lambda baseline: precisions[baseline])
        precision = precisions[name]
        if precision:
            yield _precision_check(
                "precision_of_popular",
                tonight,
                model,
                precision,
                f"{precision:.3f} of {name}",
                limits.min_precision_of_popular,
            )


def _rmse(tonight: ComparedRun, published: ComparedRun, limits: Gates) -> Checks:
    limit = limits.max_rmse_of_published
    for model in tonight.models:
        worst = published.metrics.get(model, "rmse", "high")
        users = published.metrics.get(model, "raters") or 0
        if worst and users >= limits.min_users_judged:
            against = f"up to {worst:.3f} of run {published.run_id}"
            yield _rmse_check("rmse_of_published", tonight, model, worst, against, limit)


def _precision(tonight: ComparedRun, published: ComparedRun, limits: Gates) -> Checks:
    if published.metrics.n != tonight.top_n:
        return  # precision in lists of different lengths is not comparable
    name = "precision_of_published"
    limit = limits.min_precision_of_published
    for model in _ranked(tonight):
        worst = published.metrics.get(model, "precision", "low")
        users = published.metrics.get(model, "users") or 0
        if worst and users >= limits.min_users_judged:
            against = f"{worst:.3f} or more of run {published.run_id}"
            yield _precision_check(name, tonight, model, worst, against, limit)


def _volumes(tonight: ComparedRun, published: ComparedRun, limits: Gates) -> Checks:
    """Users, rows and films of each model, as shares of the published run's; 0 if it is missing."""
    for model, before in published.volumes.items():
        now = tonight.volumes.get(model, Volume(0, 0, 0))
        counts = [
            ("users", now.users, before.users, limits.min_users_share),
            ("rows", now.rows, before.rows, limits.min_rows_share),
        ]
        if before.users >= limits.min_users_judged:
            counts.append(("films", now.films, before.films, limits.min_films_share))
        for what, count, count_before, threshold in counts:
            name = f"{what}_share_{model}"
            about = f"{what} {count:,} against {count_before:,} of run {published.run_id}"
            yield at_least(name, count / count_before, threshold, about)


def _churn(shared: Mapping[str, Overlap], published: ComparedRun, limits: Gates) -> Checks:
    for model, lists in shared.items():
        if lists.users >= limits.min_users_judged:
            share = lists.replaced / lists.users
            counts = f"{lists.replaced:,} of {lists.users:,} users"
            about = f"{counts} keep no film of run {published.run_id}"
            yield at_most(f"{CHURN}{model}", share, limits.max_churn, about)


def _outcome(connection: Connection, published: ComparedRun, limits: Gates) -> Checks:
    """Whether the published blend, on what was liked since, was worse than its popular list."""
    limit = limits.min_outcome_of_popular
    delivered = RunMetrics.of(stored_outcome(connection, published.run_id), None)
    users = delivered.get(POPULAR, "users") or 0
    popular = delivered.get(POPULAR, "precision")
    if limit is None or not popular or users < limits.min_users_judged:
        return
    # Not measured where the run has no blend.
    best = delivered.get("blend", "precision", "high") or 0.0
    about = (
        f"precision@{published.top_n} of up to {best:.3f} against {popular:.3f} of popular films,"
        f" in what was liked since run {published.run_id}"
    )
    yield at_least("outcome_of_popular_blend", best / popular, limit, about)


def _rmse_check(
    name: str,
    run: ComparedRun,
    model: str,
    reference: float,
    against: str,
    threshold: float,
) -> Check:
    """The lower bound of a model's RMSE relative to a reference."""
    best = run.metrics.get(model, "rmse", "low")
    name = f"{name}_{model}"
    if best is None:  # no prediction for any held-out rating
        return at_most(name, LARGEST, threshold, f"no RMSE against {against}")
    about = f"RMSE of {best:.3f} or more against {against}"
    return at_most(name, best / reference, threshold, about)


def _precision_check(
    name: str,
    run: ComparedRun,
    model: str,
    reference: float,
    against: str,
    threshold: float,
) -> Check:
    """The upper bound of a model's precision relative to a reference."""
    # Not measured where no user liked a held-out film.
    best = run.metrics.get(model, "precision", "high") or 0.0
    about = f"precision@{run.top_n} of up to {best:.3f} against {against}"
    return at_least(f"{name}_{model}", best / reference, threshold, about)


def _ranked(run: ComparedRun) -> list[str]:
    return [model for model in run.models if model in RANKED]
