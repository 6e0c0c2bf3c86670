"""Figures of each shape -> the tables of docs/scaling.md: time, memory, exponents, peers."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from children import Figures
from floors import floor
from scale_peers import PEERS
from shapes import SHAPES

BEGIN, END = "<!-- begin: measured -->", "<!-- end: measured -->"
"""Marks in the page; the program writes what is between them."""
SHORT = 1.0
"""Seconds; a shorter time is mostly start-up, and is left out of exponents."""
COMMANDS = ("ingest", "run", "top")
COUNTED = ("users", "films", "ratings")
FITS = ("fit user_user", "fit item_item", "fit neural", "fit blend")
STEPS = ("load", "evaluate", *FITS, "score", "audit")
ROWS = {
    "ingest": "`ingest`",
    "run": "`run`, all of it",
    **{step: f"- {step}" for step in STEPS},
    "top": "`top 1`",
}
PROCESSOR = "run, processor"
EXPONENTS = ("exponent on ratings", "on users x ratings")

Times = Mapping[str, float]
"""Seconds, or MB, of one shape on one database, by row of a table."""


def tables(figures: Figures) -> str:
    """All tables, as Markdown."""
    shapes = measured_shapes(figures)
    if not shapes:
        return "Nothing is measured on SQLite yet."
    parts = [machine(shapes), times(shapes), memory(shapes)]
    if any("postgres" in shape for shape in shapes.values()):
        parts.append(databases(shapes))
    with_models = {name: shape for name, shape in shapes.items() if "alone" in shape}
    if any("peers" in shape for shape in with_models.values()):
        parts += [peer_times(with_models), peer_memory(with_models)]
    if with_models:
        parts.append(floors(with_models))
    return "\n\n".join(parts)


def measured_shapes(figures: Figures) -> dict[str, Figures]:
    """The shapes for which a run on SQLite was measured, in order of size."""
    return {
        name: figures[name] for name in SHAPES if "run" in figures.get(name, {}).get("sqlite", {})
    }


def into_page(figures: Figures, page: Path) -> None:
    """Replace the tables between the marks of a page, and leave the rest."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    text = f"{before}{BEGIN}\n\n{tables(figures)}\n\n{END}{after}"
    page.write_text(text, encoding="utf-8")


def machine(shapes: Mapping[str, Figures]) -> str:
    """The machine that the largest shape was measured on."""
    last = list(shapes.values())[-1]
    about = last["machine"]
    versions = dict(about["versions"])
    if "server" in last.get("postgres", {}):
        versions["Postgres"] = last["postgres"]["server"]
    names = ", ".join(f"{name} {number}" for name, number in versions.items())
    return (
        f"Measured {last['measured_at']} on {about['processor']}, "
        f"{about['cores']} cores, {about['threads']} threads ({about['caches']}), "
        f"{about['memory_gb']:.0f} GB, {about['system']}; {names}."
    )


def counts(shape: Figures) -> dict[str, float]:
    """Users, films and ratings that the run loaded."""
    load = next(step for step in shape["sqlite"]["run"]["steps"] if step["step"] == "load")
    return {name: load[name] for name in COUNTED}


def seconds(shape: Figures, database: str = "sqlite") -> Times:
    """Seconds of each command, and of each step of the run."""
    figures = shape[database]
    measured = [name for name in COMMANDS if name in figures]
    of_commands = {name: figures[name]["seconds"] for name in measured}
    if "run" not in figures:
        return of_commands
    run = figures["run"]
    of_steps = {step["step"]: step["seconds"] for step in run["steps"]}
    return of_steps | of_commands | {PROCESSOR: run["cpu_seconds"]}


def megabytes(shape: Figures) -> Times:
    """Peak memory, MB, of each command, and until the end of each step of the run."""
    figures = shape["sqlite"]
    of_steps = {step["step"]: step["peak_mb"] for step in figures["run"]["steps"]}
    return of_steps | {name: figures[name]["peak_mb"] for name in COMMANDS}


def times(shapes: Mapping[str, Figures]) -> str:
    """Seconds of each step, with exponents."""
    head = [
        [name, *(f"{counts(shape)[name]:,.0f}" for shape in shapes.values()), "", ""]
        for name in COUNTED
    ]
    rows = [
        _row(title, [seconds(shape).get(row) for shape in shapes.values()], shapes, SHORT)
        for row, title in ROWS.items()
    ]
    alone = [
        shape["alone"]["user_user"]["score_seconds"] if "alone" in shape else None
        for shape in shapes.values()
    ]
    rows.append(_row("`user_user` alone, scoring everyone", alone, shapes, SHORT))
    processor: list[float | None] = [seconds(shape)[PROCESSOR] for shape in shapes.values()]
    rows.append(_row("`run`, processor time", processor, shapes, SHORT))
    return _table(["seconds", *shapes, *EXPONENTS], head + rows)


def memory(shapes: Mapping[str, Figures]) -> str:
    """Peak memory, with exponents."""
    names = ("ingest", "run", "load", "evaluate", "fit blend", "score")
    titles = {row: ROWS[row].replace("- ", "- by the end of ") for row in names}
    rows = [
        _row(title, [megabytes(shape).get(row) for shape in shapes.values()], shapes)
        for row, title in titles.items()
    ]
    return _table(["most memory held, MB", *shapes, *EXPONENTS], rows)


def databases(shapes: Mapping[str, Figures]) -> str:
    """Seconds on Postgres, and as multiples of SQLite's."""

    def cell(shape: Figures, row: str) -> str:
        if "postgres" not in shape or row not in seconds(shape, "postgres"):
            return "-"
        on_postgres = seconds(shape, "postgres")[row]
        return f"{_number(on_postgres)} ({on_postgres / seconds(shape)[row]:.1f}x)"

    names = ("ingest", "run", "load", "score", "audit", "top")
    rows = [[ROWS[row], *(cell(shape, row) for shape in shapes.values())] for row in names]
    return _table(["seconds on Postgres (times SQLite)", *shapes], rows)


