"""Statements that fail, processes that die: tiny nights by fixed arithmetic, and a shim around the database drivers."""

import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psycopg
import pytest
from sqlalchemy import Engine, event, text

from batch import cli, engines, nightly, publish
from batch.database import Database
from batch.ensemble import PUBLISHED, Answer
from batch.evaluate import Evaluation
from batch.ratings import NO_PAIRS, Ints, Pairs, Ratings
from data import fill

# --- A night in a twentieth of a second ---


@dataclass(frozen=True)
class Fixed:
    """Stands in for every fitted model, on the same ratings: what it says is a remainder of two numbers."""

    ratings: Ratings

    @property
    def places(self) -> Ints:
        return np.arange(self.ratings.n_items)

    def weights(self) -> Mapping[str, Any]:
        """One small array, so that a file of weights is written."""
        return {"w": np.ones(3)}

    def answers(self, names: Sequence[str], users: Ints, n: int, _asked: Pairs = NO_PAIRS) -> dict[str, Answer]:
        """The same n unseen films to each model's users, (b,), every time."""
        films = np.arange(self.ratings.n_items)
        said = (users[:, None] * 7 + films * 13) % 101 + films / 1000  # (b, n_items), no two alike
        said[self.ratings.matrix[users].toarray() > 0] = -1.0
        listed = np.argsort(-said, axis=1)[:, :n]
        score = np.take_along_axis(said, listed, axis=1)
        answer = Answer(listed, score, np.full_like(score, 3.5), np.ones_like(score), np.empty(0))
        return dict.fromkeys(names, answer)


@contextmanager
def _one_by_one(_config: object) -> Iterator[Any]:
    """An engine that needs no compiler."""

    def answers(ensemble: Fixed, names: Sequence[str], n: int, blocks: Iterable[Ints]) -> Iterator[Any]:
        for users in blocks:
            yield users, ensemble.answers(names, users, n)

    yield answers


def figures(_ratings: Ratings, _config: object) -> Evaluation:
    """What `evaluate` would say of models that are better than their baselines."""
    rmse = {"rmse": 0.9, "rmse_low": 0.85, "rmse_high": 0.95, "raters": 25.0}
    hits = {"precision@5": 0.2, "precision_low@5": 0.15, "precision_high@5": 0.25, "users": 25.0}
    return Evaluation(dict.fromkeys((*PUBLISHED, "popular", "bias"), rmse | hits), None)


def by_fixed_arithmetic(patch: pytest.MonkeyPatch) -> None:
    """From here on a night fits nothing: what it reads, writes, checks and publishes is as ever."""
    patch.setattr(nightly, "measure", figures)
    patch.setattr(nightly, "fit", lambda _name, ratings, _params, _seed: Fixed(ratings))
    patch.setattr(nightly, "assemble", lambda ratings, *_: Fixed(ratings))
    patch.setattr(engines, "opened", _one_by_one)
    patch.setattr(nightly, "block_size", lambda *_: 9)  # several transactions


