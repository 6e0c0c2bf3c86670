"""Commands that show what was made, and change nothing."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from batch import query
from batch.cli import completion, help, suggestions
from batch.cli.arguments import (
    A_RUN,
    UNHEALTHY,
    AsJson,
    Movie,
    User,
    configured,
    connected,
    opened,
    shown,
    stop,
)
from batch.cli.help import WRONG_USE

commands = help.Commands()


@commands.command()
def top(
    user: User,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="A model, such as blend. Default: all of them.",
            autocompletion=completion.models,
        ),
    ] = None,
    n: Annotated[
        int | None, typer.Option("-n", min=1, metavar="N", help="At most this many films.")
    ] = None,
    run_id: Annotated[
        int | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="A run other than the published one.",
            autocompletion=completion.runs,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a user's list; whoever has none, or is unknown, gets the popular one.

    Example: recbatch top 1 --model item_item
    """
    from batch.cli.tables import answers

    _, data = opened()
    with data.reader.connect() as connection:
        available = query.models(connection, run_id=run_id)
        if model is not None and model not in available:
            stop(
                WRONG_USE,
                f"no lists of a model {model!r}; there are {', '.join(available) or 'none'}",
            )
        try:
            key = suggestions.find_user(connection, user)
        except query.UnknownUserError as error:
            typer.echo(f"{error}; this is what is popular", err=True)
            found = [query.popular(connection, n=n, run_id=run_id)]
        else:
            wanted = [model] if model else [*available] or ["blend"]
            each = [query.top(connection, key, model=name, n=n, run_id=run_id) for name in wanted]
            lacking = [
                name for name, answer in zip(wanted, each, strict=True) if answer.model != name
            ]
            if lacking:
                typer.echo(
                    f"{key} has no list of {', '.join(lacking)}; this is what is popular", err=True
                )
            found = [answer for place, answer in enumerate(each) if answer not in each[:place]]
            if hidden := query.hidden_titles(connection, key, run_id=run_id):
                told = f"a filter hides {', '.join(hidden)}; 'recbatch filter list' tells from whom and until when"
                typer.echo(told, err=True)
    shown(as_json, [asdict(answer) for answer in found], lambda: answers(found))


@commands.command()
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
    from batch.cli.tables import consultation
    from batch.job.explain_pair import explain_pair

    settings, data = opened()
    with data.reader.connect() as connection:
        user_key, (movie_key, _) = (
            suggestions.find_user(connection, user),
            suggestions.find_film(connection, movie),
        )
    told = explain_pair(data, settings, user_key, movie_key)
    shown(as_json, asdict(told), lambda: consultation(told))


@commands.command()
def evaluate(
    test: Annotated[
        Path | None,
        typer.Option(help="Fit on the whole database and measure on this ratings file instead."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="With --test: write every model's predicted rating to this CSV file."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure every model and baseline on held-out ratings.

    Example: recbatch evaluate --test newer.csv --predictions predictions.csv
    """
    from batch.cli.tables import all_metrics
    from batch.job.evaluate_file import evaluate_file
    from batch.job.steps import measure
    from batch.store.load import load

    if predictions and not test:
        stop(WRONG_USE, "--predictions goes with --test, the file whose ratings are predicted")
    settings, data = opened()
    if test:
        metrics: Mapping[str, Any] = evaluate_file(data, settings, test, predictions)
    else:
        with data.reader.connect() as connection:
            ratings = load(connection, scale=settings.ingest.scale).ratings
        metrics = measure(ratings, settings).metrics
    shown(as_json, metrics, lambda: all_metrics(metrics))


@commands.command()
def runs(
    n: Annotated[int, typer.Option("-n", min=1, help="How many of the newest runs.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs, newest first.

    Example: recbatch runs -n 5
    """
    from batch.cli.tables import run_table
    from batch.serve.history import history

    _, data = opened()
    with data.reader.connect() as connection:
        found = history(connection, n)
    shown(as_json, found, lambda: run_table(found))


@commands.command()
def report(
    run_id: Annotated[
        int | None,
        typer.Argument(
            metavar="[RUN]", help="Default: the published run.", autocompletion=completion.runs
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: report-RUN.html.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one HTML page about a run: figures, charts, checks, sample lists.

    Example: recbatch report -o tonight.html
    """
    from batch.serve.report import report as write

    _, data = opened()
    with data.reader.connect() as connection:
        written = write(connection, run_id, output)
    shown(as_json, {"file": written}, lambda: typer.echo(str(written)))


@commands.command()
def diff(
    before: Annotated[int, typer.Argument(metavar="A", help=A_RUN, autocompletion=completion.runs)],
    after: Annotated[
        int,
        typer.Argument(
            metavar="B",
            help="The run it is compared with, the newer one as a rule.",
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
    from batch.serve.diff import NoSuchModelError
    from batch.serve.diff import diff as compare

    _, data = opened()
    with data.reader.connect() as connection:
        try:
            found = compare(connection, before, after, model)
        except NoSuchModelError as error:
            stop(WRONG_USE, str(error))
    shown(as_json, asdict(found), lambda: diff_tables(found))


@commands.command()
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
    from batch.cli.tables import finding_lines
    from batch.serve.health import Ages, examine, worst

    settings = configured()
    limits = settings.check
    ages = Ages(
        timedelta(hours=limits.warn_after_hours if warn_after is None else warn_after),
        timedelta(hours=limits.error_after_hours if error_after is None else error_after),
    )
    if ages.warn_after > ages.error_after:
        stop(
            WRONG_USE,
            f"{ages.warn_after} to warn after is more than {ages.error_after}, from which a list is stale",
        )
    data = connected(settings)
    findings = examine(data, datetime.now(UTC), ages)
    status = worst(findings)
    shown(
        as_json,
        {"status": status, "findings": [asdict(finding) for finding in findings]},
        lambda: finding_lines(findings),
    )
    if status == "error":
        raise typer.Exit(UNHEALTHY)
