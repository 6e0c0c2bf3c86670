"""The tables of a database -> their version, and migrations to that of this program."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import URL, Connection, inspect, text

from batch.store import schema
from batch.store.database import Database, NotReadyError, open_database
from batch.store.postgres_upgrade import require_rights, with_all_tables
from batch.store.run_lock import run_lock


def require_tables(database: Database) -> None:
    """Raise NotReadyError unless the tables are there and have this program's version."""
    upgrade_command = "run 'recbatch db upgrade'"
    if database.file and not database.file.exists():
        raise NotReadyError(
            f"no database at {database.file}; run 'recbatch ingest FILES' or 'recbatch db upgrade'"
        )
    with database.reader.connect() as connection:
        version = revision(connection)
    if version is None:
        raise NotReadyError(f"{database.label} has no tables of recbatch yet; {upgrade_command}")
    if version != schema.HEAD:
        _refuse_newer(database, version)
        versions = f"schema version {version}, this program needs {schema.HEAD}"
        raise NotReadyError(f"{database.label} is at {versions}; {upgrade_command}")


def _refuse_newer(database: Database, version: str | None) -> None:
    """Versions are numbers of four digits; only the newer program can go back."""
    if version is not None and version > schema.HEAD:
        raise NotReadyError(
            f"{database.label} is at schema version {version}, of a newer recbatch than this "
            f"one, which needs {schema.HEAD}; install that version, or name another database"
        )


def revision(connection: Connection) -> str | None:
    """The schema version of the database; None where it has no tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def prepare(database: Database) -> None:
    """As `require_tables`, but a SQLite file is created on first use.

    On Postgres only `db upgrade` creates tables: the job's role need not be
    allowed to.
    """
    if database.file and (not database.file.exists() or _is_empty(database)):
        upgrade(database)
    require_tables(database)


def has_tables(database: Database) -> bool:
    """Whether this program's tables are there, of any version."""
    if database.file and not database.file.exists():
        return False
    with database.reader.connect() as connection:
        return revision(connection) is not None


@contextmanager
def temporary_database() -> Iterator[Database]:
    """A SQLite database with empty tables, which is removed in the end."""
    with TemporaryDirectory(prefix="recbatch-") as folder:
        file = Path(folder, "recbatch.db")
        database = open_database(URL.create("sqlite", database=str(file)))
        upgrade(database)
        yield database


def _is_empty(database: Database) -> bool:
    """Whether a file has no tables, as after a kill while they were created."""
    with database.reader.connect() as connection:
        return not inspect(connection).get_table_names()


def upgrade(database: Database) -> None:
    """Create or migrate the tables, under the run lock.

    Raises NotReadyError for a newer version, LockedError while a job runs; on
    Postgres UnfitServerError where the role may not, TablesInUseError while
    others read for long.
    """
    # Here, because it takes a third of a second.
    from alembic import command
    from alembic.config import Config

    if database.file:
        database.file.parent.mkdir(parents=True, exist_ok=True)
    with run_lock(database):
        with database.reader.connect() as connection:
            version = revision(connection)
        _refuse_newer(database, version)
        if version == schema.HEAD:
            return
        config = Config()
        scripts = str(migrations()).replace("%", "%%")
        config.set_main_option("script_location", scripts)
        with _changing_tables(database) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


@contextmanager
def _changing_tables(database: Database) -> Iterator[Connection]:
    """The one transaction of all migrations."""
    if database.file:
        with database.writer.begin() as connection:
            yield connection
        return
    name = database.schema_name
    with database.writer.connect() as connection:
        with connection.begin():
            require_rights(connection, name)
            _create_schema(connection, name)
        with with_all_tables(connection, name):
            yield connection


def migrations() -> Path:
    """The folder of migrations: inside the installed package, beside it in a checkout."""
    package = Path(__file__).parents[1]  # batch
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def _create_schema(connection: Connection, name: str) -> None:
    # Looked up first: IF NOT EXISTS needs the right to create in any case.
    by_name = text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
    if connection.execute(by_name, {"name": name}).first() is None:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema.quoted(name)}")
