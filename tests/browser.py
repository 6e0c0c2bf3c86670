"""A real browser without a window: a page is opened at a width, light or dark, and asked; spoken to through a pipe."""

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
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
PATIENCE = 60
"""Seconds for a page: a machine under load takes some."""


def found() -> str | None:
    """The browser's program, if this machine has one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One tab, spoken to in Chrome's DevTools protocol; what the page complained of and asked for is kept."""

    def __init__(self, to: int, out: int) -> None:
        self.to, self.out, self.rest, self.number = to, out, b"", 0
        self.complaints: list[str] = []
        self.asked_for: list[str] = []
        self.session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """One command and its answer; events that come between are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        os.write(
            self.to,
            json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode()
            + b"\0",
        )
        while (answer := self._next()).get("id") != self.number:
            self._event(answer)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def open(self, page: Path, width: int, scheme: str) -> None:
        """Load a file as a window of this width shows it, `light` or `dark`."""
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **screen)
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        self.call("Page.navigate", url=page.resolve().as_uri())
        while (event := self._next()).get("method") != "Page.loadEventFired":
            self._event(event)

    def ask(self, script: str) -> Any:
        """What an expression gives in the page."""
        told = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def picture(self, file: Path, height: int | None = None) -> None:
        """The whole page, or its upper part, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {
            "x": 0,
            "y": 0,
            "width": size["width"],
            "height": height or size["height"],
            "scale": 1,
        }
        told = self.call(
            "Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True
        )
        file.write_bytes(b64decode(told["data"]))

    def _event(self, event: Any) -> None:
        method, told = event.get("method"), event.get("params", {})
        if method == "Log.entryAdded":
            self.complaints.append(told["entry"]["text"])
        elif method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.complaints.append(json.dumps(told))
        elif method == "Network.requestWillBeSent":
            self.asked_for.append(told["request"]["url"])

    def _next(self) -> Any:
        while b"\0" not in self.rest:
            assert select([self.out], [], [], PATIENCE)[0], (
                f"the browser has said nothing for {PATIENCE} s"
            )
            read = os.read(self.out, 1 << 16)
            assert read, "the browser has ended"
            self.rest += read
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)


@contextmanager
def browser() -> Iterator[Browser]:
    """The browser with an empty profile, ended afterwards."""
    program = found()
    assert program is not None
    theirs_in, to = os.pipe()
    out, theirs_out = os.pipe()
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # The protocol's pipe is file descriptors 3 and 4, which a shell puts in place; not sh, which knows one digit.
        shell = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        words = [
            "bash",
            "-c",
            shell,
            program,
            *QUIET,
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
        ]
        process = subprocess.Popen(
            words, pass_fds=(theirs_in, theirs_out), stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            tab = Browser(to, out)
            yield tab
            tab.session = None
            tab.call("Browser.close")
        finally:
            os.close(to)
            os.close(out)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
