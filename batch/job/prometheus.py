"""The summary of a run -> metrics in the text format that Prometheus reads."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

from batch.job.summary import STATUSES, STEPS, RunSummary
from batch.ranking.metric_names import RunMetrics
from batch.ranking.outcome import POPULAR
from batch.store.checks import CHURN

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LAST_RUN = "recbatch_last_run_"
"""Prefix of the metrics of any run. The others are of the last published run.

Every run gives all of them, with zeros for steps it did not reach: a
Pushgateway keeps the old value of what a push does not name.
"""
MODEL_METRICS = {
    "coverage": "recbatch_coverage_ratio",
    "precision": "recbatch_precision_ratio",
    "rmse": "recbatch_rmse",
}
"""Metrics that `evaluate` measured, and their names for Prometheus."""

OUTCOME_METRICS = {
    "precision": "recbatch_outcome_precision_ratio",
    "hit_rate": "recbatch_outcome_hit_ratio",
    "calibration": "recbatch_outcome_calibration_stars",
}
"""Metrics of the outcome of the run before, and their names for Prometheus."""

HELP = {
    "recbatch_last_run_timestamp_seconds": "When the last run ended, however it did.",
    "recbatch_last_run_duration_seconds": "How long the last run took.",
    "recbatch_last_run_status": "1 for how the last run ended, 0 for the other ways.",
    "recbatch_last_run_id": "Number of the last run; 0 if it ended before it had one.",
    "recbatch_last_run_failed_checks": "Integrity checks and gates that the last run failed.",
    "recbatch_last_run_step_seconds": "How long each step of the last run took; 0 if not reached.",
    "recbatch_last_run_peak_memory_bytes": "Peak memory of the last run.",
    "recbatch_last_run_ingested_rows": "Rows of files that the last run ingested, by result.",
    "recbatch_last_run_refused_files": "Files that the last run refused.",
    "recbatch_last_run_dead_sources": "Configured sources that brought nothing in the last run.",
    "recbatch_last_run_ratings": "Ratings that the last run used; 0 if it did not load them.",
    "recbatch_last_success_timestamp_seconds": "When the last published run ended.",
    "recbatch_last_success_run_id": "Number of the last published run.",
    "recbatch_users": "Users in the last published run.",
    "recbatch_films": "Films in the last published run.",
    "recbatch_ratings": "Ratings in the last published run.",
    "recbatch_input_max_timestamp_seconds": "Time of the newest rating in the last published run.",
    "recbatch_rows": "Rows of lists that the last published run wrote.",
    "recbatch_coverage_ratio": "Share of films in any list, measured on held-out ratings, by cut.",
    "recbatch_precision_ratio": "precision@n on held-out ratings, by cut.",
    "recbatch_rmse": "RMSE on held-out ratings, stars, by cut.",
    "recbatch_churn_ratio": "Share of users who keep no film of the run before.",
    "recbatch_outcome_users": "Users who liked a new film while the run before was current.",
    "recbatch_outcome_precision_ratio": "precision@n of the run before, on what they liked.",
    "recbatch_outcome_hit_ratio": "Share of them with a liked film in their list of that run.",
    "recbatch_outcome_calibration_stars": "By how much its predictions were too high, stars.",
}
"""Every metric, all of them gauges."""

_LINE = re.compile(
    r"# (?:HELP|TYPE) ([a-z_]+) .+"
    r"|([a-z_]+)(?:\{[a-z]+=\"[^\"]*\"(?:,[a-z]+=\"[^\"]*\")*\})? -?[0-9.]+(?:e[-+]?[0-9]+)?"
)


class Sample(NamedTuple):
    """One number with its labels."""

    name: str
    value: float
    labels: Mapping[str, str] = {}


def metrics_text(summary: RunSummary, before: str = "") -> str:
    """The metrics of a run as text.

    A run that was not published keeps the metrics of the last published one
    from `before`, the text of an earlier run.
    """
    samples = list(_last_run_samples(summary))
    if summary.status == "published":
        samples += _published_samples(summary)
        return _text(samples)
    kept = [line for line in before.splitlines() if _is_of_published_run(line)]
    return _text(samples) + "".join(f"{line}\n" for line in kept)


def _is_of_published_run(line: str) -> bool:
    match = _LINE.fullmatch(line)
    if match is None:
        return False
    name = match[1] or match[2]
    return name in HELP and not name.startswith(LAST_RUN)


def _last_run_samples(summary: RunSummary) -> Iterator[Sample]:
    """Metrics that every run has, however it ended."""
    values = {
        "timestamp_seconds": _timestamp(summary.finished_at),
        "duration_seconds": summary.took,
        "id": summary.run_id or 0,
        "failed_checks": len(summary.failed_checks),
        "refused_files": summary.files_refused,
        "dead_sources": summary.dead_sources,
        "peak_memory_bytes": summary.peak_mb * 1e6,
        "ratings": summary.ratings or 0,
    }
    yield from _unlabelled(values, LAST_RUN)
    for status in STATUSES:
        yield Sample(f"{LAST_RUN}status", summary.status == status, {"status": status})
    for step in STEPS:
        seconds = summary.seconds.get(step, 0.0)
        yield Sample(f"{LAST_RUN}step_seconds", seconds, {"step": step})
    counts = {
        "accepted": summary.rows_accepted,
        "rejected": summary.rows_rejected,
        "duplicate": summary.rows_read - summary.rows_accepted - summary.rows_rejected,
    }
    for result, count in counts.items():
        yield Sample(f"{LAST_RUN}ingested_rows", count, {"result": result})


def _published_samples(summary: RunSummary) -> Iterator[Sample]:
    """Metrics of a published run."""
    values = {
        "last_success_timestamp_seconds": _timestamp(summary.finished_at),
        "last_success_run_id": summary.run_id,
        "users": summary.users,
        "films": summary.films,
        "ratings": summary.ratings,
        "input_max_timestamp_seconds": summary.newest_rating,
    }
    yield from _unlabelled(values, "recbatch_")
    for model, count in summary.rows.items():
        yield Sample("recbatch_rows", count, {"model": model})
    metrics = RunMetrics.of(summary.metrics, summary.headline)
    for cut in metrics.cuts:
        of_cut = metrics.within(cut)
        for model in metrics.by_model:
            for metric, name in MODEL_METRICS.items():
                value = of_cut.get(model, metric)
                if value is not None:
                    yield Sample(name, value, {"model": model, "cut": cut})
    yield from _outcome_samples(summary.outcome)
    for check in summary.checks:
        if check.name.startswith(CHURN):
            model = check.name.removeprefix(CHURN)
            yield Sample("recbatch_churn_ratio", check.value, {"model": model})


def _outcome_samples(outcome: Mapping[str, Mapping[str, float]]) -> Iterator[Sample]:
    """What became of the lists that this run replaces, beside the popular list."""
    metrics = RunMetrics.of(outcome, None)
    users = metrics.get(POPULAR, "users")
    if users is not None:
        yield Sample("recbatch_outcome_users", users)
    for model in metrics.by_model:
        for metric, name in OUTCOME_METRICS.items():
            value = metrics.get(model, metric)
            if value is not None:
                yield Sample(name, value, {"model": model})


def _unlabelled(values: Mapping[str, float | None], prefix: str) -> Iterator[Sample]:
    for name, value in values.items():
        if value is not None:
            yield Sample(f"{prefix}{name}", value)


def _timestamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _text(samples: list[Sample]) -> str:
    """Each metric once with help and type, its samples together."""
    lines = []
    for name, help_text in HELP.items():
        lines_of_name = [_line(sample) for sample in samples if sample.name == name]
        if lines_of_name:
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} gauge", *lines_of_name]
    return "".join(f"{line}\n" for line in lines)


def _line(sample: Sample) -> str:
    return f"{sample.name}{_label(sample)} {float(sample.value)!r}"


def _label(sample: Sample) -> str:
    pairs = [f'{name}="{value}"' for name, value in sample.labels.items()]
    return f"{{{','.join(pairs)}}}" if pairs else ""
