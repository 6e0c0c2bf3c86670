"""Executors: a Dask cluster gives the same rows as this process, even if a worker is killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dask
import distributed
import numpy as np
import psutil
import pytest
from sqlalchemy import text

from batch import cli
from batch.config import Config, ConfigError, load_config
from batch.job import executors, nightly, steps
from batch.job.executors import ClusterError
from batch.job.nightly import Order, Outcome
from batch.ratings import Ints, blocks
from batch.store import publish
from batch.store.database import Database, open_database
from batch.store.versions import upgrade
from data import fill, settings
from stubs import Stub, Threads

TODAY = date(2026, 11, 23)
ALL_BLOCKS = [[user, user + 1] for user in range(0, 20, 2)]
"""The users of each block of 20 users, two a block."""
CLOSED = "tcp://127.0.0.1:1"
"""An address without a scheduler."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    """A cluster of two workers that is not the program's own."""
    # Tests kill workers one after the other.
    patient = {"distributed.deploy.lost-worker-timeout": "1 day"}
    with patch.dict(os.environ), dask.config.set(patient):  # Dask leaves variables behind
        cluster = distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            memory_limit=0,
            silence_logs=50,
        )
        with cluster:
            yield cluster


@pytest.fixture(scope="module")
def alone() -> Iterator[executors.Executor]:
    """A cluster of one worker that the program starts itself."""
    config = load_config(None, {"RECBATCH_ENGINE": "dask", "RECBATCH_DASK__WORKERS": "1"})
    # Dask gives up a worker while it is restarted.
    impatient = {"distributed.deploy.lost-worker-timeout": "100ms"}
    with (
        patch.dict(os.environ, {"NUMBA_NUM_THREADS": "2"}),  # the program gives a worker one
        dask.config.set(impatient),
        executors.open_executor(config) as executor,
    ):
        yield executor


@pytest.fixture
def small_blocks() -> Iterator[None]:
    """Two users a block: thirteen blocks of the 25 users."""
    with pytest.MonkeyPatch.context() as patch:  # not the fixture, which would fit models again
        patch.setattr(steps, "block_size", lambda *_: 2)
        yield


def on_cluster(address: str) -> Config:
    """The settings that use this scheduler."""
    return load_config(None, {"RECBATCH_ENGINE": "dask", "RECBATCH_DASK__SCHEDULER": address})


def environ_of(cluster: distributed.LocalCluster) -> dict[str, str]:
    """The variables that make a run use a cluster."""
    return {"RECBATCH_ENGINE": "dask", "RECBATCH_DASK__SCHEDULER": cluster.scheduler_address}


def night(database: Database, folder: Path, **environ: str) -> Outcome:
    return nightly.run(database, settings(folder, **environ), Order(TODAY))


def rows(database: Database, run_id: int) -> list[tuple[object, ...]]:
    """What a run wrote, all but its own number."""
    columns = "user_id, model, rank, movie_id, score, predicted_rating, support, reason"
    query = f"SELECT {columns} FROM recommendations WHERE run_id = {run_id} ORDER BY 1, 2, 3"
    with database.reader.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def statuses(database: Database) -> list[tuple[object, ...]]:
    query = text("SELECT run_id, status FROM runs ORDER BY 1")
    with database.reader.connect() as connection:
        return [tuple(row) for row in connection.execute(query)]


def workers(cluster: distributed.LocalCluster) -> set[int]:
    """The process ids of its two workers."""
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=20)
        return set(client.run(os.getpid).values())


def score(
    executor: executors.Executor, stub: Stub, n_users: int = 20, size: int = 2
) -> Iterator[tuple[Ints, Any]]:
    """The results of the blocks, in the order in which they come."""
    return executor(stub, ("blend",), 5, 2, blocks(n_users, size))  # type: ignore[arg-type]


def test_rows_are_the_same(
    database: Database, tmp_path: Path, cluster: distributed.LocalCluster, small_blocks: None
) -> None:
    """A run on two workers writes the rows of a run in this process, to the last digit."""
    fill(database, tmp_path)
    night(database, tmp_path)
    outcome = night(database, tmp_path, **environ_of(cluster))
    assert (outcome.run_id, outcome.status) == (2, "published")
    assert len(rows(database, 1)) == 2000
    assert rows(database, 1) == rows(database, 2)


