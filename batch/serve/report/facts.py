"""Tables -> everything that the page shows of a run, and of the runs before it."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from sqlalchemy import Connection, select

from batch.audit.run_comparison import list_overlap
from batch.models import PERSONAL, REFERENCE
from batch.ranking.metric_names import Cut, RunMetrics
from batch.serve.report.lists import (
    ListedFilm,
    ListSummary,
    SampleUser,
    list_summaries,
    most_listed_films,
    sample_users,
)
from batch.store import schema
from batch.store.checks import CHURN, Check, recorded
from batch.store.first_steps import first_steps
from batch.store.outcomes import stored_outcome
from batch.store.runs import (
    IS_NIGHT,
    NIGHT,
    NoSuchRunError,
    Run,
    UnknownRunError,
    current_run,
    find_run,
    step_seconds,
)

TREND_RUNS = 30
"""Maximum runs in a trend: a month of nights."""
STEPS = ("load", "evaluate", "fit", "score", "similar", "outcome")
"""The order of the steps of a night; any others come after them."""

_runs = schema.runs
_metrics = schema.run_metrics
_checks = schema.run_checks


@dataclass(frozen=True)
class TrendRun:
    """One run of a trend."""

    run_id: int
    metrics: RunMetrics
    night: Mapping[str, float]  # the run's own figures: seconds by step, memory
    churn: Mapping[str, float]  # by model: share of users who kept no film
    outcome: RunMetrics  # what became of its lists; empty where nothing is stored of it


@dataclass(frozen=True)
class Churn:
    """How the lists changed since the published run before."""

    run_id: int  # the run before
    ranks: int  # how many ranks are compared
    kept: Mapping[str, Mapping[int, int]]  # by model: number of films kept -> number of users


@dataclass(frozen=True)
class Facts:
    """Everything that the page shows."""

    run: Run
    published: Run | None  # what readers see
    models: tuple[str, ...]  # in order of appearance, the blend first
    baselines: tuple[str, ...]
    metrics: RunMetrics  # of models and baselines
    night: Mapping[str, float]  # the run's own figures: seconds by step, memory
    checks: tuple[Check, ...]
    trend: tuple[TrendRun, ...]  # oldest first, this run last; empty where it was not measured
    lists: Mapping[str, ListSummary]  # by model; empty where there are none
    most_listed: tuple[ListedFilm, ...]  # of the first model that has lists
    churn: Churn | None
    samples: tuple[SampleUser, ...]

    @property
    def lead(self) -> str:
        """The model that sentences and trends are about: the first one."""
        return next(iter(self.models), "")

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that the run failed."""
        return tuple(check for check in self.checks if not check.passed)


def gather(connection: Connection, run_id: int | None = None) -> Facts:
    """The facts of a run, the published one by default. Raises NoSuchRunError."""
    published = current_run(connection)
    run = _chosen_run(connection, published, run_id)
    values = _metric_values(connection, run.run_id)
    night = values.pop(NIGHT, {})
    lists: Mapping[str, ListSummary] = {}
    most_listed: tuple[ListedFilm, ...] = ()
    samples: tuple[SampleUser, ...] = ()
    if run.has_lists:
        lists = list_summaries(connection, run.run_id, run.top_n)
    measured = values.keys() - {*REFERENCE}
    models = _in_order({*lists, *measured})
    listed_models = [model for model in models if model in lists]
    if listed_models:
        most_listed = most_listed_films(connection, run.run_id, listed_models[0], run.top_n)
        samples = sample_users(connection, run.run_id, listed_models)
    return Facts(
        run=run,
        published=published,
        models=models,
        baselines=tuple(model for model in REFERENCE if model in values),
        metrics=RunMetrics.of(values, run.headline),
        night=night,
        checks=tuple(recorded(connection, run.run_id)),
        trend=_trend(connection, run) if values else (),
        lists=lists,
        most_listed=most_listed,
        churn=_churn(connection, run),
        samples=samples,
    )


def seconds(night: Mapping[str, float]) -> dict[str, float]:
    """The seconds of each step of a night, in the order of the steps."""
    by_step = step_seconds(night)
    others = sorted(by_step.keys() - {*STEPS})
    return {step: by_step[step] for step in (*STEPS, *others) if step in by_step}


def _in_order(models: Set[str]) -> tuple[str, ...]:
    """The blend, the models that it is made of, then any others by name."""
    order = ("blend", *PERSONAL)
    first = [model for model in order if model in models]
    return (*first, *sorted(models - {*order}))


def _chosen_run(connection: Connection, published: Run | None, run_id: int | None) -> Run:
    """The run of this number, or the published one."""
    if run_id is None:
        if published is None:
            raise NoSuchRunError(
                f"nothing is published yet; {first_steps(connection)},"
                " or name a run that 'recbatch runs' lists"
            )
        return published
    run = find_run(connection, run_id)
    if run is None:
        raise UnknownRunError(run_id)
    return run


def _metric_values(connection: Connection, run_id: int) -> dict[str, dict[str, float]]:
    """Stored metrics by model and name, the run's own among them under NIGHT."""
    columns = select(_metrics.c.model, _metrics.c.metric, _metrics.c.value)
    by_model: dict[str, dict[str, float]] = {}
    for model, metric, value in connection.execute(columns.where(_metrics.c.run_id == run_id)):
        by_model.setdefault(model, {})[metric] = value
    return by_model


def _trend(connection: Connection, run: Run) -> tuple[TrendRun, ...]:
    """The published runs before this one that were measured, and this one."""
    measured = select(_metrics.c.run_id).distinct()
    earlier = (
        (_runs.c.run_id < run.run_id)
        & (_runs.c.status == "published")
        & IS_NIGHT
        & _runs.c.run_id.in_(measured)
    )
    newest = (
        select(_runs.c.run_id)
        .where(earlier | (_runs.c.run_id == run.run_id))
        .order_by(_runs.c.run_id.desc())
        .limit(TREND_RUNS)
    )
    run_ids = connection.execute(newest).scalars().all()
    return tuple(_trend_run(connection, run_id, run.headline) for run_id in reversed(run_ids))


def _trend_run(connection: Connection, run_id: int, cut: Cut | None) -> TrendRun:
    values = _metric_values(connection, run_id)
    night = values.pop(NIGHT, {})
    gates = select(_checks.c.name, _checks.c.value).where(
        _checks.c.run_id == run_id, _checks.c.name.startswith(CHURN, autoescape=True)
    )
    churn = {name.removeprefix(CHURN): value for name, value in connection.execute(gates)}
    outcome = RunMetrics.of(stored_outcome(connection, run_id), None)
    return TrendRun(run_id, RunMetrics.of(values, cut), night, churn, outcome)


def _churn(connection: Connection, run: Run) -> Churn | None:
    """Compared with the newest run before it that was published and still has lists."""
    if not run.has_lists:
        return None
    earlier = (
        (_runs.c.run_id < run.run_id)
        & (_runs.c.status == "published")
        & IS_NIGHT
        & _runs.c.purged_at.is_(None)
    )
    newest = (
        select(_runs.c.run_id, _runs.c.top_n)
        .where(earlier)
        .order_by(_runs.c.run_id.desc())
        .limit(1)
    )
    other = connection.execute(newest).first()
    if other is None:
        return None
    ranks = min(run.top_n, other.top_n)
    overlaps = list_overlap(connection, run.run_id, other.run_id, ranks)
    kept = {model: overlap.kept for model, overlap in overlaps.items()}
    return Churn(other.run_id, ranks, kept)
