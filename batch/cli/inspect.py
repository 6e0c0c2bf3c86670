"""Commands that print what is in the database, and change nothing."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy import Connection

from batch import query
from batch.cli import completion, help, suggestions
from batch.cli.arguments import (
    UNHEALTHY,
    AnyRun,
    AsJson,
    AtMost,
    Movie,
    User,
    connect,
    load_settings,
    open_ready,
    print_result,
    stop,
)
from batch.cli.help import WRONG_USE
from batch.cli.terminal import print_lines
from batch.config import CheckSettings
from batch.config.limits import MAX_HOURS

if TYPE_CHECKING:  # imported where it is needed, so that other commands start faster
    from batch.serve.health import Ages

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
    n: AtMost = None,
    run_id: AnyRun = None,
    as_json: AsJson = False,
) -> None:
    """Show a user's list, or the popular one if the user is unknown or has none.

    Example: recbatch top 1 --model item_item
    """
    from batch.cli.tables import list_tables

    _, data = open_ready()
    with data.reader.connect() as connection:
        models = query.models(connection, run_id=run_id)
        if model is not None and model not in models:
            names = ", ".join(models) or "none"
            stop(WRONG_USE, f"no lists of a model {model!r}; there are {names}")
        try:
            user_key = suggestions.find_user(connection, user)
        except query.UnknownUserError as error:
            print_lines(f"{error}; this is what is popular", err=True)
            answers = [query.popular(connection, n=n, run_id=run_id)]
        else:
            chosen = models if model is None else (model,)
            answers = _lists_of_user(connection, user_key, chosen, n, run_id)
            _warn_of_filters(connection, user_key, run_id)
    print_result(
        as_json,
        [asdict(answer) for answer in answers],
        lambda: list_tables(answers),
    )


def _lists_of_user(
    connection: Connection,
    user_key: str,
    models: tuple[str, ...],
    n: int | None,
    run_id: int | None,
) -> list[query.Answer]:
    """A user's lists of these models; the popular list once, if any of them is missing."""
    answers = []
    missing = []
    for model in models:
        answer = query.top(connection, user_key, model=model, n=n, run_id=run_id)
        if answer.model != model:
            missing.append(model)
        if answer not in answers:
            answers.append(answer)
    if not models:  # a run without any list
        missing = ["any model"]
        answers = [query.popular(connection, user=user_key, n=n, run_id=run_id)]
    if missing:
        message = f"{user_key} has no list of {', '.join(missing)}; this is what is popular"
        print_lines(message, err=True)
    return answers


def _warn_of_filters(connection: Connection, user_key: str, run_id: int | None) -> None:
    """Name the films that are missing from the lists because of a filter."""
    titles = query.hidden_titles(connection, user_key, run_id=run_id)
    if titles:
        message = (
            f"a filter hides {', '.join(titles)};"
            " 'recbatch filter list' shows from whom and until when"
        )
        print_lines(message, err=True)


@commands.command()
def explain(
    user: User,
    movie: Movie,
    as_json: AsJson = False,
) -> None:
    """Explain why, and how much, each model would or would not recommend a film to a user.

    It fits the models on the database as it stands, which takes about half as
    long as a run; if anything has changed since the published run, the blend is
    learnt again too, which takes about as long as a run. Nothing is written.

    Example: recbatch explain 1 "Heat (1995)"
    """
    from batch.cli.tables import explanation_table
    from batch.job.explain_pair import explain_pair

    settings, data = open_ready()
    with data.reader.connect() as connection:
        user_key = suggestions.find_user(connection, user)
        movie_key, _ = suggestions.find_film(connection, movie)
    explanation = explain_pair(data, settings, user_key, movie_key)
    print_result(as_json, asdict(explanation), lambda: explanation_table(explanation))


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
    from batch.cli.metric_tables import all_metrics, metrics_of_file
    from batch.job.evaluate_file import evaluate_file
    from batch.job.steps import measure
    from batch.store.load import load

    if predictions and not test:
        stop(WRONG_USE, "--predictions goes with --test, the file whose ratings are predicted")
    settings, data = open_ready()
    if test:
        of_file = evaluate_file(data, settings, test, predictions)
        print_result(as_json, of_file, lambda: metrics_of_file(of_file))
        return
    with data.reader.connect() as connection:
        ratings = load(connection, scale=settings.ingest.scale).ratings
    evaluation = measure(ratings, settings)
    print_result(as_json, evaluation.metrics, lambda: all_metrics(evaluation.measured))


@commands.command()
def check(
    warn_after: Annotated[
        float | None,
        typer.Option(
            min=0, max=MAX_HOURS, metavar="HOURS", help="Default: check.warn_after_hours."
        ),
    ] = None,
    error_after: Annotated[
        float | None,
        typer.Option(
            min=0, max=MAX_HOURS, metavar="HOURS", help="Default: check.error_after_hours."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the list's age, how the last run ended, and its sources; exits 5 if not all is well.

    Example: recbatch check --warn-after 26 --error-after 50
    """
    from batch.cli.lines import finding_lines
    from batch.serve.health import examine, worst

    settings = load_settings()
    ages = _ages(settings.check, warn_after, error_after)
    findings = examine(connect(settings), datetime.now(UTC), ages)
    status = worst(findings)
    print_result(
        as_json,
        {"status": status, "findings": [asdict(finding) for finding in findings]},
        lambda: finding_lines(findings),
    )
    if status == "error":
        raise typer.Exit(UNHEALTHY)


def _ages(limits: CheckSettings, warn_after: float | None, error_after: float | None) -> "Ages":
    """The limits of the settings, or of the command line where it has any, in hours."""
    from batch.serve.health import Ages

    warn_hours = limits.warn_after_hours if warn_after is None else warn_after
    error_hours = limits.error_after_hours if error_after is None else error_after
    ages = Ages(timedelta(hours=warn_hours), timedelta(hours=error_hours))
    if ages.warn_after > ages.error_after:
        stop(
            WRONG_USE,
            f"{ages.warn_after} to warn after is more than {ages.error_after},"
            " from which a list is stale",
        )
    return ages
