"""Metrics by model -> tables for a terminal, 80 columns wide elsewhere."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from batch.cli.terminal import TextTable, show_table
from batch.ranking.metric_names import RunMetrics
from batch.ranking.outcome import POPULAR

if TYPE_CHECKING:  # a command that prints it has loaded it
    from batch.job.outcomes import RunOutcome

HEADINGS = {
    "rmse": "rmse",
    "mae": "mae",
    "fallback_share": "fallback",
    "precision": "prec",
    "recall": "recall",
    "ndcg": "ndcg",
    "map": "map",
    "hit_rate": "hits",
    "precision_light": "light",
    "precision_heavy": "heavy",
    "coverage": "coverage",
    "popularity_lift": "lift",
    "novelty": "novelty",
    "gini": "gini",
    "diversity": "diverse",
}
"""Metrics and their headings, short enough for 80 columns."""
ACCURACY = ("rmse", "mae", "fallback_share", "precision", "recall", "ndcg", "map")
LISTS = (
    "hit_rate",
    "precision_light",
    "precision_heavy",
    "coverage",
    "popularity_lift",
    "novelty",
    "gini",
    "diversity",
)
INTERVALS = ("rmse", "precision", "ndcg")
"""Metrics whose 95 % intervals are printed."""
SMALLER_IS_BETTER = {"rmse", "mae"}
NO_BEST = {"fallback_share", "popularity_lift", "novelty", "gini", "diversity"}
"""Metrics of which neither more nor less is better by itself."""

OUTCOME = {
    "hit_rate": "hits",
    "rated": "rated",
    "stars": "stars",
    "predicted": "predicted",
    "calibration": "off by",
    "spare_hits": "spare",
}
"""Metrics of what became of a run's lists, and their headings."""
FORMATS = {
    "hit_rate": "{:.3f}",
    "rated": "{:,.0f}",
    "stars": "{:.2f}",
    "predicted": "{:.2f}",
    "calibration": "{:+.2f}",
    "spare_hits": "{:,.0f}",
}


TITLES = {
    "next": "The newest ratings",
    "own": "A fifth of each user's ratings",
    None: "Ratings of the file",
}
"""What was held out, by cut; None for ratings of a file."""


def metrics_table(metrics: RunMetrics) -> None:
    """Accuracy of models and baselines in the headline; the best of each column has a star."""
    _accuracy_table(metrics, TITLES[metrics.cut])


def all_metrics(metrics: RunMetrics) -> None:
    """Accuracy in each cut with its intervals, and what the lists are made of."""
    for cut in metrics.cuts:
        _every_table(metrics.within(cut), TITLES[cut])


def metrics_of_file(metrics: Mapping[str, Mapping[str, float]]) -> None:
    """The same of models measured on the ratings of a file; stored names and values, by model."""
    _every_table(RunMetrics.of(metrics, "own"), TITLES[None])


def outcome_table(found: "RunOutcome") -> None:
    """What became of a run's lists: a row for each model, the popular list last."""
    metrics = RunMetrics.of(found.metrics, None)
    headings = [f"prec@{found.run.top_n}", "95 % interval", *OUTCOME.values()]
    table = TextTable(["model", *headings], right=range(1, 1 + len(headings)))
    for model in sorted(metrics.by_model, key=lambda name: (name == POPULAR, name)):
        precision = _cell(metrics.get(model, "precision"), "{:.3f}")
        cells = [_cell(metrics.get(model, metric), FORMATS[metric]) for metric in OUTCOME]
        table.add_row(model, precision, _interval(metrics, model, "precision"), *cells)
    users = round(max(metrics.get(model, "users") or 0 for model in metrics.by_model))
    who = "1 user" if users == 1 else f"{users:,} users"
    liked = "" if found.liked_from is None else f" ({found.liked_from:g} stars or more)"
    stored = ", as stored before its lists were purged" if found.is_stored else ""
    show_table(table, f"Run {found.run.run_id}{stored}: {who} liked a film new to them{liked}")


def _cell(value: float | None, number: str) -> str:
    return "-" if value is None else number.format(value)


def _every_table(metrics: RunMetrics, what: str) -> None:
    _accuracy_table(metrics, what)
    _interval_table(metrics)
    _metrics_table(metrics, LISTS, "The lists")


def _accuracy_table(metrics: RunMetrics, what: str) -> None:
    n_users = max((metrics.get(model, "users") or 0 for model in metrics.by_model), default=0)
    lists = "no lists" if metrics.n is None else f"lists of {metrics.n}"
    title = f"{what}, {lists} ({n_users:,.0f} users liked a film; * = best)"
    _metrics_table(metrics, ACCURACY, title)


def _interval_table(metrics: RunMetrics) -> None:
    table = TextTable(["model", *INTERVALS], right=range(1, 1 + len(INTERVALS)))
    for model in metrics.by_model:
        cells = [_interval(metrics, model, metric) for metric in INTERVALS]
        table.add_row(model, *cells)
    show_table(table, "95 % intervals, by bootstrap over users")


def _interval(metrics: RunMetrics, model: str, metric: str) -> str:
    interval = metrics.interval(model, metric)
    if interval is None:
        return "-"
    low, high = interval
    return f"{low:.3f} to {high:.3f}"


def _metrics_table(metrics: RunMetrics, names: Sequence[str], title: str) -> None:
    """A row for each model, a column for each of these metrics that any model has."""
    columns = {}
    for metric in names:
        cells = _column(metrics, metric)
        if any(cell != "-" for cell in cells.values()):
            columns[HEADINGS[metric]] = cells
    table = TextTable(["model", *columns], right=range(1, 1 + len(columns)))
    for model in metrics.by_model:
        table.add_row(model, *(cells[model] for cells in columns.values()))
    show_table(table, title)


def _column(metrics: RunMetrics, metric: str) -> dict[str, str]:
    """One metric of every model; the best value ends with a star, the others with a space."""
    values = {model: metrics.get(model, metric) for model in metrics.by_model}
    measured = [value for value in values.values() if value is not None]
    best = None
    if measured and metric not in NO_BEST:
        best = min(measured) if metric in SMALLER_IS_BETTER else max(measured)
    cells = {}
    for model, value in values.items():
        if value is None:
            cells[model] = "-"
        else:
            mark = "*" if value == best else " "
            cells[model] = f"{value:.3f}{mark}"
    return cells
