"""A command -> its time, processor time, peak memory, output, and the steps in its log."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Figures: TypeAlias = dict[str, Any]
"""Measurements by name, as JSON holds them."""

ROOT = Path(__file__).resolve().parents[1]
LAUNCH = Path(__file__).with_name("launch.py")


def measured(
    command: Sequence[str],
    log: Path,
    *,
    folder: Path,
    environ: Mapping[str, str] | None = None,
    seconds: float | None = None,
    megabytes: float | None = None,
) -> Figures:
    """Run a command in a folder until it ends; its stdout is `output`, its stderr is `logged`.

    stderr is appended to the file `log` too. `seconds` and `megabytes` (of
    address space) are limits; a command that takes longer is killed. The
    command gets no RECBATCH_ variables but those in `environ`, and imports this
    project's sources before all others.
    """
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith("RECBATCH_")
    }
    variables["PYTHONPATH"] = str(ROOT)
    variables.update(environ or {})
    read_end, write_end = os.pipe()
    limits = [str(seconds or 0), str(megabytes or 0)]
    launch = [sys.executable, "-I", "-S", str(LAUNCH), str(write_end), *limits, *command]
    with log.open("a", encoding="utf-8") as err:
        err.write(f"$ {' '.join(command)}\n")
        err.flush()
        log_start = err.tell()
        process = subprocess.run(  # noqa: S603  our own commands
            launch,
            cwd=folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            pass_fds=[write_end],
            check=True,
        )
    os.close(write_end)
    with os.fdopen(read_end, encoding="ascii") as pipe:
        figures: Figures = json.load(pipe)
    with log.open(encoding="utf-8") as lines:
        lines.seek(log_start)
        logged = lines.read()
    return figures | {"steps": steps(logged), "output": process.stdout, "logged": logged}


def python(script: str, *arguments: str) -> list[str]:
    """The command that runs a file of this folder."""
    return [sys.executable, str(Path(__file__).with_name(script)), *arguments]


def answer(figures: Figures) -> Figures:
    """The JSON that a file of this folder printed, and its peak memory.

    Ends the program if its exit code was not 0.
    """
    expect(figures)
    return json.loads(figures["output"]) | {"peak_mb": figures["peak_mb"]}


def expect(figures: Figures) -> None:
    """End the program with the last line of a command's log unless its exit code was 0."""
    if figures["exit_code"] != 0:
        lines = figures["logged"].splitlines() or [""]
        sys.exit(f"exit code {figures['exit_code']}: {lines[-1]}")


def steps(logged: str) -> list[Figures]:
    """The steps in a log of JSON lines, in order: name, seconds, peak memory, and counts."""
    all_steps = []
    for line in logged.splitlines():
        if not line.startswith("{"):
            continue
        fields = json.loads(line)
        if "seconds" not in fields:
            continue
        model = fields.get("model")
        name = fields["event"]
        step: Figures = {"step": f"{name} {model}" if model else name}
        step |= {field: value for field, value in fields.items() if isinstance(value, int | float)}
        all_steps.append(step)
    return all_steps
