"""Blocks of users -> what the models say to each, in order: worked out here, or on the workers of a Dask cluster."""

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
"""For a scheduler to answer."""
WORKERLESS_SECONDS = 60
"""That a cluster may be without any worker: long enough for killed ones to be started anew."""
POLL_SECONDS = 5
"""Between looks at whether there still are workers, while a block is waited for."""
IN_FLIGHT = 4
"""Blocks handed out and not yet taken back, for each thread of the cluster: no worker runs dry while one block takes
long, and lists do not pile up here."""
ATTEMPTS = 5
"""To hand out the models again, without a block coming back in between, before the cluster is given up."""
SAME_ROWS = ("recbatch", "numpy", "numba", "scipy")
"""Packages that rows depend on while users are scored: workers must have the versions of this machine."""

Answered: TypeAlias = tuple[Ints, dict[str, RankedBlock]]
"""A block of users, (b,), and what the model of each name says to them."""
Executor: TypeAlias = Callable[[Ensemble, Sequence[str], int, Iterable[Ints]], Iterator[Answered]]
"""ensemble, names, n, blocks -> the answers to each block, in the order of the blocks."""
Client: TypeAlias = Any  # distributed.Client, imported only where `engine: dask` is chosen


class ClusterError(RecbatchError):
    """The Dask cluster cannot be reached or used; the message says which, and what would do."""


def here(
    ensemble: Ensemble, names: Sequence[str], n: int, blocks: Iterable[Ints]
) -> Iterator[Answered]:
    """`engine: local`: in this process, a block on each core."""
    from batch.models.compiled import (
        side_by_side,  # the compiler loads only where something is scored
    )

    yield from side_by_side(
        lambda users: (users, ensemble.rank_with_evidence(names, users, n)), blocks
    )


def check(config: Config) -> None:
    """Meet at the start of a night what would fail hours later. Raises ConfigError, ClusterError."""
    if config.engine == "dask":
        _package()
        if config.dask.scheduler is not None:
            with _client(config.dask.scheduler):
                pass


@contextmanager
def opened(config: Config) -> Iterator[Executor]:
    """The engine of the settings, for as long as the context lasts. Raises ConfigError, ClusterError."""
    if config.engine == "local":
        yield here
    elif config.dask.scheduler is not None:
        with _client(config.dask.scheduler) as client:
            yield partial(_on_cluster, client, None)
    else:
        with _cluster(config.dask.workers) as address, _client(address) as client:
            yield partial(_on_cluster, client, True)


def _package() -> Any:
    try:
        import distributed
    except ImportError:
        raise ConfigError("engine: dask needs the package: pip install 'recbatch[dask]'") from None
    capture_warnings("distributed", "distributed.client")
    return distributed


@contextmanager
def _cluster(workers: int) -> Iterator[str]:
    """The address of a scheduler on this machine, with so many processes to work for it; both end with the context.

    A worker is one thread, so that all of them together take no more cores than there are workers. Nothing listens
    beyond this machine.
    """
    with TemporaryDirectory(prefix="recbatch-dask-", ignore_cleanup_errors=True) as folder:
        distributed = _package()
        import dask

        settings = {
            "temporary-directory": folder,  # the scheduler's too
            "distributed.deploy.lost-worker-timeout": "1 day",  # else a worker that is killed twice may stay away
        }
        options = {
            "threads_per_worker": 1,
            "host": "127.0.0.1",
            "scheduler_kwargs": {
                "dashboard": False,
                "dashboard_address": "127.0.0.1:0",
            },  # its pages of facts: any port
            "memory_limit": 0,  # resources.memory_mb decides; models that are spilled to disk would serve nobody
            "env": {"NUMBA_NUM_THREADS": "1"},  # Dask itself sets the like for linear algebra
            "silence_logs": logging.WARNING,
        }
        with dask.config.set(settings):
            try:
                cluster = distributed.LocalCluster(n_workers=workers, **options)
            except (OSError, RuntimeError) as error:
                raise ClusterError(
                    f"engine: dask: no cluster could be started here: {_line(error)}"
                ) from error
            with cluster:
                yield cluster.scheduler_address


