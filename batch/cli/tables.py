"""Answers, runs, metrics -> tables that people read, 80 columns wide where there is no terminal."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:  # who only wants to see a list must not wait for what makes one
    from collections.abc import Iterable, Mapping, Sequence

    from batch.ingest import Report
    from batch.job.explain_pair import PairExplanation
    from batch.job.nightly import Outcome
    from batch.job.schedule import Night
    from batch.query import Answer
    from batch.ranking.metrics import Metrics
    from batch.serve.diff import Diff
    from batch.serve.health import Finding
    from batch.store.filters import Filter

SHOWN_REJECTS = 5
"""Rejected rows that are printed; all of them lie in ingest_rejects."""
SMALLER_IS_BETTER = {"rmse", "mae"}
NO_BEST = {"fallback", "lift", "novelty", "gini", "diverse"}
"""More or less of these is neither good nor bad by itself."""
ACCURACY = {"rmse": "rmse", "mae": "mae", "fallback_share": "fallback", "precision": "prec", "recall": "recall",
            "ndcg": "ndcg", "map": "map"}  # fmt: skip
LISTS = {"hit_rate": "hits", "precision_light": "light", "precision_heavy": "heavy", "coverage": "coverage",
         "popularity_lift": "lift", "novelty": "novelty", "gini": "gini", "diversity": "diverse"}  # fmt: skip
"""Metrics and the names they go by in a table that fits 80 columns."""


def answers(found: Sequence[Answer]) -> None:
    """One table a list; of a single one with the reason under each title."""
    for answer in found:
        who = (
            answer.user_key
            if answer.user_name in (None, answer.user_key)
            else f"{answer.user_name} ({answer.user_key})"
        )
        when = (
            f", published {_minute(answer.published_at)} UTC"
            if answer.published_at
            else ", never published"
        )
        title = f"{answer.model} for {who or 'everyone'}: run {answer.run_id}{when}"
        if not answer.films:
            typer.echo(f"{title}\n  no films that this user has not rated\n")
            continue
        stars = answer.model != "popular"
        table = _table(
            ["", "film", "stars", "score"] if stars else ["", "film", "ratings"], numbers=(0, 2, 3)
        )
        for film in answer.films:
            rating = film.predicted_rating
            if rating is not None and answer.scale:
                rating = min(max(rating, answer.scale[0]), answer.scale[1])
            figures = (
                ["" if rating is None else f"{rating:.2f}", f"{film.score:.3f}"]
                if stars
                else [f"{film.score:g}"]
            )
            told = f"{film.title}\n{film.why}" if film.why and len(found) == 1 else film.title
            table.add_row(str(film.rank), told, *figures)
        _show(table, title)


def consultation(told: PairExplanation) -> None:
    """What each model says of one film, and why."""
    title = f"{told.title} ({told.movie_key})" if told.title != told.movie_key else told.title
    table = _table(["model", "stars", "place", "why"], numbers=(1,))
    for opinion in told.opinions:
        stars = opinion.predicted_rating
        shown = "-" if stars is None else f"{min(max(stars, told.scale[0]), told.scale[1]):.2f}"
        place = "-" if opinion.place is None else f"{opinion.place:,} of {opinion.of:,}"
        table.add_row(opinion.model, shown, place, opinion.why)
    _show(table, f"{title} for {told.user_key}")
    if told.rated is not None:
        typer.echo(
            f"rated {told.rated:g} already, which the models know; it will not be recommended again"
        )
    if told.hidden_by:
        typer.echo(
            f"hidden by {', '.join(told.hidden_by)}: wherever the models place it, it is in no list"
        )
    if told.few:
        typer.echo(
            "this user has rated fewer films than publish.least_ratings: the lists hold popular ones instead"
        )


def side_by_side(lists: Sequence[Answer]) -> None:
    """One user's lists of several models, a column each."""
    table = _table(["", *(answer.model for answer in lists)], numbers=(0,))
    longest = max((len(answer.films) for answer in lists), default=0)
    for place in range(longest):
        titles = [
            answer.films[place].title if place < len(answer.films) else "" for answer in lists
        ]
        table.add_row(str(place + 1), *titles)
    _show(table, lists[0].user_name or lists[0].user_key or "")


