"""A signal -> an exception that unwinds the program, and then its end, at once."""

import os
import signal
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LOOK_AGAIN = 1.0
"""Seconds between looks at whether a signal that came is still on its way to end the program."""


class Interrupted(SystemExit):
    """Raised where the program was when a signal came: transactions roll back and the run is marked abandoned."""


def listen() -> None:
    """Let SIGTERM and SIGINT raise Interrupted."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _raise)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """End the process where Interrupted arrives: Python would wait for threads at work, such as one that trains."""
    try:
        yield
    except Interrupted as end:  # by now transactions are rolled back, locks gone and children ended
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(int(str(end.code)))


def _raise(number: int, _frame: FrameType | None) -> None:
    """Raise Interrupted, and again if it is lost: where foreign code calls Python exceptions are dropped.

    Such as where a compiler looks for what it compiled before.
    """
    raise _watched(number)


def _watched(number: int) -> Interrupted:
    end = Interrupted(128 + number)
    alive = weakref.ref(end)

    def look(_number: int, _frame: FrameType | None) -> None:
        if alive() is None:
            raise _watched(number)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, LOOK_AGAIN, LOOK_AGAIN)
    return end
