"""This machine -> what it is, and the highest speed of its memory and its arithmetic.

python benchmarks/machine.py
"""

import json
import os
import platform
import re
import sqlite3
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numba import config, njit

from batch.models.compiled import in_parts

RECORDED = (
    "recbatch",
    "numpy",
    "numba",
    "scipy",
    "torch",
    "scikit-surprise",
    "implicit",
    "psycopg",
)
ARRAY_MB = 512
"""Of each of three arrays that are read or written once: no cache holds them."""
IN_CACHE = 1024
"""Numbers in the array that arithmetic works on: it fits the nearest cache."""
CHAIN = 16
"""Multiply-adds on a number between its load and its store, so that arithmetic is measured."""
REPEATS = 5
"""The fastest counts: a slower one was disturbed."""
PASSES = 100_000


def main() -> None:
    """Print everything as JSON."""
    print(json.dumps(described() | {"rates": rates()}))


def described() -> dict[str, Any]:
    """Processor, caches, memory, system and versions."""
    versions = {name: _version(name) for name in RECORDED}
    installed = {name: number for name, number in versions.items() if number}
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": int(config.NUMBA_NUM_THREADS),
        "caches": _caches(),
        "memory_gb": round(memory_mb() / 1e3, 1),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": installed | {"SQLite": sqlite3.sqlite_version},
    }


def memory_mb() -> float:
    """All memory of the machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6


def rates() -> dict[str, float]:
    """Bytes, and multiply-adds in double and single precision, per second.

    On as many threads as the models use.
    """
    return {
        "bytes": bandwidth(),
        "double": multiply_adds(np.float64),
        "single": multiply_adds(np.float32),
    }


def bandwidth() -> float:
    """Bytes per second of a = b + s c (the triad of McCalpin's STREAM): two reads, one write."""
    n = ARRAY_MB * 1_000_000 // 8
    a, b, c = (np.zeros(n) for _ in range(3))
    part = -(-n // config.NUMBA_NUM_THREADS)  # rounded up

    def triad(start: int, stop: int) -> None:
        _triad(start, stop, a, b, c)

    seconds = _fastest(lambda: in_parts(triad, n, part))
    return 3 * 8 * n / seconds


def multiply_adds(kind: type[np.floating[Any]]) -> float:
    """Multiply-adds per second on vectors in registers, all threads together.

    An addition takes as long as a multiply-add.
    """
    threads = config.NUMBA_NUM_THREADS
    rows = np.ones((threads, IN_CACHE), dtype=kind)
    scale = kind(0.5)
    shift = kind(0.25)

    def chain(start: int, _stop: int) -> None:
        _chain(rows[start], scale, shift, PASSES)

    n_operations = threads * PASSES * IN_CACHE * CHAIN
    return n_operations / _fastest(lambda: in_parts(chain, threads, 1))


def _fastest(work: Callable[[], None]) -> float:
    """Seconds of the fastest repeat; the first, which compiles, does not count."""
    work()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@njit(nogil=True, fastmath={"contract"})
def _triad(start, stop, a, b, c):  # type: ignore[no-untyped-def]
    for place in range(start, stop):
        a[place] = b[place] + 3.0 * c[place]


@njit(nogil=True, fastmath={"contract"})
def _chain(row, scale, shift, passes):  # type: ignore[no-untyped-def]
    for _ in range(passes):
        for place in range(len(row)):
            value = row[place]
            for _ in range(CHAIN):
                value = value * scale + shift
            row[place] = value


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii")
    except OSError:
        return platform.processor()
    match = re.search(r"model name\s*:\s*(.+)", text)
    return match[1] if match else platform.processor()


def _caches() -> str:
    """Caches of the first core, nearest first, as Linux lists them."""
    caches = []
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind = _first_line(folder / "type")
        if kind != "Instruction":
            caches.append(f"L{_first_line(folder / 'level')} {_first_line(folder / 'size')}")
    return ", ".join(caches)


def _first_line(file: Path) -> str:
    return file.read_text(encoding="ascii").strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