def metrics_table(metrics: Mapping[str, Metrics]) -> None:
    """Models against baselines; the best of each column has a star."""
    users = max((measured.get("users", 0) for measured in metrics.values()), default=0)
    sizes = {
        name.split("@")[1] for measured in metrics.values() for name in measured if "@" in name
    }
    lists = f"lists of {', '.join(sorted(sizes))}" if sizes else "no lists"
    _metrics(
        metrics,
        ACCURACY,
        f"Held-out ratings, {lists} ({users:,.0f} users with a film they liked; * = best)",
    )


def all_metrics(metrics: Mapping[str, Metrics]) -> None:
    """The accuracy of ratings and lists, how sure it is, and what the lists are made of."""
    metrics_table(metrics)
    table = _table(["model", "rmse", "precision", "ndcg"], numbers=(1, 2, 3))
    for model, measured in metrics.items():
        short = _short(measured)
        cells = [
            f"{short[f'{name}_low']:.3f} to {short[f'{name}_high']:.3f}" if name in short else "-"
            for name in ("rmse", "precision", "ndcg")
        ]
        table.add_row(model, *cells)
    _show(table, "95 % intervals, by bootstrap over users")
    _metrics(metrics, LISTS, "The lists")


def _short(measured: Metrics) -> dict[str, float]:
    """precision@5 -> precision"""
    return {name.split("@")[0]: value for name, value in measured.items()}


def _metrics(metrics: Mapping[str, Metrics], names: Mapping[str, str], title: str) -> None:
    """A row a model, a column for each of these metrics that any model has."""
    short = [_short(measured) for measured in metrics.values()]
    columns = [name for name in names if any(name in measured for measured in short)]
    table = _table(
        ["model", *(names[name] for name in columns)], numbers=range(1, len(columns) + 1)
    )
    for model, measured in zip(metrics, short, strict=True):
        cells = []
        for name in columns:
            values = [other[name] for other in short if name in other]
            best = min(values) if name in SMALLER_IS_BETTER else max(values)
            mark = "*" if measured.get(name) == best and names[name] not in NO_BEST else " "
            cells.append(f"{measured[name]:.3f}{mark}" if name in measured else "-")
        table.add_row(model, *cells)
    _show(table, title)


def outcome_lines(outcome: Outcome, overridden: Sequence[str] = ()) -> None:
    """How a run ended, in a few lines; `overridden` are the gates that the run readers see had failed itself."""
    ingest_reports(outcome.ingested)
    if outcome.status == "already_published":
        typer.echo(f"nothing to do: run {outcome.run_id} is published for that night")
        return
    if outcome.metrics:
        metrics_table(outcome.metrics)
    for check in outcome.failed_checks:
        told = f" ({check.about})" if check.about else ""
        typer.echo(
            f"{check.severity} {check.name}: {check.value:.3g}, {check.wanted} {check.threshold:g} wanted{told}"
        )
    written = ", ".join(f"{count:,} {model}" for model, count in outcome.rows.items()) or "no rows"
    typer.echo(f"run {outcome.run_id} is {outcome.status}: {written}")
    if outcome.status == "rejected":
        gates_only = all(check.severity == "gate" for check in outcome.failed_checks)
        remedy = (
            f"'recbatch publish {outcome.run_id}' publishes this run all the same; thresholds are settings under gate"
            if gates_only
            else "a run that fails an integrity check is never published; run again"
        )
        typer.echo(
            f"nothing was published, and readers get what they got before; {remedy}", err=True
        )
        if gates_only and overridden:
            typer.echo(
                f"what readers get was published over its gates ({', '.join(overridden)}), and this run was held "
                f"against it: if this one is the good one, 'recbatch publish {outcome.run_id}'",
                err=True,
            )


def plan_lines(plan: Mapping[str, Any]) -> None:
    """What a run would work on."""
    for name, value in plan.items():
        shown = (
            f"{value:,}"
            if isinstance(value, int)
            else ", ".join(value)
            if isinstance(value, list)
            else value
        )
        typer.echo(f"{name.replace('_', ' ')}: {shown if shown != '' else 'nothing'}")


