"""A figure and its threshold -> a check passed or failed, kept as evidence in `run_checks`."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, Connection, select

from batch import schema
from batch.bulk import bulk_insert

ROWS = "rows"
"""The metric of each published model that says how many rows were written for it."""
CHURN = "churn_"
"""What the names of gates begin with, before the model's, whose value is the share of users who keep no film."""
FALLBACK = "fallback"
"""The `kind` of the reason of a row that stands in for what a model could not say."""
FALLBACK_ROWS = "fallback_rows"
"""The metric that says which share of the rows written stand in."""

Severity = Literal["integrity", "gate"]


@dataclass(frozen=True)
class Check:
    """One figure against its threshold. `integrity` can never be overridden, a `gate` can, by a person."""

    name: str
    value: float
    threshold: float
    severity: Severity
    passed: bool
    wanted: Literal["at least", "at most"]
    about: str = ""  # what the value is made of, for people


def said_by_model(support: ColumnElement[float]) -> ColumnElement[bool]:
    """Whether a row of a list is what its model says: what stands in for it, and nothing else, has no support."""
    return support > 0


def none_of(name: str, count: int) -> Check:
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
    connection.execute(c.delete().where(c.c.run_id == run_id, c.c.name.in_([check.name for check in checks])))
    columns = ["run_id", "name", "value", "threshold", "severity", "passed"]
    rows = ((run_id, k.name, k.value, k.threshold, k.severity, int(k.passed)) for k in checks)
    bulk_insert(connection, c, columns, rows)


def failed(connection: Connection, run_id: int, severity: Severity | None = None) -> list[str]:
    """The checks that a run failed when it was last audited, by name; of one severity, or all of them."""
    c = schema.run_checks.c
    wanted = select(c.name).where(c.run_id == run_id, c.passed == 0).order_by(c.name)
    return list(connection.execute(wanted if severity is None else wanted.where(c.severity == severity)).scalars())
