"""Databases made once in a session -> a copy for each test, which costs a tenth of making one."""

import shutil
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import URL, Engine, create_engine, text

from batch.store.database import Database, open_database

Make = Callable[[Database, Path], None]
"""Fills an empty database, and a folder beside it."""


class Templates:
    """Databases of one process's tests, by name and kind, with the folder of files that belongs to each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[tuple[str, str], Path] = {}  # (name, kind) -> folder

    def copy(self, name: str, make: Make, database: Database, folder: Path) -> Path:
        """Replace a database by a copy of a template, and add the template's files to a folder.

        The first call makes the template. Returns the template's own folder.
        """
        kind = database.url.get_backend_name()
        source = self._folder / f"{name}-{kind}"
        if (name, kind) not in self._made:
            source.mkdir()
            make(self._template(name, database.url, source), source)
            self._made[name, kind] = source
        if database.file is not None:
            shutil.copyfile(source / "template.db", database.file)
        else:
            _replace(database.url, f"TEMPLATE template_{name} STRATEGY FILE_COPY")
        ignored = shutil.ignore_patterns("template.db*")
        shutil.copytree(source, folder, ignore=ignored, dirs_exist_ok=True)
        return source

    def _template(self, name: str, url: URL, folder: Path) -> Database:
        """The empty database that becomes a template."""
        if url.get_backend_name() == "sqlite":
            return open_database(f"sqlite:///{folder / 'template.db'}")
        ours = url.set(database=f"template_{name}")
        _replace(ours, "")
        return open_database(ours.render_as_string(hide_password=False))


def _replace(url: URL, options: str) -> None:
    """Drop a Postgres database if it exists, and create it."""
    server = _server(url)
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {url.database} WITH (FORCE)"))
        connection.execute(text(f"CREATE DATABASE {url.database} {options}"))
    server.dispose()


def _server(url: URL) -> Engine:
    """The server's own database, where other databases are created, each statement by itself."""
    return create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