def ingest_reports(reports: Iterable[Report]) -> None:
    """What each file was taken for, and what became of its rows."""
    for report in reports:
        if report.status == "refused":
            typer.echo(f"refused: {report.why}", err=True)
        elif report.status in ("skipped", "unchanged"):
            typer.echo(f"{report.file}: {report.why}, {report.status}")
        else:
            typer.echo(f"{report.file}: {report.format}, because {report.why}")
            counts = f"{report.accepted:,} accepted + {report.rejected:,} rejected + {report.duplicate:,} duplicate"
            typer.echo(f"  {report.status}: {report.read:,} rows = {counts}")
        for reject in report.rejects[:SHOWN_REJECTS]:
            typer.echo(f"  {report.file}:{reject.line}: {reject.message}", err=True)
        if len(report.rejects) > SHOWN_REJECTS:
            typer.echo(
                f"  and {len(report.rejects) - SHOWN_REJECTS:,} more, in ingest_rejects", err=True
            )
        for warning in report.warnings[:SHOWN_REJECTS]:
            typer.echo(f"  {report.file}: {warning}", err=True)


def run_table(history: Sequence[Mapping[str, Any]]) -> None:
    """The history, newest first."""
    table = _table(["run", "night", "by", "status", "started (UTC)", "rows", ""], numbers=(0, 5))
    for run in history:
        notes = [mark for mark in ("current", "forced", "purged") if run[mark]]
        if run["error"]:
            notes.append(run["error"])
        rows = run["rows_written"]
        table.add_row(
            str(run["run_id"]),
            str(run["logical_date"]),
            run["triggered_by"],
            run["status"],
            _minute(run["started_at"]),
            "" if rows is None else f"{rows:,}",
            ", ".join(notes),
        )
    _show(table, None)


def diff_tables(diff: Diff) -> None:
    """What changed: lists, metrics of both runs, and the films that came and went most."""
    columns = [
        "model",
        "in both",
        "same",
        f"overlap@{diff.ranks}",
        "replaced",
        "new users",
        "gone users",
    ]
    table = _table(columns, numbers=range(1, 7))
    for found in diff.models:
        shares = [
            "-" if share is None else f"{share:.1%}" for share in (found.same_share, found.overlap)
        ]
        counts = [f"{count:,}" for count in (found.replaced, found.new_users, found.gone_users)]
        table.add_row(found.model, f"{found.users:,}", *shares, *counts)
    _show(table, f"Lists of run {diff.before} and run {diff.after}, by users")
    metrics = list(dict.fromkeys(name for found in diff.models for name in found.metrics))
    table = _table(
        ["model", *(ACCURACY.get(name) or LISTS[name] for name in metrics)], numbers=range(1, 9)
    )
    for found in diff.models:
        pairs = ((beside.before, beside.after) for beside in found.metrics.values())
        table.add_row(
            found.model,
            *(" ".join("-" if v is None else f"{v:.3f}" for v in pair) for pair in pairs),
        )
    _show(table, f"Metrics, run {diff.before} beside run {diff.after}")
    table = _table(["model", "", "lists", "film"], numbers=(2,))
    for found in diff.models:
        for name, films in (("entered", found.entered), ("left", found.left)):
            for film in films:
                table.add_row(found.model, name, f"{film.lists:,}", film.title)
    if table.row_count:
        _show(table, "Films that entered and left most lists, of users in both")


def finding_lines(findings: Iterable[Finding]) -> None:
    """One line for each thing that was looked at."""
    for finding in findings:
        typer.echo(f"{finding.level} {finding.name}: {finding.about}")


def filter_table(filters: Sequence[Filter]) -> None:
    """What is kept from whom, and until when."""
    table = _table(["id", "film", "kept from", "from (UTC)", "until", "why"], numbers=(0,))
    for each in filters:
        until = _minute(each.ends_at) or "for good"
        whom, why = each.user_key or "everyone", each.reason or ""
        table.add_row(str(each.filter_id), each.title, whom, _minute(each.starts_at), until, why)
    if filters:
        _show(table, None)
    else:
        typer.echo("no film is filtered")


def coming_nights(nights: Iterable[Night]) -> None:
    """The next times the job is due, in UTC, with the night each stands for."""
    for night in nights:
        typer.echo(f"{night.due:%Y-%m-%d %H:%M} UTC, for {night.logical_date}")


def _table(columns: Sequence[str], numbers: Iterable[int]) -> Table:
    table = Table(
        box=None, pad_edge=False, header_style="bold", title_justify="left", title_style=""
    )
    right = set(numbers)
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place in right else "left", overflow="fold")
    return table


def _show(table: Table, title: str | None) -> None:
    """Titles of films are text: no markup, no emoji codes, no colours for what looks like a number."""
    console = Console(markup=False, emoji=False, highlight=False)
    if title:
        console.print(title, style="bold")
    console.print(table)
    console.print()


def _minute(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""
