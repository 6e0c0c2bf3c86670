"""Measured models -> Markdown tables, what they say of the blend, and JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quality_measure import ACCURACY, OURS, Difference, N, Trial, at_best

COLUMNS = {
    "rmse": "RMSE",
    f"precision@{N}": f"precision@{N}",
    f"ndcg@{N}": f"NDCG@{N}",
    f"coverage@{N}": "coverage",
    f"novelty@{N}": "novelty",
}
NO_BEST = {f"novelty@{N}"}
"""Metrics of which neither more nor less is better."""


def best_table(trials: Sequence[Trial], by_model: Mapping[str, Difference]) -> str:
    """A row for each model, best values in bold, and how far the blend is ahead of it."""
    rows = at_best(trials)
    best = {}
    for metric in COLUMNS.keys() - NO_BEST:
        values = [round(row.value(metric), 3) for row in rows.values()]
        measured = [value for value in values if not np.isnan(value)]
        best[metric] = min(measured) if metric == "rmse" else max(measured)
    lines = []
    for model, row in rows.items():
        figures = [_figure(row.value(metric), best.get(metric)) for metric in COLUMNS]
        ahead = with_interval(by_model[model]) if model in by_model else ""
        lines.append([model, *figures, ahead])
    return markdown(["model", *COLUMNS.values(), f"NDCG@{N}: {OURS} - it"], lines)


def all_table(trials: Sequence[Trial]) -> str:
    """A row for each setting of a peer, marked where it was the best."""
    rows = at_best(trials)
    lines = []
    for trial in trials:
        if not trial.setting:
            continue
        row = rows[trial.model]
        marks = ""
        if trial is row.by_rmse and "rmse" in trial.folds[0].metrics:
            marks += "r"
        if trial is row.by_ndcg:
            marks += "n"
        values = [_figure(trial.mean(metric)) for metric in ACCURACY]
        lines.append([trial.model, trial.setting, *values, marks])
    return markdown(["model", "setting", *(COLUMNS[metric] for metric in ACCURACY), "best"], lines)


def verdict(trials: Sequence[Trial], by_model: Mapping[str, Difference]) -> str:
    """Whether the blend is first in NDCG, within the interval of the first, or behind; its RMSE."""
    behind = [name for name, difference in by_model.items() if difference.high < 0]
    lower = [name for name, difference in by_model.items() if difference.mean < 0]
    nearest = min(by_model, key=lambda name: by_model[name].mean)
    margin = f"{nearest} {with_interval(by_model[nearest])}"
    if behind:
        lists = f"behind {', '.join(behind)} ({margin})"
    elif lower:
        lists = f"within the interval of {', '.join(lower)} ({margin})"
    elif by_model[nearest].low > 0:
        lists = f"first, outside every interval ({margin})"
    else:
        lists = f"first, but within an interval ({margin})"
    return f"{lists}; RMSE {_rmse_of_blend(trials)}"


def _rmse_of_blend(trials: Sequence[Trial]) -> str:
    values = {model: row.value("rmse") for model, row in at_best(trials).items()}
    ours = values.pop(OURS)
    lowest = min(values, key=lambda model: np.nan_to_num(values[model], nan=np.inf))
    if ours <= values[lowest]:
        return f"{ours:.4f}, the lowest ({lowest} {values[lowest]:.4f})"
    return f"{ours:.4f}, {ours - values[lowest]:.4f} above {lowest}"


def with_interval(difference: Difference) -> str:
    """A difference with its sign and its interval."""
    return f"{difference.mean:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"


def _figure(value: float, best: float | None = None) -> str:
    text = "-" if np.isnan(value) else f"{value:.3f}"
    return f"**{text}**" if best is not None and text == f"{best:.3f}" else text


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table whose cells are padded to the same width, so that it is readable as text."""
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    rule = ["-" * width for width in widths]
    rows = []
    for line in (head, rule, *lines):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def as_json(trials: Sequence[Trial], by_model: Mapping[str, Difference]) -> dict[str, Any]:
    """Every metric of every fold of one split, and what is in its table."""
    best = {}
    for model, row in at_best(trials).items():
        values: dict[str, Any] = {name: _or_none(row.value(name)) for name in COLUMNS}
        values["rmse_setting"] = row.by_rmse.setting
        values["lists_setting"] = row.by_ndcg.setting
        if model in by_model:
            values["blend_minus_it"] = vars(by_model[model])
        best[model] = values
    tried = [
        {
            "model": trial.model,
            "setting": trial.setting,
            "folds": [fold.metrics for fold in trial.folds],
        }
        for trial in trials
    ]
    return {"best": best, "tried": tried}


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
