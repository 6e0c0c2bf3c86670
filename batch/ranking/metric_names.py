"""Names of metrics <-> what they are of: `precision_low@5` is the lower bound of precision at 5."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Bound = Literal["", "low", "high"]
"""The figure itself, or the lower or upper end of its 95 % interval."""


class MetricName(NamedTuple):
    """One row of `run_metrics`: the name of its `metric`, taken apart."""

    metric: str  # such as precision, or precision_gain
    bound: Bound = ""
    n: int | None = None  # length of the lists; None for a metric that is not of lists

    def __str__(self) -> str:
        bound = f"_{self.bound}" if self.bound else ""
        at = "" if self.n is None else f"@{self.n}"
        return f"{self.metric}{bound}{at}"

    @staticmethod
    def parse(text: str) -> "MetricName":
        """The parts of a stored name."""
        name, at, n = text.partition("@")
        length = int(n) if at else None
        if name.endswith("_low"):
            return MetricName(name.removesuffix("_low"), "low", length)
        if name.endswith("_high"):
            return MetricName(name.removesuffix("_high"), "high", length)
        return MetricName(name, "", length)


@dataclass(frozen=True)
class RunMetrics:
    """What was measured of each model in one run, asked for without spelling stored names."""

    by_model: Mapping[str, Mapping[MetricName, float]]

    @staticmethod
    def of(stored: Mapping[str, Mapping[str, float]]) -> "RunMetrics":
        """Of stored names and values, by model."""
        return RunMetrics(
            {
                model: {MetricName.parse(name): value for name, value in values.items()}
                for model, values in stored.items()
            }
        )

    @property
    def n(self) -> int | None:
        """The length of the lists that were measured, which is the same for all; None if none were."""
        lengths = (name.n for values in self.by_model.values() for name in values)
        return next((n for n in lengths if n is not None), None)

    def get(self, model: str, metric: str, bound: Bound = "") -> float | None:
        """One figure, in the metric's unit; None where nothing was measured."""
        values = self.by_model.get(model, {})
        plain = values.get(MetricName(metric, bound))
        return values.get(MetricName(metric, bound, self.n)) if plain is None else plain

    def interval(self, model: str, metric: str) -> tuple[float, float] | None:
        """The 95 % interval of a figure; None where there is none."""
        low = self.get(model, metric, "low")
        high = self.get(model, metric, "high")
        return None if low is None or high is None else (low, high)
