"""Python loops -> machine code, cached on disk where possible and run on every core."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numba import config, njit, types
from threadpoolctl import threadpool_limits

from batch.models.code_cache import CodeCache

Loop: TypeAlias = Callable[..., Any]
Input = TypeVar("Input")
Result = TypeVar("Result")

INT = types.int64
FLOAT = types.float64
INTS = types.Array(types.int64, 1, "C", readonly=True)
COLUMNS = types.Array(types.int32, 1, "C", readonly=True)
FLOATS = types.Array(types.float64, 1, "C", readonly=True)
BOOLS = types.Array(types.boolean, 1, "C", readonly=True)
SINGLES = types.Array(types.float32, 1, "C", readonly=True)
TABLE = types.Array(types.float64, 2, "C", readonly=True)
"""Types of the arguments that a loop reads; see `read_only`."""
INTS_OUT = types.int64[::1]
COLUMNS_OUT = types.int32[::1]
FLOATS_OUT = types.float64[::1]
TABLE_OUT = types.float64[:, ::1]
SINGLE_TABLE_OUT = types.float32[:, ::1]
"""Types of the arguments that a loop writes to."""

inner = njit(error_model="numpy")
"""Decorator of a function that is compiled into each loop that calls it.

It must be in the same file as the loop: the cache of a loop notices changes of
that file only.
"""


def compiled(*signatures: tuple[Any, ...]) -> Callable[[Loop], Loop]:
    """Compile a loop for these argument types, when its module is imported.

    The loop runs without the interpreter's lock.

    The machine code is cached in NUMBA_CACHE_DIR, else beside the module, else
    under the home directory. Where none of them is writeable, each process
    compiles it in memory. Warns where the cache is damaged.
    """

    def compile_now(loop: Loop) -> Loop:
        dispatcher = njit(nogil=True, error_model="numpy")(loop)
        if dispatcher is loop:  # NUMBA_DISABLE_JIT=1
            return loop
        if _can_cache():
            with suppress(RuntimeError, OSError):  # no writeable directory
                dispatcher._cache = CodeCache(loop)
        for signature in signatures:
            dispatcher.compile(signature)
        dispatcher.disable_compile()
        return dispatcher

    return compile_now


def in_parts(work: Callable[[int, int], None], n: int, size: int) -> None:
    """Call work(start, stop) for parts of range(n), `size` long, on several threads.

    Each part runs on one thread and shares nothing with the others, so the
    number of threads changes no digit of a result. It is NUMBA_NUM_THREADS, by
    default one per core. An exception in a part is raised here.
    """
    starts = range(0, n, size)
    stops = [min(start + size, n) for start in starts]
    threads = min(config.NUMBA_NUM_THREADS, len(starts))
    if threads <= 1 or getattr(_thread, "is_worker", False):
        for start, stop in zip(starts, stops, strict=True):
            work(start, stop)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, starts, stops))  # raises what a part raised


def side_by_side(work: Callable[[Input], Result], inputs: Iterable[Input]) -> Iterator[Result]:
    """Yield work(value) for each input, in order, working on several at once.

    There are as many at once as there are threads. This keeps every core busy
    with the parts of the work that are not compiled, too. Each call runs its
    own `in_parts` on its one thread, and matrix products stay on that thread:
    OpenBLAS's threads would wait in a busy loop on cores that are needed. At
    most one result more than there are threads is computed ahead. An exception
    in a call is raised where its result is due.
    """
    threads = config.NUMBA_NUM_THREADS
    if threads <= 1:
        yield from map(work, inputs)
        return

    def on_worker(value: Input) -> Result:
        _thread.is_worker = True
        return work(value)

    pending: deque[Future[Result]] = deque()
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        for value in inputs:
            pending.append(pool.submit(on_worker, value))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


_thread = threading.local()


def read_only(array: Any) -> Any:
    """The array as a contiguous, read-only view, as loops expect their input."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def _can_cache() -> bool:
    """Whether there is a directory to cache in.

    Without a home directory numba would create a folder named ~.
    """
    home_exists = os.path.expanduser("~") != "~"
    return home_exists or bool(os.environ.get("NUMBA_CACHE_DIR"))
