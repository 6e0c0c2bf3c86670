"""Ratings of a shape -> what each choice in the sums over all neighbours is worth: ratios, side by side in one run.

    python benchmarks/loops.py 10m    # 1m: seconds; 25m: five minutes to make the ratings

The sums for one group of users, as many as fill a register, on two threads: in the compiler's own terms against a plain
loop, films by fame against films by key, and singles against doubles. Each is the median of several rounds in which
both take turns.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from batch.models.baseline import fit_baseline
from batch.models.kernels import LANE_BYTES, Cells, _frozen, _lined_up, _speak, cells, deviations_of
from shapes import SHAPES, in_memory

SEED, ROUNDS, THREADS = 20261123, 7, 2
Work = Callable[[], object]


@njit(nogil=True, error_model="numpy")
def in_lanes(voices, talk, said):  # type: ignore[no-untyped-def]
    """What `kernels._user_weighted_sums` does once it has the similarities."""
    for speaker in range(len(voices)):
        _speak(
            voices[speaker],
            talk.columns,
            talk.values,
            talk.starts[speaker],
            talk.starts[speaker + 1],
            said,
        )


@njit(nogil=True, error_model="numpy")
def plain(voices, talk, said):  # type: ignore[no-untyped-def]
    """The same, as one would write it."""
    lanes = voices.shape[1]
    for speaker in range(len(voices)):
        for here in range(talk.starts[speaker], talk.starts[speaker + 1]):
            column, value = talk.columns[here], talk.values[here]
            for lane in range(lanes):
                said[column, lane] += value * voices[speaker, lane]
                said[column, lanes + lane] += abs(voices[speaker, lane])


def for_a_group(
    loop: Callable[..., None], talk: Cells, n_users: int, n_items: int
) -> tuple[Work, int]:
    """The sums of one group of users on each thread, and how many users that are."""
    lanes = LANE_BYTES // talk.values.itemsize
    voices = np.random.default_rng(SEED).random((n_users, lanes)).astype(talk.values.dtype)
    said = [_lined_up(n_items, 2 * lanes, talk.values.dtype) for _ in range(THREADS)]

    def work() -> object:
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(lambda sums: loop(voices, talk, sums), said))

    return work, lanes


def ratio(one: tuple[Work, int], other: tuple[Work, int]) -> float:
    """How many times as long the other takes for a user: the median over rounds."""
    for work, _ in (one, other):
        work()  # compiled first
    ratios = []
    for _ in range(ROUNDS):
        took = []
        for work, lanes in (one, other):
            began = time.perf_counter()
            work()
            took.append((time.perf_counter() - began) / lanes)
        ratios.append(took[1] / took[0])
    return float(np.median(ratios))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shape", choices=SHAPES, nargs="?", default="1m")
    shape = SHAPES[parser.parse_args().shape]
    ratings = in_memory(shape, SEED)
    off = fit_baseline("bias", ratings).deviations(ratings)
    singles, doubles = (
        _frozen(deviations_of(off, single=single).deviations) for single in (True, False)
    )
    by_key = _frozen(cells(off.astype(np.float32)))
    size = shape.n_users, shape.n_items
    best = for_a_group(in_lanes, singles, *size)
    print(
        f"{ratings.n_ratings:,} ratings, {THREADS} threads; times as long as in lanes, by fame, in singles:"
    )
    print(f"a plain loop: {ratio(best, for_a_group(plain, singles, *size)):.1f}")
    print(f"films by key, not by fame: {ratio(best, for_a_group(in_lanes, by_key, *size)):.1f}")
    print(f"in doubles: {ratio(best, for_a_group(in_lanes, doubles, *size)):.1f}")


if __name__ == "__main__":
    main()
