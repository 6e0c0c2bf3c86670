"""Figures of each shape -> the tables of docs/scaling.md: time, memory, exponents, peers, the machine's limits."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from children import Figures
from floors import floor
from scale_peers import PEERS
from shapes import SHAPES

BEGIN, END = "<!-- begin: measured -->", "<!-- end: measured -->"
"""What stands between them in the page is written by the program."""
SHORT = 1.0
"""Seconds below which a time says more of starting than of ratings, and has no part in an exponent."""
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
"""What was measured of one shape on one database, by row."""


def tables(found: Figures) -> str:
    """All of them, as Markdown."""
    known = {name: found[name] for name in SHAPES if "run" in found.get(name, {}).get("sqlite", {})}
    if not known:
        return "Nothing is measured on SQLite yet."
    parts = [machine(known), times(known), memory(known)]
    if any("postgres" in shape for shape in known.values()):
        parts.append(databases(known))
    whole = {name: shape for name, shape in known.items() if "alone" in shape}
    if any("peers" in shape for shape in whole.values()):
        parts += [peer_times(whole), peer_memory(whole)]
    return "\n\n".join([*parts, *([floors(whole)] if whole else [])])


def into_page(found: Figures, page: Path) -> None:
    """Put the tables between the marks of a page, and leave the rest of it."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{tables(found)}\n\n{END}{after}", encoding="utf-8")


def machine(known: Mapping[str, Figures]) -> str:
    """What the last shape was measured on."""
    last = [*known.values()][-1]
    about = last["machine"]
    server = (
        {"Postgres": last["postgres"]["server"]} if "server" in last.get("postgres", {}) else {}
    )
    versions = ", ".join(
        f"{name} {number}" for name, number in (about["versions"] | server).items()
    )
    return (
        f"Measured {last['measured_at']} on {about['processor']}, {about['cores']} cores, {about['threads']} threads "
        f"({about['caches']}), {about['memory_gb']:.0f} GB, {about['system']}; {versions}."
    )


def counts(shape: Figures) -> dict[str, float]:
    """Users, films and ratings, as they were loaded."""
    load = next(step for step in shape["sqlite"]["run"]["steps"] if step["step"] == "load")
    return {name: load[name] for name in COUNTED}


def seconds(shape: Figures, database: str = "sqlite") -> Times:
    """Time of each row."""
    measured = shape[database]
    whole = {
        name: measured[name]["seconds"] for name in ("ingest", "run", "top") if name in measured
    }
    if "run" not in measured:
        return whole
    steps = {step["step"]: step["seconds"] for step in measured["run"]["steps"]}
    return steps | whole | {PROCESSOR: measured["run"]["cpu_seconds"]}


def megabytes(shape: Figures) -> Times:
    """The most memory held by the end of each row."""
    found = {step["step"]: step["peak_mb"] for step in shape["sqlite"]["run"]["steps"]}
    return found | {name: shape["sqlite"][name]["peak_mb"] for name in ("ingest", "run", "top")}


def times(known: Mapping[str, Figures]) -> str:
    """Seconds of each step, with exponents."""
    head = [
        [name, *(f"{counts(shape)[name]:,.0f}" for shape in known.values()), "", ""]
        for name in COUNTED
    ]
    rows = [
        _row(title, [seconds(shape).get(row) for shape in known.values()], known, SHORT)
        for row, title in ROWS.items()
    ]
    alone = [
        shape["alone"]["user_user"]["score_seconds"] if "alone" in shape else None
        for shape in known.values()
    ]
    rows.append(_row("`user_user` alone, scoring everyone", alone, known, SHORT))
    rows.append(
        _row(
            "`run`, processor time",
            [seconds(shape)[PROCESSOR] for shape in known.values()],
            known,
            SHORT,
        )
    )
    return _table(["seconds", *known, *EXPONENTS], head + rows)


def memory(known: Mapping[str, Figures]) -> str:
    """Peaks, with exponents."""
    shown = ("ingest", "run", "load", "evaluate", "fit blend", "score")
    titles = {row: ROWS[row].replace("- ", "- by the end of ") for row in shown}
    rows = [
        _row(title, [megabytes(shape).get(row) for shape in known.values()], known)
        for row, title in titles.items()
    ]
    return _table(["most memory held, MB", *known, *EXPONENTS], rows)


def databases(known: Mapping[str, Figures]) -> str:
    """Postgres, and how many times as long as SQLite it takes."""

    def cell(shape: Figures, row: str) -> str:
        if "postgres" not in shape or row not in seconds(shape, "postgres"):
            return "-"
        on_postgres = seconds(shape, "postgres")[row]
        return f"{_number(on_postgres)} ({on_postgres / seconds(shape)[row]:.1f}x)"

    shown = ("ingest", "run", "load", "score", "audit", "top")
    rows = [[ROWS[row], *(cell(shape, row) for shape in known.values())] for row in shown]
    return _table(["seconds on Postgres (times SQLite)", *known], rows)