def test_a_killed_worker_changes_no_row(
    sqlite_url: str,
    tmp_path: Path,
    cluster: distributed.LocalCluster,
    small_blocks: None,
) -> None:
    """A run is published with the same rows when a worker is killed while it has blocks."""
    database = open_database(sqlite_url)
    upgrade(database)
    fill(database, tmp_path)
    night(database, tmp_path)
    before = workers(cluster)
    write_lists = publish.write_lists
    calls = []

    def kill_one(*given: Any) -> int:
        calls.append(given)
        if len(calls) == 1:
            os.kill(min(before), signal.SIGKILL)
        return write_lists(*given)

    with pytest.MonkeyPatch.context() as patch_program:
        patch_program.setattr(publish, "write_lists", kill_one)
        assert night(database, tmp_path, **environ_of(cluster)).status == "published"
    assert rows(database, 1) == rows(database, 2)
    assert min(before) not in workers(cluster)


def test_the_command_starts_a_cluster_and_leaves_nothing(sqlite_url: str, tmp_path: Path) -> None:
    """`recbatch run` starts a cluster, writes the same rows, leaves no files and no processes."""
    database = open_database(sqlite_url)
    upgrade(database)
    fill(database, tmp_path / "data")
    night(database, tmp_path)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environ = {
        **os.environ,
        "RECBATCH_DATABASE__URL": sqlite_url,
        "RECBATCH_ENGINE": "dask",
        "TMPDIR": str(temporary),
    }
    command = [str(Path(sys.executable).with_name("recbatch")), "run", "--json"]
    done = subprocess.run(
        command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    [cluster] = [line for line in lines if line["event"] == "cluster"]
    assert cluster["scheduler"].startswith("tcp://127.0.0.1:")
    assert (cluster["workers"], cluster["threads"]) == (2, 2)
    assert [line for line in lines if line["level"] != "info"] == []
    assert rows(database, 1) == rows(database, 2)
    assert list(temporary.iterdir()) == []
    remaining = [process for process in psutil.process_iter() if is_below(process, temporary)]
    assert remaining == []


def is_below(process: psutil.Process, temporary: Path) -> bool:
    """Whether a process was started with this folder for temporary files."""
    try:
        return str(temporary) in str(process.environ().get("TMPDIR"))
    except psutil.Error:
        return False


def test_an_existing_cluster_is_used(cluster: distributed.LocalCluster) -> None:
    """With `dask.scheduler` all workers of that scheduler score blocks, and no others."""
    with executors.open_executor(on_cluster(cluster.scheduler_address)) as executor:
        results = [result for _, result in score(executor, Stub(seconds=0.05))]
    assert {result["process"] for result in results} == workers(cluster)
    assert [result["users"] for result in results] == ALL_BLOCKS
    assert {result["arguments"] for result in results} == {(("blend",), 5, 2)}


def test_blocks_come_back_in_order(cluster: distributed.LocalCluster) -> None:
    """Results come in the order of the blocks, although later blocks are done before the first."""
    with executors.open_executor(on_cluster(cluster.scheduler_address)) as executor:
        results = list(score(executor, Stub(first=0.5)))
    assert [users.tolist() for users, _ in results] == [result["users"] for _, result in results]
    assert [users[0] for users, _ in results] == list(range(0, 20, 2))
    assert min(result["at"] for _, result in results[1:]) < results[0][1]["at"]


def test_few_blocks_are_out_at_a_time(cluster: distributed.LocalCluster) -> None:
    """However many blocks there are, only a few for each thread are out at a time."""
    taken: list[Ints] = []

    def user_blocks() -> Iterator[Ints]:
        for users in blocks(200, 2):
            taken.append(users)
            yield users

    with executors.open_executor(on_cluster(cluster.scheduler_address)) as executor:
        results = executor(Stub(), ("blend",), 5, 2, user_blocks())  # type: ignore[arg-type]
        out = [len(taken) - n_results for n_results, _ in enumerate(results)]
    assert len(out) == 100
    assert max(out) == out[0] == executors.IN_FLIGHT * 2


def test_a_worker_killed_at_work_is_replaced(cluster: distributed.LocalCluster) -> None:
    """The blocks of a worker that is killed are scored by another."""
    before = workers(cluster)
    with executors.open_executor(on_cluster(cluster.scheduler_address)) as executor:
        coming = score(executor, Stub(seconds=0.1))
        first = next(coming)
        os.kill(max(before), signal.SIGKILL)  # both workers have their next blocks
        results = [first, *coming]
    assert [result["users"] for _, result in results] == ALL_BLOCKS
    assert max(before) not in workers(cluster)


def test_nothing_listens_beyond_this_machine(alone: executors.Executor) -> None:
    """The cluster that the program starts is reached from this machine only."""
    this = psutil.Process()
    listening = []
    for process in (this, *this.children(recursive=True)):
        connections = process.net_connections()
        listening += [c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN]
    assert len(listening) >= 4  # of the scheduler, the nanny of the worker, and the worker
    assert set(listening) == {"127.0.0.1"}


def test_a_worker_takes_one_core(alone: executors.Executor) -> None:
    """In a worker of the program's own cluster no compiled loop or linear algebra uses threads."""
    [(_, threads)] = alone(Threads(), ("blend",), 5, 2, blocks(2, 2))  # type: ignore[arg-type]
    assert threads["numba"] == 1
    assert set(threads["blas"]) == {1}


def test_models_are_sent_again(alone: executors.Executor) -> None:
    """Where the only worker is killed, the one that replaces it gets the models again."""
    coming = score(alone, Stub(seconds=0.05))
    results = [next(coming)]
    os.kill(results[0][1]["process"], signal.SIGKILL)
    results += coming
    assert [result["users"] for _, result in results] == ALL_BLOCKS
    assert len({result["process"] for _, result in results}) == 2


def test_an_error_in_a_worker_is_raised_here(cluster: distributed.LocalCluster) -> None:
    """An error in a worker is the error that it would be in this process."""
    with (
        executors.open_executor(on_cluster(cluster.scheduler_address)) as executor,
        pytest.raises(np.linalg.LinAlgError, match="sing"),
    ):
        list(score(executor, Stub(fault="raise")))


def test_a_block_that_kills_workers_ends_the_run(
    cluster: distributed.LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block that kills one worker after another fails the run, with a hint at the cause."""
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    with (
        executors.open_executor(on_cluster(cluster.scheduler_address)) as executor,
        pytest.raises(ClusterError, match="memory_mb"),
    ):
        list(score(executor, Stub(fault="die"), n_users=2))
    assert len(workers(cluster)) == 2


def test_a_cluster_without_workers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler without workers is an error after a while, which names it."""
    monkeypatch.setattr(executors, "WORKERLESS_SECONDS", 0.3)
    options = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(n_workers=0, scheduler_kwargs=options) as empty:
        address = empty.scheduler_address
        with (
            executors.open_executor(on_cluster(address)) as executor,
            pytest.raises(ClusterError, match=f"no workers at {address}"),
        ):
            list(score(executor, Stub()))


def test_workers_have_the_same_versions(
    cluster: distributed.LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker with another version of a package that rows depend on is refused at the start."""
    monkeypatch.setattr(executors, "version", lambda _: "0.0")
    with pytest.raises(
        ClusterError, match=r"worker tcp://\S+ has recbatch 0\.1\.0, this machine 0\.0"
    ):
        executors.check_executor(on_cluster(cluster.scheduler_address))


def test_an_unreachable_scheduler_leaves_the_old_list(
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a scheduler the command exits 1 with one line of setting and address; lists stay."""
    database = open_database(sqlite_url)
    upgrade(database)
    fill(database, tmp_path)
    night(database, tmp_path)
    monkeypatch.setattr(executors, "CONNECT_SECONDS", 0.5)
    monkeypatch.setenv("RECBATCH_DASK__SCHEDULER", CLOSED)
    capsys.readouterr()  # of the first run
    assert command(monkeypatch, sqlite_url, tmp_path) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"recbatch: dask.scheduler: no scheduler answers at {CLOSED}: ")
    assert statuses(database) == [(1, "published"), (2, "failed")]


def test_without_the_package_one_line_says_so(
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where the package is not installed, the command exits 2 and says how to install it."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert command(monkeypatch, sqlite_url, tmp_path) == 2
    message = "recbatch: engine: dask needs the package: pip install 'recbatch[dask]'"
    assert capsys.readouterr().err.splitlines() == [message]


def command(monkeypatch: pytest.MonkeyPatch, url: str, folder: Path) -> object:
    """`recbatch run` with `engine: dask` in this process; its exit code."""
    monkeypatch.setenv("RECBATCH_DATABASE__URL", url)
    monkeypatch.setenv("RECBATCH_ENGINE", "dask")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["recbatch", "--quiet", "run"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest keeps its handlers
    monkeypatch.setattr(nightly, "log_warning", lambda *_, **__: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_the_package_is_loaded_only_when_asked_for() -> None:
    """Without `engine: dask` the program does not load it."""
    code = (
        "import sys, batch.job.nightly, batch.job.executors;"
        "print('distributed' in sys.modules or 'dask' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    "address", ["host:8786", "tcp://host", "http://host:8786", "tcp://host:8786/x"]
)
def test_an_address_is_checked_with_the_settings(address: str) -> None:
    """An address that no scheduler can have is refused with the settings."""
    with pytest.raises(ConfigError, match=r"RECBATCH_DASK__SCHEDULER: must be an address such as"):
        on_cluster(address)
