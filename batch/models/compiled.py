"""Python loops -> machine code: compiled once, kept on disk where that can be, run on every core."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numba import config, njit
from threadpoolctl import threadpool_limits

Loop: TypeAlias = Callable[..., Any]
Given = TypeVar("Given")
Found = TypeVar("Found")

inner = njit(error_model="numpy")
"""Compiled into whichever loop calls it. It must stand in the same file: the cache knows changes of that file only."""


def compiled(*signatures: tuple[Any, ...]) -> Callable[[Loop], Loop]:
    """Compile for these types of arguments, when the module is imported; the loop runs without the interpreter's lock.

    The code is kept in NUMBA_CACHE_DIR, else beside the module, else under the home folder; where none of them can be
    written, it is compiled anew in each process.
    """

    def compile_now(loop: Loop) -> Loop:
        try:
            return njit(list(signatures), nogil=True, error_model="numpy", cache=_may_be_kept())(
                loop
            )
        except (RuntimeError, OSError):  # numba found no folder to write in; or the disk is full
            return njit(list(signatures), nogil=True, error_model="numpy")(loop)

    return compile_now


def in_parts(work: Callable[[int, int], None], n: int, size: int) -> None:
    """work(start, stop) for consecutive parts of range(n), `size` long.

    A part is whole on one thread and knows of no other, so that the number of threads, NUMBA_NUM_THREADS or one a
    core, changes no digit.
    """
    starts = range(0, n, size)
    stops = [min(start + size, n) for start in starts]
    threads = (
        1
        if getattr(_thread, "is_one_of_many", False)
        else min(config.NUMBA_NUM_THREADS, len(starts))
    )
    if threads <= 1:
        list(map(work, starts, stops))
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, starts, stops))  # what a part raises is raised here


def side_by_side(work: Callable[[Given], Found], given: Iterable[Given]) -> Iterator[Found]:
    """work(each), in order, as many of them at once as there are threads; each does its own parts one by one.

    So that what is not compiled, too, keeps every core busy. Little more than is being worked on is held. Products of
    matrices stay on their own thread: OpenBLAS would have others wait for work in a loop, on cores that are needed.
    """
    threads = config.NUMBA_NUM_THREADS
    if threads <= 1:
        yield from map(work, given)
        return

    def alone(each: Given) -> Found:
        _thread.is_one_of_many = True
        return work(each)

    waiting: deque[Future[Found]] = deque()
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        for each in given:
            waiting.append(pool.submit(alone, each))
            if len(waiting) > threads:
                yield waiting.popleft().result()  # what it raises is raised here
        while waiting:
            yield waiting.popleft().result()


_thread = threading.local()


def read_only(array: Any) -> Any:
    """The same array under the one type that loops are compiled for: in rows, and not to be written to."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def _may_be_kept() -> bool:
    """Nobody's home: numba would make a folder named ~ where the job happens to run."""
    return bool(os.environ.get("NUMBA_CACHE_DIR")) or os.path.expanduser("~") != "~"
