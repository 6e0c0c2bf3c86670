"""Figures of a run -> charts, each small enough for a phone and said in words as well."""

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
"""Of a chart, in pixels: what a phone has beside its margins. Larger windows show more of them in a row."""
LEFT, RIGHT, ROW, FOOT = 84, 52, 27, 30
"""Pixels for names, for a column of figures, for each row, and for the axis."""
ROOM = 8
"""Columns that have room for their figures; of more of them only the highest is told."""
ROUND = (1, 2, 5, 10)
"""Steps of an axis; a digit more each, as 0.25 has, would be rounded away."""
Number = Callable[[float], str]


@dataclass(frozen=True)
class Dot:
    """A model's figure, with its interval if it has one."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    baseline: bool = False


def dots(
    name: str,
    rows: Sequence[Dot],
    number: Number,
    *,
    zero: bool = False,
    reference: tuple[float, str] | None = None,
) -> Markup:
    """Models as dots, baselines as hollow squares, intervals as lines; a line across all where the reference is."""
    with mpl.rc_context(style()):
        drawn, axes = _rows([row.name for row in rows], head=8 if reference is None else 18)
        for place, row in enumerate(rows):
            colour = ROLE["quiet" if row.baseline else "accent"]
            if row.low is not None and row.high is not None:
                axes.plot(
                    [row.low, row.high],
                    [place, place],
                    color=colour,
                    linewidth=2,
                    solid_capstyle="butt",
                )
            _dot(axes, row.value, place, colour, hollow=row.baseline, square=row.baseline)
            _beside(axes, number(row.value), place)
        if reference is not None:
            axes.axvline(
                reference[0], color=ROLE["quiet"], linewidth=1, linestyle=(0, (2, 2)), zorder=0
            )
            _above(axes, reference[1], reference[0])
        _scale(axes, number, zero=zero)
        return inline(drawn, name, "; ".join(_said(row, number) for row in rows))


def _said(row: Dot, number: Number) -> str:
    between = (
        "" if row.low is None or row.high is None else f" ({number(row.low)} to {number(row.high)})"
    )
    return f"{row.name} {number(row.value)}{between}"


@dataclass(frozen=True)
class Pair:
    """Two figures of one model."""

    name: str
    hollow: float
    filled: float
    baseline: bool = False


def pairs(name: str, rows: Sequence[Pair], ends: tuple[str, str], number: Number) -> Markup:
    """Two figures of each model, hollow and filled, joined, and both told in columns of their own."""
    with mpl.rc_context(style()):
        drawn, axes = _rows([row.name for row in rows], head=20, figures=2)
        for place, row in enumerate(rows):
            colour = ROLE["quiet" if row.baseline else "accent"]
            axes.plot([row.hollow, row.filled], [place, place], color=colour, linewidth=1.5)
            for column, value in enumerate((row.hollow, row.filled)):
                _dot(axes, value, place, colour, hollow=column == 0, square=row.baseline)
                _beside(axes, number(value), place, column)
        for column, told in enumerate(ends):
            _beside(axes, told, -0.8, column, fontsize=11, color=ROLE["quiet"])
        _scale(axes, number, zero=True)
        said = (
            f"{row.name}: {ends[0]} {number(row.hollow)}, {ends[1]} {number(row.filled)}"
            for row in rows
        )
        return inline(drawn, name, "; ".join(said))


def bars(name: str, rows: Mapping[str, float], number: Number) -> Markup:
    """Amounts from zero, each with its figure."""
    with mpl.rc_context(style()):
        drawn, axes = _rows(list(rows), foot=4)
        for place, value in enumerate(rows.values()):
            axes.barh(place, value, height=0.5, color=ROLE["accent"])
            _beside(axes, number(value), place)
        axes.set_xlim(0, max(*rows.values(), 1e-9))
        axes.set_xticks([])
        axes.axvline(0, color=ROLE["quiet"], linewidth=1)
        return inline(
            drawn, name, "; ".join(f"{row} {number(value)}" for row, value in rows.items())
        )


def columns(name: str, rows: Mapping[str, Sequence[float]], axis: str, number: Number) -> Markup:
    """A small histogram for each model, all on one scale; the axis counts from 0."""
    top, gap, each = 6, 12, 46
    height = top + len(rows) * (each + gap) + FOOT
    with mpl.rc_context(style()):
        drawn = figure(WIDTH, height)
        most = max(max(shares) for shares in rows.values())
        for place, (model, shares) in enumerate(rows.items()):
            bottom = height - top - (place + 1) * (each + gap) + 4
            axes = drawn.add_axes(
                (LEFT / WIDTH, bottom / height, (WIDTH - LEFT - 4) / WIDTH, each / height)
            )
            bare(axes)
            axes.bar(range(len(shares)), shares, width=0.72, color=ROLE["accent"])
            axes.axhline(0, color=ROLE["quiet"], linewidth=1)
            axes.set(ylim=(0, most * 1.42), xlim=(-0.6, len(shares) - 0.4))
            few, places = len(shares) <= ROOM, range(len(shares))
            for films in places if few else [max(places, key=shares.__getitem__)]:
                share, align = (
                    shares[films],
                    "center" if few else "right" if 2 * films > len(shares) else "left",
                )
                axes.annotate(
                    number(share), (films, share), (0, 2), textcoords="offset points", ha=align, fontsize=10,
                    color=ROLE["ink" if share else "quiet"],
                )  # fmt: skip
            axes.text(-LEFT / (WIDTH - LEFT - 4), 0.04, model, transform=axes.transAxes)
            axes.set_yticks([])
            axes.set_xticks([])
        axes.set_xticks(range(0, len(shares), 1 + len(shares) // (2 * ROOM)))
        axes.tick_params(length=0, labelsize=11)
        axes.set_xlabel(axis, fontsize=11, labelpad=2)
        said = (
            f"{model}: "
            + ", ".join(f"{films} {number(share)}" for films, share in enumerate(shares))
            for model, shares in rows.items()
        )
        return inline(drawn, name, f"{axis}: " + "; ".join(said))


def _rows(
    names: Sequence[str], *, head: float = 8, foot: float = FOOT, figures: int = 1
) -> tuple[Figure, Axes]:
    """A figure with a row for each name, from above, and room for columns of figures at the right."""
    height = head + ROW * len(names) + foot
    drawn = figure(WIDTH, height)
    width = WIDTH - LEFT - figures * RIGHT - 10
    axes = drawn.add_axes((LEFT / WIDTH, foot / height, width / WIDTH, ROW * len(names) / height))
    bare(axes)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, pad=LEFT - 2)
    for label in axes.get_yticklabels():
        label.set_horizontalalignment("left")
    return drawn, axes


def bare(axes: Axes) -> None:
    """No frame around what is drawn."""
    for side in axes.spines.values():
        side.set_visible(False)
    axes.margins(x=0.05)


def _dot(
    axes: Axes, value: float, place: int, colour: str, *, hollow: bool, square: bool = False
) -> None:
    fill, marker = ROLE["paper"] if hollow else colour, "s" if square else "o"
    looks: Any = {"markersize": 7, "markeredgewidth": 1.75, "clip_on": False}
    axes.plot(value, place, marker, color=fill, markeredgecolor=colour, **looks)


def _beside(axes: Axes, told: str, place: float, column: int = 0, **looks: Any) -> None:
    """A figure in a column at the right, in the row's line."""
    where: Any = axes.get_yaxis_transform()
    axes.annotate(
        told, (1, place), (RIGHT * (column + 1) + 8, 0), xycoords=where, textcoords="offset points", ha="right",
        va="center_baseline", annotation_clip=False, **looks,
    )  # fmt: skip


def _above(axes: Axes, told: str, value: float) -> None:
    looks: Any = {"ha": "center", "fontsize": 11, "color": ROLE["quiet"]}
    axes.annotate(told, (value, -0.5), (0, 3), textcoords="offset points", **looks)


def _scale(axes: Axes, number: Number, *, zero: bool) -> None:
    """Three or four round values under the rows."""
    if zero:
        axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, steps=ROUND, min_n_ticks=2))
    axes.xaxis.set_major_formatter(lambda value, _: trimmed(number(value)))
    axes.tick_params(axis="x", length=0, labelsize=11, pad=6)
    axes.grid(axis="x", color=ROLE["rule"], linewidth=1)
    axes.set_axisbelow(True)


def trimmed(told: str) -> str:
    """0.060 -> 0.06, 3.0 % -> 3 %: an axis needs no digits that say nothing."""
    return re.sub(r"(\.\d*?)0+(?!\d)", lambda found: found[1].rstrip("."), told)