def command(*arguments: str) -> int:
    """Run `recbatch ARGUMENTS` in this process, as its own would, settings from the environment; the exit code."""
    was = sys.argv, [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    sys.argv = ["recbatch", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.argv = was[0]
        signal.signal(signal.SIGTERM, was[1][0])
        signal.signal(signal.SIGINT, was[1][1])
    return 0


# --- Statements that fail ---

Kind = Literal["before", "after", "closed"]
KINDS: tuple[Kind, ...] = ("before", "after", "closed")
"""An error instead of the statement; one after it was done, its answer lost; the connection gone with it."""


class Faults:
    """Counts what is asked of the drivers, statements and commits, and makes one of them fail."""

    def __init__(self) -> None:
        self.count = 0
        self._at, self._kind = -1, "before"

    def plan(self, at: int, kind: Kind = "before") -> None:
        """Fail at this statement from now on, counted from 1; at 0 none fails."""
        self.count, self._at, self._kind = 0, at, kind

    def rest(self) -> None:
        """Nothing fails, nor is counted, until the next plan."""
        self._at = -1

    def around(self, work: Callable[[], Any], close: Callable[[], None], error: type[Exception]) -> Any:
        """What `work` returns, unless its turn has come."""
        if self._at < 0:
            return work()
        self.count += 1
        if self.count != self._at:
            return work()
        if self._kind != "before":
            work()
        if self._kind == "closed":
            close()
        raise error("injected: the answer is lost" if self._kind == "after" else "injected: disk I/O error")


faults = Faults()
"""Those of this process."""


class _SqliteCursor(sqlite3.Cursor):
    def execute(self, *given: Any) -> Any:
        return faults.around(lambda: super(_SqliteCursor, self).execute(*given), self.connection.gone, _SQLITE)

    def executemany(self, *given: Any) -> Any:
        return faults.around(lambda: super(_SqliteCursor, self).executemany(*given), self.connection.gone, _SQLITE)


class _Sqlite(sqlite3.Connection):
    def cursor(self, factory: Any = _SqliteCursor) -> Any:
        return super().cursor(factory)

    def execute(self, *given: Any) -> Any:
        return self.cursor().execute(*given)

    def executemany(self, *given: Any) -> Any:
        return self.cursor().executemany(*given)

    def commit(self) -> None:
        faults.around(super().commit, self.gone, _SQLITE)

    def gone(self) -> None:
        """Closing alone would leave the transaction to whoever still holds a cursor."""
        self.rollback()
        self.close()


class _PostgresCursor(psycopg.Cursor[Any]):
    def execute(self, *given: Any, **named: Any) -> Any:
        work = lambda: super(_PostgresCursor, self).execute(*given, **named)  # noqa: E731
        return faults.around(work, self.connection.close, _POSTGRES)

    def executemany(self, *given: Any, **named: Any) -> Any:
        work = lambda: super(_PostgresCursor, self).executemany(*given, **named)  # noqa: E731
        return faults.around(work, self.connection.close, _POSTGRES)

    @contextmanager
    def copy(self, *given: Any, **named: Any) -> Iterator[Any]:
        with super().copy(*given, **named) as copying:
            yield copying
            faults.around(lambda: None, self.connection.close, _POSTGRES)


class _PostgresServerCursor(psycopg.ServerCursor[Any]):
    def execute(self, *given: Any, **named: Any) -> Any:
        work = lambda: super(_PostgresServerCursor, self).execute(*given, **named)  # noqa: E731
        return faults.around(work, self.connection.close, _POSTGRES)


class _Postgres(psycopg.Connection[Any]):
    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.cursor_factory, self.server_cursor_factory = _PostgresCursor, _PostgresServerCursor

    def commit(self) -> None:
        faults.around(super().commit, self.close, _POSTGRES)


_SQLITE, _POSTGRES = sqlite3.OperationalError, psycopg.OperationalError


def _connect(dialect: Any, _record: Any, given: list[Any], named: dict[str, Any]) -> Any:
    if dialect.name == "sqlite":
        return sqlite3.connect(*given, **named, factory=_Sqlite)
    return _Postgres.connect(*given, **named)


@contextmanager
def shimmed() -> Iterator[Faults]:
    """Every connection opened meanwhile goes through the shim; nothing fails until it is planned."""
    faults.rest()
    event.listen(Engine, "do_connect", _connect)
    try:
        yield faults
    finally:
        event.remove(Engine, "do_connect", _connect)
        faults.rest()


@contextmanager
def fixed_nights(database: Database, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """Ratings, settings that lead to this database, and one published night of fixed arithmetic."""
    patch.chdir(folder)
    patch.setenv("RECBATCH_DATABASE__URL", database.url.render_as_string(hide_password=False))
    patch.setenv("RECBATCH_ARTIFACTS__DIR", str(folder / "artifacts"))
    patch.setenv("RECBATCH_PUBLISH__KEEP_RUNS", "2")
    fill(database, folder)
    by_fixed_arithmetic(patch)
    with shimmed() as found:
        assert command("-q", "run") == 0
        yield found


# --- What must hold after whatever happened ---


@dataclass(frozen=True)
class Shown:
    """What readers see: the current run, and of how many runs its rows are."""

    run_id: int | None
    rows: int


def shown(database: Database) -> Shown:
    """What the views hold, in one snapshot, which must be one whole published run, or nothing."""
    with database.reader.connect() as connection:

        def ask(sql: str) -> list[Any]:
            return list(connection.execute(text(sql)).all())

        pointer = ask("SELECT run_id FROM publication")
        lists = ask("SELECT run_id, count(*) FROM current_recommendations GROUP BY run_id")
        popular = ask("SELECT run_id, count(*) FROM current_popular GROUP BY run_id")
        if not pointer:
            assert lists == popular == []
            return Shown(None, 0)
        current = pointer[0].run_id
        [(status, written)] = ask(f"SELECT status, rows_written FROM runs WHERE run_id = {current}")
        assert status == "published"
        assert lists == [(current, written)]
        assert popular == [(current, 5)]
        each = "SELECT user_key FROM current_recommendations GROUP BY user_key, model"
        assert ask(f"{each} HAVING count(*) <> 5 OR max(rank) <> 5") == []
        return Shown(current, written)


def leftovers(database: Database) -> list[tuple[Any, ...]]:
    """Rows of lists whose run has none, and runs that seem to be at work: none once a later run has ended."""
    orphans = """
        SELECT 'rows', l.run_id FROM (SELECT run_id FROM recommendations UNION SELECT run_id FROM popular_items) l
        LEFT JOIN runs r ON r.run_id = l.run_id
        WHERE r.run_id IS NULL OR r.status IN ('failed', 'abandoned', 'running') OR r.purged_at IS NOT NULL
        UNION ALL SELECT 'running', run_id FROM runs WHERE status = 'running'"""
    with database.reader.connect() as connection:
        return [tuple(row) for row in connection.execute(text(orphans))]


# --- Points by name, at which a process is ended ---


def _points() -> dict[str, tuple[Any, str, Kind]]:
    """name -> where: a function of the night, and whether before or after it."""
    found: dict[str, tuple[Any, str, Kind]] = {}
    for module, name in (
        (nightly, "load"), (nightly, "measure"), (nightly, "assemble"), (nightly, "save_weights"),
        (nightly, "audit_integrity"), (nightly, "audit_gates"), (nightly, "record"),
        (publish, "open_run"), (publish, "write_lists"), (publish, "write_popular"), (publish, "write_metrics"),
        (publish, "publish"), (publish, "purge"),
    ):  # fmt: skip
        found |= {f"{kind} {name}": (module, name, kind) for kind in ("before", "after")}  # type: ignore[misc]
    found["between the run's row and the pointer"] = (publish, "_flip", "before")
    found["between the pointer and its commit"] = (publish, "_flip", "after")
    return found


POINTS = _points()


def end_at(point: str, number: int, patch: pytest.MonkeyPatch, turn: int = 1) -> None:
    """Send this process a signal at a point, the so-manieth time it is passed."""
    module, name, kind = POINTS[point]
    passed, work = 0, getattr(module, name)

    def reached(*given: Any, **named: Any) -> Any:
        nonlocal passed
        passed += 1
        if passed == turn and kind == "before":
            os.kill(os.getpid(), number)
        found = work(*given, **named)
        if passed == turn and kind == "after":
            os.kill(os.getpid(), number)
        return found

    patch.setattr(module, name, reached)


def in_child(work: Callable[[], int], log: Path) -> int:
    """Fork, and let the child end with what `work` returns, its output in a file; the child's process id."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        code = work()
        sys.stdout.flush()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Wait for a child; its exit code, or minus the signal that ended it."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
