"""A real PgBouncer before the test server, and another application that shares its pool."""

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest
from sqlalchemy import URL, make_url

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
Mode = Literal["transaction", "session", "statement"]
Pooler = Callable[..., str]
"""(mode, sessions of the pool, further settings) -> the URL of the test's database through it."""


@pytest.fixture
def pooler(database: Any, tmp_path: Path) -> Iterator[Pooler]:
    """Starts poolers before the test's database, which end with the test."""
    if PROGRAM is None:
        pytest.skip("no pgbouncer here: apt-get install pgbouncer")
    started = []

    def start(mode: Mode, size: int = 1, **settings: object) -> str:
        bouncer = _pgbouncer(database.url, tmp_path, mode, size, settings)
        started.append(bouncer)
        return bouncer.__enter__()

    yield start
    for bouncer in started:
        bouncer.__exit__(None, None, None)


@contextmanager
def _pgbouncer(
    url: URL, folder: Path, mode: Mode, size: int, settings: dict[str, object]
) -> Iterator[str]:
    server = str(url.query["host"])  # the folder of its socket, which its own user may enter
    lines = {
        "listen_addr": "127.0.0.1",
        "listen_port": _free_port(),
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": mode,
        "default_pool_size": size,
        **settings,
    }
    if os.getuid() == 0:
        lines["user"] = pwd.getpwuid(Path(server).stat().st_uid).pw_name
    file = folder / f"pgbouncer-{lines['listen_port']}.ini"
    general = "\n".join(f"{name} = {value}" for name, value in lines.items())
    file.write_text(f"[databases]\n* = host={server} user=postgres\n[pgbouncer]\n{general}\n")
    with file.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen([str(PROGRAM), str(file)], stderr=log)
    address = f"postgresql://postgres@127.0.0.1:{lines['listen_port']}/{url.database}"
    try:
        _wait_for(address)
        yield address
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + 10
    port = make_url(address).port
    while True:
        try:
            socket.create_connection(("127.0.0.1", port or 0)).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


STATE = """
    SELECT name, setting FROM pg_settings
    WHERE name NOT IN ('application_name', 'transaction_isolation', 'transaction_read_only')
    UNION ALL SELECT 'lock', objid::text FROM pg_locks
    WHERE locktype = 'advisory' AND database = (
        SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL SELECT 'prepared', name FROM pg_prepared_statements
    UNION ALL SELECT 'temporary', relname FROM pg_class WHERE relpersistence = 't'
    ORDER BY 1, 2"""


class Application:
    """Another application on all sessions of a pool, which knows the state they began in."""

    def __init__(self, address: str, size: int) -> None:
        self._address = address
        self._size = size
        with self._connect() as connection:
            connection.execute("CREATE TABLE public.notes (note text)")
        self._before = self._states()

    def require_unharmed(self) -> None:
        """Fail unless it can write on every session of the pool, which is as it was."""
        assert self._states() == self._before

    def _states(self) -> list[list[Any]]:
        """Settings, locks, prepared statements and temporary tables of each session.

        Each has a transaction open, so that no two share one.
        """
        states = []
        with ExitStack() as stack:
            for _ in range(self._size):
                connection = stack.enter_context(self._connect())
                connection.execute("INSERT INTO notes VALUES ('x')")
                states.append(connection.execute(STATE).fetchall())
        return states

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._address, prepare_threshold=None)
