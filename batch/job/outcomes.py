"""Published runs -> what became of their lists, by what came in since and by the settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from batch import RecbatchError
from batch.config import Config
from batch.job.inputs import liked_from
from batch.ranking.metrics import Metrics
from batch.ranking.outcome import Terms, outcome
from batch.store.first_steps import first_steps
from batch.store.outcomes import Window, new_ratings, stored_outcome, windows
from batch.store.runs import (
    NoSuchRunError,
    Run,
    UnknownRunError,
    current_run,
    find_run,
    require_night,
)


class NeverShownError(RecbatchError):
    """A run that was never published: nobody saw its lists."""


@dataclass(frozen=True)
class RunOutcome:
    """What became of one run's lists."""

    run: Run
    liked_from: float | None  # stars; None where the scale of the run is not known
    is_stored: bool  # as the last night before its lists were purged found it
    metrics: Mapping[str, Metrics]  # by model, POPULAR among them; empty without new ratings


def measured_outcomes(
    connection: Connection, config: Config, run_id: int | None = None
) -> list[tuple[Window, Mapping[str, Metrics]]]:
    """Each published run that has lists, or the one of this number, with its metrics by model."""
    found = new_ratings(connection, run_id)
    measured: list[tuple[Window, Mapping[str, Metrics]]] = []
    for window in windows(connection, run_id):
        metrics: Mapping[str, Metrics] = {}
        if window.run_id in found:
            new = found[window.run_id]
            terms = Terms(
                n=window.top_n,
                has_spare=window.has_spare,
                liked_from=liked_from(config, window.scale),
                scale=window.scale,
                seed=config.evaluation.seed,
            )
            judged = new.users[new.best >= terms.liked_from]
            metrics = outcome(judged, new.by_model, terms)
        measured.append((window, metrics))
    return measured


def outcome_of(connection: Connection, config: Config, run_id: int | None) -> RunOutcome:
    """The outcome of a run, the current one by default: as of now, or as stored once purged.

    Raises NoSuchRunError, NeverShownError.
    """
    run = _chosen(connection, run_id)
    liked = None if run.scale is None else liked_from(config, run.scale)
    if run.purged:
        return RunOutcome(run, liked, True, stored_outcome(connection, run.run_id))
    [(_, metrics)] = measured_outcomes(connection, config, run.run_id)
    return RunOutcome(run, liked, False, metrics)


def _chosen(connection: Connection, run_id: int | None) -> Run:
    run = current_run(connection) if run_id is None else find_run(connection, run_id)
    if run is None and run_id is None:
        raise NoSuchRunError(f"nothing is published yet; {first_steps(connection)}")
    if run is None:
        raise UnknownRunError(run_id or 0)
    require_night(run)
    if run.status != "published":
        raise NeverShownError(f"run {run.run_id} is {run.status}: nobody saw its lists")
    return run
