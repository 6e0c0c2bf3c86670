"""Log lines and progress: what a person, and a log tool, see of long work."""

import logging
from collections.abc import Iterator

import pytest

from batch import telemetry


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """What a test sets up for itself is undone after it."""
    loggers = telemetry.log, telemetry.scheduler_log
    before = [(logger, logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    yield
    for logger, handlers, propagate, level in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_a_line_is_key_value_pairs_with_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """A log line is a UTC time and key=value pairs, the run's id among them, values with spaces quoted."""
    telemetry.start_logging(verbose=True)
    token = telemetry.run_id.set(12)
    try:
        telemetry.say("loaded", ratings=100_836, seconds=0.61789, file='a "b" c\nd', empty="")
    finally:
        telemetry.run_id.reset(token)
    time, line = capsys.readouterr().err.strip().split(" ", 1)
    assert len(time) == len("2026-11-23T02:30:00Z")
    assert time.endswith("Z")
    assert line == r'''level=info run=12 event=loaded ratings=100836 seconds=0.618 file="a \"b\" c\nd" empty=""'''


def test_progress_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal progress is a log line every few seconds, with how much is done of how much."""
    telemetry.start_logging(verbose=True)
    with telemetry.progress("reading x.csv", 300) as advance:
        advance(100)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(telemetry, "LINE_EVERY", 0.0)
        advance(100)
    assert capsys.readouterr().err.endswith('event=progress step="reading x.csv" done=200 total=300\n')


def test_quiet_shows_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    """With --quiet only warnings are logged."""
    telemetry.start_logging(verbose=False)
    telemetry.say("loaded")
    telemetry.warn("failed", error="disk full")
    assert capsys.readouterr().err.endswith('level=warning event=failed error="disk full"\n')
    assert telemetry.log.level == logging.WARNING
