"""Commands that read ratings and run the job, now or on schedule."""

import re
from dataclasses import asdict
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import typer

from batch import query
from batch.cli import help
from batch.cli.arguments import (
    LARGEST_NUMBER,
    REFUSED,
    AsJson,
    connect_for_job,
    load_settings,
    open_ready,
    options,
    print_result,
    stop,
)
from batch.cli.help import WRONG_USE
from batch.cli.terminal import print_lines
from batch.config import ScheduleSettings
from batch.store.database import Database
from batch.store.run_lock import require_lockable
from batch.store.versions import require_tables

commands = help.Commands()

DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
MAX_SAMPLE = 100_000
"""Users or films; the wide file has a cell for each pair."""


@commands.command()
def demo(
    folder: Annotated[
        Path, typer.Argument(help="Where to put config.yaml, the CSV files and recbatch.db.")
    ] = Path("demo"),
) -> None:
    """Sample data, a SQLite file, one night, and what it recommends.

    Example: recbatch demo demo
    """
    from batch.cli.demo import demonstrate
    from batch.telemetry import start_logging

    start_logging(level="warning", style=options["log_format"])
    if demonstrate(folder).status == "rejected":
        raise typer.Exit(REFUSED)


@commands.command()
def sample_data(
    folder: Annotated[
        Path,
        typer.Argument(help="Where to put user_reviews.csv (or ratings.csv) and movie_genres.csv."),
    ],
    users: Annotated[int, typer.Option(min=1, max=MAX_SAMPLE, help="Users.")] = 600,
    films: Annotated[int, typer.Option(min=1, max=MAX_SAMPLE, help="Films.")] = 2000,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed gives the same files.")
    ] = 20261123,
    times: Annotated[
        bool,
        typer.Option(
            "--times",
            help="Write ratings.csv, a row a rating with its time, instead of the wide matrix "
            "user_reviews.csv; films rise and fade over two years.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write made-up ratings and genres, as a wide matrix or with times.

    Example: recbatch sample-data data
    """
    from batch.cli.sample_data import write_sample

    sample = write_sample(folder, seed=seed, n_users=users, n_items=films, times=times)
    lines = (
        f"{sample.ratings}: {sample.n_ratings:,} ratings by {users:,} users",
        f"{sample.genres}: {films:,} films",
    )
    print_result(
        as_json,
        {**sample._asdict(), "users": users, "films": films},
        lambda: print_lines(*lines),
    )


@commands.command()
def run(
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="DATE",
            help="Use what was known by the end of that day; ends ready, not published.",
        ),
    ] = None,
    publish: Annotated[
        bool | None,
        typer.Option(
            "--publish/--no-publish",
            help="Make the result current. Default: yes, unless --as-of is given.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Publish in spite of failed gates; recorded.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what the run would work on, and write nothing.")
    ] = False,
    scheduled_for: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help="The due moment that this run is for: a date (its newest), a moment, or 'latest'; "
            "does nothing if that is published.",
        ),
    ] = None,
    trigger: Annotated[str, typer.Option(hidden=True)] = "schedule",
    as_json: AsJson = False,
) -> None:
    """Recompute everything and publish it now.

    Example: recbatch run
    """
    from batch.cli.lines import outcome_lines, plan_lines
    from batch.job import nightly
    from batch.job.plan import plan_run

    settings = load_settings()
    data = connect_for_job(settings)
    as_of_date = None if as_of is None else as_of.date()
    if as_of_date is None:
        logical_date, due_at = _night(scheduled_for, settings.schedule)
    else:
        logical_date, due_at = as_of_date, None
    order = nightly.Order(
        logical_date=logical_date,
        due_at=due_at,
        triggered_by=_trigger(scheduled_for, trigger),
        as_of=as_of_date,
        publish=as_of is None if publish is None else publish,
        force=force,
    )
    if dry_run:
        require_tables(data)
        plan = plan_run(data, settings, order)
        print_result(as_json, plan, lambda: plan_lines(plan))
        return
    outcome = nightly.run(data, settings, order)
    # Read only if the run was rejected: once the list is published, no fault may change the
    # exit code.
    overridden = _overridden_gates(data) if outcome.status == "rejected" else []
    print_result(as_json, asdict(outcome), lambda: outcome_lines(outcome, overridden, as_of_date))
    if outcome.status == "rejected":
        raise typer.Exit(REFUSED)


def _trigger(scheduled_for: str | None, trigger: str) -> Literal["manual", "catchup", "schedule"]:
    """What started the run: a value of `runs.triggered_by`."""
    if scheduled_for is None:
        return "manual"
    return "catchup" if trigger == "catchup" else "schedule"


def _night(text: str | None, settings: ScheduleSettings) -> tuple[date, datetime | None]:
    """The date and the due moment of --scheduled-for; no moment where none was in a year."""
    from batch.job.nights import Nights

    nights = Nights(settings)
    now = datetime.now(UTC)
    if text is None or text == "latest":
        night = nights.latest(now)
        if night is None:
            return now.date(), None
    else:
        try:
            if DATE.fullmatch(text):
                night = nights.of_day(date.fromisoformat(text), now)
            else:
                night = nights.at(datetime.fromisoformat(text))
        except (ValueError, OverflowError):
            stop(
                WRONG_USE,
                f"{text!r} is neither a date such as 2026-11-23, nor a moment such as "
                "2026-11-23T06:00, nor 'latest'",
            )
    return night.logical_date, night.due


def _overridden_gates(data: Database) -> list[str]:
    """The gates that the published run failed, if a person published it all the same."""
    from batch.store.checks import failed

    with data.reader.connect() as connection:
        current = query.published(connection)
        return failed(connection, current.run_id, "gate") if current else []


@commands.command()
def schedule(
    upcoming: Annotated[
        int | None,
        typer.Option(
            "--next",
            min=1,
            max=LARGEST_NUMBER,
            metavar="N",
            help="Print the next N times and stop.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --next: print JSON instead of text.")
    ] = False,
) -> None:
    """Stay up and run the job every night, by schedule.cron.

    Example: recbatch schedule --next 5
    """
    from batch.cli.lines import night_lines
    from batch.job import schedule as scheduler
    from batch.job.nights import Nights

    if upcoming is not None:
        coming = Nights(load_settings().schedule).after(datetime.now(UTC))
        nights = list(islice(coming, upcoming))
        print_result(as_json, [asdict(night) for night in nights], lambda: night_lines(nights))
        return
    if as_json:
        stop(
            WRONG_USE,
            "--json goes with --next; a scheduler that stays up logs JSON by"
            " 'recbatch --log-format json'",
        )
    settings, data = open_ready(writes=True, create=True)
    require_lockable(data)
    command = scheduler.command(*_options_before_command())
    scheduler.run_forever(data, settings.schedule, command)


def _options_before_command() -> list[str]:
    """The options before this command, for the command that the schedule runs."""
    words = []
    for name, value in options.items():
        if value:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words
