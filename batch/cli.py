"""Arguments -> one call per command, and every error -> one line and an exit code."""

import atexit
import gc
import json
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from sqlalchemy.exc import DBAPIError

from batch import RecbatchError, __version__, database, query, schema
from batch.config import Config, ConfigError, load_config
from batch.database import Database, DatabaseUrlError, LockedError, NotReadyError, open_database

FAILED, WRONG_USE, REFUSED, LOCKED = 1, 2, 3, 75
NEW_OBJECTS = 10_000
"""After how many of them Python looks for garbage; its own 700 suits programs that make less at their start."""

app = typer.Typer(
    help="Film ratings in, each user's top films in a database table, every night.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db = typer.Typer(help="The tables themselves.", no_args_is_help=True)
app.add_typer(db, name="db")
filters = typer.Typer(help="Films that must not be shown.", no_args_is_help=True)
app.add_typer(filters, name="filter")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
_named: dict[str, Path | None] = {"config": None}  # what --config says, for the command that follows it


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"recbatch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    config: Annotated[Path | None, typer.Option(help="Settings file. Default: config.yaml, if it is there.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings only.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    from batch.telemetry import start_logging

    start_logging(verbose=not quiet)
    _named["config"] = config


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to put config.yaml, the CSV files and recbatch.db.")] = Path(
        "demo"
    ),
) -> None:
    """Sample data, a SQLite file, one night, and what it recommends.

    Example: recbatch demo demo
    """
    from batch.demo import demonstrate
    from batch.telemetry import start_logging

    start_logging(verbose=False)
    if demonstrate(folder).status == "rejected":
        raise typer.Exit(REFUSED)


