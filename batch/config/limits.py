"""Types of settings with the limits that later steps can take, and checks of text and addresses."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from batch.params import LARGEST

MAX_NAME = 255
"""Maximum bytes of a file name on Linux and macOS."""
MAX_SCALE = LARGEST / 10
"""Stars. Predictions may be beyond the scale, and a night with one beyond LARGEST is refused."""

Seed: TypeAlias = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""scikit-learn takes 32 bits."""
Stars: TypeAlias = Annotated[float, Field(ge=-MAX_SCALE, le=MAX_SCALE)]
MAX_HOURS = 1e6
"""114 years; a timedelta ends at 24 billion hours."""
Hours: TypeAlias = Annotated[float, Field(gt=0, le=MAX_HOURS)]
Megabytes: TypeAlias = Annotated[int, Field(ge=100, le=100_000_000)]
"""100 TB."""


def check_text(value: Any) -> None:
    """Raise ValueError for text that no file name, database or JSON can contain."""
    text = str(value)
    if "\0" in text:
        raise ValueError("contains a NUL character; remove it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8 text") from None
    if isinstance(value, Path) and any(len(name.encode()) > MAX_NAME for name in value.parts):
        raise ValueError(f"contains a name of more than {MAX_NAME} bytes")


def _http_address(value: str) -> str:
    # The value may contain a secret: no message repeats it.
    if not _can_be_called(value):
        raise ValueError("is not an address such as https://HOST:PORT/PATH")
    return value


def _scheduler_address(value: str) -> str:
    if not _can_be_called(value):
        raise ValueError("is not an address such as tcp://HOST:PORT, with a port up to 65535")
    return value


def _can_be_called(url: str) -> bool:
    """Whether the URL has a host and a possible port, and a path without signs to be escaped."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")
        port = parts.port  # ValueError above 65535
    except ValueError:
        return False
    sent = f"{parts.path}?{parts.query}"
    return bool(host) and port != 0 and sent.isascii() and sent.isprintable()


HttpAddress: TypeAlias = Annotated[
    str, Field(pattern=r"^https?://[^/\s]+(/\S*)?$"), AfterValidator(_http_address)
]
SchedulerAddress: TypeAlias = Annotated[
    str, Field(pattern=r"^(tcp|tls)://[^/\s]+:\d+$"), AfterValidator(_scheduler_address)
]
