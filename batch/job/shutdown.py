"""A signal -> an exception that unwinds the program, and its immediate end."""

import os
import signal
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

RECHECK_SECONDS = 1.0
"""Interval of checks that the exception of a signal is still being handled."""


class Interrupted(SystemExit):
    """Raised where the program was when a signal came: transactions roll back."""


def listen() -> None:
    """Let SIGTERM and SIGINT raise Interrupted."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _raise)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """End the process where Interrupted arrives.

    A normal exit of Python would wait for working threads, such as one that
    trains a network.
    """
    try:
        yield
    except Interrupted as end:
        # By now transactions are rolled back, locks released and child
        # processes ended.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(int(str(end.code)))


def _raise(number: int, _frame: FrameType | None) -> None:
    """Raise Interrupted, and raise it again if it was dropped.

    Exceptions are dropped where foreign code calls Python, for example where
    numba looks up code that it compiled before.
    """
    raise _watched(number)


def _watched(number: int) -> Interrupted:
    """An exception, and a timer that raises a new one if this one was dropped."""
    end = Interrupted(128 + number)
    reference = weakref.ref(end)

    def check(_number: int, _frame: FrameType | None) -> None:
        if reference() is None:
            raise _watched(number)

    signal.signal(signal.SIGALRM, check)
    signal.setitimer(signal.ITIMER_REAL, RECHECK_SECONDS, RECHECK_SECONDS)
    return end