@contextmanager
def _client(address: str) -> Iterator[Client]:
    """A connection to a scheduler whose workers run what runs here."""
    distributed = _package()
    try:
        client = distributed.Client(
            address, timeout=CONNECT_SECONDS, set_as_default=False, name="recbatch"
        )
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"dask.scheduler: no scheduler answers at {address}: {_line(error)}"
        ) from error
    with client:
        _require_same_versions(client)
        yield client


def _require_same_versions(client: Client) -> None:
    mine = _versions()
    for worker, theirs in client.run(_versions, on_error="return").items():
        if isinstance(theirs, Exception):
            raise ClusterError(
                f"dask.scheduler: worker {worker} cannot run recbatch: {_line(theirs)}"
            )
        for name, wanted in mine.items():
            if theirs[name] != wanted:
                found = f"worker {worker} has {name} {theirs[name]}, this machine {wanted}"
                raise ClusterError(
                    f"dask.scheduler: {found}; rows are the same only with the same versions"
                )


def _versions() -> dict[str, str]:
    return {name: version(name) for name in SAME_ROWS}


def _on_cluster(
    client: Client,
    direct: bool | None,
    ensemble: Ensemble,
    names: Sequence[str],
    n: int,
    blocks: Iterable[Ints],
) -> Iterator[Answered]:
    """`engine: dask`: the models go to every worker once, then blocks do, and only their lists come back.

    A block whose worker died is done by another, by Dask itself. Where no worker holds the models any more they are
    handed out again, and the blocks that were out with them.
    """
    coming, waiting = iter(blocks), deque[tuple[Ints, Any]]()
    held, attempts = _share(client, direct, ensemble), 1
    submit = partial(
        client.submit, _answers, pure=False
    )  # what it gives is not to be found again by its arguments
    while True:
        room = IN_FLIGHT * max(sum(client.nthreads().values()), 1) - len(waiting)
        waiting.extend(
            (users, submit(held, names, users, n)) for users in islice(coming, max(room, 0))
        )
        if not waiting:
            return
        users, future = waiting[0]
        try:
            said = _result(client, future)
        except CancelledError as error:
            if attempts == ATTEMPTS:
                raise ClusterError(
                    f"dask: the models were lost {ATTEMPTS} times: {_line(error)}"
                ) from error
            log_warning("models handed out again", reason=_line(error))
            held, attempts = _share(client, direct, ensemble), attempts + 1
            waiting = deque((users, submit(held, names, users, n)) for users, _ in waiting)
            continue
        waiting.popleft()
        attempts = 0
        yield users, said


def _answers(
    ensemble: Ensemble, names: Sequence[str], users: Ints, n: int
) -> dict[str, RankedBlock]:
    return ensemble.rank_with_evidence(names, users, n)


def _share(client: Client, direct: bool | None, ensemble: Ensemble) -> Any:
    """The models on every worker; `direct`: without a copy on the way, for which workers must be in reach of here."""
    try:
        client.wait_for_workers(1, timeout=WORKERLESS_SECONDS)
        held = client.scatter(
            ensemble, broadcast=True, direct=direct, hash=False, timeout=WORKERLESS_SECONDS
        )
        threads = client.nthreads()
    except OSError as error:  # of which a time that ran out is one
        raise ClusterError(
            f"dask: no workers at {client.scheduler.address}: {_line(error)}"
        ) from error
    log_info(
        "cluster",
        scheduler=client.scheduler.address,
        workers=len(threads),
        threads=sum(threads.values()),
    )
    return held


def _result(client: Client, future: Any) -> Any:
    """What a block comes to. Raises CancelledError where the models were lost, ClusterError where nothing helps."""
    alone = 0
    while True:
        try:
            error = future.exception(timeout=POLL_SECONDS)
        except TimeoutError:
            alone = 0 if client.nthreads() else alone + 1
            if alone * POLL_SECONDS >= WORKERLESS_SECONDS:
                told = f"dask: {client.scheduler.address} has been without workers for {WORKERLESS_SECONDS} s"
                raise ClusterError(told) from None
            continue
        if isinstance(error, _package().KilledWorker):
            why = "are workers short of memory? resources.memory_mb decides how many users are scored together"
            raise ClusterError(f"dask: one block of users ended several workers; {why}") from error
        return future.result()


def _line(error: BaseException) -> str:
    """Its first line."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
