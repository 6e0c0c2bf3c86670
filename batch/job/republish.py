"""An earlier run -> the current one, after another audit of its lists."""

from collections.abc import Callable

from sqlalchemy import Connection

from batch.audit.integrity import audit_integrity
from batch.config import FilterSettings
from batch.store import filters, publish
from batch.store.checks import failed, record
from batch.store.database import Database
from batch.store.publish import CannotPublishError
from batch.store.run_lock import run_lock
from batch.telemetry import log_warning


def republish(
    database: Database, rules: FilterSettings, choose: Callable[[Connection], int]
) -> int:
    """Make another run current, and return its number; `choose` picks it under the run lock.

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
        return run_id
