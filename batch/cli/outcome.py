"""A run -> what became of the films it listed, on the terminal."""

from typing import Annotated

import typer

from batch.cli import completion, help
from batch.cli.arguments import LARGEST_NUMBER, AsJson, open_ready, print_result
from batch.cli.metric_tables import outcome_table
from batch.cli.terminal import print_lines

commands = help.Commands()


@commands.command()
def outcome(
    run_id: Annotated[
        int | None,
        typer.Argument(
            max=LARGEST_NUMBER,
            metavar="[RUN]",
            help="Default: the published run.",
            autocompletion=completion.runs,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what users rated since of the films that a run listed, beside the popular list.

    It counts what came in after the run, up to the run that was published next.

    Example: recbatch outcome 12
    """
    from batch.job.outcomes import outcome_of

    settings, data = open_ready()
    with data.reader.connect() as connection:
        found = outcome_of(connection, settings, run_id)
    run = found.run
    content = {
        "run_id": run.run_id,
        "logical_date": run.logical_date,
        "is_stored": found.is_stored,
        "liked_from": found.liked_from,
        "outcome": found.metrics,
    }

    def print_text() -> None:
        if found.metrics:
            outcome_table(found)
        elif found.is_stored:
            print_lines(f"run {run.run_id} was purged, and nothing is stored of its outcome")
        else:
            print_lines(
                f"nothing to judge run {run.run_id} by: no user with a list of it has rated a film"
                " since that was new to them"
            )

    print_result(as_json, content, print_text)
