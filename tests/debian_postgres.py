"""Servers of Debian's Postgres, which has ICU and may have a standby; most tests use another."""

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest


class DebianServer:
    """A server in a folder of its own, which runs while a test needs it."""

    def __init__(self, programs: Path, folder: Path, as_user: dict[str, Any]) -> None:
        self._programs = programs
        self._folder = folder
        self._data = folder / "data"
        self._quietly: dict[str, Any] = {
            "check": True,
            "stdout": subprocess.DEVNULL,
            "cwd": folder,
            **as_user,
        }
        self.url = f"postgresql://postgres@/postgres?host={folder}"

    def make(self, *options: str) -> None:
        """An empty cluster."""
        usual = ["-U", "postgres", "-A", "trust", "--no-sync"]
        command = [self._programs / "initdb", "-D", self._data, *usual, *options]
        subprocess.run(command, **self._quietly)

    def follow(self, primary: "DebianServer") -> None:
        """A copy of a running server, which goes on copying what is written there."""
        origin = ["-h", primary._folder, "-U", "postgres"]
        options = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        command = [self._programs / "pg_basebackup", "-D", self._data, *origin, *options]
        subprocess.run(command, **self._quietly)

    @contextmanager
    def running(self) -> Iterator[str]:
        """Starts the server, and stops it."""
        control = [self._programs / "pg_ctl", "-D", self._data, "-w", "-l", self._folder / "log"]
        options = f"-c listen_addresses= -k {self._folder} -c fsync=off"
        subprocess.run([*control, "-o", options, "start"], **self._quietly)
        try:
            yield self.url
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **self._quietly)


@contextmanager
def server_folder() -> Iterator[DebianServer]:
    """A server that is not made yet; skips where there is no such Postgres."""
    initdbs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not initdbs:
        pytest.skip("no Postgres of Debian here: apt-get install postgresql")
    as_user: dict[str, Any] = {}
    if os.getuid() == 0:
        user = pwd.getpwnam("postgres")
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    folder = Path(f"/tmp/recbatch-{uuid4().hex[:8]}")  # noqa: S108  a socket's path is short
    folder.mkdir(mode=0o700)
    try:
        if as_user:
            os.chown(folder, as_user["user"], as_user["group"])
        yield DebianServer(initdbs[-1].parent, folder, as_user)
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)