def peer_times(known: Mapping[str, Figures]) -> str:
    """Fit and everyone's lists, and how many times as long as our comparable model they take."""

    def cell(shape: Figures, name: str) -> str:
        peer = shape.get("peers", {}).get(name, {"gave_up": "-"})
        if "gave_up" in peer:
            return str(peer["gave_up"])
        ours = total(shape["alone"], PEERS[name].beside)
        return f"{_about(peer, shape)}{_number(of_peer(peer))} ({_number(of_peer(peer) / ours)}x)"

    def own(shape: Figures, name: str) -> str:
        return f"{_about(shape['alone'][name], shape)}{_number(total(shape['alone'], name))}"

    rows = [
        [f"`{name}`", "", *(own(shape, name) for shape in known.values())]
        for name in ("user_user", "item_item")
    ]
    rows += [
        [name, f"`{peer.beside}`", *(cell(shape, name) for shape in known.values())]
        for name, peer in PEERS.items()
    ]
    return _table(["fit and everyone's lists, seconds", "beside", *known], rows)


def peer_memory(known: Mapping[str, Figures]) -> str:
    """Peaks of the same processes."""

    def cell(peer: Figures) -> str:
        return "-" if "gave_up" in peer or "peak_mb" not in peer else _number(peer["peak_mb"])

    rows = [["`user_user` and `item_item`", *(cell(shape["alone"]) for shape in known.values())]]
    rows += [
        [name, *(cell(shape.get("peers", {}).get(name, {})) for shape in known.values())]
        for name in PEERS
    ]
    return _table(["most memory held, MB", *known], rows)


def floors(known: Mapping[str, Figures]) -> str:
    """The sums of user_user: the least they could take, and what scoring takes."""
    columns = [(shape["alone"], shape["machine"]["rates"]) for shape in known.values()]
    least = [floor(*column) for column in columns]
    taken = [alone["user_user"]["score_seconds"] for alone, _ in columns]
    rates = {
        "bytes": "memory, GB/s",
        "double": "multiply-adds in doubles, G/s",
        "single": "multiply-adds in singles, G/s",
    }
    rows = [
        [title, *(_number(rate[name] / 1e9) for _, rate in columns)]
        for name, title in rates.items()
    ]
    shown: dict[str, Iterable[str]] = {
        "users x ratings": (f"{alone['n_users'] * alone['n_ratings']:.1e}" for alone, _ in columns),
        "sums in": ("singles" if alone["single"] else "doubles" for alone, _ in columns),
        "least time of arithmetic, s": (_number(each.arithmetic_seconds) for each in least),
        "least time of memory, s": (_number(each.memory_seconds) for each in least),
        "scoring everyone takes, s": (
            f"{_about(alone['user_user'], {'alone': alone})}{_number(spent)}"
            for (alone, _), spent in zip(columns, taken, strict=True)
        ),
        "of that, all but the sums, s": (
            _number(shape.get("similarities", {}).get("seconds")) for shape in known.values()
        ),
        "**least / taken**": (
            f"**{each.seconds / spent:.2f}**" for each, spent in zip(least, taken, strict=True)
        ),
        "similarities, times the operations of the sums": (
            _number(each.alike_operations / each.operations) for each in least
        ),
        "ratings streamed, GB/s": (
            _number(each.streamed_bytes / spent / 1e9)
            for each, spent in zip(least, taken, strict=True)
        ),
    }
    return _table(
        ["sums of `user_user`", *known], rows + [[title, *cells] for title, cells in shown.items()]
    )


def total(alone: Figures, name: str) -> float:
    """Seconds of one of our models by itself."""
    return float(alone[name]["fit_seconds"] + alone[name]["lists_seconds"])


def of_peer(peer: Figures) -> float:
    """Seconds of a peer."""
    return float(peer["fit_seconds"] + peer["lists_seconds"])


def exponent(
    sizes: Sequence[float], values: Sequence[float | None], least: float = 0.0
) -> tuple[float, list[int]]:
    """b of value = a size^b, by least squares of logarithms; nan for fewer than two. And which of them have a part."""
    used = [
        place
        for place, value in enumerate(values)
        if value is not None and value >= least and value > 0
    ]
    if len(used) < 2:
        return math.nan, used
    slope, _ = np.polyfit(
        [math.log(sizes[place]) for place in used],
        [math.log(values[place] or 1) for place in used],
        1,
    )
    return float(slope), used


def _row(
    title: str, values: list[float | None], known: Mapping[str, Figures], least: float = 0.0
) -> list[str]:
    """Figures, then both exponents with the range they are fitted on."""
    of = [counts(shape) for shape in known.values()]
    on_ratings, used = exponent([each["ratings"] for each in of], values, least)
    on_work, _ = exponent([each["users"] * each["ratings"] for each in of], values, least)
    names = [*known]
    span = f" ({names[used[0]]}-{names[used[-1]]})" if len(used) > 1 else ""
    shown: Callable[[float], str] = lambda slope: "-" if math.isnan(slope) else f"{slope:.2f}"  # noqa: E731
    return [
        title,
        *("-" if each is None else _number(each) for each in values),
        shown(on_ratings) + span,
        shown(on_work),
    ]


def _about(asked: Figures, shape: Figures) -> str:
    """A tilde where not everyone was asked."""
    return "~" if asked["scored"] < shape["alone"]["n_users"] else ""


def _number(value: float) -> str:
    """Two or three digits that count, and no more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def _table(head: list[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(lines + [f"| {' | '.join(map(str, row))} |" for row in rows])
