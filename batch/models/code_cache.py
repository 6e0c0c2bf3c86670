"""Machine code on disk -> the same machine code, or none where a file is damaged."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from numba.core.caching import FunctionCache, IndexDataCacheFile

DIGEST_BYTES = sha256().digest_size


class _DamagedError(Exception):
    """A file is not what was written under its name."""


class _CheckedFiles(IndexDataCacheFile):  # type: ignore[misc]  # numba has no types
    """The index and the code of one loop; each file ends with a digest of its name and content.

    Numba would run code that was damaged, which ends the process or changes a result. What
    numba reads is what it wrote: it ignores bytes that follow the content.
    """

    def _load_index(self) -> Any:
        _check(Path(self._index_path))
        return super()._load_index()

    def _load_data(self, name: str) -> Any:
        _check(Path(self._data_path(name)))
        return super()._load_data(name)

    @contextmanager
    def _open_for_write(self, path: str) -> Iterator[IO[bytes]]:
        buffer = BytesIO()
        yield buffer
        content = buffer.getvalue()
        with super()._open_for_write(path) as file:
            file.write(content + _digest(path, content))


class CodeCache(FunctionCache):  # type: ignore[misc]  # likewise
    """Numba's cache of one loop, which never fails: at worst the loop is compiled.

    Raises RuntimeError or OSError where there is no directory to cache in.
    """

    def __init__(self, loop: Any) -> None:
        super().__init__(loop)
        # A name of its own: files without a digest, of older versions, are not damaged.
        base = f"{self._impl.filename_base}.checked"
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _CheckedFiles(self._cache_path, base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled loop, or None where it is to be compiled."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # unreadable bytes make numba raise errors of any class
            warnings.warn(
                f"damaged compiler cache: {error}; the loop is compiled again", stacklevel=2
            )
        try:
            self.flush()  # an empty index, so that the loop can be saved
        except OSError:
            self.disable()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the compiled loop, if the disk lets it."""
        with suppress(OSError):
            super().save_overload(sig, data)


def _check(path: Path) -> None:
    """Raise _DamagedError for a file without its digest. A missing file is not damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    if content[-DIGEST_BYTES:] != _digest(path, content[:-DIGEST_BYTES]):
        raise _DamagedError(f"{path} is not as it was written")


def _digest(path: str | Path, content: bytes) -> bytes:
    """SHA-256 of a file's name and content: the code of another loop is damage, too."""
    return sha256(os.fsencode(os.path.basename(path)) + b"\0" + content).digest()
