"""Log lines and progress, for people and for log tools."""

import json
import logging
import os
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from batch import telemetry

pytestmark = pytest.mark.usefixtures("logging_as_before")


def test_a_line_is_key_value_pairs_with_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A log line is a UTC time and key=value pairs with the run's id; spaces are quoted."""
    telemetry.start_logging(style="text")
    token = telemetry.run_id.set(12)
    try:
        telemetry.log_info("loaded", ratings=100_836, seconds=0.61789, file='a "b" c\nd', empty="")
    finally:
        telemetry.run_id.reset(token)
    time, line = capsys.readouterr().err.strip().split(" ", 1)
    assert len(time) == len("2026-11-23T02:30:00Z")
    assert time.endswith("Z")
    assert line == (
        "level=info run=12 event=loaded ratings=100836 seconds=0.618 "
        r'''file="a \"b\" c\nd" empty=""'''
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (r"C:\films", r"C:\films"),
        (r"C:\my films", r'"C:\\my films"'),
        ("a b\\", r'"a b\\"'),
        (r"a \n b", r'"a \\n b"'),
        ("a \n b", r'"a \n b"'),
        ("a \r\n b", r'"a \r\n b"'),
        (r"\"", r'"\\\""'),
        ("a=b", '"a=b"'),
        ("a\tb", r'"a\tb"'),
        ("a\x1b[1mb", r'"a\x1b[1mb"'),
    ],
)
def test_a_quoted_value_can_be_read_back(
    value: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a quoted value each backslash, quote and control character is escaped, unambiguously."""
    telemetry.start_logging(style="text")
    telemetry.log_info("loaded", file=value)
    line = capsys.readouterr().err.removesuffix("\n")
    assert line.partition(" event=loaded file=")[2] == expected
    if expected.startswith('"'):
        assert unquoted(expected) == value


def unquoted(text: str) -> str:
    """A value in quotes as a log tool reads it: a sign at a time, a backslash with the next."""
    escapes = {"n": "\n", "r": "\r", "t": "\t"}
    signs = iter(text[1:-1])
    value = ""
    for sign in signs:
        assert sign != '"'  # it would end the value
        if sign == "\\":
            escaped = next(signs)
            if escaped == "x":
                sign = chr(int(next(signs) + next(signs), 16))
            else:
                sign = escapes.get(escaped, escaped)
        value += sign
    return value


def test_a_line_is_a_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal a line is one JSON object with time, level, run and event."""
    telemetry.start_logging()
    token = telemetry.run_id.set(12)
    try:
        telemetry.log_warning(
            "loaded",
            ratings=100_836,
            seconds=0.61789000001,
            file=Path("a b\n.csv"),
            night=date(2026, 11, 23),
            rmse=float("nan"),
            share=float("inf"),
            title="½\ud800",
            nothing=None,
        )
    finally:
        telemetry.run_id.reset(token)
    text = capsys.readouterr().err
    assert text.isascii()
    assert text.count("\n") == 1
    line = json.loads(text, parse_constant=lambda _: pytest.fail("no JSON"))
    time = datetime.fromisoformat(line.pop("time"))
    assert timedelta() <= datetime.now(UTC) - time < timedelta(minutes=1)
    assert line == {
        "level": "warning",
        "run": 12,
        "event": "loaded",
        "ratings": 100_836,
        "seconds": 0.61789,
        "file": "a b\n.csv",
        "night": "2026-11-23",
        "rmse": "nan",
        "share": "inf",
        "title": "½\ud800",
        "nothing": None,
    }


def test_a_terminal_gets_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, and only there, lines are text unless JSON is asked for."""
    read, write = os.openpty()
    with os.fdopen(write, "w", buffering=1) as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        telemetry.start_logging()
        telemetry.log_info("loaded")
        telemetry.start_logging(style="json")
        telemetry.log_info("loaded")
        output = b""
        while output.count(b"\n") < 2:  # a terminal may return a line at a time
            output += os.read(read, 1000)
    os.close(read)
    text, as_json = output.decode().splitlines()
    assert text.endswith("level=info event=loaded")
    assert json.loads(as_json)["event"] == "loaded"


def test_progress_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal progress is a log line every few seconds, with done and total."""
    telemetry.start_logging(style="text")
    with telemetry.progress("reading x.csv", 300) as advance:
        advance(100)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(telemetry, "LINE_EVERY", 0.0)
        advance(100)
    line = capsys.readouterr().err
    assert line.endswith('event=progress step="reading x.csv" done=200 total=300\n')


def test_quiet_shows_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    """With --quiet only warnings are logged."""
    telemetry.start_logging(level="warning", style="text")
    telemetry.log_info("loaded")
    telemetry.log_warning("failed", error="disk full")
    assert capsys.readouterr().err.endswith('level=warning event=failed error="disk full"\n')
    assert telemetry.log.level == logging.WARNING
