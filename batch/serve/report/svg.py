"""A figure of matplotlib -> SVG that lies in a page: its text is text, its colours are the page's, its ids its own."""

import re
from io import StringIO
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.figure import Figure

ROLES = ("ink", "quiet", "rule", "accent", "paper")
"""Colours by what they are for; page.css has them as variables, once for light and once for dark."""
ROLE = {name: f"#01020{number}" for number, name in enumerate(ROLES)}
"""What is drawn in their stead, and found again in the SVG."""

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "recbatch",  # else ids are new every time
    "text.parse_math": False,  # a dollar sign is one
    "font.size": 12,
    "font.family": "DejaVu Sans",  # is measured by only, and wider than what browsers take
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
POINTS_AN_INCH = 72


def figure(width: float, height: float) -> Figure:
    """An empty figure, its size in pixels of the page."""
    return Figure(figsize=(width / POINTS_AN_INCH, height / POINTS_AN_INCH))


def inline(drawn: Figure, name: str, told: str) -> Markup:
    """The figure for a page that has no other of this name; `told` says in words what it shows."""
    text = StringIO()
    drawn.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text.getvalue(), flags=re.S)
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.index("</svg>")].replace(
        "xlink:href", "href"
    )
    used = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", body))
    body = re.sub(
        r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", body
    )
    body = re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", body)
    body = re.sub(r"font-family: [^;\"]+;? ?", "", body)
    body = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", body)
    for role, colour in ROLE.items():
        body = body.replace(colour, f"var(--{role})")
    body = re.sub(r"\s+", " ", body)
    width, height = (f"{side * POINTS_AN_INCH:.0f}" for side in drawn.get_size_inches())
    frame = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" focusable="false"'
    return Markup(f'<svg role="img" aria-label="{escape(told)}" {frame}>{body}</svg>')  # noqa: S704  ours, but the label


def style() -> Any:
    """matplotlib's settings while a figure is made and drawn, whatever the machine's own are."""
    return {**mpl.rcParamsDefault, **STYLE}
