"""A value and its threshold -> a check passed or failed, stored in `run_checks`."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, Connection, delete, select

from batch.store import schema
from batch.store.bulk_insert import bulk_insert
from batch.store.runs import FALLBACK_ROWS as FALLBACK_ROWS
from batch.store.runs import ROWS as ROWS
from batch.store.runs import SPARE_ROWS as SPARE_ROWS

_checks = schema.run_checks

CHURN = "churn_"
"""Prefix, before a model, of the gate on users whose list keeps no film."""

Severity = Literal["integrity", "gate"]
Wanted = Literal["at least", "at most", ""]
"""The side of the threshold that passes; empty where `recorded` cannot infer it."""


@dataclass(frozen=True)
class Check:
    """One value against its threshold.

    A person can override a `gate`, and nobody an `integrity` check.
    """

    name: str
    value: float
    threshold: float
    severity: Severity
    passed: bool
    wanted: Wanted
    about: str = ""  # what the value is made of, for people; not stored


def is_model_row(support: ColumnElement[float]) -> ColumnElement[bool]:
    """Whether a row is the model's own: only fallback rows have support 0."""
    return support > 0


def no_violations(name: str, count: int) -> Check:
    """An integrity check that passes where nothing violates it."""
    return Check(name, float(count), 0.0, "integrity", count == 0, "at most")


def at_least(name: str, value: float, threshold: float, about: str) -> Check:
    """A gate that fails if the value is below the threshold."""
    return Check(name, value, threshold, "gate", value >= threshold, "at least", about)


def at_most(name: str, value: float, threshold: float, about: str) -> Check:
    """A gate that fails if the value is above the threshold."""
    return Check(name, value, threshold, "gate", value <= threshold, "at most", about)


def record(connection: Connection, run_id: int, checks: list[Check]) -> None:
    """Store checks in `run_checks`, in place of an earlier audit's of the same names."""
    c = _checks.c
    names = [check.name for check in checks]
    earlier = delete(_checks).where(c.run_id == run_id, c.name.in_(names))
    connection.execute(earlier)
    columns = ["run_id", "name", "value", "threshold", "severity", "passed"]
    rows = []
    for check in checks:
        measured = (check.name, check.value, check.threshold)
        rows.append((run_id, *measured, check.severity, int(check.passed)))
    bulk_insert(connection, _checks, columns, rows)


def recorded(connection: Connection, run_id: int) -> list[Check]:
    """The stored checks of a run, in order of name.

    `wanted` is not stored: it follows from value, threshold and result,
    except where the value equals the threshold.
    """
    c = _checks.c
    columns = select(c.name, c.value, c.threshold, c.severity, c.passed)
    checks_of_run = columns.where(c.run_id == run_id).order_by(c.name)
    return [_check(*row) for row in connection.execute(checks_of_run)]


def _check(name: str, value: float, threshold: float, severity: Severity, passed: int) -> Check:
    wanted = _side_that_passes(value, threshold, bool(passed))
    return Check(name, value, threshold, severity, bool(passed), wanted)


def _side_that_passes(value: float, threshold: float, passed: bool) -> Wanted:
    if value == threshold:
        return ""
    return "at least" if (value > threshold) == passed else "at most"


def failed(
    connection: Connection,
    run_id: int,
    severity: Severity | None = None,
) -> list[str]:
    """Names of the checks, all or of one severity, that a run's last audit failed."""
    c = _checks.c
    names = select(c.name).where(c.run_id == run_id, c.passed == 0)
    if severity is not None:
        names = names.where(c.severity == severity)
    return list(connection.execute(names.order_by(c.name)).scalars())
