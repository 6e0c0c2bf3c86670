"""A run's metrics -> the weights of its blend, and how long its network was trained."""

from typing import NamedTuple

from sqlalchemy import Connection, select

from batch.ranking.blend_weights import Weights
from batch.ranking.evaluate import EPOCHS
from batch.store import schema


class Recorded(NamedTuple):
    """What a run learnt that is numbers in `run_metrics`."""

    weights: Weights | None  # None: there was too little to learn from
    epochs: int | None


def recorded(connection: Connection, run_id: int) -> Recorded:
    """What a run learnt. Raises KeyError for one of an earlier version, which recorded less."""
    metrics = schema.run_metrics.c
    stored = select(metrics.model, metrics.metric, metrics.value).where(
        metrics.run_id == run_id, metrics.model.in_(["blend", "neural"])
    )
    figures: dict[str, dict[str, float]] = {"blend": {}, "neural": {}}
    for model, metric, value in connection.execute(stored):
        figures[model][metric] = value
    epochs = figures["neural"].get(EPOCHS)
    n_epochs = None if epochs is None else round(epochs)
    if "learnt_from_ratings" not in figures["blend"]:
        return Recorded(None, n_epochs)
    return Recorded(Weights.from_figures(figures["blend"]), n_epochs)
