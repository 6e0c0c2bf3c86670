"""Where users are scored: the same rows from a Dask cluster as from here, also where a worker is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from batch.job import executors, nightly
from batch.job.executors import ClusterError
from batch.job.nightly import Order, Outcome
from batch.ratings import Ints, blocks
from batch.store.database import Database, open_database, upgrade
from data import fill, settings

TODAY = date(2026, 11, 23)
CLOSED = "tcp://127.0.0.1:1"
"""Where no scheduler is."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[distributed.LocalCluster]:
    """A cluster of two workers that is there already."""
    patient = {
        "distributed.deploy.lost-worker-timeout": "1 day"
    }  # tests kill workers one after the other
    with patch.dict(os.environ), dask.config.set(patient):  # Dask leaves variables behind
        made = distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            memory_limit=0,
            silence_logs=50,
        )
        with made:
            yield made


@pytest.fixture(scope="module")
def alone() -> Iterator[executors.Executor]:
    """A cluster of one worker that the program starts itself."""
    config = load_config(None, {"RECBATCH_ENGINE": "dask", "RECBATCH_DASK__WORKERS": "1"})
    impatient = {
        "distributed.deploy.lost-worker-timeout": "100ms"
    }  # it gives up a worker while that is started anew
    with patch.dict(os.environ), dask.config.set(impatient), executors.opened(config) as engine:
        yield engine


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two users a block: thirteen blocks of the 25 users."""
    monkeypatch.setattr(nightly, "block_size", lambda *_: 2)


def there(address: str) -> Config:
    return load_config(None, {"RECBATCH_ENGINE": "dask", "RECBATCH_DASK__SCHEDULER": address})


def night(database: Database, folder: Path, **environ: str) -> Outcome:
    return nightly.run(database, settings(folder, **environ), Order(TODAY))


def rows(database: Database, run_id: int) -> list[tuple[object, ...]]:
    """What a run wrote, all but its own number."""
    columns = "user_id, model, rank, movie_id, score, predicted_rating, support, reason"
    wanted = f"SELECT {columns} FROM recommendations WHERE run_id = {run_id} ORDER BY 1, 2, 3"
    with database.reader.connect() as connection:
        return [tuple(row) for row in connection.execute(text(wanted))]


def statuses(database: Database) -> list[tuple[object, ...]]:
    with database.reader.connect() as connection:
        return [
            tuple(row)
            for row in connection.execute(text("SELECT run_id, status FROM runs ORDER BY 1"))
        ]


def workers(cluster: distributed.LocalCluster) -> set[int]:
    """The processes that work for it, two of them."""
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=20)
        return set(client.run(os.getpid).values())


@dataclass(frozen=True)
class Stub:
    """Stands in for fitted models: says when and by which process a block was done."""

    seconds: float = 0.0  # that a block takes
    first: float = 0.0  # that the first block takes more
    fault: str = ""

    def explained(self, names: Sequence[str], users: Ints, n: int) -> dict[str, Any]:
        if self.fault == "raise":
            raise np.linalg.LinAlgError("singular")
        if self.fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.seconds + (self.first if users[0] == 0 else 0.0))
        return {
            "users": users.tolist(),
            "process": os.getpid(),
            "at": time.monotonic(),
            "asked": (names, n),
        }


def answered(
    engine: executors.Executor, stub: Stub, n_users: int = 20, size: int = 2
) -> Iterator[tuple[Ints, Any]]:
    return engine(stub, ("blend",), 5, blocks(n_users, size))  # type: ignore[arg-type]


def test_rows_are_the_same(
    database: Database, tmp_path: Path, cluster: distributed.LocalCluster, small_blocks: None
) -> None:
    """A night on two workers writes the rows of a night in this process, to the last digit."""
    fill(database, tmp_path)
    night(database, tmp_path)
    there = {"RECBATCH_ENGINE": "dask", "RECBATCH_DASK__SCHEDULER": cluster.scheduler_address}
    outcome = night(database, tmp_path, **there)
    assert (outcome.run_id, outcome.status) == (2, "published")
    assert len(rows(database, 1)) == 500
    assert rows(database, 1) == rows(database, 2)


def test_a_killed_worker_changes_no_row(
    sqlite_url: str,
    tmp_path: Path,
    cluster: distributed.LocalCluster,
    monkeypatch: pytest.MonkeyPatch,
    small_blocks: None,
) -> None:
    """A night one of whose workers is killed while blocks are out is published, with the same rows."""
    database = open_database(sqlite_url)
    upgrade(database)
    fill(database, tmp_path)
    night(database, tmp_path)
    before, write, written = workers(cluster), nightly.publish.write_lists, []

    def kill_one(*given: Any) -> int:
        written.append(given)
        if len(written) == 1:
            os.kill(min(before), signal.SIGKILL)
        return write(*given)

    monkeypatch.setattr(nightly.publish, "write_lists", kill_one)
    there = {"RECBATCH_ENGINE": "dask", "RECBATCH_DASK__SCHEDULER": cluster.scheduler_address}
    assert night(database, tmp_path, **there).status == "published"
    assert rows(database, 1) == rows(database, 2)
    assert min(before) not in workers(cluster)


def test_the_command_starts_a_cluster_and_leaves_nothing(sqlite_url: str, tmp_path: Path) -> None:
    """`recbatch run` works on a cluster of its own, writes the same rows, and leaves neither files nor processes."""
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
    assert {line["level"] for line in lines} == {"info"}
    assert rows(database, 1) == rows(database, 2)
    assert list(temporary.iterdir()) == []
    mine = [process for process in psutil.process_iter() if str(temporary) in _environ(process)]
    assert mine == []


def _environ(process: psutil.Process) -> str:
    try:
        return str(process.environ().get("TMPDIR"))
    except psutil.Error:
        return ""


def test_an_existing_cluster_does_the_work(cluster: distributed.LocalCluster) -> None:
    """With `dask.scheduler` the workers of that scheduler answer, all of them, and no others."""
    with executors.opened(there(cluster.scheduler_address)) as engine:
        found = [said for _, said in answered(engine, Stub(seconds=0.05))]
    assert {said["process"] for said in found} == workers(cluster)
    assert [said["users"] for said in found] == [[user, user + 1] for user in range(0, 20, 2)]
    assert {said["asked"] for said in found} == {(("blend",), 5)}


def test_blocks_come_back_in_order(cluster: distributed.LocalCluster) -> None:
    """Answers come in the order of the blocks, although later blocks are done before the first."""
    with executors.opened(there(cluster.scheduler_address)) as engine:
        found = list(answered(engine, Stub(first=0.5)))
    assert [users.tolist() for users, _ in found] == [said["users"] for _, said in found]
    assert [users[0] for users, _ in found] == list(range(0, 20, 2))
    assert min(said["at"] for _, said in found[1:]) < found[0][1]["at"]


def test_few_blocks_are_out_at_a_time(cluster: distributed.LocalCluster) -> None:
    """However many blocks there are, only so many for each thread are handed out and not yet taken back."""
    drawn: list[Ints] = []

    def drawing() -> Iterator[Ints]:
        for users in blocks(200, 2):
            drawn.append(users)
            yield users

    with executors.opened(there(cluster.scheduler_address)) as engine:
        out = [
            len(drawn) - taken
            for taken, _ in enumerate(engine(Stub(), ("blend",), 5, drawing()))  # type: ignore[arg-type]
        ]
    assert len(out) == 100
    assert max(out) == out[0] == executors.IN_FLIGHT * 2


def test_a_worker_killed_at_work_is_survived(cluster: distributed.LocalCluster) -> None:
    """The blocks that a worker was at when it was killed are done by another."""
    before = workers(cluster)
    with executors.opened(there(cluster.scheduler_address)) as engine:
        coming = answered(engine, Stub(seconds=0.1))
        first = next(coming)
        os.kill(max(before), signal.SIGKILL)  # both have the next blocks in their hands
        found = [first, *coming]
    assert [said["users"] for _, said in found] == [[user, user + 1] for user in range(0, 20, 2)]
    assert max(before) not in workers(cluster)


def test_nothing_listens_beyond_this_machine(alone: executors.Executor) -> None:
    """The cluster that the program starts is reached from this machine only."""
    here = psutil.Process()
    family = [here, *here.children(recursive=True)]
    user_weighted_sums = [
        c for process in family for c in process.net_connections() if c.status == psutil.CONN_LISTEN
    ]
    assert (
        len(user_weighted_sums) >= 4
    )  # of the scheduler, the one that minds the worker, and the worker
    assert {c.laddr.ip for c in user_weighted_sums} == {"127.0.0.1"}


@dataclass(frozen=True)
class Threads:
    """Stands in for fitted models: says how many threads they would take."""

    def explained(self, *_: object) -> dict[str, Any]:
        import numba
        from threadpoolctl import threadpool_info

        return {
            "numba": numba.config.NUMBA_NUM_THREADS,
            "blas": [pool["num_threads"] for pool in threadpool_info()],
        }


def test_a_worker_takes_one_core(alone: executors.Executor) -> None:
    """In a worker of the program's own cluster neither compiled loops nor linear algebra start threads."""
    [(_, said)] = alone(Threads(), ("blend",), 5, blocks(2, 2))  # type: ignore[arg-type]
    assert said["numba"] == 1
    assert set(said["blas"]) == {1}


