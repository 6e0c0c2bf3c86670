"""What happens -> log lines that carry the run id, and progress: a bar on a terminal, a line now and then elsewhere."""

import json
import logging
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

log = logging.getLogger("recbatch")
scheduler_log = logging.getLogger("apscheduler")
drawing_log = logging.getLogger(
    "matplotlib"
)  # warns at length where it has no home to keep a list of fonts in
run_id: ContextVar[int | None] = ContextVar("run_id", default=None)
"""The run at work, added to every line."""

Style = Literal["text", "json"]
LINE_EVERY = 10.0
"""Seconds between progress lines where there is no terminal."""


class _KeyValue(logging.Formatter):
    """`2026-11-23T02:30:00Z level=info run=12 event=loaded ratings=100836`: readable, and split by any log tool."""

    def format(self, record: logging.LogRecord) -> str:
        line = " ".join(f"{key}={_quoted(value)}" for key, value in _fields(record).items())
        return f"{_moment(record):%Y-%m-%dT%H:%M:%SZ} {line}"


class _Json(logging.Formatter):
    """`{"time": "2026-11-23T02:30:00.120Z", "level": "info", "run": 12, "event": "loaded", "ratings": 100836}`."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "time": _moment(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            **_fields(record),
        }
        return json.dumps({key: _plain(value) for key, value in told.items()})


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    told: dict[str, Any] = {"level": record.levelname.lower()}
    if run_id.get() is not None:
        told["run"] = run_id.get()
    return told | {"event": record.getMessage(), **getattr(record, "fields", {})}


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _plain(value: Any) -> Any:
    """What JSON can hold: it has no numbers that are not finite, no dates and no paths."""
    if isinstance(value, float) and math.isfinite(value):
        return round(value, 6)
    return value if value is None or isinstance(value, (str, int)) else str(value)


def _quoted(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    if text and not any(sign in text for sign in ' "=\n\r\t'):
        return text
    escaped = (
        text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    )
    return f'"{escaped}"'


def start_logging(*, verbose: bool, style: Style | None = None) -> None:
    """Log to stderr: warnings on their own, everything with `verbose`. The style is text on a terminal, else JSON."""
    chosen = style or ("text" if sys.stderr is not None and sys.stderr.isatty() else "json")
    handler = _handler(_KeyValue() if chosen == "text" else _Json())
    own = logging.INFO if verbose else logging.WARNING
    for logger, level in ((log, own), (scheduler_log, logging.ERROR), (drawing_log, logging.ERROR)):
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(level)


def capture_warnings(*names: str) -> None:
    """Let the warnings of a library's loggers come out as lines like this program's, where it logs at all."""
    if log.handlers:
        for logger in map(logging.getLogger, names):
            logger.handlers[:] = [
                _handler(log.handlers[0].formatter)
            ]  # their own: Dask changes the level of any it finds
            logger.propagate = False
            logger.setLevel(logging.WARNING)


def _handler(formatter: logging.Formatter | None) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    return handler


def log_info(event: str, /, **fields: Any) -> None:
    """Log one event with its figures."""
    log.info(event, extra={"fields": fields})


def log_warning(event: str, /, **fields: Any) -> None:
    """Log something a person should look at."""
    log.warning(event, extra={"fields": fields})


@contextmanager
def step(name: str, /, into: dict[str, float], **fields: Any) -> Iterator[dict[str, Any]]:
    """Time a step and log it when it is done, with the most memory that was held so far.

    The caller may add figures to the dict it gets. The time goes `into` another under the name, added up where a
    step is taken several times.
    """
    began = time.perf_counter()
    yield fields
    taken = time.perf_counter() - began
    into[name] = into.get(name, 0.0) + taken
    log_info(name, **fields, seconds=taken, peak_mb=peak_mb())


def peak_mb() -> int:
    """The most memory, in MB, that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(
        peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
    )  # bytes there, KiB elsewhere


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a long step is; call the function it gives with how much more is done."""
    if sys.stderr is not None and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(what, total=total)
            yield lambda more: bars.advance(task, more)
        return
    done, spoke = 0, time.monotonic()

    def advance(more: int) -> None:
        nonlocal done, spoke
        done += more
        if time.monotonic() - spoke >= LINE_EVERY:
            spoke = time.monotonic()
            log_info("progress", step=what, done=done, total=total)

    yield advance
