"""Compiled loops on disk: whatever happened to the files, a process gets the same loop."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numba
import pytest

from machine_code import copy_to

ROOT = Path(__file__).parents[1]
LOOPS = """
from batch.models.compiled import INT, compiled


@compiled((INT,))
def double(number):
    return 2 * number


@compiled((INT,))
def triple(number):
    return 3 * number
"""


def _zeros_inside(content: bytes) -> bytes:
    """What a power cut leaves of a file whose size was written before its content."""
    middle = len(content) // 2
    return content[:middle] + bytes(512) + content[middle + 512 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut off": lambda content: content[: len(content) // 2],
    "without its last byte": lambda content: content[:-1],
    "zeros": lambda content: bytes(len(content)),
    "zeros inside": _zeros_inside,
    "another program's": lambda _: b"hello\n",
    "another pickle": lambda _: b"\x80\x04N.",
    "one bit": lambda content: content[:900] + bytes([content[900] ^ 1]) + content[901:],
}


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], ModuleType]:
    """Imports a module with two loops anew, as a new process would; they are cached in a folder."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    source = tmp_path / "loops.py"
    source.write_text(LOOPS)

    def imported() -> ModuleType:
        spec = importlib.util.spec_from_file_location("loops", source)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return imported


def _compilations(module: ModuleType) -> int:
    return sum(sum(loop.stats.cache_misses.values()) for loop in (module.double, module.triple))


@pytest.mark.promise("D11")
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_damaged_cache_costs_one_compilation(
    suffix: str, damage: str, load: Callable[[], ModuleType], tmp_path: Path
) -> None:
    """A damaged file is named in a warning, its loop compiled, and the file written anew."""
    assert _compilations(load()) == 2
    [file] = (tmp_path / "cache").glob(f"*/loops.double-*.{suffix}")
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    with pytest.warns(UserWarning, match="damaged") as record:
        module = load()
    [warning] = record
    assert str(file) in str(warning.message)
    assert (module.double(21), module.triple(14), _compilations(module)) == (42, 42, 1)
    again = load()  # warnings are errors here
    assert (again.double(21), _compilations(again)) == (42, 0)


@pytest.mark.promise("D11")
def test_the_code_of_another_loop_is_not_run(
    load: Callable[[], ModuleType], tmp_path: Path
) -> None:
    """A whole file in the place of another one is damage too: its code is not run."""
    load()
    [double] = (tmp_path / "cache").glob("*/loops.double-*.nbc")
    [triple] = (tmp_path / "cache").glob("*/loops.triple-*.nbc")
    shutil.copy(triple, double)
    with pytest.warns(UserWarning, match="damaged"):
        assert load().double(21) == 42
    assert _compilations(load()) == 0


@pytest.mark.promise("D11")
def test_a_damaged_cache_that_cannot_be_replaced(
    load: Callable[[], ModuleType], tmp_path: Path
) -> None:
    """Where a damaged file cannot be written anew, each process compiles, warns and goes on."""
    load()
    [index] = (tmp_path / "cache").glob("*/loops.double-*.nbi")
    index.unlink()
    index.mkdir()
    for _ in range(2):
        with pytest.warns(UserWarning, match="damaged"):
            module = load()
        assert (module.double(21), _compilations(module)) == (42, 1)


@pytest.mark.promise("D11")
def test_a_damaged_cache_is_a_line_of_the_log(tmp_path: Path) -> None:
    """A process that meets a damaged cache logs a warning with the file, and goes on."""
    copy_to(tmp_path / "cache")
    indexes = list((tmp_path / "cache").glob("*/prediction.*.nbi"))  # of older versions too
    for index in indexes:
        index.write_bytes(b"")
    program = """
from batch.telemetry import start_logging
start_logging(level="warning")
import batch.models.prediction
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [line] = map(json.loads, done.stderr.splitlines())
    assert line["level"] == "warning"
    [written] = [index for index in indexes if str(index) in line["event"]]
    assert written.stat().st_size > 0
