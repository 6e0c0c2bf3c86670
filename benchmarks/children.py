"""A command -> what it took: time, processor time, memory, and the steps it tells of, measured by the system."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Figures: TypeAlias = dict[str, Any]
"""What was measured, by name, as JSON holds it."""

ROOT = Path(__file__).resolve().parents[1]
TOLD = re.compile(r"(\w+)=(\"(?:[^\"\\]|\\.)*\"|\S+)")
"""A field of a log line."""


def measured(
    command: Sequence[str],
    log: Path,
    *,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    seconds: float | None = None,
    megabytes: float | None = None,
) -> Figures:
    """Run a command in a folder until it ends, its stderr appended to a log and its stdout returned as `said`.

    `seconds` and `megabytes` (of address space) are what it may take; who takes longer is killed. The command sees no
    RECBATCH_ variables but those in `environ`, and this project's sources before all others.
    """
    known = {name: value for name, value in os.environ.items() if not name.startswith("RECBATCH_")}
    known |= {"PYTHONPATH": str(ROOT)} | dict(environ or {})
    with log.open("a", encoding="utf-8") as err:
        err.write(f"$ {' '.join(command)}\n")
        err.flush()
        told_from, began = err.tell(), time.perf_counter()
        process = subprocess.Popen(  # noqa: S603  our own commands
            command, cwd=folder, env=known, stdout=subprocess.PIPE, stderr=err, text=True, preexec_fn=_limit(megabytes)
        )
        late = threading.Event()
        clock = threading.Timer(seconds, _end, (process.pid, late)) if seconds else None
        if clock:
            clock.start()
        said = process.stdout.read() if process.stdout else ""
        _, status, used = os.wait4(process.pid, 0)
        if clock:
            clock.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)  # or it would wait for the process again
    with log.open(encoding="utf-8") as lines:
        lines.seek(told_from)
        told = lines.read()
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6,
        "exit_code": process.returncode,
        "too_late": late.is_set(),
        "steps": steps(told),
        "said": said,
        "told": told,
    }


def python(script: str, *arguments: str) -> list[str]:
    """The command that runs a file beside this one."""
    return [sys.executable, str(Path(__file__).with_name(script)), *arguments]


def answer(found: Figures) -> Figures:
    """The JSON that such a file prints, and its memory; ends the program where there is none."""
    expect(found)
    return json.loads(found["said"]) | {"peak_mb": found["peak_mb"]}


def expect(found: Figures) -> None:
    """End the program with the child's last words unless it ended well."""
    if found["exit_code"] != 0:
        sys.exit(f"exit code {found['exit_code']}: {(found['told'].splitlines() or [''])[-1]}")


def steps(told: str) -> list[Figures]:
    """The steps in a log, in order: their names, seconds, the most memory held by their end, and what they counted."""
    found = []
    for line in told.splitlines():
        fields = dict(TOLD.findall(line))
        if "event" in fields and "seconds" in fields:
            name = " ".join(filter(None, [fields.pop("event"), fields.pop("model", None)]))
            found.append({"step": name} | {field: float(value) for field, value in fields.items() if field != "level"})
    return found


def _limit(megabytes: float | None) -> Any:
    """What the child does before it starts: nothing, or bound itself."""
    if megabytes is None:
        return None
    most = int(megabytes * 1e6)
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _end(pid: int, late: threading.Event) -> None:
    late.set()
    os.kill(pid, signal.SIGKILL)
