"""Ratings of a shape -> what each optimisation of the sums over all neighbours gains, as ratios.

    python benchmarks/loops.py 10m    # 1m: seconds; 25m: five minutes to make the ratings

Times the sums for one group of users that fill a register, on each of two threads: in LLVM
instructions against a plain loop, films by rating count against films by key, and float32
against float64. Each ratio is the median of several rounds in which both alternate.
"""

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from batch.models.baseline import fit_baseline
from batch.models.csr import Cells, by_rating_count, cells
from batch.models.kernels import LANE_BYTES, _add_neighbour, _aligned_zeros
from shapes import SHAPES, in_memory

SEED = 20261123
ROUNDS = 7
THREADS = 2
Work = Callable[[], object]


@njit(nogil=True, error_model="numpy")
def in_lanes(similarities, deviations, sums):  # type: ignore[no-untyped-def]
    """What `kernels._user_weighted_sums` does when it has the similarities."""
    columns = deviations.columns
    values = deviations.values
    for other in range(len(similarities)):
        first = deviations.starts[other]
        end = deviations.starts[other + 1]
        _add_neighbour(similarities[other], columns, values, first, end, sums)


@njit(nogil=True, error_model="numpy")
def plain(similarities, deviations, sums):  # type: ignore[no-untyped-def]
    """The same as a plain loop."""
    lanes = similarities.shape[1]
    for other in range(len(similarities)):
        for cell in range(deviations.starts[other], deviations.starts[other + 1]):
            column = deviations.columns[cell]
            value = deviations.values[cell]
            for lane in range(lanes):
                sums[column, lane] += value * similarities[other, lane]
                sums[column, lanes + lane] += abs(similarities[other, lane])


def for_a_group(
    loop: Callable[..., None], deviations: Cells, n_users: int, n_items: int
) -> tuple[Work, int]:
    """A call that makes the sums of one group of users on each thread, and the users in a group."""
    precision = deviations.values.dtype
    lanes = LANE_BYTES // precision.itemsize
    similarities = np.random.default_rng(SEED).random((n_users, lanes)).astype(precision)
    sums_by_thread = [_aligned_zeros(n_items, 2 * lanes, precision) for _ in range(THREADS)]

    def work() -> object:
        with ThreadPoolExecutor(THREADS) as pool:
            return list(pool.map(lambda sums: loop(similarities, deviations, sums), sums_by_thread))

    return work, lanes


def ratio(reference: tuple[Work, int], alternative: tuple[Work, int]) -> float:
    """How many times as long the alternative takes per user: the median over rounds."""
    for work, _ in (reference, alternative):
        work()  # compiles
    ratios = []
    for _ in range(ROUNDS):
        seconds = []  # per user
        for work, lanes in (reference, alternative):
            began = time.perf_counter()
            work()
            seconds.append((time.perf_counter() - began) / lanes)
        ratios.append(seconds[1] / seconds[0])
    return float(np.median(ratios))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shape", choices=SHAPES, nargs="?", default="1m")
    shape = SHAPES[parser.parse_args().shape]
    ratings = in_memory(shape, SEED)
    deviations = fit_baseline("bias", ratings).deviations(ratings)
    singles = by_rating_count(deviations, single=True).cells
    doubles = by_rating_count(deviations, single=False).cells
    by_key = cells(deviations.astype(np.float32))

    def group(loop: Callable[..., None], values: Cells) -> tuple[Work, int]:
        return for_a_group(loop, values, shape.n_users, shape.n_items)

    best = group(in_lanes, singles)
    print(f"{ratings.n_ratings:,} ratings, {THREADS} threads; time per user as a multiple of")
    print("LLVM instructions, films by rating count, float32:")
    print(f"a plain loop: {ratio(best, group(plain, singles)):.1f}")
    print(f"films by key: {ratio(best, group(in_lanes, by_key)):.1f}")
    print(f"float64: {ratio(best, group(in_lanes, doubles)):.1f}")


if __name__ == "__main__":
    main()
