"""The summary of a run -> a metrics file, a Pushgateway and a webhook."""

import json
import os
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from batch import __version__
from batch.config import Config
from batch.job.prometheus import CONTENT_TYPE, metrics_text
from batch.job.summary import SUCCEEDED, RunSummary
from batch.telemetry import log_warning, peak_mb

TIMEOUT = 5.0
"""Seconds for a delivery, including the look-up of the host."""
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
MAX_ERROR = 500
"""Characters of an error that are sent; the log has all of it."""


def notify(summary: RunSummary, config: Config) -> None:
    """Send what the settings ask for; what cannot be delivered is a warning."""
    summary.finished_at = summary.finished_at or datetime.now(UTC)
    summary.peak_mb = float(peak_mb())
    textfile = config.metrics.textfile
    push_url = config.metrics.push_url
    webhook_url = config.notify.webhook_url
    event = "success" if summary.status in SUCCEEDED else "failure"

    def write_textfile() -> None:
        if textfile:
            write_metrics(textfile, summary)

    def push() -> None:
        if push_url:
            _post(push_url, metrics_text(summary).encode(), CONTENT_TYPE)

    def call_webhook() -> None:
        if webhook_url and event in config.notify.when:
            body = json.dumps(message(summary, event), ensure_ascii=False)
            _post(webhook_url, body.encode("utf-8", "replace"), "application/json")

    _attempt(write_textfile, "metrics not written", file=textfile)
    _attempt(push, "metrics not pushed", to=_host(push_url))
    _attempt(call_webhook, "webhook not delivered", to=_host(webhook_url))


class _DeliveryError(Exception):
    """A server did not accept what was sent; the message says why, without the URL."""


def _attempt(deliver: Callable[[], None], failure: str, **fields: Any) -> None:
    """Deliver, or log a warning: the run has ended, and nothing may fail it now."""
    try:
        deliver()
    except _DeliveryError as error:
        log_warning(failure, **fields, error=str(error))
    except OSError as error:
        log_warning(failure, **fields, error=error.strerror or str(error))
    except Exception as error:  # its message might quote a URL, which may contain a secret
        log_warning(failure, **fields, error=type(error).__name__)


def write_metrics(file: Path, summary: RunSummary) -> None:
    """Replace the file in one step: a collector reads the old one or the new one.

    Raises OSError.
    """
    before = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    # The name has no .prom at its end, so that no collector reads the
    # unfinished file.
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        unfinished.write_text(metrics_text(summary, before), encoding="utf-8")
        unfinished.replace(file)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def message(summary: RunSummary, event: str) -> dict[str, object]:
    """The JSON for a webhook; `text` is the line that chat programs show."""
    reason = summary.error or ", ".join(check.name for check in summary.failed_checks)
    run = "a run" if summary.run_id is None else f"run {summary.run_id}"
    text = f"recbatch: {run} for {summary.night} is {summary.status}"
    if reason:
        text += f": {reason[:MAX_ERROR]}"
    finished_at = summary.finished_at
    return {
        "text": text,
        "event": event,
        "run_id": summary.run_id,
        "status": summary.status,
        "night": summary.night.isoformat(),
        "triggered_by": summary.triggered_by,
        "started_at": summary.started_at.isoformat(),
        "finished_at": finished_at.isoformat() if finished_at else None,
        "seconds": round(summary.took, 3),
        "error": summary.error and summary.error[:MAX_ERROR],
        "failed_checks": _failed_checks(summary),
        "warnings": [warning["message"][:MAX_ERROR] for warning in summary.warnings],
        **{name: getattr(summary, name) for name in COUNTS},
        "version": __version__,
    }


def _failed_checks(summary: RunSummary) -> list[dict[str, object]]:
    return [
        {
            "name": check.name,
            "value": check.value,
            "wanted": f"{check.wanted} {check.threshold:g}",
        }
        for check in summary.failed_checks
    ]


def _host(url: str | None) -> str:
    """Scheme, host and port of a URL: the rest may be secret, and is never logged."""
    try:
        parts = urlsplit(url or "")
    except ValueError:
        return "an address that is not a URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _post(url: str, body: bytes, content_type: str) -> None:
    """POST a body within TIMEOUT seconds. Raises _DeliveryError."""
    errors: list[str] = []

    def deliver() -> None:
        error = _delivery_error(url, body, content_type)
        if error is not None:
            errors.append(error)

    # Only a thread limits the total time: the look-up of a host has no limit,
    # and an answer may trickle in.
    delivery = Thread(target=deliver, daemon=True)
    delivery.start()
    delivery.join(TIMEOUT)
    if delivery.is_alive():
        raise _DeliveryError(_too_late())
    if errors:
        raise _DeliveryError(errors[0])


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect: it would lose the body and pass on the password."""

    def redirect_request(self, *_: object) -> None:
        """Take the answer as it is."""


def _too_late() -> str:
    return f"no answer within {TIMEOUT:g} s"


def _delivery_error(url: str, body: bytes, content_type: str) -> str | None:
    """POST a body; returns why it was not accepted, or None if it was."""
    headers = {"Content-Type": content_type, "User-Agent": f"recbatch/{__version__}"}
    parts = urlsplit(url)
    if parts.username:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {b64encode(credentials.encode()).decode()}"
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    try:
        # The settings accept http and https only.
        request = Request(url, data=body, headers=headers, method="POST")  # noqa: S310
        with build_opener(_NoRedirect).open(request, timeout=TIMEOUT):
            return None
    except TimeoutError:
        return _too_late()
    except HTTPError as error:
        error.close()
        return f"it answered {error.code}"
    except URLError as error:
        return str(getattr(error.reason, "strerror", None) or error.reason)
    except OSError as error:
        return error.strerror or type(error).__name__
    except (HTTPException, ValueError) as error:  # their messages quote the URL
        return type(error).__name__
