"""Facts -> one HTML page that needs nothing else: no network, no script, no other file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from batch.serve.report import figures, summary, tables, words
from batch.serve.report.facts import Facts
from batch.serve.report.lists import SAMPLE_FILMS

FOLDER = Path(__file__).parent
SECTIONS = {
    "models": "Models",
    "trends": "Trends",
    "changes": "Changes",
    "lists": "Lists",
    "users": "Users",
    "checks": "Checks",
    "samples": "Samples",
    "cost": "Cost",
    "run": "Run",
    "reading": "How to read",
}
"""Headings of the contents, by the section's id in page.html."""


def render(facts: Facts) -> str:
    """The page; the same facts give the same bytes."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["title"] = words.title
    environment.filters["day"] = words.day
    return environment.get_template("page.html").render(_variables(facts))


def _variables(facts: Facts) -> dict[str, Any]:
    """The variables of page.html."""
    css = (FOLDER / "page.css").read_text(encoding="utf-8")
    gates, run_checks = tables.gates(facts)
    without_lists = summary.without_lists(facts.run)
    return {
        "css": Markup(css),  # noqa: S704  this program's own file
        "run": facts.run,
        "status": summary.status(facts.run, facts.published),
        "sections": SECTIONS,
        "tiles": summary.tiles(facts),
        "short": summary.short(facts) or ["The run has no figures and no lists."],
        "unmeasured": _why_unmeasured(facts),
        "against": figures.against_baselines(facts),
        "measured_on": summary.measured_on(facts),
        "cut": words.CUTS[facts.metrics.cut],
        "accuracy": tables.figures(facts, tables.ACCURACY),
        "other_cuts": _other_cuts(facts),
        "n_trend_runs": len(facts.trend),
        "trends": figures.trends(facts),
        "churn": _churn(facts),
        "without_lists": without_lists,
        "no_lists": without_lists or "Nobody has a list.",
        "lists": tables.figures(facts, tables.LISTS),
        "spread": figures.spread(facts) if facts.lists else [],
        "most_listed": _most_listed(facts),
        "light_and_heavy": figures.light_and_heavy(facts),
        "users_with_lists": tables.users_with_lists(facts),
        "gates": gates,
        "run_checks": run_checks,
        "verdict": summary.verdict(facts),
        "samples": tables.samples(facts),
        "sample_films": SAMPLE_FILMS,
        "steps": figures.steps(facts),
        "costs": figures.costs(facts),
        "details": summary.details(facts.run),
        "glossary": _glossary(facts),
    }


def _other_cuts(facts: Facts) -> list[tuple[str, tables.Table]]:
    """Accuracy in the cuts that do not lead, each with its name."""
    named = []
    for cut in facts.metrics.cuts:
        if cut != facts.metrics.cut:
            other = replace(facts, metrics=facts.metrics.within(cut))
            named.append((words.CUTS[cut], tables.figures(other, tables.ACCURACY)))
    return named


def _why_unmeasured(facts: Facts) -> str:
    if facts.run.has_lists:
        return "too few ratings could be held out."
    return "the run did not come that far."


def _churn(facts: Facts) -> dict[str, Any] | None:
    churn = facts.churn
    if churn is None or not churn.kept:
        return None
    return {
        "run_id": churn.run_id,
        "ranks": churn.ranks,
        "rows": tables.churn(facts, churn),
        "drawing": figures.kept(facts, churn),
    }


def _most_listed(facts: Facts) -> dict[str, Any] | None:
    """The films listed most of the first model that has lists: title, lists, share of users."""
    if not facts.most_listed:
        return None
    model = next(model for model in facts.models if model in facts.lists)
    users = facts.lists[model].users
    films = [
        (film.title, words.count(film.lists), words.share(film.lists / users))
        for film in facts.most_listed
    ]
    return {"model": model, "films": films}


def _glossary(facts: Facts) -> list[tuple[str, str]]:
    """The models of the page, then the terms."""
    models = [
        (model, words.MODELS[model])
        for model in (*facts.models, *facts.baselines)
        if model in words.MODELS
    ]
    return [*models, *words.GLOSSARY.items()]
