"""How a run ended -> metrics as Prometheus reads them; a run that failed keeps those of the last published one."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from batch.job.summary import STATUSES, STEPS, RunSummary
from batch.store.checks import CHURN

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LAST_RUN = "recbatch_last_run_"
"""What metrics of any run begin with. It gives all of them, zeros for what it did not come to: a Pushgateway keeps
what a push does not name. The others are of the last run that was published."""
OF_MODELS = {"coverage": "coverage_ratio", "precision": "precision_ratio", "rmse": "rmse"}
"""Metrics that `evaluate` measured, without their @n, and what they are called here."""

HELP = {
    "recbatch_last_run_timestamp_seconds": "When the last run ended, however it did.",
    "recbatch_last_run_duration_seconds": "How long the last run took.",
    "recbatch_last_run_status": "1 for how the last run ended, 0 for the other ways.",
    "recbatch_last_run_id": "The number of the last run; 0 where it ended before it had one.",
    "recbatch_last_run_failed_checks": "Integrity checks and gates that the last run failed.",
    "recbatch_last_run_step_seconds": "How long each step of the last run took; 0 where it did not come to it.",
    "recbatch_last_run_peak_memory_bytes": "The most memory that the last run held.",
    "recbatch_last_run_ingested_rows": "Rows of files that the last run ingested, by what became of them.",
    "recbatch_last_run_refused_files": "Files that the last run refused whole.",
    "recbatch_last_run_ratings": "Ratings that the last run learnt from; 0 where it did not come to them.",
    "recbatch_last_success_timestamp_seconds": "When the last run that was published ended.",
    "recbatch_last_success_run_id": "The number of the last run that was published.",
    "recbatch_users": "Users whom the last published run knew.",
    "recbatch_films": "Films that the last published run knew.",
    "recbatch_ratings": "Ratings that the last published run learnt from.",
    "recbatch_input_max_timestamp_seconds": "When the newest rating that the last published run knew was given.",
    "recbatch_rows": "Rows of lists that the last published run wrote.",
    "recbatch_coverage_ratio": "Share of films that are in any list, as measured on held-out ratings.",
    "recbatch_precision_ratio": "precision@n on held-out ratings.",
    "recbatch_rmse": "RMSE on held-out ratings, stars.",
    "recbatch_churn_ratio": "Share of users who keep no film of the run before.",
}
"""Every metric, all of them gauges."""

_LINE = re.compile(
    r"# (?:HELP|TYPE) ([a-z_]+) .+|([a-z_]+)(?:\{[a-z]+=\"[^\"]*\"\})? -?[0-9.]+(?:e[-+]?[0-9]+)?"
)


class Sample(NamedTuple):
    """One number, and at most one label with its value."""

    name: str
    value: float
    label: tuple[str, str] | None = None


def metrics_text(summary: RunSummary, before: str = "") -> str:
    """The whole text; `before`, an earlier one, gives what a run that was not published cannot say."""
    samples = [*_of_any_run(summary)]
    if summary.status == "published":
        return _text([*samples, *_of_success(summary)])
    return _text(samples) + "".join(f"{line}\n" for line in before.splitlines() if _is_kept(line))


def _is_kept(line: str) -> bool:
    matched = _LINE.fullmatch(line)
    name = matched and (matched[1] or matched[2])
    return bool(name in HELP and not name.startswith(LAST_RUN))


def _of_any_run(summary: RunSummary) -> Iterator[Sample]:
    yield from _known({
        "timestamp_seconds": _seconds(summary.finished_at), "duration_seconds": summary.took,
        "id": summary.run_id or 0, "failed_checks": len(summary.failed_checks), "refused_files": summary.files_refused,
        "peak_memory_bytes": summary.peak_mb * 1e6, "ratings": summary.ratings or 0,
    }, LAST_RUN)  # fmt: skip
    yield from (
        Sample(f"{LAST_RUN}status", summary.status == name, ("status", name)) for name in STATUSES
    )
    yield from (
        Sample(f"{LAST_RUN}step_seconds", summary.seconds.get(step, 0.0), ("step", step))
        for step in STEPS
    )
    duplicate = summary.rows_read - summary.rows_accepted - summary.rows_rejected
    counts = {
        "accepted": summary.rows_accepted,
        "rejected": summary.rows_rejected,
        "duplicate": duplicate,
    }
    yield from (
        Sample(f"{LAST_RUN}ingested_rows", count, ("result", result))
        for result, count in counts.items()
    )


def _of_success(summary: RunSummary) -> Iterator[Sample]:
    yield from _known({
        "last_success_timestamp_seconds": _seconds(summary.finished_at),
        "last_success_run_id": summary.run_id, "users": summary.users, "films": summary.films, "ratings": summary.ratings,
        "input_max_timestamp_seconds": summary.newest_rating,
    }, "recbatch_")  # fmt: skip
    yield from (
        Sample("recbatch_rows", count, ("model", model)) for model, count in summary.rows.items()
    )
    for model, measured in summary.metrics.items():
        for name, value in measured.items():
            known = OF_MODELS.get(name.split("@")[0])
            if known:
                yield Sample(f"recbatch_{known}", value, ("model", model))
    for check in summary.checks:
        if check.name.startswith(CHURN):
            yield Sample(
                "recbatch_churn_ratio", check.value, ("model", check.name.removeprefix(CHURN))
            )


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _known(values: Mapping[str, float | None], prefix: str) -> Iterator[Sample]:
    yield from (
        Sample(f"{prefix}{name}", value) for name, value in values.items() if value is not None
    )


def _text(samples: list[Sample]) -> str:
    """Each metric once with its help, its samples together, as the format wants them."""
    lines = []
    for name, told in HELP.items():
        found = [sample for sample in samples if sample.name == name]
        if found:
            lines += [f"# HELP {name} {told}", f"# TYPE {name} gauge"]
            lines += [f"{name}{_label(sample)} {float(sample.value)!r}" for sample in found]
    return "".join(f"{line}\n" for line in lines)


def _label(sample: Sample) -> str:
    return f'{{{sample.label[0]}="{sample.label[1]}"}}' if sample.label else ""
