"""The bytes of a file -> the encoding of its text."""

import codecs
import re
from dataclasses import dataclass

UTF8 = "utf-8-sig"
"""UTF-8, with or without a byte order mark."""
WINDOWS = "cp1252"
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins with the mark of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks -> encodings, looked for in this order."""
ESCAPE = "recbatch.escape"
"""How invalid bytes are decoded, in any encoding: each becomes a surrogate, which no key may have.

Python's surrogateescape leaves bytes below 128 out, which UTF-16 may end with.
"""
PROBE_BYTES = 400
"""Bytes in which UTF-16 without a byte order mark is looked for."""
NUL_SHARE = 0.4
"""Share of NUL bytes at even or odd places of PROBE_BYTES above which they are UTF-16."""

_VALID_CHARACTER = re.compile("[^\x00-\x7f\udc80-\udcff]")
"""A character outside ASCII that was valid UTF-8; invalid bytes become surrogates."""


def _escape(error: UnicodeError) -> tuple[str, int]:
    """The surrogates of invalid bytes, and where decoding goes on."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    invalid = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in invalid), error.end


codecs.register_error(ESCAPE, _escape)


@dataclass(frozen=True)
class Encoding:
    """How bytes become text, and what to say of it where nothing in the file decides it."""

    name: str
    guess: str | None = None


class EncodingCheck:
    """Recognises the encoding of a file whose bytes are given in chunks.

    UTF-8 where some character outside ASCII is valid UTF-8, or none exists. A file none of whose
    bytes outside ASCII are UTF-8 is read as Windows-1252, which is a guess.
    """

    def __init__(self) -> None:
        self._start = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._in_character = False  # the last chunk ended within a character
        self._some_valid = False
        self._some_invalid = False

    def add(self, chunk: bytes) -> None:
        """Look at the next bytes of the file."""
        if len(self._start) < PROBE_BYTES:
            self._start = (self._start + chunk)[:PROBE_BYTES]
        if self._in_character or not chunk.isascii():
            self._check(self._decoder.decode(chunk))
            self._in_character = self._decoder.getstate()[0] != b""

    def result(self) -> Encoding:
        """The encoding of all bytes given so far, which are the whole file."""
        self._check(self._decoder.decode(b"", final=True))
        for mark, name in MARKS.items():
            if self._start.startswith(mark):
                return Encoding(name)
        for name, nul_places in (("utf-16-le", self._start[1::2]), ("utf-16-be", self._start[::2])):
            if nul_places.count(0) > NUL_SHARE * len(nul_places):
                return Encoding(name, "it has no byte order mark and looks like UTF-16")
        if self._some_invalid and not self._some_valid:
            return Encoding(WINDOWS, "it is not UTF-8 and was read as Windows-1252")
        return Encoding(UTF8)

    def _check(self, text: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError:
            self._some_invalid = True
            self._some_valid |= _VALID_CHARACTER.search(text) is not None
        else:
            self._some_valid |= not text.isascii()
