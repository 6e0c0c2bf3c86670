"""Compiled loops of this checkout -> another numba cache, which saves a test 20 CPU seconds."""

import os
import shutil
from pathlib import Path

from numba.core.caching import _CacheLocator

import batch

PACKAGE = Path(batch.__file__).parent


def _compiled_files() -> list[Path]:
    """Indexes and code that numba caches beside the modules; conftest has compiled all."""
    return sorted(PACKAGE.glob("*/__pycache__/*.nb[ic]"))


def copy_beside(package: Path) -> None:
    """Give the modules of another copy of the package the machine code of this one's.

    Numba compares a module's time and size with those in its index, so the copies get the
    times of the originals.
    """
    for file in _compiled_files():
        room = file.parents[1].name
        module = f"{file.name.partition('.')[0]}.py"
        ours = (PACKAGE / room / module).stat()
        os.utime(package / room / module, ns=(ours.st_atime_ns, ours.st_mtime_ns))
        target = package / room / "__pycache__"
        target.mkdir(exist_ok=True)
        shutil.copy2(file, target)


def copy_to(folder: Path) -> None:
    """Put the machine code of this package's modules into a folder that will be NUMBA_CACHE_DIR."""
    for file in _compiled_files():
        module = file.parents[1] / f"{file.name.partition('.')[0]}.py"
        target = folder / _CacheLocator.get_suitable_cache_subpath(str(module))
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