def test_models_are_handed_out_again(alone: executors.Executor) -> None:
    """Where the only worker is killed, the models with it, the one that takes its place gets them anew."""
    coming = answered(alone, Stub(seconds=0.05))
    found = [next(coming)]
    os.kill(found[0][1]["process"], signal.SIGKILL)
    found += coming
    assert [said["users"] for _, said in found] == [[user, user + 1] for user in range(0, 20, 2)]
    assert len({said["process"] for _, said in found}) == 2


def test_what_fails_there_is_raised_here(cluster: distributed.LocalCluster) -> None:
    """An error in a worker is the error that it would be in this process."""
    with (
        executors.opened(there(cluster.scheduler_address)) as engine,
        pytest.raises(np.linalg.LinAlgError, match="sing"),
    ):
        list(answered(engine, Stub(fault="raise")))


def test_a_block_that_kills_workers_ends_the_run(
    cluster: distributed.LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block that ends one worker after the other is not tried for ever, and the error says what may be wrong."""
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    with (
        executors.opened(there(cluster.scheduler_address)) as engine,
        pytest.raises(ClusterError, match="memory_mb"),
    ):
        list(answered(engine, Stub(fault="die"), n_users=2))
    assert len(workers(cluster)) == 2


def test_a_cluster_without_workers_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that nobody works for is named, after a while."""
    monkeypatch.setattr(executors, "WORKERLESS_SECONDS", 0.3)
    options = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(n_workers=0, scheduler_kwargs=options) as empty:
        address = empty.scheduler_address
        with (
            executors.opened(there(address)) as engine,
            pytest.raises(ClusterError, match=f"no workers at {address}"),
        ):
            list(answered(engine, Stub()))


def test_workers_have_the_same_versions(
    cluster: distributed.LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker with another version of what rows depend on is refused, with both versions, before the night begins."""
    monkeypatch.setattr(executors, "version", lambda _: "0.0")
    with pytest.raises(
        ClusterError, match=r"worker tcp://\S+ has recbatch 0\.1\.0, this machine 0\.0"
    ):
        executors.check(there(cluster.scheduler_address))


def test_a_scheduler_out_of_reach_leaves_the_old_list(
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where no scheduler answers, the command exits 1 with one line that names setting and address; the list stays."""
    database = open_database(sqlite_url)
    upgrade(database)
    fill(database, tmp_path)
    night(database, tmp_path)
    monkeypatch.setattr(executors, "CONNECT_SECONDS", 0.5)
    monkeypatch.setenv("RECBATCH_DASK__SCHEDULER", CLOSED)
    capsys.readouterr()  # what the first night said
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
    needed = "recbatch: engine: dask needs the package: pip install 'recbatch[dask]'"
    assert capsys.readouterr().err.splitlines() == [needed]


def command(monkeypatch: pytest.MonkeyPatch, url: str, folder: Path) -> object:
    """`recbatch run` with `engine: dask` in this process; its exit code."""
    monkeypatch.setenv("RECBATCH_DATABASE__URL", url)
    monkeypatch.setenv("RECBATCH_ENGINE", "dask")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["recbatch", "--quiet", "run"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the handlers of the tests stay
    monkeypatch.setattr(nightly, "warn", lambda *_, **__: None)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_the_package_is_loaded_only_when_asked_for() -> None:
    """Without `engine: dask` the program does not load it."""
    code = "import sys, batch.nightly, batch.engines; print('distributed' in sys.modules or 'dask' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    "address", ["host:8786", "tcp://host", "http://host:8786", "tcp://host:8786/x"]
)
def test_an_address_is_checked_with_the_settings(address: str) -> None:
    """An address that no scheduler can have is refused as a wrong setting."""
    with pytest.raises(ConfigError, match=r"RECBATCH_DASK__SCHEDULER: String should match pattern"):
        there(address)