@app.command()
def sample_data(
    folder: Annotated[Path, typer.Argument(help="Where to put user_reviews.csv and movie_genres.csv.")],
    users: Annotated[int, typer.Option(min=1, help="Users.")] = 600,
    films: Annotated[int, typer.Option(min=1, help="Films.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")] = 20261123,
) -> None:
    """Write made-up ratings and genres in the wide format.

    Example: recbatch sample-data data
    """
    from batch.sample import write_sample

    written = write_sample(folder, seed=seed, n_users=users, n_items=films)
    typer.echo(
        f"{written.ratings}: {written.n_ratings:,} ratings by {users:,} users\n{written.genres}: {films:,} films"
    )


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or MovieLens .zip archives.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be merged, and merge nothing.")] = False,
    snapshot_at: Annotated[
        datetime | None, typer.Option(help="The age, in UTC, of files without times. Default: when each was modified.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read ratings and films into the database.

    Example: recbatch ingest ml-latest-small.zip
    """
    from batch.ingest import ingest as merge
    from batch.nightly import ingest_settings
    from batch.show import ingest_reports

    settings, data = _open(create=not dry_run)
    moment = _utc(snapshot_at)
    at = None if moment is None else int(moment.timestamp())
    with database.run_lock(data):
        reports = merge(data, paths, ingest_settings(settings), snapshot_at=at, dry_run=dry_run)
    _print(as_json, [asdict(report) for report in reports], lambda: ingest_reports(reports))
    if any(report.status == "refused" for report in reports):
        raise typer.Exit(FAILED)


@app.command()
def run(
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="Use what was known by the end of that day; ends ready, not published."
        ),
    ] = None,
    publish: Annotated[
        bool | None, typer.Option("--publish/--no-publish", help="Make the result current. Default: unless --as-of.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Publish over every gate but integrity; recorded.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what the run would work on, and write nothing.")
    ] = False,
    scheduled_for: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="The night this run answers, or 'latest'; does nothing if it is published."),
    ] = None,
    trigger: Annotated[str, typer.Option(hidden=True)] = "schedule",
    as_json: AsJson = False,
) -> None:
    """Recompute everything and publish it now.

    Example: recbatch run
    """
    from batch import nightly
    from batch.schedule import Nights
    from batch.show import outcome_lines, plan_lines

    settings, data = _open(create=not dry_run)
    newest = Nights(settings.schedule).latest(datetime.now(UTC))
    today = newest.logical_date if newest else datetime.now(UTC).date()
    night = as_of.date() if as_of else _date(scheduled_for, today)
    order = nightly.Order(
        logical_date=night,
        triggered_by="manual" if scheduled_for is None else "catchup" if trigger == "catchup" else "schedule",
        as_of=as_of.date() if as_of else None,
        publish=as_of is None if publish is None else publish,
        force=force,
    )
    if dry_run:
        plan = nightly.plan(data, settings, order)
        _print(as_json, plan, lambda: plan_lines(plan))
        return
    outcome = nightly.run(data, settings, order)
    _print(as_json, asdict(outcome), lambda: outcome_lines(outcome))
    if outcome.status == "rejected":
        raise typer.Exit(REFUSED)


@app.command()
def schedule(
    upcoming: Annotated[int | None, typer.Option("--next", min=1, help="Print the next N times and stop.")] = None,
) -> None:
    """Stay up and run the job every night, by schedule.cron.

    Example: recbatch schedule --next 5
    """
    from batch import schedule as clock
    from batch.show import coming_nights

    if upcoming is not None:
        coming_nights(clock.Nights(_config().schedule), upcoming)
        return
    settings, data = _open(create=True)
    file = _named["config"]
    clock.stay(data, settings.schedule, clock.command(str(file) if file else None))


@app.command()
def top(
    user: Annotated[str, typer.Argument(help="A user's key, or a name that only one user has.")],
    model: Annotated[str | None, typer.Option(help="A model, such as blend. Default: all of them.")] = None,
    n: Annotated[int | None, typer.Option("-n", min=1, help="At most this many films.")] = None,
    run_id: Annotated[int | None, typer.Option("--run", help="A run other than the published one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a user's list; whoever has none, or is unknown, gets the popular one.

    Example: recbatch top 1 --model item_item
    """
    from batch.show import answers

    _, data = _open()
    with data.reader.connect() as connection:
        available = query.models(connection, run_id=run_id)
        if model is not None and model not in available:
            _stop(WRONG_USE, f"no lists of a model {model!r}; there are {', '.join(available) or 'none'}")
        try:
            key = query.find_user(connection, user)
        except query.UnknownUserError as error:
            typer.echo(f"{error}; this is what is popular", err=True)
            found = [query.popular(connection, n=n, run_id=run_id)]
        else:
            wanted = [model] if model else [*available] or ["blend"]
            each = [query.top(connection, key, model=name, n=n, run_id=run_id) for name in wanted]
            lacking = [name for name, answer in zip(wanted, each, strict=True) if answer.model != name]
            if lacking:
                typer.echo(f"{key} has no list of {', '.join(lacking)}; this is what is popular", err=True)
            found = [answer for place, answer in enumerate(each) if answer not in each[:place]]
    _print(as_json, [asdict(answer) for answer in found], lambda: answers(found))


@app.command()
def evaluate(
    test: Annotated[
        Path | None, typer.Option(help="Fit on the whole database and measure on this ratings file instead.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="With --test: write every model's predicted rating to this CSV file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure every model and baseline on held-out ratings.

    Example: recbatch evaluate --test newer.csv --predictions predictions.csv
    """
    from batch import nightly
    from batch.load import load
    from batch.show import all_metrics
    from batch.trial import trial

    if predictions and not test:
        _stop(WRONG_USE, "--predictions goes with --test, the file whose ratings are predicted")
    settings, data = _open()
    if test:
        metrics: Mapping[str, Any] = trial(data, settings, test, predictions)
    else:
        with data.reader.connect() as connection:
            ratings = load(connection, scale=settings.ingest.scale).ratings
        metrics = nightly.measure(ratings, settings).metrics
    _print(as_json, metrics, lambda: all_metrics(metrics))


@app.command()
def runs(
    n: Annotated[int, typer.Option("-n", min=1, help="How many of the newest runs.")] = 20, as_json: AsJson = False
) -> None:
    """List the runs, newest first.

    Example: recbatch runs -n 5
    """
    from batch.operate import history
    from batch.show import run_table

    _, data = _open()
    with data.reader.connect() as connection:
        found = history(connection, n)
    _print(as_json, [asdict(run) for run in found], lambda: run_table(found))


@app.command()
def publish(run_id: Annotated[int, typer.Argument(metavar="RUN", help="A run that 'recbatch runs' lists.")]) -> None:
    """Make a finished run current, older ones too, after auditing it again.

    Example: recbatch publish 12
    """
    from batch import nightly

    _, data = _open()
    typer.echo(f"run {nightly.republish(data, lambda _: run_id)} is now current")


@app.command()
def rollback() -> None:
    """Make the run before the current one current again.

    Example: recbatch rollback
    """
    from batch import nightly
    from batch.publish import previous

    _, data = _open()
    typer.echo(f"run {nightly.republish(data, previous)} is now current")


@app.command()
def purge(
    keep: Annotated[int | None, typer.Option(min=2, help="Runs whose lists stay. Default: publish.keep_runs.")] = None,
) -> None:
    """Delete the lists of old runs; the current run and the one before stay.

    Example: recbatch purge --keep 7
    """
    from batch.publish import purge as delete

    settings, data = _open()
    with database.run_lock(data):
        gone = delete(data, keep or settings.publish.keep_runs)
    typer.echo(f"purged {len(gone)} runs" + (f": {', '.join(map(str, gone))}" if gone else ""))


@app.command()
def forget(user: Annotated[str, typer.Argument(help="A user's key, or a name that only one user has.")]) -> None:
    """Remove a person everywhere: ratings, lists of all kept runs, rejected rows.

    Example: recbatch forget 42
    """
    from batch.forget import forget as remove

    _, data = _open()
    with database.run_lock(data):
        with data.reader.connect() as connection:
            key = query.find_user(connection, user)
        gone = remove(data, key)
    typer.echo(
        f"{key} is forgotten: {gone.ratings:,} ratings, {gone.rows:,} rows of lists, {gone.rejects:,} rejected rows, "
        f"{gone.files:,} files of weights, {gone.filters:,} filters"
    )


@app.command()
def backup(file: Annotated[Path, typer.Argument(help="The copy; it must not be there yet.")]) -> None:
    """Copy a SQLite database while jobs and readers are at work.

    Example: recbatch backup recbatch-backup.db
    """
    from batch.backup import backup as copy

    _, data = _open()
    typer.echo(f"{file}: {copy(data, file) / 1e6:,.1f} MB")


@db.command()
def upgrade() -> None:
    """Make the tables, or bring them to this version.

    Example: recbatch db upgrade
    """
    data = _database(_config())
    database.upgrade(data)
    typer.echo(f"{data.label} is at schema version {schema.HEAD}")


@db.command()
def grant(
    role: Annotated[str, typer.Argument(help="An existing Postgres role.")],
    job: Annotated[bool, typer.Option("--job", help="Let it do the job: all rows, no change of tables.")] = False,
) -> None:
    """Let a Postgres role read the views, and nothing else.

    Example: recbatch db grant web
    """
    _, data = _open()
    database.grant(data, role, job=job)
    may = f"{data.schema_name}.*, and write rows" if job else ", ".join(f"{data.schema_name}.{v}" for v in schema.VIEWS)
    typer.echo(f"{role} may read {may}")


@filters.command()
def add(
    film: Annotated[str, typer.Argument(metavar="MOVIE", help="A film's key, or a title that only one film has.")],
    user: Annotated[str | None, typer.Option(help="Only from this user. Default: from everyone.")] = None,
    starts_at: Annotated[
        datetime | None, typer.Option("--from", help="From this time on, in UTC. Default: now.")
    ] = None,
    ends_at: Annotated[
        datetime | None, typer.Option("--until", help="Up to this time, in UTC. Default: for good.")
    ] = None,
    why: Annotated[str | None, typer.Option(help="A note for whoever asks later.")] = None,
) -> None:
    """Hide a film at once, and keep it out of the lists of every run from now on.

    Example: recbatch filter add "Heat (1995)" --until 2027-01-01 --why "no licence"
    """
    from batch.filters import add as hide

    _, data = _open()
    window = {"starts_at": _utc(starts_at), "ends_at": _utc(ends_at)}
    with database.small_write(data) as connection:
        movie_key = query.find_film(connection, film)
        user_key = None if user is None else query.find_user(connection, user)
        filter_id = hide(connection, movie_key, user_key, **window, reason=why)
    typer.echo(f"filter {filter_id} keeps {movie_key} from {user_key or 'everyone'}")


@filters.command(name="list")
def list_filters(as_json: AsJson = False) -> None:
    """Show the filters that hold, or will.

    Example: recbatch filter list
    """
    from batch.filters import standing
    from batch.show import filter_table

    _, data = _open()
    with data.reader.connect() as connection:
        found = standing(connection)
    _print(as_json, [asdict(each) for each in found], lambda: filter_table(found))


@filters.command()
def remove(filter_id: Annotated[int, typer.Argument(metavar="ID", help="As 'recbatch filter list' has it.")]) -> None:
    """End a filter: its film is shown again where it is in the published lists.

    Example: recbatch filter remove 3
    """
    from batch.filters import end

    _, data = _open()
    with database.small_write(data) as connection:
        end(connection, filter_id)
    typer.echo(f"filter {filter_id} has ended")


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


def _config() -> Config:
    return load_config(_named["config"])


def _date(text: str | None, latest: date) -> date:
    """A date as people write it; the newest night that is due where none is given."""
    if text in (None, "latest"):
        return latest
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        _stop(WRONG_USE, f"{text!r} is neither a date such as 2026-11-23 nor 'latest'")


def _database(settings: Config) -> Database:
    return open_database(settings.database.url, settings.database.schema_name)


def _open(*, create: bool = False) -> tuple[Config, Database]:
    """The settings and the database, which must be ready; `create` makes a SQLite file that is not there."""
    settings = _config()
    data = _database(settings)
    (database.prepare if create else database.require_tables)(data)
    return settings, data


def _print(as_json: bool, content: Any, table: Any) -> None:
    if as_json:
        typer.echo(json.dumps(content, default=_told, indent=2, ensure_ascii=False))
    else:
        table()


def _told(value: Any) -> str:
    """Dates and times as ISO 8601, paths as text."""
    return value.isoformat() if isinstance(value, date) else str(value)


def _stop(code: int, message: str) -> NoReturn:
    typer.echo(f"recbatch: {message}", err=True)
    raise SystemExit(code)


def _terminated(number: int, _frame: FrameType | None) -> None:
    """A signal ends the program as an exception does: transactions roll back and the run is marked failed."""
    raise SystemExit(128 + number)


@contextmanager
def _errors() -> Iterator[None]:
    """What went wrong -> one line with the remedy, and the exit code that cron and its like act on."""
    try:
        yield
    except (ConfigError, DatabaseUrlError, NotReadyError) as error:
        _stop(WRONG_USE, str(error))
    except LockedError as error:
        _stop(LOCKED, str(error))
    except RecbatchError as error:
        _stop(FAILED, str(error))
    except DBAPIError as error:
        _stop(FAILED, f"the database says: {str(error.orig).strip()}")
    except OSError as error:
        _stop(FAILED, f"{error.filename or 'output'}: {error.strerror or error}")


def main() -> None:
    """The `recbatch` command."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _terminated)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a title must not fail where the terminal lacks its letters
    # Imports leave a million objects that stay: looking for garbage among them every 700, and once more at the end,
    # would take a small run a second of its ten.
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(gc.freeze)
    with _errors():
        app()
