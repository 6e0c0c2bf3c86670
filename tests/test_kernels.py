"""The compiled loops: the same digits for any number of threads, with a cache or without."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import get_ident
from time import sleep

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from batch.models import compiled, fit
from batch.params import PRESETS
from reference import random_stars, ratings_of

ROOT = Path(__file__).parents[1]

DIGEST = """
from hashlib import sha256
import numpy as np
from batch.models import compiled, fit
from batch.models.features import fit_feature_model, learn_preferences
from batch.params import PRESETS
from batch.ranking.rank import best_unseen
from reference import every_cell, random_stars, ratings_of

HALVES = [0.5, 2, 3.5, 5]

def digest_of():
    digest = sha256()
    for n_users, n_items in ((90, 250), (250, 90)):
        stars = random_stars(0, n_users, n_items, HALVES, 0.2, n_empty=2)
        times = np.arange(22500.0).reshape(n_users, n_items)
        given = ratings_of(stars, times=times)
        features = fit_feature_model(given, learn_preferences(given, None))
        users = np.arange(n_users)
        scores = features.preference_scores(users)
        for_candidates = scores.candidate_scores(np.ones(n_items, dtype=np.bool_))
        listed = best_unseen(for_candidates, features.rated, np.arange(n_items), 7)
        digest.update(for_candidates.tobytes())
        digest.update(listed.tobytes())
        for values in features.at(users, every_cell(n_users, n_items), scores).values():
            digest.update(values.tobytes())

    ratings = ratings_of(random_stars(0, 90, 250, HALVES, 0.2, n_empty=2))
    for similarity in ("adjusted_cosine", "pearson"):
        for neighbours in ("all", 7):
            changed = {"similarity": similarity, "neighbours": neighbours}
            for name in ("user_user", "item_item"):
                params = getattr(PRESETS["tuned"], name).model_copy(update=changed)
                scores = fit(name, ratings, params, 0).score(np.arange(90))
                for array in (scores.rating, scores.support, scores.relevance):
                    digest.update(array.tobytes())
                reasons = scores.explain(every_cell(12, 250)).stored(ratings)
                digest.update("".join(reasons).encode())
    return digest.hexdigest()

for threads in (1, 2, 4):
    compiled.config.NUMBA_NUM_THREADS = threads
    print(digest_of())
"""
"""Prints digests of models, reasons and features, computed by one, two and four threads.

The data have several parts for each thread, also the cells of twelve users, whose reasons are text
that takes long to write.
"""

CACHE_COUNTS = """
from batch.models import attribution, ease, features, kernels, prediction
from batch.ranking import rank

