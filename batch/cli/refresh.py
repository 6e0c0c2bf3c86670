"""`recbatch refresh`: new lists during the day."""

from dataclasses import asdict
from typing import Annotated

import typer

from batch.cli import help
from batch.cli.arguments import AsJson, connect_for_job, load_settings, print_result
from batch.cli.terminal import print_lines

commands = help.Commands()


@commands.command()
def refresh(
    trigger: Annotated[str, typer.Option(hidden=True)] = "manual",
    as_json: AsJson = False,
) -> None:
    """Ingest what is new, and make new lists for those whose ratings changed since the run.

    With what the published run learnt: nothing is trained, measured or asked of the
    gates. Made for cron, every few minutes, or schedule.refresh_minutes.

    Example: recbatch refresh
    """
    from batch.cli.lines import ingest_lines
    from batch.job.refresh import refresh as refresh_lists

    settings = load_settings()
    refreshed = refresh_lists(connect_for_job(settings), settings, trigger)

    def lines() -> None:
        ingest_lines(refreshed.ingested)
        base = f"run {refreshed.base_run_id}"
        if refreshed.run_id is None:
            print_lines(f"{base} is up to date: nobody's ratings changed")
            return
        counts = ", ".join(f"{count:,} {model}" for model, count in refreshed.rows.items())
        print_lines(f"{base} has new lists of {refreshed.users:,} users: {counts}")

    print_result(as_json, asdict(refreshed), lines)
