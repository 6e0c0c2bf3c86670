"""Commands that change what readers see, or what is kept."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy import Connection

from batch import query
from batch.cli import completion, help, suggestions
from batch.cli.arguments import (
    A_RUN,
    FAILED,
    LARGEST_NUMBER,
    AsJson,
    User,
    connect,
    load_settings,
    open_ready,
    print_result,
    stop,
)
from batch.cli.terminal import confirmed, print_lines
from batch.store import schema
from batch.store.run_lock import run_lock

if TYPE_CHECKING:  # help must not wait for these imports
    from batch.config import Config
    from batch.job.forget import Traces
    from batch.job.republish import Republished

commands = help.Commands()


@commands.command()
def publish(
    run_id: Annotated[
        int,
        typer.Argument(
            max=LARGEST_NUMBER, metavar="RUN", help=A_RUN, autocompletion=completion.runs
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Make a finished run current, older ones too, after auditing it again.

    Example: recbatch publish 12
    """
    from batch.job.republish import republish

    settings, data = open_ready(writes=True)
    _print_current(as_json, settings, republish(data, settings.filters, lambda _: run_id))


@commands.command()
def rollback(as_json: AsJson = False) -> None:
    """Make the run before the current one current again.

    Example: recbatch rollback
    """
    from batch.job.republish import republish
    from batch.store.publish import previous

    settings, data = open_ready(writes=True)
    _print_current(as_json, settings, republish(data, settings.filters, previous))


def _print_current(as_json: bool, settings: Config, run: Republished) -> None:
    """Say which run is current, and where films of its lists can no longer move up."""
    lines = [f"run {run.run_id} is now current"]
    if settings.publish.spare and not run.spare:
        lines.append(
            "its lists can run short where films are rated, seen or filtered: spare films are kept"
            " of the current run and the one before it only; the next run has some"
        )
    print_result(as_json, run._asdict(), lambda: print_lines(*lines))


@commands.command()
def purge(
    keep: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=LARGEST_NUMBER,
            help="Runs whose lists are kept. Default: publish.keep_runs.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Delete the lists of old runs; the current run and the one before stay.

    Ratings that files overwrote before those runs are deleted too: such files can
    no longer be undone.

    Example: recbatch purge --keep 7
    """
    from batch.store.publish import purge as purge_runs

    settings, data = open_ready(writes=True)
    with run_lock(data):
        purged = purge_runs(data, keep or settings.publish.keep_runs)
    text = f"purged {len(purged)} runs"
    if purged:
        text += f": {', '.join(map(str, purged))}"
    print_result(as_json, {"purged": purged}, lambda: print_lines(text))


@commands.command()
def contract(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Where to put the files; created if it is missing."),
    ],
    role: Annotated[
        str, typer.Option(help="The Postgres role that grants.sql is for.")
    ] = "recbatch_reader",
    as_json: AsJson = False,
) -> None:
    """Write files for applications: dictionary, grants, SQL examples, JSON schema, dbt sources.

    Example: recbatch contract contract --role web
    """
    from batch.serve.contract import write_contract
    from batch.serve.view_columns import Kind

    settings = load_settings()
    data = connect(settings)
    kind: Kind = "sqlite" if data.file else "postgres"
    files = write_contract(folder, kind, data.schema_name, role, settings.check)
    print_result(
        as_json,
        {"kind": kind, "schema_version": schema.HEAD, "files": files},
        lambda: print_lines(*map(str, files)),
    )


@commands.command()
def forget(
    user: User,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, on a terminal.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a person everywhere: ratings, lists of all kept runs, rejected rows.

    Example: recbatch forget 42 --dry-run
    """
    from batch.job.forget import forget as forget_user
    from batch.job.forget import traces

    _, data = open_ready(writes=not dry_run)
    with data.reader.connect() as connection:
        key = _key_of_person(connection, user)
        removed = traces(connection, key)
    outcome = "would be forgotten"
    if not dry_run:
        if not yes and not confirmed(f"forget {key} for good: {_counts(removed)}?"):
            stop(FAILED, f"{key} is not forgotten: nothing was removed")
        with run_lock(data):
            removed = forget_user(data, key)
        outcome = "is forgotten"
    print_result(
        as_json,
        {"user_key": key, **asdict(removed)},
        lambda: print_lines(f"{key} {outcome}: {_counts(removed)}"),
    )


def _key_of_person(connection: Connection, user: str) -> str:
    """The key of a user, or the text itself where only rejected rows name such a person.

    Raises UnknownUserError where nothing does, AmbiguousUserError.
    """
    from batch.job.forget import traces

    try:
        return suggestions.find_user(connection, user)
    except query.UnknownUserError:
        if not traces(connection, user).rejects:
            raise
        return user


def _counts(traces: Traces) -> str:
    return (
        f"{traces.ratings:,} ratings, {traces.superseded:,} overwritten ones,"
        f" {traces.rows:,} rows of lists, {traces.rejects:,} rejected rows,"
        f" {traces.files:,} files of weights, {traces.filters:,} filters,"
        f" {traces.seen:,} films seen, {traces.superseded_seen:,} overwritten times"
    )


@commands.command()
def backup(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The copy, a file that does not exist yet.")
    ],
    as_json: AsJson = False,
) -> None:
    """Copy a SQLite database while jobs and readers are at work.

    Example: recbatch backup recbatch-backup.db
    """
    from batch.store.backup import backup as copy

    _, data = open_ready()
    size = copy(data, file)
    print_result(
        as_json,
        {"file": file, "bytes": size},
        lambda: print_lines(f"{file}: {size / 1e6:,.1f} MB"),
    )
