"""Takes the place of fitted models in the workers of a cluster.

A worker loads this file, and would load all that a file of tests needs.
"""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from batch.ratings import Ints


@dataclass(frozen=True)
class Stub:
    """In place of fitted models: returns when and by which process a block was scored."""

    seconds: float = 0.0  # of each block
    first: float = 0.0  # additional seconds of the first block
    fault: str = ""

    def rank_with_evidence(
        self, names: Sequence[str], users: Ints, n: int, spare: int
    ) -> dict[str, Any]:
        if self.fault == "raise":
            raise np.linalg.LinAlgError("singular")
        if self.fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.seconds + (self.first if users[0] == 0 else 0.0))
        return {
            "users": users.tolist(),
            "process": os.getpid(),
            "at": time.monotonic(),
            "arguments": (names, n, spare),
        }


@dataclass(frozen=True)
class Threads:
    """In place of fitted models: returns how many threads they would use."""

    def rank_with_evidence(self, *_: object, **__: object) -> dict[str, Any]:
        import numba
        from threadpoolctl import threadpool_info

        return {
            "numba": numba.config.NUMBA_NUM_THREADS,
            "blas": [pool["num_threads"] for pool in threadpool_info()],
        }
