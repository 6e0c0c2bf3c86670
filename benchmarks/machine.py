"""This machine -> what it is, and how fast its memory and its arithmetic are at best.

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
"""Of each of three arrays that are walked through: no cache holds them."""
IN_CACHE = 1024
"""Numbers of the array that is worked on again and again: it lies in the nearest cache, its numbers in registers."""
CHAIN = 16
"""Multiply-adds on a number between its load and its store, so that arithmetic is what is measured."""
REPEATS = 5
"""The best counts: anything slower was disturbed."""
PASSES = 100_000


def main() -> None:
    """Print it as JSON."""
    print(json.dumps(described() | {"rates": rates()}))


def described() -> dict[str, Any]:
    """Processor, caches, memory, system and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": int(config.NUMBA_NUM_THREADS),
        "caches": _caches(),
        "memory_gb": round(memory_mb() / 1e3, 1),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": {name: found for name in RECORDED if (found := _version(name))}
        | {"SQLite": sqlite3.sqlite_version},
    }


def memory_mb() -> float:
    """All of the machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6


def rates() -> dict[str, float]:
    """Bytes, and multiply-adds in double and single precision, a second; on as many threads as the models use."""
    return {
        "bytes": bandwidth(),
        "double": multiply_adds(np.float64),
        "single": multiply_adds(np.float32),
    }


def bandwidth() -> float:
    """Bytes a second of a = b + s c (the triad of McCalpin's STREAM): two arrays read, one written."""
    n = ARRAY_MB * 1_000_000 // 8
    a, b, c = (np.zeros(n) for _ in range(3))
    part = -(-n // config.NUMBA_NUM_THREADS)
    return (
        3
        * 8
        * n
        / _best(lambda: in_parts(lambda start, stop: _triad(start, stop, a, b, c), n, part))
    )


def multiply_adds(kind: type[np.floating[Any]]) -> float:
    """Multiply-adds a second on vectors in registers, all threads together; an addition takes as long as one."""
    threads = config.NUMBA_NUM_THREADS
    rows = np.ones((threads, IN_CACHE), dtype=kind)
    scale, shift = kind(0.5), kind(0.25)
    done = threads * PASSES * IN_CACHE * CHAIN
    return done / _best(
        lambda: in_parts(lambda start, _: _chain(rows[start], scale, shift, PASSES), threads, 1)
    )


def _best(work: Callable[[], None]) -> float:
    """Seconds of the fastest repeat; the first, which compiles, does not count."""
    work()
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


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
        found = re.search(
            r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="ascii")
        )
    except OSError:
        return platform.processor()
    return found[1] if found else platform.processor()


def _caches() -> str:
    """Of the first core, nearest first, as Linux tells of them."""
    found = []
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (
            (cache / name).read_text(encoding="ascii").strip() for name in ("level", "type", "size")
        )
        if kind != "Instruction":
            found.append(f"L{level} {size}")
    return ", ".join(found)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
