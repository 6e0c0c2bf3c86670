"""A headless browser, controlled through a pipe: opens pages, evaluates scripts in them."""

import json
import os
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from select import select
from tempfile import TemporaryDirectory
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
TIMEOUT = 60
"""Seconds for a page: a machine under load takes some."""


def program() -> str | None:
    """The path of a browser, if this machine has one."""
    paths = (shutil.which(name) for name in NAMES)
    return next((path for path in paths if path), None)


class Browser:
    """One tab, controlled by Chrome's DevTools protocol.

    Keeps the `complaints` of the page (log, console, exceptions) and the addresses `requested`.
    """

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to_browser = to_browser
        self._from_browser = from_browser
        self._unread = b""
        self._last_id = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requested: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, page: Path, width: int, scheme: str) -> None:
        """Load a file in a window of this width; the scheme is `light` or `dark`."""
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        colours = {"name": "prefers-color-scheme", "value": scheme}
        self._call("Emulation.setDeviceMetricsOverride", **screen)
        self._call("Emulation.setEmulatedMedia", features=[colours])
        self._call("Page.navigate", url=page.resolve().as_uri())
        event = self._next()
        while event.get("method") != "Page.loadEventFired":
            self._keep(event)
            event = self._next()

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self, file: Path, height: int | None = None) -> None:
        """Write the whole page, or its upper part, as PNG."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        if height is not None:
            clip["height"] = height
        answer = self._call(
            "Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True
        )
        file.write_bytes(b64decode(answer["data"]))

    def close(self) -> None:
        """End the browser."""
        self._session = None
        self._call("Browser.close")

    def _call(self, method: str, **parameters: Any) -> Any:
        """Send one command and return its result; events that come before it are kept."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to_browser, json.dumps(message).encode() + b"\0")
        answer = self._next()
        while answer.get("id") != self._last_id:
            self._keep(answer)
            answer = self._next()
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _keep(self, event: Any) -> None:
        method = event.get("method")
        content = event.get("params", {})
        if method == "Log.entryAdded":
            self.complaints.append(content["entry"]["text"])
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.complaints.append(json.dumps(content))
        elif method == "Network.requestWillBeSent":
            self.requested.append(content["request"]["url"])

    def _next(self) -> Any:
        """The next message of the browser: an answer or an event."""
        while b"\0" not in self._unread:
            ready, _, _ = select([self._from_browser], [], [], TIMEOUT)
            assert ready, f"the browser has sent nothing for {TIMEOUT} s"
            read = os.read(self._from_browser, 1 << 16)
            assert read, "the browser has ended"
            self._unread += read
        message, self._unread = self._unread.split(b"\0", 1)
        return json.loads(message)


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser with an empty profile, ended afterwards."""
    path = program()
    assert path is not None
    browser_in, to_browser = os.pipe()
    from_browser, browser_out = os.pipe()
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The protocol uses file descriptors 3 and 4, which a shell opens: bash, because sh knows
        # descriptors of one digit only.
        script = f'exec "$0" "$@" 3<&{browser_in} 4>&{browser_out}'
        options = [*OPTIONS, "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            ["bash", "-c", script, path, *options],
            pass_fds=(browser_in, browser_out),
            stderr=subprocess.DEVNULL,
        )
        os.close(browser_in)
        os.close(browser_out)
        try:
            tab = Browser(to_browser, from_browser)
            yield tab
            tab.close()
        finally:
            os.close(to_browser)
            os.close(from_browser)
            try:
                process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
