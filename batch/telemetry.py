"""Events -> log lines with the run id; long steps -> a progress bar, or a line now and then."""

import json
import logging
import math
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

from batch.printable import printable

log = logging.getLogger("recbatch")
scheduler_log = logging.getLogger("apscheduler")
# matplotlib warns at length where it has no home folder for its list of fonts
drawing_log = logging.getLogger("matplotlib")
run_id: ContextVar[int | None] = ContextVar("run_id", default=None)
"""The current run, added to every line."""

Style = Literal["text", "json"]
Level = Literal["debug", "info", "warning"]
LINE_EVERY = 10.0
"""Seconds between progress lines where there is no terminal."""
NEEDS_QUOTES = ' "='
"""A value that contains any of these is put in quotes in a text line."""


class _KeyValue(logging.Formatter):
    """`2026-11-23T02:30:00Z level=info run=12 event=loaded ratings=100836`.

    Readable, and split into fields by any log tool. At level debug the traceback of an exception
    follows, indented, so that none of its lines looks like an event.
    """

    def __init__(self, level: Level) -> None:
        super().__init__()
        self._with_traceback = level == "debug"

    def format(self, record: logging.LogRecord) -> str:
        pairs = [f"{key}={_quoted(value)}" for key, value in _fields(record).items()]
        lines = [f"{_moment(record):%Y-%m-%dT%H:%M:%SZ} {' '.join(pairs)}"]
        if self._with_traceback:
            lines += [f"  {printable(line)}" for line in _traceback(record).splitlines()]
        return "\n".join(lines)


class _Json(logging.Formatter):
    """`{"time": "2026-11-23T02:30:00.120Z", "level": "info", "run": 12, "event": "loaded"}`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = _moment(record).isoformat(timespec="milliseconds")
        fields = {"time": moment.replace("+00:00", "Z"), **_fields(record)}
        if trace := _traceback(record):
            fields["traceback"] = trace
        return json.dumps({key: _json_value(value) for key, value in fields.items()})


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {"level": record.levelname.lower()}
    current = run_id.get()
    if current is not None:
        fields["run"] = current
    fields["event"] = record.getMessage()
    error = _exception(record)
    if error is not None:
        fields["error"] = cause(error)
    fields.update(getattr(record, "fields", {}))
    return fields


def cause(error: BaseException) -> str:
    """The class and the message of an exception: a message alone may be no more than a key."""
    message = str(error)
    name = type(error).__name__
    return f"{name}: {message}" if message else name


def _exception(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


def _traceback(record: logging.LogRecord) -> str:
    """The traceback of a record's exception; empty without one."""
    error = _exception(record)
    return "" if error is None else "".join(traceback.format_exception(error))


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _json_value(value: Any) -> Any:
    """A value that JSON has a type for; infinities, nan, dates and paths become text."""
    if isinstance(value, float) and math.isfinite(value):
        return round(value, 6)
    if value is None or isinstance(value, (str, int)):
        return value
    return str(value)


def _quoted(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    if text and text == printable(text) and not any(sign in text for sign in NEEDS_QUOTES):
        return text
    text = text.replace("\\", "\\\\")  # first: the others add backslashes
    text = text.replace('"', '\\"')
    return f'"{printable(text)}"'


def start_logging(*, level: Level = "info", style: Style | None = None) -> None:
    """Log to stderr, from this level on.

    Without a style, lines are text on a terminal and JSON elsewhere. Python's warnings become
    lines too.
    """
    warnings.showwarning = _log_python_warning
    if style is None:
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
        style = "text" if is_terminal else "json"
    handler = _handler(_KeyValue(level) if style == "text" else _Json())
    levels = {
        log: logging.getLevelName(level.upper()),
        scheduler_log: logging.ERROR,
        drawing_log: logging.ERROR,
    }
    for logger, least in levels.items():
        logger.handlers[:] = [handler]
        logger.propagate = False
        logger.setLevel(least)


def log_warnings_only() -> None:
    """Log no more events below a warning."""
    log.setLevel(logging.WARNING)


def capture_warnings(*names: str) -> None:
    """Log the warnings of a library's loggers as this program's own, if logging has started."""
    if not log.handlers:
        return
    for name in names:
        logger = logging.getLogger(name)
        # a handler of its own: Dask changes the level of any handler it finds
        logger.handlers[:] = [_handler(log.handlers[0].formatter)]
        logger.propagate = False
        logger.setLevel(logging.WARNING)


def _log_python_warning(
    message: Warning | str, category: type[Warning], *_place: Any, **_more: Any
) -> None:
    log_warning(str(message), category=category.__name__)


def _handler(formatter: logging.Formatter | None) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    return handler


def log_info(event: str, /, **fields: Any) -> None:
    """Log an event with its figures."""
    log.info(event, extra={"fields": fields})


def log_warning(event: str, /, *, because: Exception | None = None, **fields: Any) -> None:
    """Log an event that a person should look at, with the exception behind it, if any."""
    log.warning(event, exc_info=because, extra={"fields": fields})


def log_error(event: str, error: BaseException, /, **fields: Any) -> None:
    """Log an exception that nobody expected, with its cause."""
    log.error(event, exc_info=error, extra={"fields": fields})


@contextmanager
def step(name: str, /, into: dict[str, float], **fields: Any) -> Iterator[dict[str, Any]]:
    """Time a step, and log it at its end with the peak memory so far.

    The caller may add figures to the yielded dict. The seconds are added to `into[name]`.
    """
    began = time.perf_counter()
    yield fields
    seconds = time.perf_counter() - began
    into[name] = into.get(name, 0.0) + seconds
    log_info(name, **fields, seconds=seconds, peak_mb=peak_mb())


def peak_mb() -> int:
    """The peak memory of this process so far, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    return round(peak * bytes_per_unit / 1e6)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show the progress of a long step; the yielded function takes how much more is done."""
    if sys.stderr is not None and sys.stderr.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(escape(printable(what)), total=total)
            yield lambda more: bars.advance(task, more)
        return
    done = 0
    last_line = time.monotonic()

    def advance(more: int) -> None:
        nonlocal done, last_line
        done += more
        if time.monotonic() - last_line >= LINE_EVERY:
            last_line = time.monotonic()
            log_info("progress", step=what, done=done, total=total)

    yield advance
