"""A command -> what the system counted of it, told as JSON to a file descriptor.

    python launch.py FD SECONDS MEGABYTES COMMAND...     # 0: without that limit

A process of its own, and a small one: Linux counts what the parent held at the fork among what the child held at most.
"""

import json
import os
import resource
import signal
import sys
import time


def main() -> None:
    """Start it, wait for it, end it when its time is up."""
    told, seconds, megabytes, *command = sys.argv[1:]
    os.set_inheritable(int(told), False)
    late = []
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        if float(megabytes):
            most = int(float(megabytes) * 1e6)
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        os.execvp(command[0], command)  # noqa: S606  our own commands

    def end(*_: object) -> None:
        late.append(True)
        os.kill(pid, signal.SIGKILL)

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, float(seconds))
    _, status, used = os.wait4(pid, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    found = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6,
        "exit_code": os.waitstatus_to_exitcode(status),
        "too_late": bool(late),
    }
    with os.fdopen(int(told), "w", encoding="ascii") as out:
        json.dump(found, out)


if __name__ == "__main__":
    main()
