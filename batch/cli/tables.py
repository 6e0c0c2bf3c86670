"""Lists, runs, filters, differences -> tables for a terminal, 80 columns wide elsewhere."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from batch.cli.metric_tables import HEADINGS
from batch.cli.terminal import TextTable, print_lines, show_table
from batch.ranking.metric_names import MetricName

if TYPE_CHECKING:  # printing a list must not wait for the imports that make one
    from collections.abc import Mapping, Sequence

    from batch.job.audience import Audience
    from batch.job.explain_pair import PairExplanation
    from batch.query import Answer, Film
    from batch.serve.diff import Diff
    from batch.store.batches import ListedBatch
    from batch.store.filters import Filter

Scale = tuple[float, float]
"""Lowest and highest rating, stars."""


def list_tables(answers: Sequence[Answer]) -> None:
    """One table for each list; if there is only one, with the reason under each title."""
    for answer in answers:
        title = _list_title(answer)
        if answer.films:
            show_table(_list_table(answer, with_reasons=len(answers) == 1), title)
        else:
            print_lines(title, "  no films that this user has not rated", "")


def _list_title(answer: Answer) -> str:
    user = answer.user_key or "everyone"
    if answer.user_name not in (None, answer.user_key):
        user = f"{answer.user_name} ({answer.user_key})"
    published = "never published"
    if answer.published_at:
        published = f"published {_minute(answer.published_at)} UTC"
    return f"{answer.model} for {user}: run {answer.run_id}, {published}"


def _list_table(answer: Answer, *, with_reasons: bool) -> TextTable:
    is_popular = answer.model == "popular"
    headings = ["", "film", "ratings"] if is_popular else ["", "film", "stars", "score"]
    table = TextTable(headings, right=(0, 2, 3))
    for film in answer.films:
        texts = [film.title]
        if film.why and with_reasons:
            texts.append(film.why)
        if is_popular:
            # No whole number where old ratings count less.
            figures = [f"{film.score:.0f}" if film.score.is_integer() else f"{film.score:.1f}"]
        else:
            figures = [_stars(film, answer.scale), f"{film.score:.3f}"]
        table.add_row(str(film.rank), texts, *figures)
    return table


def audience_table(answer: Audience) -> None:
    """The users who would like a film most, with stars and score."""
    film = answer.title
    if film != answer.movie_key:
        film = f"{film} ({answer.movie_key})"
    if not answer.users:
        print_lines(
            f"nobody to show {film} to: all users whom run {answer.run_id} can score have rated or"
            " seen it, or it is filtered"
        )
        return
    table = TextTable(["", "user", "name", "stars", "score"], right=(0, 3, 4))
    for user in answer.users:
        stars = f"{_clipped(user.predicted_rating, answer.scale):.2f}"
        name = user.user_name or ""
        table.add_row(str(user.rank), user.user_key, name, stars, f"{user.score:.3f}")
    show_table(table, f"{film}: the first {len(answer.users)} of {answer.scored:,} users")


def _stars(film: Film, scale: Scale | None) -> str:
    if film.predicted_rating is None:
        return ""
    return f"{_clipped(film.predicted_rating, scale):.2f}"


def _clipped(rating: float, scale: Scale | None) -> float:
    """Stars within the scale."""
    if scale is None:
        return rating
    lowest, highest = scale
    return min(max(rating, lowest), highest)


def explanation_table(explanation: PairExplanation) -> None:
    """What each model predicts for one film and user, and why."""
    table = TextTable(["model", "stars", "place", "why"], right=(1,))
    for model in explanation.opinions:
        stars = "-"
        if model.predicted_rating is not None:
            stars = f"{_clipped(model.predicted_rating, explanation.scale):.2f}"
        place = "-" if model.place is None else f"{model.place:,} of {model.of:,}"
        table.add_row(model.model, stars, place, model.why)
    title = explanation.title
    if title != explanation.movie_key:
        title = f"{title} ({explanation.movie_key})"
    show_table(table, f"{title} for {explanation.user_key}")
    if explanation.rated is not None:
        print_lines(
            f"rated {explanation.rated:g} already, which the models use;"
            " it will not be recommended again"
        )
    if explanation.seen:
        print_lines("marked as seen: wherever the models place it, it is in no list")
    if explanation.hidden_by:
        print_lines(
            f"hidden by {', '.join(explanation.hidden_by)}:"
            " wherever the models place it, it is in no list"
        )
    if explanation.few:
        print_lines(
            "this user has rated fewer films than publish.least_ratings:"
            " the lists contain popular ones instead"
        )


def side_by_side(lists: Sequence[Answer]) -> None:
    """One user's lists of several models, a column for each."""
    table = TextTable(["", *(answer.model for answer in lists)], right=(0,))
    longest = max((len(answer.films) for answer in lists), default=0)
    for place in range(longest):
        titles = [
            answer.films[place].title if place < len(answer.films) else "" for answer in lists
        ]
        table.add_row(str(place + 1), *titles)
    show_table(table, lists[0].user_name or lists[0].user_key or "")


