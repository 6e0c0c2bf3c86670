"""A run that was made before -> the current one, audited once more."""

from collections.abc import Callable

from sqlalchemy import Connection

from batch.audit.integrity import audit_integrity
from batch.store import publish
from batch.store.checks import failed, record
from batch.store.database import Database, run_lock
from batch.store.publish import CannotPublishError
from batch.telemetry import log_warning


def republish(database: Database, wanted: Callable[[Connection], int]) -> int:
    """Make another run current, audited once more; `wanted` picks it under the lock. Returns the run."""
    with run_lock(database) as holder:
        with holder.begin():
            chosen = wanted(holder)
            publish.require_lists(holder, chosen)
            checks = audit_integrity(holder, chosen)
            record(
                holder, chosen, checks
            )  # the evidence stays, also where it speaks against the run
        broken = [check.name for check in checks if not check.passed]
        if broken:
            raise CannotPublishError(
                f"run {chosen} fails its integrity checks: {', '.join(broken)}"
            )
        with publish.commit_or_verify(database, holder, publish.is_current(chosen)):
            overridden = failed(holder, chosen, "gate")
            publish.republish(holder, chosen)
        if overridden:
            log_warning("published over its gates", run=chosen, gates=", ".join(overridden))
        return chosen
