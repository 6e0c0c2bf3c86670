"""Figures over runs -> a chart of lines, each labelled with its name and newest figure."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from batch.serve.report.charts import FOOT, ROUND_STEPS, WIDTH, Number, bare, trimmed
from batch.serve.report.svg import ROLE, figure, inline, style

LEFT = 56
"""Pixels for the axis."""
TOP = 12
"""Pixels above the lines."""
HEIGHT = 156
"""Pixels of the whole chart."""
LETTER_WIDTH = 7
"""Pixels of a letter, rounded up."""
LABEL_DISTANCE = 0.16
"""The minimum distance of two labels, as a share of the height."""


@dataclass(frozen=True)
class Line:
    """A figure over runs, oldest first; None where a run lacks it."""

    name: str
    values: Sequence[float | None]
    band: Sequence[tuple[float, float] | None] = ()  # its interval; empty for none
    baseline: bool = False

    @property
    def measured(self) -> dict[int, float]:
        """The figures that are not None, by position of the run."""
        return {place: value for place, value in enumerate(self.values) if value is not None}

    @property
    def first(self) -> float:
        """The oldest figure."""
        return next(iter(self.measured.values()))

    @property
    def last(self) -> float:
        """The newest figure."""
        return list(self.measured.values())[-1]

    def label(self, number: Number) -> str:
        """The name and the newest figure."""
        return f"{self.name} {number(self.last)}".strip()


def trend(
    name: str, lines: Sequence[Line], runs: Sequence[str], number: Number, *, zero: bool = False
) -> Markup:
    """Lines over runs; each line needs at least one figure."""
    longest = max(len(line.label(number)) for line in lines)
    right = 12 + LETTER_WIDTH * longest
    width = (WIDTH - LEFT - right) / WIDTH
    height = (HEIGHT - FOOT - TOP) / HEIGHT
    with mpl.rc_context(style()):
        drawing = figure(WIDTH, HEIGHT)
        axes = drawing.add_axes((LEFT / WIDTH, FOOT / HEIGHT, width, height))
        bare(axes)
        for line in lines:
            _draw(axes, line)
        _set_limits(axes, zero=zero)
        _add_labels(axes, lines, len(runs) - 1, number)
        _add_axes(axes, runs, number)
        texts = [f"{line.name} from {number(line.first)} to {number(line.last)}" for line in lines]
        return inline(drawing, name, f"{runs[0]} to {runs[-1]}: " + "; ".join(texts))


def _draw(axes: Axes, line: Line) -> None:
    colour = ROLE["quiet" if line.baseline else "accent"]
    band = {place: ends for place, ends in enumerate(line.band) if ends is not None}
    if band:
        low, high = zip(*band.values(), strict=True)
        axes.fill_between(list(band), low, high, color=colour, alpha=0.16, linewidth=0)
    places = list(line.measured)
    values = list(line.measured.values())
    dashes = "--" if line.baseline else "-"
    width = 1.5 if line.baseline else 2.0
    axes.plot(places, values, dashes, color=colour, linewidth=width, clip_on=False)
    axes.plot(places[-1], values[-1], "o", color=colour, markersize=5, clip_on=False)


def _set_limits(axes: Axes, *, zero: bool) -> None:
    """Leave room above and below, also around a line that never changes."""
    low, high = axes.get_ylim()
    if zero:
        axes.set_ylim(0, 1.08 * high)
    elif high - low < 0.02 * abs(high):
        axes.set_ylim(low - 0.05 * abs(high), high + 0.05 * abs(high))


def _add_labels(axes: Axes, lines: Sequence[Line], last: int, number: Number) -> None:
    """Names and figures at the right, moved apart where lines end close to each other."""
    low, high = axes.get_ylim()
    distance = LABEL_DISTANCE * (high - low)
    place = float("-inf")
    for line in sorted(lines, key=lambda line: line.last):
        place = max(line.last, place + distance)
        axes.annotate(
            line.label(number),
            xy=(last, place),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            annotation_clip=False,
            color=ROLE["quiet" if line.baseline else "ink"],
            fontweight="normal" if line.baseline else "bold",
        )


def _add_axes(axes: Axes, runs: Sequence[str], number: Number) -> None:
    """The first and the last run below, a few round values at the left."""
    axes.set_xlim(-0.15, max(len(runs) - 1, 1) + 0.15)
    axes.set_xticks([0, len(runs) - 1], [runs[0], runs[-1]])
    first, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.tick_params(axis="x", length=0, labelsize=11, pad=6)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=ROUND_STEPS, min_n_ticks=2))
    axes.yaxis.set_major_formatter(lambda value, _: trimmed(number(value)))
    axes.tick_params(axis="y", length=0, labelsize=11, labelcolor=ROLE["quiet"])
    axes.grid(axis="y", color=ROLE["rule"], linewidth=1)
    axes.set_axisbelow(True)
