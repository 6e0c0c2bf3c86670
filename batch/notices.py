"""How a run ended -> a metrics file, a Pushgateway and a webhook; none of them can fail the job."""

import json
import os
from base64 import b64encode
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from batch import __version__
from batch.config import Config
from batch.ending import WELL, Ending
from batch.exposition import CONTENT_TYPE, exposition
from batch.telemetry import peak_mb, warn

TIMEOUT = 5.0
"""Seconds for a delivery, names looked up and all: whoever does not hear within them reads `recbatch runs`."""
COUNTS = ("users", "films", "ratings", "rows", "rows_read", "rows_accepted", "rows_rejected", "files_refused")
MOST_TEXT = 500
"""Characters of an error that are told; the rest stands in the log."""


def announce(ending: Ending, config: Config) -> None:
    """Tell everyone the settings name; what cannot be delivered is a warning."""
    ending.finished_at = ending.finished_at or datetime.now(UTC)
    ending.peak_mb = float(peak_mb())
    metrics, notify = config.metrics, config.notify
    if metrics.textfile:
        try:
            write_metrics(metrics.textfile, ending)
        except OSError as error:
            warn("metrics not written", file=metrics.textfile, error=error.strerror or str(error))
    if metrics.push_url:
        _post("metrics not pushed", metrics.push_url, exposition(ending).encode(), CONTENT_TYPE)
    kind = "success" if ending.status in WELL else "failure"
    if notify.webhook_url and kind in notify.when:
        body = json.dumps(message(ending, kind), ensure_ascii=False).encode("utf-8", "replace")
        _post("webhook not told", notify.webhook_url, body, "application/json")


def write_metrics(file: Path, ending: Ending) -> None:
    """Replace the file in one step, so that a collector reads the old one or the new one. Raises OSError."""
    before = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")  # a name that no collector takes for *.prom
    try:
        unfinished.write_text(exposition(ending, before), encoding="utf-8")
        unfinished.replace(file)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def message(ending: Ending, kind: str) -> dict[str, object]:
    """What a webhook is told; `text` is the line that chat programs show."""
    failed = [
        {"name": check.name, "value": check.value, "wanted": f"{check.wanted} {check.threshold:g}"}
        for check in ending.failed_checks
    ]
    why = (ending.error or ", ".join(check.name for check in ending.failed_checks))[:MOST_TEXT]
    run = "a run" if ending.run_id is None else f"run {ending.run_id}"
    return {
        "text": f"recbatch: {run} for {ending.night} is {ending.status}" + (f": {why}" if why else ""),
        "event": kind,
        "run_id": ending.run_id,
        "status": ending.status,
        "night": ending.night.isoformat(),
        "triggered_by": ending.triggered_by,
        "started_at": ending.started_at.isoformat(),
        "finished_at": ending.finished_at.isoformat() if ending.finished_at else None,
        "seconds": round(ending.took, 3),
        "error": ending.error and ending.error[:MOST_TEXT],
        "failed_checks": failed,
        **{name: getattr(ending, name) for name in COUNTS},
        "version": __version__,
    }


def _post(failing: str, url: str, body: bytes, content_type: str) -> None:
    """POST it, and warn where it was not taken; a URL may hold a secret, so that only its host is told."""
    why: list[str] = []
    # A thread, because nothing else bounds all of it: the look-up of a name has no limit, an answer may drip.
    delivery = Thread(target=lambda: why.extend(_delivered(url, body, content_type)), daemon=True)
    delivery.start()
    delivery.join(TIMEOUT)
    if delivery.is_alive():
        why = [_late()]
    if why:
        parts = urlsplit(url)
        warn(failing, to=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", error=why[0])


class _NoRedirect(HTTPRedirectHandler):
    """What is sent elsewhere would go without its body, and with its password."""

    def redirect_request(self, *_: object) -> None:
        """Take the answer as it is."""


def _late() -> str:
    return f"no answer within {TIMEOUT:g} s"


def _delivered(url: str, body: bytes, content_type: str) -> list[str]:
    """Nothing if it was taken, else why not."""
    headers, parts = {"Content-Type": content_type, "User-Agent": f"recbatch/{__version__}"}, urlsplit(url)
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    try:
        request = Request(url, data=body, headers=headers, method="POST")  # noqa: S310  http or https, by the settings
        with build_opener(_NoRedirect).open(request, timeout=TIMEOUT):
            return []
    except TimeoutError:
        return [_late()]
    except HTTPError as error:
        error.close()
        return [f"it answered {error.code}"]
    except URLError as error:
        return [str(getattr(error.reason, "strerror", None) or error.reason)]
    except OSError as error:
        return [error.strerror or type(error).__name__]
    except (HTTPException, ValueError) as error:  # their messages quote the URL
        return [type(error).__name__]
