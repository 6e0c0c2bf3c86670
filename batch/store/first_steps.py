"""A database in which nothing is published yet -> the commands that lead to lists."""

from sqlalchemy import Connection, select

from batch.store import schema
from batch.store.runs import Run, newest_runs

BRING_RATINGS = "bring in ratings with 'recbatch ingest FILES', or name files in ingest.paths"
"""What to do where there are no ratings."""


def first_steps(connection: Connection) -> str:
    """What to type next: it depends on whether there are ratings, and on how the last run ended."""
    any_rating = select(schema.ratings.c.user_id).limit(1)
    if connection.execute(any_rating).first() is None:
        return f"{BRING_RATINGS}, then run 'recbatch run'"
    for run in newest_runs(connection, 1):
        if _may_be_published(connection, run):
            return f"'recbatch publish {run.run_id}' shows run {run.run_id}, which is {run.status}"
    return "run 'recbatch run'"


def _may_be_published(connection: Connection, run: Run) -> bool:
    """Whether it has lists, and failed gates at most."""
    if not run.has_lists:
        return False
    c = schema.run_checks.c
    violations = select(c.name).where(
        c.run_id == run.run_id, c.severity == "integrity", c.passed == 0
    )
    return connection.execute(violations).first() is None
