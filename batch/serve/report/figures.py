"""Facts -> charts, each with the question that it answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from batch.ranking.metric_names import MetricName
from batch.ranking.outcome import POPULAR
from batch.serve.report import words
from batch.serve.report.charts import Dot, Number, Pair, bars, columns, dots, pairs
from batch.serve.report.facts import Churn, Facts, TrendRun, seconds
from batch.serve.report.lists import FEW
from batch.serve.report.trend import Line, trend


@dataclass(frozen=True)
class Chart:
    """A drawing and the question that it answers."""

    question: str
    note: str
    drawing: Markup


def against_baselines(facts: Facts) -> list[Chart]:
    """Models beside baselines, with intervals."""
    charts = [
        _comparison(
            facts,
            name="hits",
            metric="precision",
            question="How much of a list do people like?",
            note=f"{_of_lists(facts, 'precision')}; more is better.",
        ),
        _comparison(
            facts,
            name="order",
            metric="ndcg",
            question="Are the liked films near the top?",
            note=f"{_of_lists(facts, 'NDCG')}; more is better.",
        ),
        _comparison(
            facts,
            name="stars",
            metric="rmse",
            question="How far off are the stars?",
            note="RMSE; less is better.",
            zero=False,
        ),
    ]
    return [chart for chart in charts if chart is not None]


def _comparison(
    facts: Facts, *, name: str, metric: str, question: str, note: str, zero: bool = True
) -> Chart | None:
    """One metric of every model and baseline; None where it was not measured."""
    rows = []
    for model in (*facts.models, *facts.baselines):
        value = facts.metrics.get(model, metric)
        if value is None:
            continue
        low = facts.metrics.get(model, metric, "low")
        high = facts.metrics.get(model, metric, "high")
        rows.append(Dot(model, value, low, high, baseline=model in facts.baselines))
    if not rows:
        return None
    return Chart(question, note, dots(name, rows, words.decimals, zero=zero))


def spread(facts: Facts) -> list[Chart]:
    """How varied the lists are."""
    charts = [_coverage(facts), _concentration(facts), _popularity(facts)]
    return [chart for chart in charts if chart is not None]


def _coverage(facts: Facts) -> Chart | None:
    n_films = facts.run.n_movies
    if not n_films:
        return None
    rows = [
        Dot(model, facts.lists[model].films / n_films)
        for model in facts.models
        if model in facts.lists
    ]
    return Chart(
        "How many films are shown?",
        f"Films that are in somebody's list, of {words.count(n_films)}.",
        dots("coverage", rows, words.share, zero=True),
    )


def _concentration(facts: Facts) -> Chart:
    rows = [
        Dot(model, facts.lists[model].few_share) for model in facts.models if model in facts.lists
    ]
    return Chart(
        "Does everyone get the same films?",
        f"Share of all places that the {FEW} most listed films take;"
        " 100 % if all lists had the same films.",
        dots("few", rows, words.share, zero=True),
    )


def _popularity(facts: Facts) -> Chart | None:
    rows = []
    for model in (*facts.models, *facts.baselines):
        lift = facts.metrics.get(model, "popularity_lift")
        if lift is not None:
            rows.append(Dot(model, lift, baseline=model in facts.baselines))
    if not rows:
        return None
    return Chart(
        "How famous are the films?",
        "Ratings of a listed film, as multiples of those of an average rated one.",
        dots("fame", rows, words.times, zero=True, reference=(1.0, "average")),
    )


def light_and_heavy(facts: Facts) -> Chart | None:
    """Users who rated least beside users who rated most."""
    rows = []
    for model in (*facts.models, *facts.baselines):
        light = facts.metrics.get(model, "precision_light")
        heavy = facts.metrics.get(model, "precision_heavy")
        if light is not None and heavy is not None:
            rows.append(Pair(model, light, heavy, baseline=model in facts.baselines))
    if not rows:
        return None
    return Chart(
        "Do people who rated little get good lists?",
        f"{_of_lists(facts, 'precision')} of the quarter of users who rated least (hollow)"
        " and who rated most (filled).",
        pairs("served", rows, ("least", "most"), words.decimals),
    )


def kept(facts: Facts, churn: Churn) -> Markup:
    """Histogram of users by how many films they keep, for each model."""
    rows = {}
    for model in facts.models:
        if model in churn.kept:
            by_films = churn.kept[model]
            users = sum(by_films.values())
            rows[model] = [by_films.get(films, 0) / users for films in range(churn.ranks + 1)]
    return columns("kept", rows, "films kept", words.whole_share)


def trends(facts: Facts) -> list[Chart]:
    """The first model over the runs, beside a baseline."""
    lead = facts.lead
    precision = [_line(facts, lead, "precision"), _line(facts, "popular", "precision")]
    rmse = [_line(facts, lead, "rmse"), _line(facts, "bias", "rmse")]
    churn = [Line(lead, [run.churn.get(lead) for run in facts.trend])]
    charts = [
        _trend_chart(
            facts.trend,
            "trend0",
            precision,
            words.decimals,
            question=f"Do people like what {lead} lists?",
            note=f"{_of_lists(facts, 'precision')}; more is better.",
        ),
        _trend_chart(
            facts.trend,
            "trend1",
            rmse,
            words.decimals,
            question="How far off are its stars?",
            note="RMSE; less is better.",
        ),
        _trend_chart(
            facts.trend,
            "trend2",
            churn,
            words.share,
            zero=True,
            question="How many users keep no film?",
            note="Of those with a list before and now.",
        ),
        _delivered(facts),
    ]
    return [chart for chart in charts if chart is not None]


def _delivered(facts: Facts) -> Chart | None:
    """The first model on what was rated since, beside what was measured before each run."""
    runs = [run for run in facts.trend if run.outcome.get(facts.lead, "precision") is not None]
    delivered = Line(
        "delivered",
        [run.outcome.get(facts.lead, "precision") for run in runs],
        [run.outcome.interval(facts.lead, "precision") for run in runs],
    )
    promised = [run.metrics.get(facts.lead, "precision") for run in runs]
    popular = [run.outcome.get(POPULAR, "precision") for run in runs]
    return _trend_chart(
        runs,
        "outcome",
        [
            delivered,
            Line("promised", promised, baseline=True),
            Line("popular", popular, baseline=True),
        ],
        words.decimals,
        zero=True,
        question="Promised by the night, delivered by the world?",
        note=f"{_of_lists(facts, 'precision')}: promised on held-out ratings, delivered in what"
        " users liked since. That is fewer films, so compare it with popular.",
    )


def _line(facts: Facts, model: str, metric: str) -> Line:
    """A metric over the runs; with its interval, if the model is no baseline."""
    values = [run.metrics.get(model, metric) for run in facts.trend]
    if model in facts.baselines:
        return Line(model, values, baseline=True)
    return Line(model, values, [run.metrics.interval(model, metric) for run in facts.trend])


def costs(facts: Facts) -> list[Chart]:
    """Time and memory of the nights."""
    times = [sum(seconds(run.night).values()) or None for run in facts.trend]
    peaks = [run.night.get("peak_mb") for run in facts.trend]
    charts = [
        _trend_chart(
            facts.trend,
            "cost0",
            [Line("", times)],
            words.duration,
            zero=True,
            question="How long does a night take?",
            note="All steps that are timed.",
        ),
        _trend_chart(
            facts.trend,
            "cost1",
            [Line("", peaks)],
            words.memory,
            zero=True,
            question="How much memory does it take?",
            note="The most that was in use at once.",
        ),
    ]
    return [chart for chart in charts if chart is not None]


def _trend_chart(
    runs: Sequence[TrendRun],
    name: str,
    lines: Sequence[Line],
    number: Number,
    *,
    question: str,
    note: str,
    zero: bool = False,
) -> Chart | None:
    """Lines over the runs; None where fewer than two runs have a figure of the first line."""
    if len(lines[0].measured) < 2:
        return None
    drawn = [line for line in lines if line.measured]
    labels = [f"run {run.run_id}" for run in runs]
    return Chart(question, note, trend(name, drawn, labels, number, zero=zero))


def steps(facts: Facts) -> Chart | None:
    """Seconds by step."""
    by_step = seconds(facts.night)
    if not by_step:
        return None
    note = f"{words.duration(sum(by_step.values()))} in all"
    peak = facts.night.get("peak_mb")
    if peak:
        note += f", {words.memory(peak)} at most"
    seconds_by_name = {words.STEPS.get(step, step): value for step, value in by_step.items()}
    return Chart(
        "Where did the time go?", f"{note}.", bars("steps", seconds_by_name, words.duration)
    )


def _of_lists(facts: Facts, metric: str) -> str:
    """precision -> precision@5"""
    return str(MetricName(metric, n=facts.run.top_n))
