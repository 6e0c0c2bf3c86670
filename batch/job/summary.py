"""The figures of a run, from which notifications are made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Literal

from sqlalchemy.exc import SQLAlchemyError

from batch import RecbatchError
from batch.ranking.metric_names import Cut
from batch.store.checks import Check
from batch.store.runs import RunWarning
from batch.telemetry import cause

Ended = Literal["published", "ready", "rejected"]
"""The status of a run that ended with complete lists."""
Status = Ended | Literal["failed", "abandoned"]
ENDED: tuple[Ended, ...] = ("published", "ready", "rejected")
STATUSES: tuple[Status, ...] = (*ENDED, "failed", "abandoned")
SUCCEEDED = ("published", "ready")
COMPLETE_MESSAGES = (RecbatchError, SQLAlchemyError, OSError)
"""Errors whose message says what is wrong without the name of their class."""
STEPS = ("load", "evaluate", "fit", "score", "similar", "outcome", "audit")


@dataclass
class RunSummary:
    """Filled in from the start of a run to its end; figures of steps not reached stay empty."""

    night: date
    triggered_by: str
    started_at: datetime
    finished_at: datetime | None = None
    run_id: int | None = None
    status: Status | None = None  # None: it has not ended
    error: str | None = None  # one line
    users: int | None = None
    films: int | None = None
    ratings: int | None = None
    rows_read: int = 0  # of the files that this run ingested
    rows_accepted: int = 0
    rows_rejected: int = 0
    files_refused: int = 0
    seconds: dict[str, float] = field(default_factory=dict)  # by step
    newest_rating: float | None = None  # seconds since 1970 UTC
    peak_mb: float = 0.0  # peak memory
    checks: Sequence[Check] = ()
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by model
    headline: Cut = "own"  # the cut that the run is judged by
    rows: Mapping[str, int] = field(default_factory=dict)  # written, by model
    warnings: Sequence[RunWarning] = ()
    outcome: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    # by model: what became of the lists that readers saw when the run began

    def end_with(self, error: BaseException) -> None:
        """Record the exception that ended the run, unless it had ended before."""
        if self.status is None:
            self.status = status_after(error)
            self.error = message_of(error).splitlines()[0]

    @property
    def took(self) -> float:
        """Seconds from start to end, or until now."""
        end = self.finished_at or datetime.now(UTC)
        return (end - self.started_at).total_seconds()

    @property
    def dead_sources(self) -> int:
        """How many configured sources brought nothing."""
        return sum(warning["kind"] == "source" for warning in self.warnings)

    @property
    def failed_checks(self) -> list[Check]:
        """The checks that the run did not pass."""
        return [check for check in self.checks if not check.passed]


def status_after(error: BaseException) -> Literal["failed", "abandoned"]:
    """The status of a run that an exception ended.

    A run ended by a signal did not fail by itself: it is abandoned, and the
    scheduler tries again.
    """
    return "abandoned" if isinstance(error, SystemExit) else "failed"


def message_of(error: BaseException) -> str:
    """Why an exception ended a run; never empty."""
    if isinstance(error, SystemExit):
        return "ended by a signal"
    if isinstance(error, COMPLETE_MESSAGES):
        return str(error) or type(error).__name__
    return cause(error)
