"""`recbatch export`: the lists as a file."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from batch.cli import completion, help
from batch.cli.arguments import AnyRun, AsJson, open_ready, print_result
from batch.cli.terminal import print_lines

commands = help.Commands()


@commands.command()
def export(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Ends in .csv, .csv.gz, .jsonl, .jsonl.gz or .parquet."
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
    run_id: AnyRun = None,
    as_json: AsJson = False,
) -> None:
    """Write everyone's lists to a file, one film a row, in place of the file that is there.

    The columns are those of the view current_recommendations, and the reason as a
    sentence. Films rated, seen or filtered since are left out, and short lists filled.

    Example: recbatch export lists.csv --model blend
    """
    from batch.serve.export import export as write_lists

    _, data = open_ready()
    with data.reader.connect() as connection:
        exported = write_lists(connection, file, model=model, run_id=run_id)
    print_result(
        as_json,
        asdict(exported),
        lambda: print_lines(f"{file}: {exported.rows:,} rows of run {exported.run_id}"),
    )
