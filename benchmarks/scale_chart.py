"""Figures of each shape -> a chart of time and memory against ratings, a line for each step."""

from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from children import Figures
from scale_peers import PEERS
from scale_tables import counts, measured_shapes, megabytes, of_peer, seconds, total

TEXT_COLOR = "#24292f"
BACKGROUND = "#ffffff"
GRID_COLOR = "#d0d7de"
OUR_COLOR = "#0a3069"
STEP_COLOR = "#2f7dd6"
PEER_COLORS = ("#9a3412", "#d97706", "#57606a", "#7c3aed")
"""In the order of the peers."""
LABEL_HEIGHT = 0.045
"""Of a label, as a share of the panel: the least distance between labels."""
STYLE = {
    "svg.fonttype": "path",
    "svg.hashsalt": "recbatch",
    "font.size": 9,
    "font.family": "DejaVu Sans",
}
"""Text as outlines looks the same everywhere; the same figures give the same file."""


LONGEST_STEPS = ("load", "evaluate", "fit item_item", "fit neural", "score")


class Line(NamedTuple):
    """One step or program."""

    label: str
    sizes: Sequence[float]  # ratings
    values: Sequence[float]  # seconds, or MB
    color: str
    dashed: bool = False
    bold: bool = False


def draw(figures: Figures, file: Path) -> None:
    """Write the chart."""
    shapes = list(measured_shapes(figures).values())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 5.2), facecolor=BACKGROUND, layout="constrained")
        left, right = figure.subplots(1, 2)
        _panel(left, "Time, seconds", time_lines(shapes))
        _panel(right, "Most memory held, MB", memory_lines(shapes))
        figure.savefig(file, metadata={"Date": None, "Title": "Time and memory against ratings"})


def time_lines(shapes: list[Figures]) -> list[Line]:
    """The run and its longest steps, our models alone, and peers."""
    sizes = [counts(shape)["ratings"] for shape in shapes]

    def ours(label: str, row: str, color: str = STEP_COLOR, bold: bool = False) -> Line:
        values = [seconds(shape).get(row, np.nan) for shape in shapes]
        return Line(label, sizes, values, color, bold=bold)

    lines = [ours("run", "run", OUR_COLOR, bold=True), ours("ingest", "ingest", OUR_COLOR)]
    lines += [ours(row, row) for row in LONGEST_STEPS]
    if all("alone" in shape for shape in shapes):
        alone = [total(shape["alone"], "user_user") for shape in shapes]
        lines.append(Line("user_user alone", sizes, alone, OUR_COLOR, dashed=True))
    return lines + _peer_lines(shapes, of_peer)


def memory_lines(shapes: list[Figures]) -> list[Line]:
    """The run, ingest, and peers."""
    sizes = [counts(shape)["ratings"] for shape in shapes]
    lines = []
    for row in ("run", "ingest"):
        values = [megabytes(shape)[row] for shape in shapes]
        lines.append(Line(row, sizes, values, OUR_COLOR, bold=row == "run"))
    return lines + _peer_lines(shapes, lambda peer: float(peer["peak_mb"]))


def _peer_lines(shapes: list[Figures], value: Any) -> list[Line]:
    """Each peer, for the shapes that it finished."""
    lines = []
    for name, color in zip(PEERS, PEER_COLORS, strict=True):
        of_peer = [shape.get("peers", {}).get(name, {}) for shape in shapes]
        finished = ["fit_seconds" in figures for figures in of_peer]
        sizes = [counts(shape)["ratings"] for shape in compress(shapes, finished)]
        values = [value(figures) for figures in compress(of_peer, finished)]
        if sizes:
            lines.append(Line(name, sizes, values, color, dashed=True))
    return lines


def _panel(axes: Any, title: str, lines: list[Line]) -> None:
    axes.set(xscale="log", yscale="log", facecolor=BACKGROUND)
    axes.set_title(title, loc="left", color=TEXT_COLOR)
    axes.set_xlabel("ratings", color=TEXT_COLOR)
    for line in lines:
        axes.plot(
            line.sizes,
            line.values,
            marker="o",
            markersize=3.5,
            color=line.color,
            linestyle=(0, (4, 2)) if line.dashed else "-",
            linewidth=2.4 if line.bold else 1.3,
        )
    smallest = min(min(line.sizes) for line in lines)
    largest = max(max(line.sizes) for line in lines)
    label_space = max(largest / smallest, 10) ** 0.6  # to the right of the last point
    axes.set_xlim(smallest / 1.3, largest * label_space)
    axes.grid(color=GRID_COLOR, linewidth=0.6)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(LogLocator(numticks=12))
    powers = 10.0 ** np.arange(3, 10)
    axes.set_xticks([size for size in powers if smallest / 1.3 <= size <= largest])
    axes.set_xticks([], minor=True)
    axes.tick_params(colors=TEXT_COLOR, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(TEXT_COLOR)
    _label(axes, lines, largest)


def _label(axes: Any, lines: list[Line], largest: float) -> None:
    """Write each line's name at the right, at the height of its end, apart from the others."""
    axes.autoscale_view(scalex=False)
    to_share = axes.transAxes.inverted()  # of the height of the panel
    to_data = axes.transData.inverted()
    ends = []  # (height, point, line)
    for line in lines:
        points = zip(line.sizes, line.values, strict=True)
        point = [point for point in points if np.isfinite(point[1])][-1]
        height = to_share.transform(axes.transData.transform(point))[1]
        ends.append((height, point, line))
    ends.sort(key=lambda end: end[0])
    heights = _apart([height for height, _, _ in ends], LABEL_HEIGHT)
    for height, (_, point, line) in zip(heights, ends, strict=True):
        label_value = to_data.transform(axes.transAxes.transform((0, height)))[1]
        connector = {
            "arrowstyle": "-",
            "color": line.color,
            "linewidth": 0.5,
            "shrinkA": 0,
            "shrinkB": 2,
        }
        axes.annotate(
            line.label,
            point,
            (largest * 1.6, label_value),
            color=line.color,
            va="center",
            fontweight="bold" if line.bold else "normal",
            arrowprops=connector,
        )


def _apart(heights: list[float], gap: float) -> list[float]:
    """The same heights, in order, moved as little as possible so that they are a gap apart.

    Heights that would touch form a group, which keeps its middle.
    """
    groups: list[list[float]] = []  # [sum of (height - gap * place within), how many]
    for height in heights:
        groups.append([height, 1])
        while len(groups) > 1:
            (low, n_low), (high, n_high) = groups[-2], groups[-1]
            if low / n_low + gap * n_low <= high / n_high:
                break
            groups[-2:] = [[low + high - gap * n_low * n_high, n_low + n_high]]
    return [total_height / n + gap * place for total_height, n in groups for place in range(int(n))]


def _short(value: float) -> str:
    """1k, 10M."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
