"""Commands about runs: which there are, what changed between them, what became of their lists."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from batch.cli import completion, help
from batch.cli.arguments import A_RUN, LARGEST_NUMBER, AsJson, open_ready, print_result
from batch.cli.metric_tables import outcome_table
from batch.cli.terminal import print_lines

commands = help.Commands()

RunOrPublished = Annotated[
    int | None,
    typer.Argument(
        max=LARGEST_NUMBER,
        metavar="[RUN]",
        help="Default: the published run.",
        autocompletion=completion.runs,
    ),
]


@commands.command()
def runs(
    n: Annotated[
        int,
        typer.Option("-n", min=1, max=LARGEST_NUMBER, help="How many of the newest runs."),
    ] = 20,
    everything: Annotated[
        bool, typer.Option("--all", help="List refreshes too, not nights alone.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the runs, newest first.

    Example: recbatch runs -n 5
    """
    from batch.cli.tables import run_table
    from batch.serve.history import history

    _, data = open_ready()
    with data.reader.connect() as connection:
        newest = history(connection, n, refreshes=everything)
    print_result(as_json, newest, lambda: run_table(newest))


@commands.command()
def report(
    run_id: RunOrPublished = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: report-RUN.html.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page about a run: figures, charts, checks, sample lists.

    Example: recbatch report -o tonight.html
    """
    from batch.serve.report import report as write_report

    _, data = open_ready()
    with data.reader.connect() as connection:
        file = write_report(connection, run_id, output)
    print_result(as_json, {"file": file}, lambda: print_lines(str(file)))


@commands.command()
def diff(
    before: Annotated[
        int,
        typer.Argument(max=LARGEST_NUMBER, metavar="A", help=A_RUN, autocompletion=completion.runs),
    ],
    after: Annotated[
        int,
        typer.Argument(
            max=LARGEST_NUMBER,
            metavar="B",
            help="The run to compare it with, usually the newer one.",
            autocompletion=completion.runs,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="The lists of this model only. Default: of every model.",
            autocompletion=completion.models,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what changed between the lists of two runs.

    Example: recbatch diff 11 12 --model blend
    """
    from batch.cli.tables import diff_tables
    from batch.serve.diff import diff as compare

    _, data = open_ready()
    with data.reader.connect() as connection:
        changes = compare(connection, before, after, model)
    print_result(as_json, asdict(changes), lambda: diff_tables(changes))


@commands.command()
def outcome(
    run_id: RunOrPublished = None,
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
