"""A command -> its time, processor time and peak memory, as JSON to a file descriptor.

    python launch.py FD SECONDS MEGABYTES COMMAND...     # 0: without that limit

It is a process of its own, and a small one: Linux counts the parent's memory at the fork as memory
of the child.
"""

import json
import os
import resource
import signal
import sys
import time


def main() -> None:
    """Start the command, wait for it, and kill it when its time is up."""
    descriptor, seconds, megabytes, *command = sys.argv[1:]
    os.set_inheritable(int(descriptor), False)
    is_late = False
    start = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        if float(megabytes):
            limit = int(float(megabytes) * 1e6)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        os.execvp(command[0], command)  # noqa: S606  our own commands

    def kill(*_: object) -> None:
        nonlocal is_late
        is_late = True
        os.kill(pid, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.setitimer(signal.ITIMER_REAL, float(seconds))
    _, status, usage = os.wait4(pid, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    maxrss_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    figures = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": maxrss_bytes / 1e6,
        "exit_code": os.waitstatus_to_exitcode(status),
        "too_late": is_late,
    }
    with os.fdopen(int(descriptor), "w", encoding="ascii") as out:
        json.dump(figures, out)


if __name__ == "__main__":
    main()