def peer_times(shapes: Mapping[str, Figures]) -> str:
    """Seconds to fit and to list films for everyone, and as multiples of our comparable model's."""

    def cell(shape: Figures, name: str) -> str:
        peer = shape.get("peers", {}).get(name, {"gave_up": "-"})
        if "gave_up" in peer:
            return str(peer["gave_up"])
        taken = of_peer(peer)
        ours = total(shape["alone"], PEERS[name].beside)
        return f"{_about(peer, shape)}{_number(taken)} ({_number(taken / ours)}x)"

    def own(shape: Figures, name: str) -> str:
        return f"{_about(shape['alone'][name], shape)}{_number(total(shape['alone'], name))}"

    rows = [
        [f"`{name}`", "", *(own(shape, name) for shape in shapes.values())]
        for name in ("user_user", "item_item")
    ]
    rows += [
        [name, f"`{peer.beside}`", *(cell(shape, name) for shape in shapes.values())]
        for name, peer in PEERS.items()
    ]
    return _table(["fit and everyone's lists, seconds", "beside", *shapes], rows)


def peer_memory(shapes: Mapping[str, Figures]) -> str:
    """Peak memory of the same processes."""

    def cell(peer: Figures) -> str:
        return "-" if "gave_up" in peer or "peak_mb" not in peer else _number(peer["peak_mb"])

    rows = [["`user_user` and `item_item`", *(cell(shape["alone"]) for shape in shapes.values())]]
    rows += [
        [name, *(cell(shape.get("peers", {}).get(name, {})) for shape in shapes.values())]
        for name in PEERS
    ]
    return _table(["most memory held, MB", *shapes], rows)


def floors(shapes: Mapping[str, Figures]) -> str:
    """The sums of user_user: the least time that the machine allows, and the time of scoring."""
    columns = [_floor_cells(shape) for shape in shapes.values()]
    titles = list(columns[0])
    rows = [[title, *(column[title] for column in columns)] for title in titles]
    return _table(["sums of `user_user`", *shapes], rows)


def _floor_cells(shape: Figures) -> dict[str, str]:
    """The cells of one shape, by the titles of their rows."""
    alone = shape["alone"]
    rates = shape["machine"]["rates"]
    least = floor(alone, rates)
    taken = alone["user_user"]["score_seconds"]
    tilde = _about(alone["user_user"], shape)
    work = alone["n_users"] * alone["n_ratings"]
    similarities = shape.get("similarities", {}).get("seconds")
    similarity_share = least.alike_operations / least.operations
    return {
        "memory, GB/s": _number(rates["bytes"] / 1e9),
        "multiply-adds in doubles, G/s": _number(rates["double"] / 1e9),
        "multiply-adds in singles, G/s": _number(rates["single"] / 1e9),
        "users x ratings": f"{work:.1e}",
        "sums in": "singles" if alone["single"] else "doubles",
        "least time of arithmetic, s": _number(least.arithmetic_seconds),
        "least time of memory, s": _number(least.memory_seconds),
        "scoring everyone takes, s": f"{tilde}{_number(taken)}",
        "of that, all but the sums, s": "-" if similarities is None else _number(similarities),
        "**least / taken**": f"**{least.seconds / taken:.2f}**",
        "similarities, times the operations of the sums": _number(similarity_share),
        "ratings streamed, GB/s": _number(least.streamed_bytes / taken / 1e9),
    }


def total(alone: Figures, name: str) -> float:
    """Seconds of one of our models alone."""
    return float(alone[name]["fit_seconds"] + alone[name]["lists_seconds"])


def of_peer(peer: Figures) -> float:
    """Seconds of a peer."""
    return float(peer["fit_seconds"] + peer["lists_seconds"])


def exponent(
    sizes: Sequence[float], values: Sequence[float | None], least: float = 0.0
) -> tuple[float, list[int]]:
    """b of value = a size^b, by least squares of logarithms, and the positions it is fitted on.

    nan for fewer than two values that are positive and at least `least`.
    """
    used = []
    log_sizes = []
    log_values = []
    for position, (size, value) in enumerate(zip(sizes, values, strict=True)):
        if value is not None and value >= least and value > 0:
            used.append(position)
            log_sizes.append(math.log(size))
            log_values.append(math.log(value))
    if len(used) < 2:
        return math.nan, used
    slope, _ = np.polyfit(log_sizes, log_values, 1)
    return float(slope), used


def _row(
    title: str, values: list[float | None], shapes: Mapping[str, Figures], least: float = 0.0
) -> list[str]:
    """Figures, then both exponents with the range they are fitted on."""
    sizes = [counts(shape) for shape in shapes.values()]
    ratings = [size["ratings"] for size in sizes]
    work = [size["users"] * size["ratings"] for size in sizes]
    on_ratings, used = exponent(ratings, values, least)
    on_work, _ = exponent(work, values, least)
    cells = ["-" if value is None else _number(value) for value in values]
    names = list(shapes)
    span = f" ({names[used[0]]}-{names[used[-1]]})" if len(used) > 1 else ""
    return [title, *cells, _slope(on_ratings) + span, _slope(on_work)]


def _slope(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _about(figures: Figures, shape: Figures) -> str:
    """A tilde where not all users were scored."""
    return "~" if figures["scored"] < shape["alone"]["n_users"] else ""


def _number(value: float) -> str:
    """Two or three significant digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def _table(head: list[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(lines + [f"| {' | '.join(map(str, row))} |" for row in rows])
