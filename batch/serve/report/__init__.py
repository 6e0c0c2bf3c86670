"""A run -> one HTML page about it."""

from pathlib import Path

from sqlalchemy import Connection

from batch.files import writing
from batch.serve.report.facts import gather
from batch.serve.report.page import render


def report(connection: Connection, run_id: int | None = None, file: Path | None = None) -> Path:
    """Write the page of a run, by default of the published one to `report-RUN.html`.

    Returns the file. Raises NoSuchRunError, OSError.
    """
    facts = gather(connection, run_id)
    path = file or Path(f"report-{facts.run.run_id}.html")
    with writing(path):
        path.write_text(render(facts), encoding="utf-8", errors="backslashreplace")
    return path
