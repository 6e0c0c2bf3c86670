"""A matplotlib figure -> SVG inside a page: text stays text, colours are the page's, ids unique."""

import re
from io import StringIO
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure

ROLES = ("ink", "quiet", "rule", "accent", "paper")
"""Names of colours; page.css has each as a variable, once for light and once for dark."""
ROLE = {name: f"#01020{number}" for number, name in enumerate(ROLES)}
"""Placeholder colours for drawing, which `inline` replaces by the variables."""

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "recbatch",  # otherwise ids differ from one file to the next
    "text.parse_math": False,  # a dollar sign is only a dollar sign
    "font.size": 12,
    "font.family": "DejaVu Sans",  # only for measuring text; wider than what browsers use
    "text.color": ROLE["ink"],
    "axes.edgecolor": ROLE["rule"],
    "axes.facecolor": "none",
    "axes.labelcolor": ROLE["quiet"],
    "axes.unicode_minus": True,
    "xtick.color": ROLE["rule"],
    "xtick.labelcolor": ROLE["quiet"],
    "ytick.color": ROLE["rule"],
    "ytick.labelcolor": ROLE["ink"],
    "figure.facecolor": "none",
}
NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
POINTS_PER_INCH = 72


def figure(width: float, height: float) -> Figure:
    """An empty figure, its size in pixels of the page."""
    return Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH))


def style() -> Any:
    """matplotlib's settings for making and drawing a figure, independent of the machine's own."""
    return {**mpl.rcParamsDefault, **STYLE}


def inline(drawing: Figure, name: str, label: str) -> Markup:
    """The figure as an <svg> element.

    `name` must be unique in the page: it begins all ids. `label` describes the figure in words.
    """
    text = StringIO()
    drawing.savefig(text, format="svg", metadata=NO_METADATA)
    body = _without_style(text.getvalue())
    body = _own_ids(body, name)
    body = re.sub(r"font-family: [^;\"]+;? ?", "", body)
    body = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", body)
    for role, colour in ROLE.items():
        body = body.replace(colour, f"var(--{role})")
    body = re.sub(r"\s+", " ", body)
    width, height = (f"{side * POINTS_PER_INCH:.0f}" for side in drawing.get_size_inches())
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = f'<svg role="img" aria-label="{escape(label)}" {size} focusable="false">'
    return Markup(f"{head}{body}</svg>")  # noqa: S704  made here, except the label


def _without_style(svg: str) -> str:
    """The content of the <svg> element, without the style sheet."""
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.S)
    start = svg.index(">", svg.index("<svg")) + 1
    end = svg.index("</svg>")
    return svg[start:end].replace("xlink:href", "href")


def _own_ids(body: str, name: str) -> str:
    """The ids that are referred to begin with the name; the others are removed."""
    used = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", body))

    def renamed(match: re.Match[str]) -> str:
        own_id = match[1]
        return f' id="{name}-{own_id}"' if own_id in used else ""

    body = re.sub(r' id="([^"]+)"', renamed, body)
    return re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", body)
