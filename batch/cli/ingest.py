"""`recbatch ingest`: commands that read files into the database, list them, take one back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch.cli import completion, help
from batch.cli.arguments import (
    FAILED,
    LARGEST_NUMBER,
    AsJson,
    connect_for_job,
    load_settings,
    open_ready,
    print_result,
    stop,
    utc,
)
from batch.cli.help import WRONG_USE
from batch.cli.standard_input import reading_standard_input
from batch.cli.terminal import print_lines
from batch.config import Config
from batch.store.database import Database
from batch.store.run_lock import run_lock
from batch.store.versions import has_tables, prepare, require_tables, temporary_database

if TYPE_CHECKING:  # help must not wait for the imports that read files
    from batch.ingest import Queries
    from batch.ingest.sources import Source

commands = help.Commands(cls=help.CommandWithSubcommands)


@commands.callback(invoke_without_command=True, subcommand_metavar="| list | undo BATCH")
def ingest(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH",
            help="Files, folders or MovieLens .zip archives; - is standard input."
            " Default: what the settings name.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Show what would be merged, with each file's first rows; write nothing.",
        ),
    ] = False,
    snapshot_at: Annotated[
        datetime | None,
        typer.Option(
            help="The time, in UTC, of ratings without one. Default: when each file was modified."
        ),
    ] = None,
    seen: Annotated[
        bool,
        typer.Option(
            "--seen", help="The files list films that were seen, without ratings: userId,movieId."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read ratings and films into the database.

    Without a PATH it reads what the settings under ingest name, files and queries,
    as a run does first.

    'recbatch ingest list' lists the files that were read, 'recbatch ingest undo'
    takes one back. A file named list or undo is given as ./list or ./undo.

    Example: recbatch ingest ml-latest-small.zip
    """
    from batch.cli.lines import ingest_lines
    from batch.ingest import ingest as merge
    from batch.ingest.queries import NO_QUERIES
    from batch.job.inputs import ingest_settings

    settings = load_settings()
    from_settings = not paths
    if from_settings:
        if seen:
            stop(WRONG_USE, "--seen goes with files; without a PATH ingest.seen_paths is read")
        _require_sources(settings)
    snapshot = utc(snapshot_at)
    with (
        reading_standard_input(paths or []) as files,
        _open(settings, dry_run) as (data, queries),
        run_lock(data),
    ):
        paths_of_ratings, seen_paths = _sources(files, seen, settings)
        reports = merge(
            data,
            paths_of_ratings,
            ingest_settings(settings),
            snapshot_at=None if snapshot is None else int(snapshot.timestamp()),
            dry_run=dry_run,
            queries=queries if from_settings else NO_QUERIES,
            pass_over_undone=from_settings,
            seen_paths=seen_paths,
        )
    print_result(
        as_json,
        [asdict(report) for report in reports],
        lambda: ingest_lines(reports),
    )
    if any(report.status == "refused" for report in reports):
        raise typer.Exit(FAILED)


@contextmanager
def _open(settings: Config, dry_run: bool) -> Iterator[tuple[Database, Queries]]:
    """The database to merge into, and the queries of the settings.

    A dry run creates nothing: before there are tables it merges into a temporary database.
    Raises DatabaseUrlError, NotReadyError.
    """
    from batch.job.inputs import queries

    data = connect_for_job(settings)
    asked = queries(settings)
    if not dry_run:
        prepare(data)
        yield data, asked
    elif has_tables(data):
        require_tables(data)
        yield data, asked
    else:
        print_lines(f"{data.label} has no tables of recbatch yet: every row is new", err=True)
        if asked.url is None:
            asked = replace(asked, url=settings.database.url)
        with temporary_database() as empty:
            yield empty, asked


def _sources(
    files: Sequence[Path | Source], seen: bool, settings: Config
) -> tuple[Sequence[Path | Source], Sequence[Path | Source]]:
    """What to read ratings and films from, and what films seen: these files, or the settings'."""
    if not files:
        return settings.ingest.paths, settings.ingest.seen_paths
    return ((), files) if seen else (files, ())


def _require_sources(settings: Config) -> None:
    """End with WRONG_USE where the settings name nothing to read."""
    chosen = settings.ingest
    any_query = chosen.query or chosen.films_query or chosen.seen_query
    if not chosen.paths and not chosen.seen_paths and any_query is None:
        stop(
            WRONG_USE,
            "nothing to ingest: name files, as in 'recbatch ingest ratings.csv', or set"
            " ingest.paths or ingest.query",
        )


@commands.command(name="list")
def list_batches(
    n: Annotated[
        int, typer.Option("-n", min=1, max=LARGEST_NUMBER, metavar="N", help="At most this many.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """List the files that were read, newest first.

    Each is a batch, whose number 'recbatch ingest undo' takes.

    Example: recbatch ingest list -n 5
    """
    from batch.cli.tables import batch_table
    from batch.store.batches import newest_batches

    _, data = open_ready()
    with data.reader.connect() as connection:
        batches = newest_batches(connection, n)
    print_result(
        as_json,
        [asdict(batch) for batch in batches],
        lambda: batch_table(batches),
    )


@commands.command()
def undo(
    batch_id: Annotated[
        int,
        typer.Argument(
            min=1,
            max=LARGEST_NUMBER,
            metavar="BATCH",
            help="A batch of ratings or of films seen that 'recbatch ingest list' lists.",
            autocompletion=completion.batches,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Take a file back: its ratings or films seen go, and what they overwrote is as before.

    Later files that overwrote its rows must be undone first. Runs do not merge
    the same content again; 'recbatch ingest FILE' does. Published lists stay as
    they are until the next run.

    Example: recbatch ingest undo 3
    """
    from batch.cli.lines import undone_lines
    from batch.ingest.undo import undo as undo_batch

    _, data = open_ready(writes=True)
    with run_lock(data):
        undone = undo_batch(data, batch_id)
    print_result(as_json, asdict(undone), lambda: undone_lines(undone))
