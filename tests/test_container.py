"""The image without a container engine: the program as nobody, in a tree it cannot write."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from machine_code import copy_to

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
IMAGE = DOCKERFILE.rpartition("FROM ")[2]
"""The last stage: what is run."""
[PROGRAM] = re.findall(r'^ENTRYPOINT \["(\w+)"\]$', IMAGE, re.MULTILINE)
SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/etc",
    "/dev",
    sys.base_prefix,
    sys.prefix,
    str(ROOT),
)
"""What a process needs to start, and all that it sees beside /data and /proc."""
LOOP = "rank._best_unseen"
"""A compiled loop that every night needs, as numba names its files."""
TERMINATED = 143
Start = Callable[..., "subprocess.Popen[str]"]
MAKE = r"""
set -e
root=$1 data=$2 user=$3; shift 3
mount -t tmpfs -o mode=755 none "$root"
for folder in SYSTEM; do
    if [ -e "$folder" ]; then
        mkdir -p "$root$folder"
        mount --bind "$folder" "$root$folder"
        mount -o remount,ro,bind "$root$folder"
    fi
done
mkdir "$root/data" "$root/proc"
mount --bind "$data" "$root/data"
mount -t proc none "$root/proc"
mount -o remount,ro "$root"
cd "$root"
exec chroot . setpriv --reuid="$user" --regid="$user" --clear-groups --bounding-set=-all \
    --no-new-privs \
    sh -c 'cd /data && exec "$@"' sh "$@"
"""


def environment() -> dict[str, str]:
    """What the image sets, with this installation in place of its own."""
    [line] = re.findall(r"^ENV (.+)$", IMAGE, re.MULTILINE)
    told = dict(pair.split("=", 1) for pair in shlex.split(line))
    path = told["PATH"].replace("/opt/recbatch", sys.prefix)
    path = path.replace("$PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
    # The checkout under test, also where the environment holds another one's link.
    return told | {"PATH": path, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def contained(tmp_path: Path) -> Iterator[Start]:
    """Starts a command as the image would, the first process it sees, on an empty volume."""
    if (
        os.geteuid() != 0
        or not shutil.which("unshare")
        or subprocess.run(["unshare", "--mount", "true"]).returncode
    ):
        pytest.skip(
            "only root, allowed to mount, can make a tree of files for a process of its own"
        )
    root, data = tmp_path / "root", tmp_path / "data"
    root.mkdir()
    data.mkdir()
    [user] = re.findall(r"^USER (\d+):\1$", IMAGE, re.MULTILINE)
    os.chown(data, int(user), int(user))
    script = MAKE.replace("SYSTEM", shlex.join(SYSTEM))
    apart = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-c",
        script,
        "sh",
        root,
        data,
        user,
    ]

    with ExitStack() as summary:

        def start(*command: str) -> "subprocess.Popen[str]":
            pipe, output = subprocess.PIPE, subprocess.STDOUT
            process = subprocess.Popen(
                [*apart, *command], env=environment(), stdout=pipe, stderr=output, text=True
            )
            summary.enter_context(process)
            summary.callback(process.kill)
            return process

        yield start


@pytest.mark.promise("E6")
def test_nothing_but_the_volume_is_written(contained: Start, tmp_path: Path) -> None:
    """Sample data, ingest and a night work as nobody on a read-only system; loops are cached."""
    cache = tmp_path / "data" / "numba"
    copy_to(cache)
    for file in cache.glob(f"*/{LOOP}*"):
        file.unlink()  # so that one loop is compiled
    user = (tmp_path / "data").stat().st_uid
    for path in (cache, *cache.rglob("*")):
        os.chown(path, user, user)
    for command in (
        "sample-data /data --users 60 --films 100",
        "ingest /data/user_reviews.csv /data/movie_genres.csv",
        "run",
        "top 1",
    ):
        process = contained(PROGRAM, *command.split())
        told, _ = process.communicate(timeout=300)
        assert process.returncode == 0, told
        assert "Traceback" not in told
    assert list(cache.rglob(f"{LOOP}*.nbi"))
    for folder in ("/", "/tmp", sys.prefix, str(ROOT)):  # noqa: S108  it is not there
        process = contained("touch", f"{folder}/made")
        told, _ = process.communicate()
        assert process.returncode != 0
        assert "Read-only file system" in told or "No such file" in told


@pytest.mark.promise("B7")
def test_signals_reach_the_first_process(contained: Start) -> None:
    """The scheduler as process 1, which ignores signals it does not handle, ends with 143."""
    process = contained(PROGRAM, "schedule")
    assert process.stdout is not None
    assert "next" in process.stdout.readline()
    [first] = psutil.Process(process.pid).children()
    first.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == TERMINATED
