"""Figures over runs -> lines, each named and told where it ends."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from batch.serve.report.charts import FOOT, ROUND, WIDTH, Number, bare, trimmed
from batch.serve.report.svg import ROLE, figure, inline, style

LEFT, TOP, HEIGHT = 56, 12, 156
"""Pixels for the axis, above the lines, and in all."""
LETTER = 7
"""Pixels of a letter, on the generous side."""
APART = 0.16
"""Of the height: the least distance of two names."""


@dataclass(frozen=True)
class Line:
    """A figure over runs, oldest first; None where a run lacks it."""

    name: str
    values: Sequence[float | None]
    band: Sequence[tuple[float, float] | None] = ()  # its interval; empty for none
    baseline: bool = False

    @property
    def known(self) -> dict[int, float]:
        """The figures that there are, by place of the run."""
        return {place: value for place, value in enumerate(self.values) if value is not None}

    @property
    def last(self) -> float:
        return list(self.known.values())[-1]

    def told(self, number: Number) -> str:
        """Its name and newest figure."""
        return f"{self.name} {number(self.last)}".strip()


def trend(
    name: str, lines: Sequence[Line], runs: Sequence[str], number: Number, *, zero: bool = False
) -> Markup:
    """Lines over runs; each has at least one figure."""
    right = 12 + LETTER * max(len(line.told(number)) for line in lines)
    box = (
        LEFT / WIDTH,
        FOOT / HEIGHT,
        (WIDTH - LEFT - right) / WIDTH,
        (HEIGHT - FOOT - TOP) / HEIGHT,
    )
    with mpl.rc_context(style()):
        drawn = figure(WIDTH, HEIGHT)
        axes = drawn.add_axes(box)
        bare(axes)
        for line in lines:
            _draw(axes, line)
        _spread(axes, zero=zero)
        _name(axes, lines, len(runs) - 1, number)
        _scale(axes, runs, number)
        said = (
            f"{line.name} from {number(next(iter(line.known.values())))} to {number(line.last)}"
            for line in lines
        )
        return inline(drawn, name, f"{runs[0]} to {runs[-1]}: " + "; ".join(said))


def _draw(axes: Axes, line: Line) -> None:
    colour, known = ROLE["quiet" if line.baseline else "accent"], line.known
    band = {place: ends for place, ends in enumerate(line.band) if ends is not None}
    if band:
        low, high = zip(*band.values(), strict=True)
        axes.fill_between(list(band), low, high, color=colour, alpha=0.16, linewidth=0)
    dashes, width = ("--", 1.5) if line.baseline else ("-", 2.0)
    axes.plot(
        list(known), list(known.values()), dashes, color=colour, linewidth=width, clip_on=False
    )
    axes.plot(list(known)[-1], line.last, "o", color=colour, markersize=5, clip_on=False)


def _spread(axes: Axes, *, zero: bool) -> None:
    """Room above and below, and around a line that never changed."""
    low, high = axes.get_ylim()
    if zero:
        axes.set_ylim(0, 1.08 * high)
    elif high - low < 0.02 * abs(high):
        axes.set_ylim(low - 0.05 * abs(high), high + 0.05 * abs(high))


def _name(axes: Axes, lines: Sequence[Line], last: int, number: Number) -> None:
    """Names and figures at the right, moved apart where lines end close to each other."""
    low, high = axes.get_ylim()
    place = float("-inf")
    for line in sorted(lines, key=lambda line: line.last):
        place = max(line.last, place + APART * (high - low))
        axes.annotate(
            line.told(number), (last, place), (9, 0), textcoords="offset points", va="center", annotation_clip=False,
            color=ROLE["quiet" if line.baseline else "ink"], fontweight="normal" if line.baseline else "bold",
        )  # fmt: skip


def _scale(axes: Axes, runs: Sequence[str], number: Number) -> None:
    """The first and the last run below, a few round values at the left."""
    axes.set_xlim(-0.15, max(len(runs) - 1, 1) + 0.15)
    axes.set_xticks([0, len(runs) - 1], [runs[0], runs[-1]])
    first, last = axes.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
    axes.tick_params(axis="x", length=0, labelsize=11, pad=6)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=ROUND, min_n_ticks=2))
    axes.yaxis.set_major_formatter(lambda value, _: trimmed(number(value)))
    axes.tick_params(axis="y", length=0, labelsize=11, labelcolor=ROLE["quiet"])
    axes.grid(axis="y", color=ROLE["rule"], linewidth=1)
    axes.set_axisbelow(True)
