"""Facts -> charts, each with the question that it answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from batch.serve.report import words
from batch.serve.report.charts import Dot, Pair, bars, columns, dots, pairs
from batch.serve.report.facts import Churn, Facts, Past, seconds
from batch.serve.report.lists import FEW
from batch.serve.report.trend import Line, trend


@dataclass(frozen=True)
class Chart:
    """A drawing and what it answers."""

    question: str
    note: str
    drawn: Markup


def against(facts: Facts) -> list[Chart]:
    """Models beside baselines, with intervals."""
    n = facts.run.top_n
    asked = (
        (
            "hits",
            "How much of a list do people like?",
            "precision",
            f"@{n}",
            f"precision@{n}; more is better.",
        ),
        (
            "order",
            "Are the liked films near the top?",
            "ndcg",
            f"@{n}",
            f"NDCG@{n}; more is better.",
        ),
        ("stars", "How far off are the stars?", "rmse", "", "RMSE; less is better."),
    )
    found = []
    for name, question, metric, size, note in asked:
        rows = [
            Dot(model, value, facts.metric(model, f"{metric}_low{size}"), facts.metric(model, f"{metric}_high{size}"),
                model in facts.baselines)
            for model in (*facts.models, *facts.baselines)
            if (value := facts.metric(model, f"{metric}{size}")) is not None
        ]  # fmt: skip
        if rows:
            found.append(
                Chart(question, note, dots(name, rows, words.decimals, zero=metric != "rmse"))
            )
    return found


def spread(facts: Facts) -> list[Chart]:
    """How varied the lists are."""
    n, films = facts.run.top_n, facts.run.n_movies or 0
    listed = {model: facts.lists[model] for model in facts.models if model in facts.lists}
    found = []
    if films:
        rows = [Dot(model, lists.films / films) for model, lists in listed.items()]
        note = f"Films that are in somebody's list, of {words.count(films)}."
        found.append(
            Chart("How many films are shown?", note, dots("coverage", rows, words.share, zero=True))
        )
    rows = [Dot(model, lists.few_share) for model, lists in listed.items()]
    note = f"Share of all places that the {FEW} films listed most take up. Everyone alike would be 100 %."
    found.append(
        Chart("Does everyone get the same films?", note, dots("few", rows, words.share, zero=True))
    )
    lifts = [
        Dot(model, lift, baseline=model in facts.baselines)
        for model in (*facts.models, *facts.baselines)
        if (lift := facts.metric(model, f"popularity_lift@{n}")) is not None
    ]
    if lifts:
        note = "Ratings of a listed film, as multiples of those of an average rated one."
        drawn = dots("fame", lifts, words.times, zero=True, reference=(1.0, "average"))
        found.append(Chart("How famous are the films?", note, drawn))
    return found


def served(facts: Facts) -> Chart | None:
    """Light raters beside heavy ones."""
    n = facts.run.top_n
    rows = [
        Pair(model, light, heavy, model in facts.baselines)
        for model in (*facts.models, *facts.baselines)
        if (light := facts.metric(model, f"precision_light@{n}")) is not None
        and (heavy := facts.metric(model, f"precision_heavy@{n}")) is not None
    ]
    if not rows:
        return None
    note = f"precision@{n} of the quarter of users who rated least (hollow) and who rated most (filled)."
    drawn = pairs("served", rows, ("least", "most"), words.decimals)
    return Chart("Do people who rated little get good lists?", note, drawn)


def kept(facts: Facts, churn: Churn) -> Markup:
    """Users by how many films they keep."""
    rows = {}
    for model in (model for model in facts.models if model in churn.kept):
        by_films = churn.kept[model]
        users = sum(by_films.values())
        rows[model] = [by_films.get(films, 0) / users for films in range(churn.ranks + 1)]
    return columns("kept", rows, "films kept", words.whole_share)


def trends(facts: Facts) -> list[Chart]:
    """The first model over the runs, beside a baseline."""
    n, lead = facts.run.top_n, facts.lead

    def line(model: str, metric: str, size: str = "") -> Line:
        measured = [past.metrics.get(model, {}) for past in facts.past]
        if model in facts.baselines:
            return Line(model, [each.get(f"{metric}{size}") for each in measured], baseline=True)
        names = f"{metric}_low{size}", f"{metric}_high{size}"
        bands = [
            (each[names[0]], each[names[1]]) if each.keys() >= {*names} else None
            for each in measured
        ]
        return Line(model, [each.get(f"{metric}{size}") for each in measured], bands)

    lost = Line(lead, [past.churn.get(lead) for past in facts.past])
    asked = (
        (f"Do people like what {lead} lists?", f"precision@{n}; more is better.",
         [line(lead, "precision", f"@{n}"), line("popular", "precision", f"@{n}")], words.decimals, False),
        ("How far off are its stars?", "RMSE; less is better.",
         [line(lead, "rmse"), line("bias", "rmse")], words.decimals, False),
        ("How many users keep no film?", "Of those with a list before and now.", [lost], words.share, True),
    )  # fmt: skip
    return _drawn("trend", facts.past, asked)


def costs(facts: Facts) -> list[Chart]:
    """Time and memory of the nights."""
    times = [sum(seconds(past.metrics.get("night", {})).values()) or None for past in facts.past]
    peaks = [past.metrics.get("night", {}).get("peak_mb") for past in facts.past]
    asked = (
        (
            "How long does a night take?",
            "All steps that are timed.",
            [Line("", times)],
            words.duration,
            True,
        ),
        (
            "How much memory does it take?",
            "The most that was held at once.",
            [Line("", peaks)],
            words.memory,
            True,
        ),
    )
    return _drawn("cost", facts.past, asked)


def steps(facts: Facts) -> Chart | None:
    """Seconds by step."""
    taken = seconds(facts.night)
    if not taken:
        return None
    peak = facts.night.get("peak_mb")
    note = f"{words.duration(sum(taken.values()))} in all" + (
        f", {words.memory(peak)} at most." if peak else "."
    )
    told = {words.STEPS.get(step, step): value for step, value in taken.items()}
    return Chart("Where did the time go?", note, bars("steps", told, words.duration))


def _drawn(
    kind: str,
    past: Sequence[Past],
    asked: Sequence[tuple[str, str, list[Line], Callable[[float], str], bool]],
) -> list[Chart]:
    """A chart for each question to which at least two runs say something."""
    found = []
    names = [f"run {each.run_id}" for each in past]
    for place, (question, note, lines, number, zero) in enumerate(asked):
        if len(lines[0].known) > 1:
            told = [line for line in lines if line.known]
            found.append(
                Chart(question, note, trend(f"{kind}{place}", told, names, number, zero=zero))
            )
    return found
