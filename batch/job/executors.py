"""Blocks of users -> every model's lists: scored in this process or on a cluster."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from itertools import islice
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from batch import RecbatchError
from batch.config import Config, ConfigError
from batch.ranking.ensemble import Ensemble
from batch.ranking.ranked_block import RankedBlock
from batch.ratings import Ints
from batch.telemetry import capture_warnings, log_info, log_warning

CONNECT_SECONDS = 30
"""Longest wait for the answer of a scheduler."""
WORKERLESS_SECONDS = 60
"""Longest time without any worker: enough to restart killed ones."""
POLL_SECONDS = 5
"""Interval of checks that there still are workers, while waiting for a block."""
IN_FLIGHT = 4
"""Blocks submitted and not yet collected, for each thread of the cluster.

No worker runs out of work while one block takes long, and finished lists do not
pile up here.
"""
ATTEMPTS = 5
"""Times the models are sent without a block coming back, before the run fails."""
SAME_ROWS = ("recbatch", "numpy", "numba", "scipy")
"""Packages that rows depend on: all machines must have the same versions."""

ScoredBlock: TypeAlias = tuple[Ints, dict[str, RankedBlock]]
"""A block of users, (b,), and the lists of each model by its name."""
Executor: TypeAlias = Callable[
    [Ensemble, Sequence[str], int, int, Iterable[Ints]], Iterator[ScoredBlock]
]
"""ensemble, names, n, spare, blocks -> scored blocks, in the order of the blocks."""
Client: TypeAlias = Any  # distributed.Client, imported only where `engine: dask` is chosen


class ClusterError(RecbatchError):
    """The Dask cluster cannot be used; the message says why and what to do."""


def run_locally(
    ensemble: Ensemble, names: Sequence[str], n: int, spare: int, blocks: Iterable[Ints]
) -> Iterator[ScoredBlock]:
    """`engine: local`: score in this process, one block on each core."""
    # The compiler is imported only where something is scored.
    from batch.models.compiled import side_by_side

    def score(users: Ints) -> ScoredBlock:
        return users, ensemble.rank_with_evidence(names, users, n, spare=spare)

    yield from side_by_side(score, blocks)


def check_executor(config: Config) -> None:
    """Find at the start of a run what would fail hours later.

    Raises ConfigError, ClusterError.
    """
    if config.engine == "dask":
        _import_distributed()
        if config.dask.scheduler is not None:
            with _connect(config.dask.scheduler):
                pass


@contextmanager
def open_executor(config: Config) -> Iterator[Executor]:
    """The executor of the settings, until the context ends.

    Raises ConfigError, ClusterError.
    """
    if config.engine == "local":
        yield run_locally
    elif config.dask.scheduler is not None:
        with _connect(config.dask.scheduler) as client:
            yield partial(_run_on_cluster, client, None)
    else:
        with (
            _start_cluster(config.dask.workers) as address,
            _connect(address) as client,
        ):
            yield partial(_run_on_cluster, client, True)


def _import_distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise ConfigError("engine: dask needs the package: pip install 'recbatch[dask]'") from None
    capture_warnings("distributed", "distributed.client")
    return distributed


@contextmanager
def _start_cluster(n_workers: int) -> Iterator[str]:
    """Start a scheduler and workers on this machine; yields the scheduler's address.

    Each worker has one thread, so that all of them together use as many cores
    as there are workers. Nothing can be reached from other machines. Everything
    ends with the context.
    """
    with TemporaryDirectory(prefix="recbatch-dask-", ignore_cleanup_errors=True) as folder:
        distributed = _import_distributed()
        import dask

        settings = {
            "temporary-directory": folder,  # the scheduler's too
            # By default a worker that was killed twice may not come back.
            "distributed.deploy.lost-worker-timeout": "1 day",
        }
        # Its status pages cannot be switched off altogether; port 0 is any free one.
        scheduler_options = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
        options = {
            "threads_per_worker": 1,
            "host": "127.0.0.1",
            "scheduler_kwargs": scheduler_options,
            # resources.memory_mb limits memory; models that Dask moves to disk
            # would be useless.
            "memory_limit": 0,
            # Dask itself limits linear algebra to one thread.
            "env": {"NUMBA_NUM_THREADS": "1"},
            "silence_logs": logging.WARNING,
        }
        with dask.config.set(settings):
            try:
                cluster = distributed.LocalCluster(n_workers=n_workers, **options)
            except (OSError, RuntimeError) as error:
                message = f"engine: dask: no cluster could be started here: {_first_line(error)}"
                raise ClusterError(message) from error
            with cluster:
                yield cluster.scheduler_address


@contextmanager
def _connect(address: str) -> Iterator[Client]:
    """A client of a scheduler whose workers have the same package versions."""
    distributed = _import_distributed()
    options = {"timeout": CONNECT_SECONDS, "set_as_default": False, "name": "recbatch"}
    try:
        client = distributed.Client(address, **options)
    except (OSError, ValueError) as error:
        message = f"dask.scheduler: no scheduler answers at {address}: {_first_line(error)}"
        raise ClusterError(message) from error
    with client:
        _require_same_versions(client)
        yield client


def _require_same_versions(client: Client) -> None:
    own_versions = _versions()
    for worker, versions in client.run(_versions, on_error="return").items():
        if isinstance(versions, Exception):
            reason = _first_line(versions)
            raise ClusterError(f"dask.scheduler: worker {worker} cannot run recbatch: {reason}")
        for name, own_version in own_versions.items():
            if versions[name] != own_version:
                raise ClusterError(
                    f"dask.scheduler: worker {worker} has {name} {versions[name]}, "
                    f"this machine {own_version}; rows are the same only with the same versions"
                )


def _versions() -> dict[str, str]:
    return {name: version(name) for name in SAME_ROWS}


def _run_on_cluster(
    client: Client,
    direct: bool | None,
    ensemble: Ensemble,
    names: Sequence[str],
    n: int,
    spare: int,
    blocks: Iterable[Ints],
) -> Iterator[ScoredBlock]:
    """`engine: dask`: send the models to every worker once, then blocks; collect only lists.

    Dask itself gives a block whose worker died to another worker. Where no
    worker has the models any more, the models are sent out again and the
    outstanding blocks are submitted again.
    """
    remaining = iter(blocks)
    submitted = deque[tuple[Ints, Any]]()  # block, future; in the order of the blocks
    models = _send_models(client, direct, ensemble)
    attempts = 1

    def submit(users: Ints) -> tuple[Ints, Any]:
        # pure=False: otherwise Dask would look for an earlier result with the
        # same arguments.
        return users, client.submit(_score_block, models, names, users, n, spare, pure=False)

    while True:
        n_threads = max(sum(client.nthreads().values()), 1)
        free_slots = max(IN_FLIGHT * n_threads - len(submitted), 0)
        submitted.extend(submit(users) for users in islice(remaining, free_slots))
        if not submitted:
            return
        users, future = submitted[0]
        try:
            lists = _wait_for(client, future)
        except CancelledError as error:
            if attempts == ATTEMPTS:
                message = f"dask: the models were lost {ATTEMPTS} times: {_first_line(error)}"
                raise ClusterError(message) from error
            log_warning("models sent again", reason=_first_line(error))
            models = _send_models(client, direct, ensemble)
            attempts += 1
            submitted = deque(submit(users) for users, _ in submitted)
            continue
        submitted.popleft()
        attempts = 0
        yield users, lists


def _score_block(
    ensemble: Ensemble, names: Sequence[str], users: Ints, n: int, spare: int
) -> dict[str, RankedBlock]:
    return ensemble.rank_with_evidence(names, users, n, spare=spare)


def _send_models(client: Client, direct: bool | None, ensemble: Ensemble) -> Any:
    """Put the models on every worker; returns Dask's future for them.

    `direct` sends without a copy in the scheduler; workers must be reachable
    from this machine.
    """
    try:
        client.wait_for_workers(1, timeout=WORKERLESS_SECONDS)
        models = client.scatter(
            ensemble, broadcast=True, direct=direct, hash=False, timeout=WORKERLESS_SECONDS
        )
        threads = client.nthreads()
    except OSError as error:  # TimeoutError is one
        address = client.scheduler.address
        raise ClusterError(f"dask: no workers at {address}: {_first_line(error)}") from error
    log_info(
        "cluster",
        scheduler=client.scheduler.address,
        workers=len(threads),
        threads=sum(threads.values()),
    )
    return models


def _wait_for(client: Client, future: Any) -> Any:
    """The result of a block.

    Raises CancelledError where the models were lost, ClusterError where trying
    again is useless.
    """
    polls_without_workers = 0
    while True:
        try:
            error = future.exception(timeout=POLL_SECONDS)
        except TimeoutError:
            polls_without_workers += 1
            if client.nthreads():
                polls_without_workers = 0
            if polls_without_workers * POLL_SECONDS >= WORKERLESS_SECONDS:
                address = client.scheduler.address
                message = f"dask: {address} has been without workers for {WORKERLESS_SECONDS} s"
                raise ClusterError(message) from None
            continue
        if isinstance(error, _import_distributed().KilledWorker):
            raise ClusterError(
                "dask: one block of users ended several workers; are workers short of memory? "
                "resources.memory_mb decides how many users are scored together"
            ) from error
        return future.result()


def _first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class where it has none."""
    lines = str(error).splitlines()
    return lines[0] if lines and lines[0] else type(error).__name__
