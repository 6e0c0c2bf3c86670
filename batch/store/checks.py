"""A figure and its threshold -> a check passed or failed, kept as evidence in `run_checks`."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, Connection, select

from batch.store import schema
from batch.store.bulk_insert import bulk_insert

ROWS = "rows"
"""The metric of each published model that says how many rows were written for it."""
CHURN = "churn_"
"""What the names of gates begin with, before the model's, whose value is the share of users who keep no film."""
FALLBACK_ROWS = "fallback_rows"
"""The metric that says which share of the rows written stand in."""

Severity = Literal["integrity", "gate"]
Wanted = Literal["at least", "at most", ""]
"""Which side of the threshold is good; empty where it cannot be told, see `recorded`."""


@dataclass(frozen=True)
class Check:
    """One figure against its threshold. `integrity` can never be overridden, a `gate` can, by a person."""

    name: str
    value: float
    threshold: float
    severity: Severity
    passed: bool
    wanted: Wanted
    about: str = ""  # what the value is made of, for people; `run_checks` does not store it


def is_model_row(support: ColumnElement[float]) -> ColumnElement[bool]:
    """Whether a row of a list is what its model says: what stands in for it, and nothing else, has no support."""
    return support > 0


def no_violations(name: str, count: int) -> Check:
    """Violations of what must hold of any list, of which there may be none."""
    return Check(name, float(count), 0.0, "integrity", count == 0, "at most")


def at_least(name: str, value: float, threshold: float, about: str) -> Check:
    """A gate that a value below the threshold fails."""
    return Check(name, value, threshold, "gate", value >= threshold, "at least", about)


def at_most(name: str, value: float, threshold: float, about: str) -> Check:
    """A gate that a value above the threshold fails."""
    return Check(name, value, threshold, "gate", value <= threshold, "at most", about)


def record(connection: Connection, run_id: int, checks: list[Check]) -> None:
    """Keep the evidence in `run_checks`, in place of what an earlier audit of the run left."""
    c = schema.run_checks
    connection.execute(
        c.delete().where(c.c.run_id == run_id, c.c.name.in_([check.name for check in checks]))
    )
    columns = ["run_id", "name", "value", "threshold", "severity", "passed"]
    rows = ((run_id, k.name, k.value, k.threshold, k.severity, int(k.passed)) for k in checks)
    bulk_insert(connection, c, columns, rows)


def recorded(connection: Connection, run_id: int) -> list[Check]:
    """The checks of a run, by name.

    Which side of the threshold is wanted is not stored: it follows from the value and the result,
    unless the value lies on the threshold.
    """
    c = schema.run_checks.c
    columns = select(c.name, c.value, c.threshold, c.severity, c.passed)
    found = []
    for name, value, threshold, severity, passed in connection.execute(
        columns.where(c.run_id == run_id).order_by(c.name)
    ):
        wanted: Wanted = ""
        if value != threshold:
            wanted = "at least" if (value > threshold) == bool(passed) else "at most"
        found.append(Check(name, value, threshold, severity, bool(passed), wanted))
    return found


def failed(connection: Connection, run_id: int, severity: Severity | None = None) -> list[str]:
    """The checks that a run failed when it was last audited, by name; of one severity, or all of them."""
    c = schema.run_checks.c
    wanted = select(c.name).where(c.run_id == run_id, c.passed == 0).order_by(c.name)
    return list(
        connection.execute(
            wanted if severity is None else wanted.where(c.severity == severity)
        ).scalars()
    )
