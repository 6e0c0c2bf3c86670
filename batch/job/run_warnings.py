"""Dead sources, outliers and metrics of a run -> its warnings, each one line with the remedy."""

from collections.abc import Mapping, Sequence

from batch.params import Gates
from batch.ranking.metric_names import RunMetrics
from batch.store.runs import RunWarning
from batch.store.scale import Outliers, Scale


def source_warnings(dead: Mapping[str, str]) -> list[RunWarning]:
    """One for each source without data; `dead` is source -> why, which begins with the file."""
    return [
        RunWarning(kind="source", about=source, message=f"source {why}")
        for source, why in dead.items()
    ]


def scale_warnings(outliers: Sequence[Outliers], scale: Scale) -> list[RunWarning]:
    """One for each side of the scale on which ratings were left out of it."""
    low, high = scale
    warnings = []
    for value, count in outliers:
        ratings = f"1 rating of {value:g} is"
        if count > 1:
            ratings = f"{count:,} ratings, the outermost {value:g}, are"
        wider = f"[{min(low, value):g}, {max(high, value):g}]"
        message = (
            f"{ratings} far outside all others, and left out of the scale, {low:g} to {high:g};"
            f" set ingest.scale: [{low:g}, {high:g}] to reject such rows, {wider} if they are meant"
        )
        warnings.append(RunWarning(kind="scale", about=f"{value:g}", message=message))
    return warnings


def judged_warnings(measured: RunMetrics, limits: Gates) -> list[RunWarning]:
    """One if nobody could be judged because the data is small; where it is not, a gate fails."""
    n_users = measured.held_out_users
    if measured.judged_users or n_users >= limits.min_users_judged:
        return []
    have = "1 user has" if n_users == 1 else f"{n_users:,} users have"
    message = (
        f"nobody could be judged: {have} five ratings or more, and gates compare lists from"
        f" {limits.min_users_judged:,} such users on (gate.min_users_judged)"
    )
    return [RunWarning(kind="unjudged", about="", message=message)]
