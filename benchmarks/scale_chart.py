"""Figures of each shape -> one picture: time, and memory, against ratings, a line a step or program."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from children import Figures
from scale_peers import PEERS
from scale_tables import counts, megabytes, of_peer, seconds, total
from shapes import SHAPES

INK, PAPER, FAINT = "#24292f", "#ffffff", "#d0d7de"
OURS, STEP = "#0a3069", "#2f7dd6"
THEIRS = ("#9a3412", "#d97706", "#57606a", "#7c3aed")
"""One a peer, in their order."""
LABEL_HEIGHT = 0.045
"""Of a label, as a share of the panel: labels are moved apart by at least that."""
STYLE = {
    "svg.fonttype": "path",
    "svg.hashsalt": "recbatch",
    "font.size": 9,
    "font.family": "DejaVu Sans",
}
"""Text as outlines, so that it looks the same everywhere; the same figures give the same file."""


class Line(NamedTuple):
    """One step or program."""

    label: str
    sizes: Sequence[float]  # ratings
    values: Sequence[float]  # seconds, or MB
    color: str
    dashed: bool = False
    bold: bool = False


def draw(found: Figures, file: Path) -> None:
    """Write the picture."""
    known = [found[name] for name in SHAPES if "run" in found.get(name, {}).get("sqlite", {})]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12, 5.2), facecolor=PAPER, layout="constrained")
        left, right = figure.subplots(1, 2)
        _panel(left, "Time, seconds", time_lines(known))
        _panel(right, "Most memory held, MB", memory_lines(known))
        figure.savefig(file, metadata={"Date": None, "Title": "Time and memory against ratings"})


def time_lines(known: list[Figures]) -> list[Line]:
    """The night and its longest steps, our models alone, and peers."""
    sizes = [counts(shape)["ratings"] for shape in known]

    def ours(label: str, row: str, color: str = STEP, bold: bool = False) -> Line:
        values = [seconds(shape).get(row, np.nan) for shape in known]
        return Line(label, sizes, values, color, bold=bold)

    lines = [ours("run", "run", OURS, bold=True), ours("ingest", "ingest", OURS)]
    lines += [
        ours(row, row) for row in ("load", "evaluate", "fit item_item", "fit neural", "score")
    ]
    if all("alone" in shape for shape in known):
        alone = [total(shape["alone"], "user_user") for shape in known]
        lines.append(Line("user_user alone", sizes, alone, OURS, dashed=True))
    return lines + _peer_lines(known, of_peer)


def memory_lines(known: list[Figures]) -> list[Line]:
    """The night, ingest, and peers."""
    sizes = [counts(shape)["ratings"] for shape in known]
    lines = [
        Line(row, sizes, [megabytes(shape)[row] for shape in known], OURS, bold=row == "run")
        for row in ("run", "ingest")
    ]
    return lines + _peer_lines(known, lambda peer: float(peer["peak_mb"]))


def _peer_lines(known: list[Figures], value: Any) -> list[Line]:
    """As far as each of them got."""
    lines = []
    for name, color in zip(PEERS, THEIRS, strict=True):
        did = [shape for shape in known if "fit_seconds" in shape.get("peers", {}).get(name, {})]
        if did:
            sizes = [counts(shape)["ratings"] for shape in did]
            lines.append(
                Line(
                    name, sizes, [value(shape["peers"][name]) for shape in did], color, dashed=True
                )
            )
    return lines


def _panel(axes: Any, title: str, lines: list[Line]) -> None:
    axes.set(xscale="log", yscale="log", facecolor=PAPER)
    axes.set_title(title, loc="left", color=INK)
    axes.set_xlabel("ratings", color=INK)
    for line in lines:
        look = {
            "color": line.color,
            "linestyle": (0, (4, 2)) if line.dashed else "-",
            "linewidth": 2.4 if line.bold else 1.3,
        }
        axes.plot(line.sizes, line.values, marker="o", markersize=3.5, **look)
    smallest, largest = (
        min(min(line.sizes) for line in lines),
        max(max(line.sizes) for line in lines),
    )
    room = max(largest / smallest, 10) ** 0.6  # to the right of the last point, for labels
    axes.set_xlim(smallest / 1.3, largest * room)
    axes.grid(color=FAINT, linewidth=0.6)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(LogLocator(numticks=12))
    axes.set_xticks(
        [size for size in 10.0 ** np.arange(3, 10) if smallest / 1.3 <= size <= largest]
    )
    axes.set_xticks([], minor=True)
    axes.tick_params(colors=INK, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    _label(axes, lines, largest)


def _label(axes: Any, lines: list[Line], largest: float) -> None:
    """Each line's name right of everything, at the height of its end, moved apart from others."""
    axes.autoscale_view(scalex=False)
    to_share = axes.transAxes.inverted()
    ends = []
    for line in lines:
        size, value = [
            pair for pair in zip(line.sizes, line.values, strict=True) if np.isfinite(pair[1])
        ][-1]
        ends.append(
            (to_share.transform(axes.transData.transform((size, value)))[1], size, value, line)
        )
    ends.sort(key=lambda end: end[0])
    heights = _apart([end[0] for end in ends], LABEL_HEIGHT)
    for height, (_, size, value, line) in zip(heights, ends, strict=True):
        at = axes.transData.inverted().transform(axes.transAxes.transform((0, height)))[1]
        axes.annotate(
            line.label, (size, value), (largest * 1.6, at), color=line.color, va="center",
            fontweight="bold" if line.bold else "normal",
            arrowprops={"arrowstyle": "-", "color": line.color, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip


def _apart(heights: list[float], gap: float) -> list[float]:
    """The same heights, in order, moved as little as keeps them a gap apart: runs that touch share their middle."""
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
    """1k, 10M: as people say it."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
