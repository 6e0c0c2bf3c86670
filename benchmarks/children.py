"""A command -> what it took: time, processor time, memory, and the steps it tells of, measured by the system."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Figures: TypeAlias = dict[str, Any]
"""What was measured, by name, as JSON holds it."""

ROOT = Path(__file__).resolve().parents[1]
LAUNCH = Path(__file__).with_name("launch.py")
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
    """Run a command in a folder until it ends; its stdout is `said`, its stderr, appended to a log, is `told`.

    `seconds` and `megabytes` (of address space) are what it may take; who takes longer is killed. The command sees no
    RECBATCH_ variables but those in `environ`, and this project's sources before all others.
    """
    known = {name: value for name, value in os.environ.items() if not name.startswith("RECBATCH_")}
    known |= {"PYTHONPATH": str(ROOT)} | dict(environ or {})
    told, tell = os.pipe()
    launch = [
        sys.executable,
        "-I",
        "-S",
        str(LAUNCH),
        str(tell),
        str(seconds or 0),
        str(megabytes or 0),
        *command,
    ]
    with log.open("a", encoding="utf-8") as err:
        err.write(f"$ {' '.join(command)}\n")
        err.flush()
        start = err.tell()
        ended = subprocess.run(  # noqa: S603  our own commands
            launch,
            cwd=folder,
            env=known,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            pass_fds=[tell],
            check=True,
        )
    os.close(tell)
    with os.fdopen(told, encoding="ascii") as counted:
        found: Figures = json.load(counted)
    with log.open(encoding="utf-8") as lines:
        lines.seek(start)
        logged = lines.read()
    return found | {"steps": steps(logged), "said": ended.stdout, "told": logged}


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
            found.append(
                {"step": name}
                | {field: float(value) for field, value in fields.items() if field != "level"}
            )
    return found
