"""Arguments -> one call per command, and every error -> one line and an exit code."""

import atexit
import gc
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from sqlalchemy.exc import DBAPIError

from batch import RecbatchError, __version__, complete, database, interrupt, query, schema, suggest, usage
from batch.config import Config, ConfigError, load_config
from batch.database import Database, DatabaseUrlError, LockedError, NotReadyError, open_database
from batch.filters import EmptyWindowError
from batch.usage import WRONG_USE

FAILED, REFUSED, UNHEALTHY, LOCKED = 1, 3, 5, 75
WRONG = (
    ConfigError, DatabaseUrlError, EmptyWindowError, NotReadyError,
    query.UnknownUserError, query.AmbiguousUserError, query.UnknownFilmError, query.AmbiguousFilmError,
)  # fmt: skip
"""What whoever typed the command can mend there, or in the settings."""
NEW_OBJECTS = 10_000
"""After how many of them Python looks for garbage; its own 700 suits programs that make less at their start."""

app = usage.Commands(
    help="Film ratings in, each user's top films in a database table, every night.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db = usage.Commands(help="The tables themselves.")
app.add_typer(db, name="db")
filters = usage.Commands(help="Films that must not be shown.")
app.add_typer(filters, name="filter")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
User = Annotated[str, typer.Argument(metavar="USER", help="A user's key, or a name that only one user has.")]
Movie = Annotated[str, typer.Argument(metavar="MOVIE", help="A film's key, or a title that only one film has.")]
A_RUN = "A run that 'recbatch runs' lists."
_given: dict[str, Any] = {"config": None, "log_format": None}  # options before a command, for the command


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"recbatch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    config: Annotated[Path | None, typer.Option(help="Settings file. Default: config.yaml, if it is there.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings only.")] = False,
    log_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option(help="Of the log on stderr, a line an event. Default: text on a terminal, else json."),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    from batch.telemetry import start_logging

    start_logging(verbose=not quiet, style=log_format)
    _given.update(config=config, log_format=log_format)


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

    start_logging(verbose=False, style=_given["log_format"])
    if demonstrate(folder).status == "rejected":
        raise typer.Exit(REFUSED)


@app.command()
def sample_data(
    folder: Annotated[Path, typer.Argument(help="Where to put user_reviews.csv and movie_genres.csv.")],
    users: Annotated[int, typer.Option(min=1, help="Users.")] = 600,
    films: Annotated[int, typer.Option(min=1, help="Films.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same files.")] = 20261123,
    as_json: AsJson = False,
) -> None:
    """Write made-up ratings and genres in the wide format.

    Example: recbatch sample-data data
    """
    from batch.sample import write_sample

    written = write_sample(folder, seed=seed, n_users=users, n_items=films)
    _print(
        as_json,
        written._asdict() | {"users": users, "films": films},
        lambda: typer.echo(
            f"{written.ratings}: {written.n_ratings:,} ratings by {users:,} users\n{written.genres}: {films:,} films"
        ),
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
            formats=["%Y-%m-%d"],
            metavar="DATE",
            help="Use what was known by the end of that day; ends ready, not published.",
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

    settings = _config()
    data = _database(settings)
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
        database.require_tables(data)
        plan = nightly.plan(data, settings, order)
        _print(as_json, plan, lambda: plan_lines(plan))
        return
    outcome = nightly.run(data, settings, order)
    # Asked only where it matters: once the list is out, no fault may make the answer another.
    overridden = _overridden(data) if outcome.status == "rejected" else []
    _print(as_json, asdict(outcome), lambda: outcome_lines(outcome, overridden))
    if outcome.status == "rejected":
        raise typer.Exit(REFUSED)


@app.command()
def schedule(
    upcoming: Annotated[
        int | None, typer.Option("--next", min=1, metavar="N", help="Print the next N times and stop.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --next: print JSON instead of text.")] = False,
) -> None:
    """Stay up and run the job every night, by schedule.cron.

    Example: recbatch schedule --next 5
    """
    from batch import schedule as clock
    from batch.show import coming_nights

    if upcoming is not None:
        nights = list(islice(clock.Nights(_config().schedule).after(datetime.now(UTC)), upcoming))
        _print(as_json, [asdict(night) for night in nights], lambda: coming_nights(nights))
        return
    if as_json:
        _stop(WRONG_USE, "--json goes with --next; a scheduler that stays up logs JSON by 'recbatch --log-format json'")
    settings, data = _open(create=True)
    given = [(f"--{name.replace('_', '-')}", str(value)) for name, value in _given.items() if value]
    clock.stay(data, settings.schedule, clock.command(*chain(*given)))


@app.command()
def top(
    user: User,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="A model, such as blend. Default: all of them.", autocompletion=complete.models
        ),
    ] = None,
    n: Annotated[int | None, typer.Option("-n", min=1, metavar="N", help="At most this many films.")] = None,
    run_id: Annotated[
        int | None,
        typer.Option("--run", metavar="RUN", help="A run other than the published one.", autocompletion=complete.runs),
    ] = None,
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
            key = suggest.find_user(connection, user)
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
            if hidden := query.hidden_titles(connection, key, run_id=run_id):
                told = f"a filter hides {', '.join(hidden)}; 'recbatch filter list' tells from whom and until when"
                typer.echo(told, err=True)
    _print(as_json, [asdict(answer) for answer in found], lambda: answers(found))


@app.command()
def explain(
    user: User,
    movie: Movie,
    as_json: AsJson = False,
) -> None:
    """Say why, and how much, each model would or would not recommend a film to a user.

    It fits the models on the database as it stands, which takes about half as long as a run; if anything has changed
    since the published run, the blend is learnt anew too, which takes about as long as a run. Nothing is written.

    Example: recbatch explain 1 "Heat (1995)"
    """
    from batch.consult import consult
    from batch.show import consultation

    settings, data = _open()
    with data.reader.connect() as connection:
        user_key, (movie_key, _) = suggest.find_user(connection, user), suggest.find_film(connection, movie)
    told = consult(data, settings, user_key, movie_key)
    _print(as_json, asdict(told), lambda: consultation(told))


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
def report(
    run_id: Annotated[
        int | None,
        typer.Argument(metavar="[RUN]", help="Default: the published run.", autocompletion=complete.runs),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Default: report-RUN.html.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page about a run: figures, charts, checks, sample lists.

    Example: recbatch report -o tonight.html
    """
    from batch.report import report as write

    _, data = _open()
    with data.reader.connect() as connection:
        written = write(connection, run_id, output)
    _print(as_json, {"file": written}, lambda: typer.echo(str(written)))


@app.command()
def diff(
    before: Annotated[int, typer.Argument(metavar="A", help=A_RUN, autocompletion=complete.runs)],
    after: Annotated[
        int,
        typer.Argument(
            metavar="B", help="The run it is compared with, the newer one as a rule.", autocompletion=complete.runs
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="The lists of this model only. Default: of every model.",
            autocompletion=complete.models,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what changed between the lists of two runs.

    Example: recbatch diff 11 12 --model blend
    """
    from batch.diff import NoSuchModelError
    from batch.diff import diff as compare
    from batch.show import diff_tables

    _, data = _open()
    with data.reader.connect() as connection:
        try:
            found = compare(connection, before, after, model)
        except NoSuchModelError as error:
            _stop(WRONG_USE, str(error))
    _print(as_json, asdict(found), lambda: diff_tables(found))


@app.command()
def check(
    warn_after: Annotated[
        float | None, typer.Option(min=0, metavar="HOURS", help="Default: check.warn_after_hours.")
    ] = None,
    error_after: Annotated[
        float | None, typer.Option(min=0, metavar="HOURS", help="Default: check.error_after_hours.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether the list is fresh and the last run went well; exits 5 if not.

    Example: recbatch check --warn-after 26 --error-after 50
    """
    from batch.health import Ages, examine, worst
    from batch.show import finding_lines

    settings = _config()
    limits = settings.check
    ages = Ages(
        timedelta(hours=limits.warn_after_hours if warn_after is None else warn_after),
        timedelta(hours=limits.error_after_hours if error_after is None else error_after),
    )
    if ages.warn_after > ages.error_after:
        _stop(WRONG_USE, f"{ages.warn_after} to warn after is more than {ages.error_after}, from which a list is stale")
    data = _database(settings)
    findings = examine(data, datetime.now(UTC), ages)
    status = worst(findings)
    _print(
        as_json,
        {"status": status, "findings": [asdict(finding) for finding in findings]},
        lambda: finding_lines(findings),
    )
    if status == "error":
        raise typer.Exit(UNHEALTHY)


@app.command()
def publish(
    run_id: Annotated[int, typer.Argument(metavar="RUN", help=A_RUN, autocompletion=complete.runs)],
    as_json: AsJson = False,
) -> None:
    """Make a finished run current, older ones too, after auditing it again.

    Example: recbatch publish 12
    """
    from batch import nightly

    _, data = _open()
    _now_current(as_json, nightly.republish(data, lambda _: run_id))


@app.command()
def rollback(as_json: AsJson = False) -> None:
    """Make the run before the current one current again.

    Example: recbatch rollback
    """
    from batch import nightly
    from batch.publish import previous

    _, data = _open()
    _now_current(as_json, nightly.republish(data, previous))


@app.command()
def purge(
    keep: Annotated[int | None, typer.Option(min=2, help="Runs whose lists stay. Default: publish.keep_runs.")] = None,
    as_json: AsJson = False,
) -> None:
    """Delete the lists of old runs; the current run and the one before stay.

    Example: recbatch purge --keep 7
    """
    from batch.publish import purge as delete

    settings, data = _open()
    with database.run_lock(data):
        gone = delete(data, keep or settings.publish.keep_runs)
    told = f"purged {len(gone)} runs" + (f": {', '.join(map(str, gone))}" if gone else "")
    _print(as_json, {"purged": gone}, lambda: typer.echo(told))


@app.command()
def contract(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to put the files; made if it is not there.")],
    role: Annotated[str, typer.Option(help="The Postgres role that grants.sql is for.")] = "recbatch_reader",
    as_json: AsJson = False,
) -> None:
    """Write what those need who read the views: a data dictionary, grants, SQL examples, JSON schema, dbt sources.

    Example: recbatch contract contract --role web
    """
    from batch.contract import write_contract

    settings = _config()
    data = _database(settings)
    kind: Literal["postgres", "sqlite"] = "sqlite" if data.file else "postgres"
    files = write_contract(folder, kind, data.schema_name, role, settings.check)
    _print(
        as_json,
        {"kind": kind, "schema_version": schema.HEAD, "files": files},
        lambda: typer.echo("\n".join(map(str, files))),
    )


@app.command()
def forget(user: User, as_json: AsJson = False) -> None:
    """Remove a person everywhere: ratings, lists of all kept runs, rejected rows.

    Example: recbatch forget 42
    """
    from batch.forget import forget as remove

    _, data = _open()
    with database.run_lock(data):
        with data.reader.connect() as connection:
            key = suggest.find_user(connection, user)
        gone = remove(data, key)
    told = (
        f"{key} is forgotten: {gone.ratings:,} ratings, {gone.rows:,} rows of lists, {gone.rejects:,} rejected rows, "
        f"{gone.files:,} files of weights, {gone.filters:,} filters"
    )
    _print(as_json, {"user_key": key, **asdict(gone)}, lambda: typer.echo(told))


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The copy; it must not be there yet.")],
    as_json: AsJson = False,
) -> None:
    """Copy a SQLite database while jobs and readers are at work.

    Example: recbatch backup recbatch-backup.db
    """
    from batch.backup import backup as copy

    _, data = _open()
    size = copy(data, file)
    _print(as_json, {"file": file, "bytes": size}, lambda: typer.echo(f"{file}: {size / 1e6:,.1f} MB"))


@db.command()
def upgrade(as_json: AsJson = False) -> None:
    """Make the tables, or bring them to this version.

    Example: recbatch db upgrade
    """
    data = _database(_config())
    database.upgrade(data)
    _print(
        as_json,
        {"database": data.label, "schema_version": schema.HEAD},
        lambda: typer.echo(f"{data.label} is at schema version {schema.HEAD}"),
    )


@db.command()
def grant(
    role: Annotated[str, typer.Argument(help="An existing Postgres role.")],
    job: Annotated[bool, typer.Option("--job", help="Let it do the job: all rows, no change of tables.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let a Postgres role read the views, and nothing else.

    Example: recbatch db grant web
    """
    _, data = _open()
    database.grant(data, role, job=job)
    may = f"{data.schema_name}.*, and write rows" if job else ", ".join(f"{data.schema_name}.{v}" for v in schema.VIEWS)
    _print(
        as_json,
        {"role": role, "schema": data.schema_name, "may": "do the job" if job else "read the views"},
        lambda: typer.echo(f"{role} may read {may}"),
    )


@filters.command()
def add(
    film: Movie,
    user: Annotated[str | None, typer.Option(help="Only from this user. Default: from everyone.")] = None,
    starts_at: Annotated[
        datetime | None, typer.Option("--from", help="From this time on, in UTC. Default: now.")
    ] = None,
    ends_at: Annotated[
        datetime | None, typer.Option("--until", help="Up to this time, in UTC. Default: for good.")
    ] = None,
    why: Annotated[str | None, typer.Option(help="A note for whoever asks later.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hide a film at once, and keep it out of the lists of every run from now on.

    Example: recbatch filter add "Heat (1995)" --until 2027-01-01 --why "no licence"
    """
    from batch.filters import add as hide

    _, data = _open()
    window = {"starts_at": _utc(starts_at), "ends_at": _utc(ends_at)}
    with database.small_write(data) as connection:
        movie_key, title = suggest.find_film(connection, film)
        user_key = None if user is None else suggest.find_user(connection, user)
        filter_id = hide(connection, movie_key, user_key, **window, reason=why)
    told = movie_key if title == movie_key else f"{title} ({movie_key})"
    _print(
        as_json,
        {"filter_id": filter_id, "movie_key": movie_key, "user_key": user_key},
        lambda: typer.echo(f"filter {filter_id} keeps {told} from {user_key or 'everyone'}"),
    )


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
def remove(
    filter_id: Annotated[int, typer.Argument(metavar="ID", help="As 'recbatch filter list' has it.")],
    as_json: AsJson = False,
) -> None:
    """End a filter: its film is shown again where it is in the published lists.

    Example: recbatch filter remove 3
    """
    from batch.filters import end

    _, data = _open()
    with database.small_write(data) as connection:
        end(connection, filter_id)
    _print(as_json, {"filter_id": filter_id}, lambda: typer.echo(f"filter {filter_id} has ended"))


def _overridden(data: Database) -> list[str]:
    """The gates that the published run failed and a person published it over."""
    from batch.checks import failed

    with data.reader.connect() as connection:
        current = query.published(connection)
        return failed(connection, current.run_id, "gate") if current else []


def _now_current(as_json: bool, run_id: int) -> None:
    _print(as_json, {"run_id": run_id}, lambda: typer.echo(f"run {run_id} is now current"))


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


def _config() -> Config:
    return load_config(_given["config"])


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


def _said(message: str) -> str:
    """What a database says of itself, with the place and the remedy that SQLite leaves out."""
    remedy = {
        "unable to open database file": "SQLite must be able to write into its folder, to read as well",
        "file is not a database": "mend database.url, or move the file away",
    }.get(message)
    return f"{message}: {_database(_config()).label}; {remedy}" if remedy else message


@contextmanager
def _errors() -> Iterator[None]:
    """What went wrong -> one line with the remedy, and the exit code that cron and its like act on."""
    try:
        yield
    except typer.TyperException as error:
        _stop(WRONG_USE, usage.told(error))
    except WRONG as error:
        _stop(WRONG_USE, str(error))
    except LockedError as error:
        _stop(LOCKED, str(error))
    except RecbatchError as error:
        _stop(FAILED, str(error))
    except DBAPIError as error:
        _stop(FAILED, f"the database says: {_said(str(error.orig).strip())}")
    except OSError as error:
        _stop(FAILED, f"{error.filename or 'output'}: {error.strerror or error}")


def main() -> None:
    """The `recbatch` command."""
    interrupt.listen()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a title must not fail where the terminal lacks its letters
    # Imports leave a million objects that stay: looking for garbage among them every 700, and once more at the end,
    # would take a small run a second of its ten.
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(gc.freeze)
    with _errors():
        with interrupt.ending_at_once():
            code = usage.call(app)
        sys.exit(code)
