"""Tables -> what the page tells of one run: how it ended, its figures, its checks, and those of the runs before."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Select, select

from batch.audit.run_comparison import list_overlap
from batch.models import PERSONAL, REFERENCE
from batch.query import NoSuchRunError
from batch.serve.report.lists import Listed, ListSummary, Sample, lists, most_listed, samples
from batch.store import schema
from batch.store.checks import CHURN, Check, recorded
from batch.store.runs import NIGHT, Run, current_run, find_run, step_seconds

PAST = 30
"""Runs at most in a trend: a month of nights."""

_runs, _metrics, _checks = schema.runs, schema.run_metrics, schema.run_checks


@dataclass(frozen=True)
class Past:
    """One run of a trend."""

    run_id: int
    logical_date: date
    metrics: Mapping[str, Mapping[str, float]]  # by model
    churn: Mapping[str, float]  # by model: share of users who kept no film


@dataclass(frozen=True)
class Churn:
    """A run beside the published one before it."""

    run_id: int  # the other one
    ranks: int  # compared down to this one
    kept: Mapping[
        str, Mapping[int, int]
    ]  # by model and by how many films are in both lists: users who have both


@dataclass(frozen=True)
class Facts:
    """Everything that the page tells."""

    run: Run
    published: Run | None  # what readers see
    models: tuple[str, ...]  # in order of appearance, the blend first
    baselines: tuple[str, ...]
    metrics: Mapping[str, Mapping[str, float]]  # by model, baselines among them
    night: Mapping[str, float]  # seconds by step, and memory
    checks: tuple[Check, ...]
    past: tuple[Past, ...]  # oldest first, this run last; empty where it was not measured
    lists: Mapping[str, ListSummary]  # by model; empty where there are none
    most_listed: tuple[Listed, ...]  # of the first model that has lists
    churn: Churn | None
    samples: tuple[Sample, ...]

    def metric(self, model: str, name: str) -> float | None:
        """None where nothing was measured."""
        return self.metrics.get(model, {}).get(name)

    @property
    def lead(self) -> str:
        """The model that sentences and trends are about."""
        return next(iter(self.models), "")

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)


def gather(connection: Connection, run_id: int | None = None) -> Facts:
    """The facts of a run, the published one by default. Raises NoSuchRunError."""
    published = current_run(connection)
    run = _run(connection, published, run_id)
    metrics = _by_model(connection, run.run_id)
    night = metrics.pop(NIGHT, {})
    found = lists(connection, run.run_id, run.top_n) if run.has_lists else {}
    models = _in_order({*found, *(metrics.keys() - {*REFERENCE})})
    listed = [name for name in models if name in found]
    return Facts(
        run=run,
        published=published,
        models=models,
        baselines=tuple(name for name in REFERENCE if name in metrics),
        metrics=metrics,
        night=night,
        checks=tuple(recorded(connection, run.run_id)),
        past=_past(connection, run) if metrics else (),
        lists=found,
        most_listed=most_listed(connection, run.run_id, listed[0]) if found else (),
        churn=_churn(connection, run),
        samples=samples(connection, run.run_id, listed) if found else (),
    )


def _in_order(models: Iterable[str]) -> tuple[str, ...]:
    known = ("blend", *PERSONAL)
    return tuple(
        sorted(models, key=lambda name: (known.index(name) if name in known else len(known), name))
    )


def _run(connection: Connection, published: Run | None, run_id: int | None) -> Run:
    """The run asked for, or the published one."""
    if run_id is None and published is None:
        raise NoSuchRunError(
            "nothing is published yet; run 'recbatch run', or name a run that 'recbatch runs' lists"
        )
    run = published if run_id is None else find_run(connection, run_id)
    if run is None:
        raise NoSuchRunError(f"there is no run {run_id}; 'recbatch runs' lists them")
    return run


def _by_model(connection: Connection, run_id: int) -> dict[str, dict[str, float]]:
    m = _metrics.c
    return _nested(connection, select(m.model, m.metric, m.value).where(m.run_id == run_id))


def _nested(connection: Connection, rows: Select[Any]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for outer, inner, value in connection.execute(rows):
        found.setdefault(outer, {})[inner] = value
    return found


def _past(connection: Connection, run: Run) -> tuple[Past, ...]:
    """The published runs before this one, and this one: those that were measured."""
    r, c = _runs.c, _checks.c
    measured = select(_metrics.c.run_id).distinct()
    earlier = (r.run_id < run.run_id) & (r.status == "published") & r.run_id.in_(measured)
    newest = select(r.run_id, r.logical_date).where(earlier | (r.run_id == run.run_id))
    found = connection.execute(newest.order_by(r.run_id.desc()).limit(PAST)).all()
    past = []
    for number, night in reversed(found):
        changed = select(c.name, c.value).where(
            c.run_id == number, c.name.startswith(CHURN, autoescape=True)
        )
        churn = {name.removeprefix(CHURN): value for name, value in connection.execute(changed)}
        past.append(Past(number, night, _by_model(connection, number), churn))
    return tuple(past)


def _churn(connection: Connection, run: Run) -> Churn | None:
    """Against the newest run before it that was published and still has lists."""
    r = _runs.c
    earlier = (r.run_id < run.run_id) & (r.status == "published") & r.purged_at.is_(None)
    other = connection.execute(
        select(r.run_id, r.top_n).where(earlier).order_by(r.run_id.desc()).limit(1)
    ).first()
    if other is None or not run.has_lists:
        return None
    ranks = min(run.top_n, other.top_n)
    shared = list_overlap(connection, run.run_id, other.run_id, ranks)
    return Churn(other.run_id, ranks, {model: lists.kept for model, lists in shared.items()})


def seconds(night: Mapping[str, float]) -> dict[str, float]:
    """The seconds of each step of a night, in the order in which they come."""
    steps = step_seconds(night)
    order = ("load", "evaluate", "fit", "score")
    known = {step: steps.pop(step) for step in order if step in steps}
    return known | dict(sorted(steps.items()))
