"""Stored names of metrics <-> their parts: metric, bound and length of lists."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Bound = Literal["", "low", "high"]
"""The value itself, or the lower or upper bound of its 95 % interval."""


class MetricName(NamedTuple):
    """The parts of a name in the `metric` column of `run_metrics`.

    `precision_low@5` is the lower bound of precision in lists of 5.
    """

    metric: str  # such as precision or precision_gain
    bound: Bound = ""
    n: int | None = None  # length of the lists; None for a metric that is not of lists

    def __str__(self) -> str:
        bound = f"_{self.bound}" if self.bound else ""
        length = "" if self.n is None else f"@{self.n}"
        return f"{self.metric}{bound}{length}"

    @staticmethod
    def parse(name: str) -> "MetricName":
        """The parts of a stored name."""
        metric, at, length = name.partition("@")
        n = int(length) if at else None
        if metric.endswith("_low"):
            return MetricName(metric.removesuffix("_low"), "low", n)
        if metric.endswith("_high"):
            return MetricName(metric.removesuffix("_high"), "high", n)
        return MetricName(metric, "", n)


@dataclass(frozen=True)
class RunMetrics:
    """All metrics of one run."""

    by_model: Mapping[str, Mapping[MetricName, float]]

    @staticmethod
    def of(stored: Mapping[str, Mapping[str, float]]) -> "RunMetrics":
        """Stored names and values by model -> metrics by their parts."""
        by_model = {}
        for model, values in stored.items():
            by_model[model] = {MetricName.parse(name): value for name, value in values.items()}
        return RunMetrics(by_model)

    @property
    def n(self) -> int | None:
        """Length of the lists that were measured, the same for all models; None without lists."""
        for values in self.by_model.values():
            for name in values:
                if name.n is not None:
                    return name.n
        return None

    def get(self, model: str, metric: str, bound: Bound = "") -> float | None:
        """One value, of lists or not; None where it was not measured."""
        values = self.by_model.get(model, {})
        value = values.get(MetricName(metric, bound))
        if value is not None:
            return value
        return values.get(MetricName(metric, bound, self.n))

    @property
    def held_out_users(self) -> int:
        """Users with a held-out rating: those with five ratings or more, of at most
        `evaluation.users`."""
        return round(self.get("bias", "raters") or 0)

    @property
    def judged_users(self) -> int:
        """Users who liked a held-out film: metrics of lists are means over them."""
        return round(self.get("popular", "users") or 0)

    def interval(self, model: str, metric: str) -> tuple[float, float] | None:
        """The 95 % interval of a metric; None where it was not measured."""
        low = self.get(model, metric, "low")
        high = self.get(model, metric, "high")
        if low is None or high is None:
            return None
        return low, high
