"""Figures of a run -> charts that fit a phone, each also described in words."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from batch.serve.report.svg import ROLE, figure, inline, style

WIDTH = 340
"""Pixels: a phone's width less margins. Wider windows show several charts in a row."""
LEFT = 84
"""Pixels for names."""
RIGHT = 52
"""Pixels for a column of figures."""
ROW = 27
"""Pixels for each row."""
FOOT = 30
"""Pixels for the axis below."""
LABELLED_COLUMNS = 8
"""Maximum columns of a histogram that all have a figure; of more, only the highest has one."""
ROUND_STEPS = (1, 2, 5, 10)
"""Steps of an axis; 2.5 would need one more digit than the labels have."""
Number = Callable[[float], str]
"""How a value is written."""


@dataclass(frozen=True)
class Dot:
    """A model's figure, with its interval if it has one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    baseline: bool = False

    def text(self, number: Number) -> str:
        """The name, the figure and the interval in words."""
        text = f"{self.name} {number(self.value)}"
        if self.low is None or self.high is None:
            return text
        return f"{text} ({number(self.low)} to {number(self.high)})"


@dataclass(frozen=True)
class Pair:
    """Two figures of one model."""

    name: str
    hollow: float
    filled: float
    baseline: bool = False


def dots(
    name: str,
    rows: Sequence[Dot],
    number: Number,
    *,
    zero: bool = False,
    reference: tuple[float, str] | None = None,
) -> Markup:
    """Models as dots, baselines as hollow squares, intervals as lines.

    `zero` makes the axis begin at 0; `reference` is the value and name of a line across all rows.
    """
    head = 8 if reference is None else 18
    with mpl.rc_context(style()):
        drawing, axes = _rows([row.name for row in rows], head=head)
        for place, row in enumerate(rows):
            colour = _colour(row.baseline)
            if row.low is not None and row.high is not None:
                ends = [row.low, row.high]
                axes.plot(ends, [place] * 2, color=colour, linewidth=2, solid_capstyle="butt")
            _dot(axes, row.value, place, colour, hollow=row.baseline, square=row.baseline)
            _figure_at_right(axes, number(row.value), place)
        if reference is not None:
            value, label = reference
            _reference_line(axes, value, label)
        _value_axis(axes, number, zero=zero)
        return inline(drawing, name, "; ".join(row.text(number) for row in rows))


def pairs(name: str, rows: Sequence[Pair], ends: tuple[str, str], number: Number) -> Markup:
    """Two joined dots for each model, hollow and filled, with a column of figures for each end."""
    texts = []
    with mpl.rc_context(style()):
        drawing, axes = _rows([row.name for row in rows], head=20, figures=2)
        for place, row in enumerate(rows):
            colour = _colour(row.baseline)
            values = (row.hollow, row.filled)
            axes.plot(values, [place, place], color=colour, linewidth=1.5)
            for column, value in enumerate(values):
                _dot(axes, value, place, colour, hollow=column == 0, square=row.baseline)
                _figure_at_right(axes, number(value), place, column)
            hollow, filled = map(number, values)
            texts.append(f"{row.name}: {ends[0]} {hollow}, {ends[1]} {filled}")
        for column, label in enumerate(ends):
            _figure_at_right(axes, label, -0.8, column, fontsize=11, color=ROLE["quiet"])
        _value_axis(axes, number, zero=True)
        return inline(drawing, name, "; ".join(texts))


def bars(name: str, rows: Mapping[str, float], number: Number) -> Markup:
    """Amounts from zero, each with its figure."""
    with mpl.rc_context(style()):
        drawing, axes = _rows(list(rows), foot=4)
        for place, value in enumerate(rows.values()):
            axes.barh(place, value, height=0.5, color=ROLE["accent"])
            _figure_at_right(axes, number(value), place)
        axes.set_xlim(0, max(*rows.values(), 1e-9))
        axes.set_xticks([])
        axes.axvline(0, color=ROLE["quiet"], linewidth=1)
        texts = [f"{row} {number(value)}" for row, value in rows.items()]
        return inline(drawing, name, "; ".join(texts))


def columns(name: str, rows: Mapping[str, Sequence[float]], axis: str, number: Number) -> Markup:
    """A small histogram of shares for each model, all on one scale; the axis counts from 0."""
    top = 6  # pixels, as gap and bar_height
    gap = 12
    bar_height = 46
    height = top + len(rows) * (bar_height + gap) + FOOT
    highest = max(max(shares) for shares in rows.values())
    width = (WIDTH - LEFT - 4) / WIDTH
    texts = []
    with mpl.rc_context(style()):
        drawing = figure(WIDTH, height)
        for place, (model, shares) in enumerate(rows.items()):
            bottom = height - top - (place + 1) * (bar_height + gap) + 4
            axes = drawing.add_axes((LEFT / WIDTH, bottom / height, width, bar_height / height))
            _histogram(axes, shares, highest, number)
            axes.text(-LEFT / (WIDTH - LEFT - 4), 0.04, model, transform=axes.transAxes)
            counts = [f"{films} {number(share)}" for films, share in enumerate(shares)]
            texts.append(f"{model}: {', '.join(counts)}")
        # Only the lowest histogram has an axis.
        axes.set_xticks(range(0, len(shares), 1 + len(shares) // (2 * LABELLED_COLUMNS)))
        axes.tick_params(length=0, labelsize=11)
        axes.set_xlabel(axis, fontsize=11, labelpad=2)
        return inline(drawing, name, f"{axis}: " + "; ".join(texts))


def bare(axes: Axes) -> None:
    """Remove the frame around the drawing."""
    for side in axes.spines.values():
        side.set_visible(False)
    axes.margins(x=0.05)


def trimmed(label: str) -> str:
    """0.060 -> 0.06, 3.0 % -> 3 %: a label of an axis without trailing zeros."""
    return re.sub(r"(\.\d*?)0+(?!\d)", lambda match: match[1].rstrip("."), label)


def _rows(
    names: Sequence[str], *, head: float = 8, foot: float = FOOT, figures: int = 1
) -> tuple[Figure, Axes]:
    """A figure with a row for each name, from above, and room for figures at the right."""
    height = head + ROW * len(names) + foot
    width = WIDTH - LEFT - figures * RIGHT - 10
    drawing = figure(WIDTH, height)
    axes = drawing.add_axes((LEFT / WIDTH, foot / height, width / WIDTH, ROW * len(names) / height))
    bare(axes)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, pad=LEFT - 2)
    for label in axes.get_yticklabels():
        label.set_horizontalalignment("left")
    return drawing, axes


def _colour(baseline: bool) -> str:
    return ROLE["quiet" if baseline else "accent"]


def _dot(axes: Axes, value: float, place: int, colour: str, *, hollow: bool, square: bool) -> None:
    marker = "s" if square else "o"
    fill = ROLE["paper"] if hollow else colour
    options: Any = {"markersize": 7, "markeredgewidth": 1.75, "clip_on": False}
    axes.plot(value, place, marker, color=fill, markeredgecolor=colour, **options)


def _figure_at_right(axes: Axes, text: str, place: float, column: int = 0, **options: Any) -> None:
    """A figure at the height of a row, in a column to the right of the axes."""
    in_row: Any = axes.get_yaxis_transform()
    axes.annotate(
        text,
        xy=(1, place),
        xycoords=in_row,
        xytext=(RIGHT * (column + 1) + 8, 0),
        textcoords="offset points",
        ha="right",
        va="center_baseline",
        annotation_clip=False,
        **options,
    )


def _reference_line(axes: Axes, value: float, label: str) -> None:
    """A dashed line through all rows, with its name above."""
    quiet = ROLE["quiet"]
    axes.axvline(value, color=quiet, linewidth=1, linestyle=(0, (2, 2)), zorder=0)
    above: Any = {"xytext": (0, 3), "textcoords": "offset points"}
    axes.annotate(label, (value, -0.5), **above, ha="center", fontsize=11, color=quiet)


def _histogram(axes: Axes, shares: Sequence[float], highest: float, number: Number) -> None:
    """One histogram, with the share above each column, or above the highest of many."""
    bare(axes)
    n = len(shares)
    axes.bar(range(n), shares, width=0.72, color=ROLE["accent"])
    axes.axhline(0, color=ROLE["quiet"], linewidth=1)
    axes.set(ylim=(0, highest * 1.42), xlim=(-0.6, n - 0.4))
    if n <= LABELLED_COLUMNS:
        for films in range(n):
            _label_column(axes, films, shares[films], number, align="center")
    else:
        films = max(range(n), key=shares.__getitem__)
        align = "right" if 2 * films > n else "left"
        _label_column(axes, films, shares[films], number, align=align)
    axes.set_yticks([])
    axes.set_xticks([])


def _label_column(axes: Axes, films: int, share: float, number: Number, align: str) -> None:
    colour = ROLE["ink" if share else "quiet"]
    above: Any = {"xytext": (0, 2), "textcoords": "offset points"}
    axes.annotate(number(share), (films, share), **above, ha=align, fontsize=10, color=colour)


def _value_axis(axes: Axes, number: Number, *, zero: bool) -> None:
    """Three or four round values under the rows."""
    if zero:
        axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=ROUND_STEPS, min_n_ticks=2))
    axes.xaxis.set_major_formatter(lambda value, _: trimmed(number(value)))
    axes.tick_params(axis="x", length=0, labelsize=11, pad=6)
    axes.grid(axis="x", color=ROLE["rule"], linewidth=1)
    axes.set_axisbelow(True)
