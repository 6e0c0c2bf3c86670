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

QUOTES = "\"'`\u201c\u201d\u2018\u2019"

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


def _database_address(value: str) -> str:
    if not value:
        raise ValueError("is empty; write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME")
    if value[0] in QUOTES or value[-1] in QUOTES:
        raise ValueError("is in quotes; remove them")
    if not value.isprintable():
        raise ValueError("has several lines, or characters that cannot be seen; write one address")
    return value


HTTP = r"^https?://[^/\s]+(/\S*)?$"
SCHEDULER = r"^(tcp|tls)://[^/\s]+:\d+$"
NAME_OF_SCHEMA = r"^[a-z_][a-z0-9_]{0,62}$"
PATTERNS = {
    HTTP: "must be an address such as https://HOST:PORT/PATH",
    SCHEDULER: "must be an address such as tcp://HOST:PORT",
    NAME_OF_SCHEMA: "must be a name of at most 63 letters a to z, digits and _, no digit first",
}
"""Patterns of settings in words."""

DatabaseAddress: TypeAlias = Annotated[str, AfterValidator(_database_address)]
HttpAddress: TypeAlias = Annotated[str, Field(pattern=HTTP), AfterValidator(_http_address)]
SchedulerAddress: TypeAlias = Annotated[
    str, Field(pattern=SCHEDULER), AfterValidator(_scheduler_address)
]
