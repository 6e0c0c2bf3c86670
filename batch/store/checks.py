"""A value and its threshold -> a check passed or failed, stored as evidence in `run_checks`."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, Connection, delete, select

from batch.store import schema
from batch.store.bulk_insert import bulk_insert
from batch.store.runs import FALLBACK_ROWS as FALLBACK_ROWS
from batch.store.runs import ROWS as ROWS

_checks = schema.run_checks

CHURN = "churn_"
"""Prefix of the gates, followed by a model, of the share of users whose list keeps no film."""

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
    about: str = ""  # what the value is made of, for people; not stored in `run_checks`


def is_model_row(support: ColumnElement[float]) -> ColumnElement[bool]:
    """Whether a row of a list is the model's own: fallback rows, and only those, have support 0."""
    return support > 0


def no_violations(name: str, count: int) -> Check:
    """An integrity check of what must hold for every list: passed where the count is 0."""
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
    connection.execute(delete(_checks).where(c.run_id == run_id, c.name.in_(names)))
    columns = ["run_id", "name", "value", "threshold", "severity", "passed"]
    rows = [
        (run_id, check.name, check.value, check.threshold, check.severity, int(check.passed))
        for check in checks
    ]
    bulk_insert(connection, _checks, columns, rows)


def recorded(connection: Connection, run_id: int) -> list[Check]:
    """The stored checks of a run, in order of name.

    `wanted` is not stored: it follows from value, threshold and result, except where the
    value equals the threshold.
    """
    c = _checks.c
    columns = select(c.name, c.value, c.threshold, c.severity, c.passed)
    checks = []
    for row in connection.execute(columns.where(c.run_id == run_id).order_by(c.name)):
        passed = bool(row.passed)
        wanted = _side_that_passes(row.value, row.threshold, passed)
        checks.append(Check(row.name, row.value, row.threshold, row.severity, passed, wanted))
    return checks


def _side_that_passes(value: float, threshold: float, passed: bool) -> Wanted:
    if value == threshold:
        return ""
    return "at least" if (value > threshold) == passed else "at most"


def failed(connection: Connection, run_id: int, severity: Severity | None = None) -> list[str]:
    """Names of the checks that a run failed in its last audit, all or of one severity."""
    c = _checks.c
    names = select(c.name).where(c.run_id == run_id, c.passed == 0)
    if severity is not None:
        names = names.where(c.severity == severity)
    return list(connection.execute(names.order_by(c.name)).scalars())
