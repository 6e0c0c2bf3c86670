"""Ratings that came in since earlier runs -> what became of their lists, stored each night."""

from sqlalchemy import select

from batch.job.outcomes import measured_outcomes
from batch.job.steps import Job
from batch.job.summary import COMPLETE_MESSAGES, message_of
from batch.store import publish, schema
from batch.store.outcomes import write_outcome
from batch.telemetry import log_warning, step


def judge_earlier_runs(job: Job) -> None:
    """Store what became of the lists of earlier runs, by the ratings that came in since.

    No list depends on it: a failure here is only a warning.
    """
    summary = job.summary
    try:
        with step("outcome", into=summary.seconds) as figures:
            with job.database.reader.connect() as connection:
                measured = measured_outcomes(connection, job.config)
                current = connection.execute(select(schema.publication.c.run_id)).scalar()
            with job.database.writer.begin() as connection:
                publish.require_ownership(connection, job.key)
                for window, metrics in measured:
                    write_outcome(connection, window.run_id, metrics, has_spare=window.has_spare)
                    if window.run_id == current:
                        summary.outcome = metrics
            figures["runs"] = len(measured)
    except COMPLETE_MESSAGES as error:
        log_warning("outcomes not stored", error=message_of(error))
    except Exception as error:
        log_warning("outcomes not stored", because=error)
