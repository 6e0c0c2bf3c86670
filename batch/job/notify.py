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
from batch.job.prometheus import CONTENT_TYPE, metrics_text
from batch.job.summary import SUCCEEDED, RunSummary
from batch.telemetry import log_warning, peak_mb

TIMEOUT = 5.0
"""Seconds for a delivery, names looked up and all: whoever does not hear within them reads `recbatch runs`."""
COUNTS = (
    "users",
    "films",
    "ratings",
    "rows",
    "rows_read",
    "rows_accepted",
    "rows_rejected",
    "files_refused",
)
MOST_TEXT = 500
"""Characters of an error that are told; the rest stands in the log."""


def notify(summary: RunSummary, config: Config) -> None:
    """Tell everyone the settings name; what cannot be delivered is a warning."""
    summary.finished_at = summary.finished_at or datetime.now(UTC)
    summary.peak_mb = float(peak_mb())
    metrics, notify = config.metrics, config.notify
    if metrics.textfile:
        try:
            write_metrics(metrics.textfile, summary)
        except OSError as error:
            log_warning(
                "metrics not written", file=metrics.textfile, error=error.strerror or str(error)
            )
    if metrics.push_url:
        _post("metrics not pushed", metrics.push_url, metrics_text(summary).encode(), CONTENT_TYPE)
    kind = "success" if summary.status in SUCCEEDED else "failure"
    if notify.webhook_url and kind in notify.when:
        body = json.dumps(message(summary, kind), ensure_ascii=False).encode("utf-8", "replace")
        _post("webhook not told", notify.webhook_url, body, "application/json")


def write_metrics(file: Path, summary: RunSummary) -> None:
    """Replace the file in one step, so that a collector reads the old one or the new one. Raises OSError."""
    before = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    unfinished = file.with_name(
        f".{file.name}.{os.getpid()}"
    )  # a name that no collector takes for *.prom
    try:
        unfinished.write_text(metrics_text(summary, before), encoding="utf-8")
        unfinished.replace(file)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def message(summary: RunSummary, kind: str) -> dict[str, object]:
    """What a webhook is told; `text` is the line that chat programs show."""
    failed = [
        {"name": check.name, "value": check.value, "wanted": f"{check.wanted} {check.threshold:g}"}
        for check in summary.failed_checks
    ]
    why = (summary.error or ", ".join(check.name for check in summary.failed_checks))[:MOST_TEXT]
    run = "a run" if summary.run_id is None else f"run {summary.run_id}"
    return {
        "text": f"recbatch: {run} for {summary.night} is {summary.status}"
        + (f": {why}" if why else ""),
        "event": kind,
        "run_id": summary.run_id,
        "status": summary.status,
        "night": summary.night.isoformat(),
        "triggered_by": summary.triggered_by,
        "started_at": summary.started_at.isoformat(),
        "finished_at": summary.finished_at.isoformat() if summary.finished_at else None,
        "seconds": round(summary.took, 3),
        "error": summary.error and summary.error[:MOST_TEXT],
        "failed_checks": failed,
        **{name: getattr(summary, name) for name in COUNTS},
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
        log_warning(failing, to=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", error=why[0])


class _NoRedirect(HTTPRedirectHandler):
    """What is sent elsewhere would go without its body, and with its password."""

    def redirect_request(self, *_: object) -> None:
        """Take the answer as it is."""


def _late() -> str:
    return f"no answer within {TIMEOUT:g} s"


def _delivered(url: str, body: bytes, content_type: str) -> list[str]:
    """Nothing if it was taken, else why not."""
    headers, parts = (
        {"Content-Type": content_type, "User-Agent": f"recbatch/{__version__}"},
        urlsplit(url),
    )
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
