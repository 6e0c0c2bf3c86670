"""Statements that fail: a shim around the database drivers, which counts them and lets one fail."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest
from sqlalchemy import Engine, event, text

from batch.store.database import Database
from batch.store.versions import upgrade
from data import fill
from fixed import by_fixed_arithmetic, command
from templates import Templates

Kind = Literal["before", "after", "closed"]
KINDS: tuple[Kind, ...] = ("before", "after", "closed")
"""An error before the statement; one after it, its answer lost; the connection lost too."""


class Faults:
    """Counts what is asked of the drivers, statements and commits, and makes one of them fail."""

    def __init__(self) -> None:
        self.count = 0
        self.asked: list[str] = []
        self._at, self._kind = -1, "before"

    def plan(self, at: int, kind: Kind = "before") -> None:
        """Fail at this statement from now on, counted from 1; at 0 none fails."""
        self.count, self._at, self._kind = 0, at, kind
        self.asked = []

    def rest(self) -> None:
        """Nothing fails, nor is counted, until the next plan."""
        self._at = -1

    def places(self, *, distinct: bool) -> list[int]:
        """Where statements and commits were asked since the plan, counted from 1.

        With `distinct` those of one text, and the commits after it, where they were first asked.
        """
        first = {text: at for at, text in reversed(list(enumerate(self.asked, 1)))}
        return sorted(first.values()) if distinct else list(range(1, self.count + 1))

    def around(self, work: Callable[[], Any], connection: Any, text: str = "") -> Any:
        """What `work` returns, unless its turn has come; without a text it is a commit."""
        if self._at < 0:
            return work()
        self.count += 1
        self.asked.append(text or f"commit after {self.asked[-1] if self.asked else 'nothing'}")
        if self.count != self._at:
            return work()
        if self._kind != "before":
            work()
        if self._kind == "closed":
            connection.gone()
        raise connection.error(
            "injected: the answer is lost" if self._kind == "after" else "injected: disk I/O error"
        )


faults = Faults()
"""Those of this process."""


class _Watched:
    """A cursor whose statements are counted."""

    connection: Any

    def execute(self, text: Any, *given: Any, **named: Any) -> Any:
        """Unless its turn has come."""
        return faults.around(
            lambda: super(_Watched, self).execute(text, *given, **named),  # type: ignore[misc]
            self.connection,
            str(text),
        )

    def executemany(self, text: Any, *given: Any, **named: Any) -> Any:
        """Unless its turn has come."""
        return faults.around(
            lambda: super(_Watched, self).executemany(text, *given, **named),  # type: ignore[misc]
            self.connection,
            str(text),
        )


class _SqliteCursor(_Watched, sqlite3.Cursor):  # type: ignore[misc]
    def executescript(self, script: str) -> Any:
        """A script is one statement."""
        return faults.around(
            lambda: super(_SqliteCursor, self).executescript(script), self.connection, script
        )


class _Sqlite(sqlite3.Connection):
    error = sqlite3.OperationalError

    def cursor(self, factory: Any = _SqliteCursor) -> Any:
        return super().cursor(factory)

    def execute(self, *given: Any) -> Any:
        return self.cursor().execute(*given)

    def executemany(self, *given: Any) -> Any:
        return self.cursor().executemany(*given)

    def executescript(self, script: str) -> Any:
        return self.cursor().executescript(script)

    def commit(self) -> None:
        faults.around(super().commit, self)

    def gone(self) -> None:
        """Closing alone would leave the transaction to whoever still holds a cursor."""
        self.rollback()
        self.close()


class _PostgresCursor(_Watched, psycopg.Cursor[Any]):  # type: ignore[misc]
    @contextmanager
    def copy(self, text: Any, *given: Any, **named: Any) -> Iterator[Any]:
        with super().copy(text, *given, **named) as copying:
            yield copying
            faults.around(lambda: None, self.connection, str(text))


class _PostgresServerCursor(_Watched, psycopg.ServerCursor[Any]):  # type: ignore[misc]
    def __del__(self) -> None:
        """Warn of a cursor that was left open, unless its connection is gone."""
        if not self.connection.closed:
            super().__del__()


class _Postgres(psycopg.Connection[Any]):
    error = psycopg.OperationalError

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.cursor_factory, self.server_cursor_factory = _PostgresCursor, _PostgresServerCursor

    def commit(self) -> None:
        faults.around(super().commit, self)

    def gone(self) -> None:
        self.close()


def _connect(dialect: Any, _record: Any, given: list[Any], named: dict[str, Any]) -> Any:
    if dialect.name == "sqlite":
        return sqlite3.connect(*given, **named, factory=_Sqlite)
    return _Postgres.connect(*given, **named)


@contextmanager
def shimmed() -> Iterator[Faults]:
    """All connections opened in the block go through the shim; faults must be planned."""
    faults.rest()
    event.listen(Engine, "do_connect", _connect)
    try:
        yield faults
    finally:
        event.remove(Engine, "do_connect", _connect)
        faults.rest()


@contextmanager
def fixed_nights(database: Database, folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """Commands use this database, nights are of fixed arithmetic, statements are counted."""
    _lead_to(database, folder, patch)
    by_fixed_arithmetic(patch)
    with shimmed() as counted:
        yield counted


def first_night(database: Database, folder: Path) -> None:
    """Tables, ratings and one published night of fixed arithmetic in an empty database."""
    upgrade(database)
    fill(database, folder)
    with pytest.MonkeyPatch.context() as patch, fixed_nights(database, folder, patch):
        assert command("-q", "run") == 0


def copy_first_night(templates: Templates, database: Database, folder: Path) -> None:
    """Replace a database by a copy of one after its first night, and its folder of weights."""
    source = templates.copy("night", first_night, database, folder)
    with database.writer.begin() as connection:
        moved = "UPDATE runs SET artifact = replace(artifact, :source, :folder)"
        connection.execute(text(moved), {"source": str(source), "folder": str(folder)})


def _lead_to(database: Database, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Settings by the environment: this database, weights in this folder, two runs kept."""
    patch.chdir(folder)
    patch.setenv("RECBATCH_DATABASE__URL", database.url.render_as_string(hide_password=False))
    patch.setenv("RECBATCH_ARTIFACTS__DIR", str(folder / "artifacts"))
    patch.setenv("RECBATCH_PUBLISH__KEEP_RUNS", "2")
