"""Stored names of metrics <-> their parts: cut, metric, bound and length of lists."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Bound = Literal["", "low", "high"]
"""The value itself, or the lower or upper bound of its 95 % interval."""
Cut = Literal["next", "own"]
"""What was held out: everything in the newest part of time, or each user's own last ratings."""
CUTS: tuple[Cut, ...] = ("next", "own")
OF_CUT = frozenset(
    {
        "users",
        "raters",
        "rmse",
        "mae",
        "fallback_share",
        "precision",
        "recall",
        "ndcg",
        "map",
        "hit_rate",
        "precision_light",
        "precision_heavy",
        "coverage",
        "novelty",
        "popularity_lift",
        "gini",
        "diversity",
        "precision_gain",
        "ndcg_gain",
        "rmse_gain",
    }
)
"""Metrics that belong to a cut. The others, such as weights and seconds, belong to the run."""


class MetricName(NamedTuple):
    """The parts of a name in the `metric` column of `run_metrics`.

    `next.precision_low@5` is the lower bound of precision in lists of 5, on the
    newest part of time.
    """

    metric: str  # such as precision or precision_gain
    bound: Bound = ""
    n: int | None = None  # length of the lists; None for a metric that is not of lists
    cut: Cut | None = None  # None for a metric of the run

    def __str__(self) -> str:
        cut = f"{self.cut}." if self.cut else ""
        bound = f"_{self.bound}" if self.bound else ""
        length = "" if self.n is None else f"@{self.n}"
        return f"{cut}{self.metric}{bound}{length}"

    @staticmethod
    def parse(name: str) -> "MetricName":
        """The parts of a stored name.

        A metric without a cut was stored before there were two: it is of `own`.
        """
        cut: Cut | None = None
        for prefix in CUTS:
            if name.startswith(f"{prefix}."):
                cut = prefix
                name = name.removeprefix(f"{prefix}.")
        metric, at, length = name.partition("@")
        n = int(length) if at else None
        bound: Bound = ""
        if metric.endswith("_low"):
            metric, bound = metric.removesuffix("_low"), "low"
        elif metric.endswith("_high"):
            metric, bound = metric.removesuffix("_high"), "high"
        if cut is None and metric in OF_CUT:
            cut = "own"
        return MetricName(metric, bound, n, cut)


def with_cut(cut: Cut, metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics by the names under which this cut's are stored."""
    return {f"{cut}.{name}": value for name, value in metrics.items()}


@dataclass(frozen=True)
class RunMetrics:
    """All metrics of one run, read in one of the cuts that it was measured in."""

    by_model: Mapping[str, Mapping[MetricName, float]]
    cut: Cut

    @staticmethod
    def of(stored: Mapping[str, Mapping[str, float]], cut: Cut | None) -> "RunMetrics":
        """Stored names and values by model -> metrics by their parts, read in `cut`.

        None, for a run before there were two cuts, is `own`.
        """
        by_model = {}
        for model, values in stored.items():
            by_model[model] = {MetricName.parse(name): value for name, value in values.items()}
        return RunMetrics(by_model, cut or "own")

    def within(self, cut: Cut) -> "RunMetrics":
        """The same metrics, read in this cut."""
        return replace(self, cut=cut)

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """The cuts that were measured, the one that is read first."""
        cuts = {name.cut for values in self.by_model.values() for name in values}
        return tuple(sorted((cut for cut in CUTS if cut in cuts), key=lambda cut: cut != self.cut))

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
        cut = self.cut if metric in OF_CUT else None
        value = values.get(MetricName(metric, bound, None, cut))
        if value is not None:
            return value
        return values.get(MetricName(metric, bound, self.n, cut))

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
