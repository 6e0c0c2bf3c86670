"""Processes of a test's own: started, ended at a point of the night, or all at the same moment."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batch.job import refresh, save_models, steps
from batch.store import publish


def _points() -> dict[str, tuple[Any, str, str]]:
    """name -> where: a function of the night, and whether before or after it."""
    found: dict[str, tuple[Any, str, str]] = {}
    for module, name in (
        (steps, "load"), (steps, "measure"), (steps, "assemble"), (save_models, "save_weights"),
        (steps, "audit_integrity"), (steps, "audit_gates"), (steps, "record"),
        (publish, "open_run"), (publish, "write_lists"), (publish, "write_popular"),
        (steps, "write_similar"), (publish, "write_metrics"),
        (publish, "publish"), (publish, "purge"),
    ):  # fmt: skip
        found |= {f"{kind} {name}": (module, name, kind) for kind in ("before", "after")}
    found["between the run's row and the pointer"] = (publish, "_flip", "before")
    found["between the pointer and its commit"] = (publish, "_flip", "after")
    return found


POINTS = _points()

REFRESH_POINTS: dict[str, tuple[Any, str, str]] = {
    f"{kind} {name} of a refresh": (module, name, kind)
    for module, name in (
        (refresh, "changed_users"), (publish, "open_run"), (steps, "load"),
        (refresh, "restored_ensemble"), (publish, "write_lists"), (refresh, "audit_integrity"),
        (refresh, "show_refreshed"), (publish, "purge"),
    )
    for kind in ("before", "after")
}  # fmt: skip


def do_at(point: str, then: Callable[[], object]) -> None:
    """Do something else when this process comes to a point."""
    module, name, kind = (POINTS | REFRESH_POINTS)[point]
    work = getattr(module, name)

    def reached(*given: Any, **named: Any) -> Any:
        if kind == "before":
            then()
        found = work(*given, **named)
        if kind == "after":
            then()
        return found

    setattr(module, name, reached)  # for good: the process is about to end


def end_at(point: str, number: int) -> None:
    """Send this process a signal as soon as it comes to a point."""
    do_at(point, lambda: os.kill(os.getpid(), number))


def in_child(work: Callable[[], int], log: Path) -> int:
    """Fork a child that ends with what `work` returns, its output in a file; its process id."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        code = work()
        sys.stdout.flush()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Wait for a child; its exit code, or minus the signal that ended it."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def together(number: int, work: Callable[[int], int], log: Path) -> list[tuple[int, float]]:
    """Start processes at the same time; exit code and end time of each, in order of ending."""
    gate, opened = os.pipe()

    def wait(each: int) -> int:
        os.close(opened)
        os.read(gate, 1)  # returns when the last writer has closed
        return work(each)

    children = [in_child(lambda each=each: wait(each), log) for each in range(number)]  # type: ignore[misc]
    os.close(gate)
    os.close(opened)
    found: list[tuple[int, float]] = []
    while len(found) < number:
        time.sleep(0.01)
        for child in list(children):
            gone, status = os.waitpid(child, os.WNOHANG)
            if gone:
                children.remove(child)
                found.append((os.waitstatus_to_exitcode(status), time.monotonic()))
    return found
