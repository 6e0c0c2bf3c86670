"""A text from anywhere -> the same text in one line that a terminal shows and does not obey."""

import re

JOINED = r"\u0600-\u180d\u180f-\u1fff\u2100-\ud7ff\ue000-\ufefe\uff00-\U0010ffff"
"""Characters between which a joiner changes the shape: of Arabic, Indic and Asian scripts, emoji.

Latin, Greek, Cyrillic and Hebrew letters do not change theirs.
"""
_UNSAFE = re.compile(
    r"[\x00-\x1f\x7f-\x9f]"  # control characters, C0 and C1: ESC and CSI among them
    r"|[\xad\u061c\u180e\u200b\u200e\u200f\u2060-\u206f\ufeff\ufff9-\ufffb]"  # nothing to see
    r"|[\u2028-\u202e]"  # lines, paragraphs, directions of writing
    rf"|(?<![{JOINED}])[\u200c\u200d]|[\u200c\u200d](?![{JOINED}])"
    r"|[\ud800-\udfff]"  # bytes that are not UTF-8
)


def printable(text: str) -> str:
    r"""The text, with characters that act on a terminal or hide in a line escaped, as in `\x1b`.

    Line breaks and tabs are escaped too. Zero-width joiners stay where they shape letters of
    other scripts, or emoji.
    """
    return _UNSAFE.sub(_escaped, text)


def printable_json(text: str) -> str:
    r"""JSON, laid out in lines, with the same characters escaped as JSON does: `\u202e`.

    A reader of the JSON gets the same text.
    """
    return _UNSAFE.sub(_json_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _json_escaped(match: re.Match[str]) -> str:
    return match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}"