loops = [
    attribution._count_neighbours,
    attribution._heaviest,
    attribution._strongest,
    attribution._strongest_through,
    ease._gram,
    ease._products,
    ease._project,
    ease._project_cells,
    ease._to_weights,
    features._sum_of_logarithms,
    kernels._count_overlaps,
    kernels._item_weighted_sums,
    kernels._neighbours,
    kernels._user_weighted_sums,
    prediction._predict,
    rank.compiled_loop(),
]
hits = sum(sum(loop.stats.cache_hits.values()) for loop in loops)
misses = sum(sum(loop.stats.cache_misses.values()) for loop in loops)
print(hits, misses)
"""
"""Prints how many versions of the loops were read from the cache, and how many were compiled."""


def run(program: str, folder: Path, package: Path = ROOT, **environ: str) -> list[str]:
    """The lines that a program prints in a process of its own, which must not fail or warn."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    inherited["PYTHONPATH"] = f"{package}{os.pathsep}{ROOT / 'tests'}"
    combined = inherited | environ
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=folder,
        env={name: value for name, value in combined.items() if value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert not process.stderr
    return process.stdout.split("\n")[:-1]


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What one, two and four threads compute."""
    return run(DIGEST, tmp_path_factory.mktemp("threads"))


@pytest.mark.promise("D2")
def test_threads_change_no_digit(digest: list[str], figure: Callable[[int], None]) -> None:
    """Two and four threads compute the same bytes as one."""
    one, two, four = digest
    assert two == one
    assert four == one
    figure(2)


@pytest.mark.parametrize("name", ["user_user", "item_item"])
def test_several_threads_can_score_with_one_model(name: str) -> None:
    """Threads that score with the same model at the same time get the same result as one alone."""
    ratings = ratings_of(random_stars(0, 90, 250, [1, 2, 3, 4, 5], 0.2))
    model = fit(name, ratings, getattr(PRESETS["tuned"], name), 0)

    def score(_: int = 0) -> bytes:
        return model.score(np.arange(90)).rating.tobytes()

    alone = score()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(score, range(8))) == [alone] * 8


def test_loops_are_compiled_once(tmp_path: Path) -> None:
    """The first process caches its machine code in NUMBA_CACHE_DIR; the second compiles nothing."""
    cache = str(tmp_path / "cache")
    first = run(ONE_LOOP, tmp_path, NUMBA_CACHE_DIR=cache)
    second = run(ONE_LOOP, tmp_path, NUMBA_CACHE_DIR=cache)
    assert [first[0], second[0]] == ["0 1", "1 0"]


@pytest.mark.usefixtures("digest")
def test_every_loop_is_cached(tmp_path: Path) -> None:
    """Once this checkout has been used, none of its loops is compiled again."""
    assert run(CACHE_COUNTS, tmp_path) == ["18 0"]


ONE_LOOP = """
from hashlib import sha256
import numpy as np
from scipy.sparse import csr_array
from batch.ranking.rank import best_unseen, compiled_loop

stats = compiled_loop().stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
scores = np.random.default_rng(0).random((90, 250))
lists = best_unseen(scores, csr_array(scores > 0.9), np.arange(250), 7)
print(sha256(lists.tobytes()).hexdigest())
"""
"""Compiles one small loop; prints whether it came from the cache, and a digest of its result."""
NOWHERE = "/proc/nowhere"
NO_CACHE = {
    "read-only": ("", {"NUMBA_CACHE_DIR": NOWHERE, "HOME": NOWHERE}),
    "a user without a name or a home": ("import os; os.getuid = lambda: 10001", {"HOME": ""}),
    "a full disk": (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))",
        {"NUMBA_CACHE_DIR": "cache"},
    ),
}
"""Statements to run first, and the environment, for each reason why no cache can be written."""


@pytest.fixture(scope="module")
def one_loop(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the small loop computes with a cache."""
    return run(ONE_LOOP, tmp_path_factory.mktemp("small"))


@pytest.mark.soak
@pytest.mark.parametrize("reason", NO_CACHE)
def test_no_cache_is_needed(
    reason: str,
    digest: list[str],
    one_loop: list[str],
    tmp_path: Path,
    often: Callable[[int, int], int],
) -> None:
    """Without a writeable cache a loop compiles in memory, with the same result and no file left.

    One loop is compiled; with --soak all of them.
    """
    package = tmp_path / "package"
    folder = tmp_path / "folder"
    shutil.copytree(ROOT / "batch", package / "batch", ignore=shutil.ignore_patterns("__pycache__"))
    for room in ("", "models", "ranking"):
        cache = package / "batch" / room / "__pycache__"
        cache.touch()  # a file: not even root can write into it
    folder.mkdir()
    prelude, environ = NO_CACHE[reason]
    program = [ONE_LOOP, DIGEST][often(0, 1)]
    origin = "import batch.models; print(batch.models.__file__)"
    file, *result = run(
        f"{prelude}\n{origin}\n{program}", folder, package, PYTHONDONTWRITEBYTECODE="1", **environ
    )
    assert file == str(package / "batch" / "models" / "__init__.py")
    assert result[-1] == (digest if often(0, 1) else one_loop)[-1]
    assert [path for path in folder.rglob("*") if path.is_file() or path.name == "~"] == []


def test_the_compiler_is_loaded_only_for_neighbours(tmp_path: Path) -> None:
    """Commands, the nightly run and baseline models do not load numba; neighbourhood models do."""
    program = """
import sys
import batch.cli, batch.job.nightly, batch.query
from batch.models import fit
from batch.params import PRESETS
from reference import ratings_of

ratings = ratings_of([[4.0, 3.0], [2.0, 5.0]])
fit("bias", ratings, None, 0), fit("popular", ratings, None, 0)
print("numba" in sys.modules)
fit("user_user", ratings, PRESETS["plain"].user_user, 0)
print("numba" in sys.modules)
"""
    assert run(program, tmp_path) == ["False", "True"]


def test_side_by_side_is_in_order_and_within_bounds() -> None:
    """Results come in the order of the inputs, and few inputs are started ahead."""
    started: list[int] = []

    def square(number: int) -> int:
        started.append(number)
        sleep(0.02 if number % 2 == 0 else 0)  # later ones are done first
        return number * number

    with pytest.MonkeyPatch.context() as patch:
        for threads in (1, 2, 4):
            patch.setattr(compiled.config, "NUMBA_NUM_THREADS", threads)
            started.clear()
            results = compiled.side_by_side(square, range(40))
            assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
            assert len(started) <= 5 + threads
            assert list(results) == [number * number for number in range(5, 40)]
            assert sorted(started) == list(range(40))


def test_an_error_side_by_side_is_raised() -> None:
    """An error in one of several calls is raised where its result is due, and nothing hangs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled.config, "NUMBA_NUM_THREADS", 2)
        results = compiled.side_by_side(lambda number: 1 // (3 - number), range(9))
        assert [next(results) for _ in range(3)] == [0, 0, 1]
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_work_beside_other_work_takes_one_thread() -> None:
    """Work that runs beside other work takes one thread for its parts; alone it takes several."""
    threads_of_call: list[set[int]] = []

    def work(_: int) -> None:
        threads: set[int] = set()

        def part(_start: int, _stop: int) -> None:
            threads.add(get_ident())
            sleep(0.01)

        compiled.in_parts(part, 8, 1)
        threads_of_call.append(threads)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled.config, "NUMBA_NUM_THREADS", 4)
        list(compiled.side_by_side(work, range(3)))
        assert [len(threads) for threads in threads_of_call] == [1, 1, 1]
        work(0)
        assert len(threads_of_call[-1]) > 1


def test_matrix_products_beside_other_work_take_one_thread() -> None:
    """Side by side, linear algebra starts no threads of its own; afterwards it may again."""

    def blas_threads(_: int = 0) -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with pytest.MonkeyPatch.context() as patch, threadpool_limits(3, user_api="blas"):
        patch.setattr(compiled.config, "NUMBA_NUM_THREADS", 2)
        assert list(compiled.side_by_side(blas_threads, range(3))) == [{1}, {1}, {1}]
        assert blas_threads() == {3}