def run_table(history: Sequence[Mapping[str, Any]]) -> None:
    """Runs, newest first."""
    headings = ["run", "night", "by", "status", "started (UTC)", "rows", ""]
    table = TextTable(headings, right=(0, 5))
    for run in history:
        notes = [mark for mark in ("current", "forced", "purged") if run[mark]]
        if run["kind"] == "refresh":
            notes.append(f"refresh of run {run['base_run_id']}")
        if run["error"]:
            notes.append(run["error"])
        if run["warnings"]:
            notes.append(f"warnings: {len(run['warnings'])}")
        n_rows = run["rows_written"]
        table.add_row(
            str(run["run_id"]),
            str(run["logical_date"]),
            run["triggered_by"],
            run["status"],
            _minute(run["started_at"]),
            "" if n_rows is None else f"{n_rows:,}",
            ", ".join(notes),
        )
    show_table(table, None)


def batch_table(batches: Sequence[ListedBatch]) -> None:
    """Files that were read, newest first; `rows` are those that were merged."""
    if not batches:
        print_lines("no file was ingested yet")
        return
    table = TextTable(["batch", "ingested (UTC)", "status", "rows", "file"], right=(0, 3))
    for batch in batches:
        table.add_row(
            str(batch.batch_id),
            _minute(batch.ingested_at),
            batch.status,
            f"{batch.rows_accepted:,}",
            batch.file,
        )
    show_table(table, None)


def diff_tables(diff: Diff) -> None:
    """What changed: the lists, the metrics of both runs, the films that entered and left most."""
    _list_changes(diff)
    _metric_changes(diff)
    _moved_films(diff)


def _list_changes(diff: Diff) -> None:
    overlap = str(MetricName("overlap", n=diff.ranks))
    headings = ["model", "in both", "same", overlap, "replaced", "new users", "gone users"]
    table = TextTable(headings, right=range(1, len(headings)))
    for model in diff.models:
        table.add_row(
            model.model,
            f"{model.users:,}",
            _percent(model.same_share),
            _percent(model.overlap),
            f"{model.replaced:,}",
            f"{model.new_users:,}",
            f"{model.gone_users:,}",
        )
    show_table(table, f"Lists of run {diff.before} and run {diff.after}, by users")


def _metric_changes(diff: Diff) -> None:
    metrics = list(dict.fromkeys(metric for model in diff.models for metric in model.metrics))
    headings = ["model", *(HEADINGS[metric] for metric in metrics)]
    table = TextTable(headings, right=range(1, len(headings)))
    for model in diff.models:
        changes = model.metrics.values()
        cells = [f"{_decimals(change.before)} {_decimals(change.after)}" for change in changes]
        table.add_row(model.model, *cells)
    show_table(table, f"Metrics, run {diff.before} beside run {diff.after}")


def _moved_films(diff: Diff) -> None:
    table = TextTable(["model", "", "lists", "film"], right=(2,))
    for model in diff.models:
        for direction, films in (("entered", model.entered), ("left", model.left)):
            for film in films:
                table.add_row(model.model, direction, f"{film.lists:,}", film.title)
    if table.n_rows:
        show_table(table, "Films that entered and left most lists, of users in both")


def filter_table(filters: Sequence[Filter]) -> None:
    """Which film is hidden from whom, from when, until when, and why."""
    if not filters:
        print_lines("no film is filtered")
        return
    table = TextTable(["id", "film", "kept from", "from (UTC)", "until", "why"], right=(0,))
    for item in filters:
        table.add_row(
            str(item.filter_id),
            item.title,
            item.user_key or "everyone",
            _minute(item.starts_at),
            _minute(item.ends_at) or "for good",
            item.reason or "",
        )
    show_table(table, None)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _decimals(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _minute(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""
