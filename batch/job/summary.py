"""A night's facts as they become known -> what is told when it has ended, well or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Literal

from batch.store.checks import Check

Status = Literal["published", "ready", "rejected", "failed", "abandoned"]
STATUSES: tuple[Status, ...] = ("published", "ready", "rejected", "failed", "abandoned")
SUCCEEDED = ("published", "ready")
STEPS = ("load", "evaluate", "fit", "score", "audit")


@dataclass
class RunSummary:
    """Lives from the start of a run to its end, and is filled in meanwhile: what stays empty was never reached."""

    night: date
    triggered_by: str
    started_at: datetime
    finished_at: datetime | None = None
    run_id: int | None = None
    status: Status = "failed"
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
    peak_mb: float = 0.0  # the most memory held
    checks: Sequence[Check] = ()
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # by model
    rows: Mapping[str, int] = field(default_factory=dict)  # written, by model

    @property
    def took(self) -> float:
        """Seconds from start to end, or to now."""
        return ((self.finished_at or datetime.now(UTC)) - self.started_at).total_seconds()

    @property
    def failed_checks(self) -> list[Check]:
        return [check for check in self.checks if not check.passed]
