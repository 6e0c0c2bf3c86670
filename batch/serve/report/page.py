"""Facts -> one HTML page that needs nothing else: no network, no script, no file beside it."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from batch.serve.report import figures, summary, tables, words
from batch.serve.report.facts import Facts
from batch.serve.report.lists import SHOWN_FILMS

HERE = Path(__file__).parent
SECTIONS = (
    ("models", "Models"), ("trends", "Trends"), ("changes", "Changes"), ("lists", "Lists"), ("users", "Users"),
    ("checks", "Checks"), ("samples", "Samples"), ("cost", "Cost"), ("run", "Run"), ("reading", "How to read"),
)  # fmt: skip


def render(facts: Facts) -> str:
    """The page; the same facts give the same bytes."""
    shape = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    shape.filters |= {"title": words.title, "day": words.day}
    return shape.get_template("page.html").render(_told(facts))


def _told(facts: Facts) -> dict[str, Any]:
    gates, singles = tables.gates(facts)
    unmeasured = (
        "too few ratings could be held out."
        if facts.run.has_lists
        else "the run did not come that far."
    )
    return {
        "css": Markup((HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704  ours
        "run": facts.run,
        "status": summary.status(facts.run, facts.published),
        "sections": SECTIONS,
        "tiles": summary.tiles(facts),
        "short": summary.short(facts)
        or ["There is little to tell: the run has no figures and no lists."],
        "unmeasured": unmeasured,
        "against": figures.against(facts),
        "accuracy": tables.figures(facts, tables.ACCURACY),
        "past": facts.past,
        "trends": figures.trends(facts),
        "churn": _churn(facts),
        "unlisted": summary.unlisted(facts.run),
        "no_lists": summary.unlisted(facts.run) or "Nobody has a list.",
        "lists": tables.figures(facts, tables.LISTS),
        "spread": figures.spread(facts) if facts.lists else (),
        "most_listed": _most_listed(facts),
        "served": figures.served(facts),
        "reached": tables.reached(facts),
        "gates": gates,
        "singles": singles,
        "verdict": summary.verdict(facts),
        "samples": tables.people(facts),
        "shown_films": SHOWN_FILMS,
        "steps": figures.steps(facts),
        "costs": figures.costs(facts),
        "details": summary.details(facts.run),
        "glossary": [
            *(
                (name, words.MODELS[name])
                for name in (*facts.models, *facts.baselines)
                if name in words.MODELS
            ),
            *words.GLOSSARY.items(),
        ],
    }


def _churn(facts: Facts) -> dict[str, Any] | None:
    if facts.churn is None or not facts.churn.kept:
        return None
    rows, drawn = tables.churn(facts, facts.churn), figures.kept(facts, facts.churn)
    return {"run_id": facts.churn.run_id, "ranks": facts.churn.ranks, "rows": rows, "drawn": drawn}


def _most_listed(facts: Facts) -> dict[str, Any] | None:
    if not facts.most_listed:
        return None
    model = next(model for model in facts.models if model in facts.lists)
    users = facts.lists[model].users
    films = [
        (film.title, words.count(film.lists), words.share(film.lists / users))
        for film in facts.most_listed
    ]
    return {"model": model, "films": films}
