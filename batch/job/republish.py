"""An earlier run -> the current one, after another audit of its lists."""

from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import Connection, select

from batch.audit.integrity import audit_integrity
from batch.config import FilterSettings
from batch.store import filters, publish, schema
from batch.store.checks import failed, record
from batch.store.database import Database
from batch.store.publish import CannotPublishError
from batch.store.run_lock import run_lock
from batch.telemetry import log_warning

_runs = schema.runs


class Republished(NamedTuple):
    """A run that was made current, and how many films of its lists may move up."""

    run_id: int
    spare: int


def republish(
    database: Database, rules: FilterSettings, choose: Callable[[Connection], int]
) -> Republished:
    """Make another run current; `choose` picks it under the run lock.

    The films of `rules` are filtered first: the run's lists may be older than
    the settings. Raises CannotPublishError for a run without complete lists, or whose lists
    are damaged.
    """
    with run_lock(database) as lock:
        with lock.begin():
            run_id = choose(lock)
            publish.require_lists(lock, run_id)
            filters.synchronise(lock, rules)
            checks = audit_integrity(lock, run_id, rules)
            record(lock, run_id, checks)  # kept even if the run is refused
            spare = lock.execute(select(_runs.c.spare).where(_runs.c.run_id == run_id)).scalar()
        failed_checks = [check.name for check in checks if not check.passed]
        if failed_checks:
            names = ", ".join(failed_checks)
            raise CannotPublishError(
                f"run {run_id} fails its integrity checks: {names}; 'recbatch run' makes new lists"
            )
        with publish.commit_or_verify(database, lock, publish.is_current(run_id)):
            failed_gates = failed(lock, run_id, "gate")
            publish.republish(lock, run_id)
        if failed_gates:
            log_warning("published over its gates", run=run_id, gates=", ".join(failed_gates))
        return Republished(run_id, spare or 0)
