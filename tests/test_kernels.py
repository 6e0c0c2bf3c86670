"""The compiled loops: no digit hangs on threads, and no run on a folder to keep machine code in."""

import os
import shutil
import subprocess
import sys
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

SCORED = """
import sys
from hashlib import sha256
import numpy as np
from batch.models import fit
from batch.models.features import fit_feature_model
from batch.params import PRESETS
from batch.ranking.rank import best_unseen
from reference import every_cell, random_stars, ratings_of

ratings = ratings_of(random_stars(0, 90, 250, [0.5, 2, 3.5, 5], 0.2, n_empty=2))
digest = sha256()
for shape in ((90, 250), (250, 90)):
    stars = random_stars(0, *shape, [0.5, 2, 3.5, 5], 0.2, n_empty=2)
    signals, users = fit_feature_model(ratings_of(stars, times=np.arange(22500.0).reshape(shape)), None), np.arange(shape[0])
    tastes = signals.tastes(users)
    promised = tastes.promise(np.ones(shape[1], dtype=np.bool_))
    digest.update(promised.tobytes() + best_unseen(promised, signals.rated, np.arange(shape[1]), 7).tobytes())
    digest.update(b"".join(values.tobytes() for values in signals.at(users, every_cell(*shape), tastes).values()))
for similarity in ("adjusted_cosine", "pearson"):
    for neighbours in ("all", 7):
        changed = {"similarity": similarity, "neighbours": neighbours}
        for name in ("user_user", "item_item"):
            model = fit(name, ratings, getattr(PRESETS["tuned"], name).model_copy(update=changed), 0)
            scores = model.score(np.arange(90))
            digest.update(scores.rating.tobytes() + scores.support.tobytes() + scores.relevance.tobytes())
            digest.update("".join(scores.explain(every_cell(90, 250)).stored(ratings)).encode())
print(digest.hexdigest())
"""
"""Models, reasons and signals on data of several parts for each of four threads; prints what every byte adds up to."""

STATS = """
from batch.models.ease import _gram, _products, _project, _project_some, _to_weights
from batch.models.kernels import _count, _user_weighted_sums, _neighbours, _item_weighted_sums
from batch.models.prediction import _predict
from batch.models.features import _promise
from batch.models.attribution import _heaviest, _count_neighbours, _strongest, _strongest_through
from batch.ranking.rank import _best_unseen
loops = [_count, _best_unseen, _gram, _user_weighted_sums, _neighbours, _predict, _products, _project, _project_some, _promise]
traces = [_heaviest, _count_neighbours, _strongest, _strongest_through]
kept = [loop.stats for loop in (*loops, *traces, _item_weighted_sums, _to_weights)]
print(sum(sum(stats.cache_hits.values()) for stats in kept), sum(sum(stats.cache_misses.values()) for stats in kept))
"""
"""Prints how many loops came from the disk, and how many were compiled and kept."""


def run(program: str, folder: Path, package: Path = ROOT, **environ: str) -> list[str]:
    """The lines a program prints, run in a folder by a process of its own."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    known |= {"PYTHONPATH": f"{package}{os.pathsep}{ROOT / 'tests'}"}
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=folder,
        env={name: value for name, value in (known | environ).items() if value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert not found.stderr
    return found.stdout.split("\n")[:-1]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What one thread computes."""
    return run(SCORED, tmp_path_factory.mktemp("one"), NUMBA_NUM_THREADS="1")


@pytest.mark.promise("D2")
@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_no_digit(threads: int, scored: list[str], tmp_path: Path) -> None:
    """Two threads and four give the bytes that one gives."""
    assert run(SCORED, tmp_path, NUMBA_NUM_THREADS=str(threads)) == scored


@pytest.mark.parametrize("name", ["user_user", "item_item"])
def test_a_model_can_be_asked_by_several_at_once(name: str) -> None:
    """Threads that score with the same model at the same time get what each would get alone."""
    ratings = ratings_of(random_stars(0, 90, 250, [1, 2, 3, 4, 5], 0.2))
    model = fit(name, ratings, getattr(PRESETS["tuned"], name), 0)
    alone = model.score(np.arange(90)).rating.tobytes()
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(lambda _: model.score(np.arange(90)).rating.tobytes(), range(8))] == [
            alone
        ] * 8


def test_loops_are_compiled_once(tmp_path: Path) -> None:
    """The first process keeps its machine code where NUMBA_CACHE_DIR says, and the second compiles nothing."""
    kept = str(tmp_path / "kept")
    assert [run(STATS, tmp_path, NUMBA_CACHE_DIR=kept) for _ in range(2)] == [["0 18"], ["18 0"]]


NOWHERE = "/proc/nowhere"
SURROUNDINGS = {
    "read-only": ("", {"NUMBA_CACHE_DIR": NOWHERE, "HOME": NOWHERE}),
    "a user without a name or a home": ("import os; os.getuid = lambda: 10001", {"HOME": ""}),
    "a full disk": (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))",
        {"NUMBA_CACHE_DIR": "kept"},
    ),
}


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_where_nothing_can_be_kept(surroundings: str, scored: list[str], tmp_path: Path) -> None:
    """Where no machine code can be written it is compiled in memory, with the same result, and nothing is left."""
    package, folder = tmp_path / "package", tmp_path / "folder"
    shutil.copytree(ROOT / "batch", package / "batch", ignore=shutil.ignore_patterns("__pycache__"))
    for room in (package / "batch", package / "batch" / "models"):
        (room / "__pycache__").touch()  # a file, which root cannot write into either
    folder.mkdir()
    prelude, environ = SURROUNDINGS[surroundings]
    asked = "import batch.models; print(batch.models.__file__)"
    found = run(
        f"{prelude}\n{asked}\n{SCORED}", folder, package, PYTHONDONTWRITEBYTECODE="1", **environ
    )
    assert found == [str(package / "batch" / "models" / "__init__.py"), *scored]
    assert [path for path in folder.rglob("*") if path.is_file() or path.name == "~"] == []


def test_the_compiler_is_loaded_only_for_neighbours(tmp_path: Path) -> None:
    """Neither the commands, nor the night, nor a baseline model load numba; a neighbourhood model does."""
    program = """
import sys
import batch.cli, batch.nightly, batch.query
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
    """Results come in the order given though later ones are done first, and little more than is at work is begun."""
    begun: list[int] = []

    def work(each: int) -> int:
        begun.append(each)
        sleep(0.02 if each % 2 == 0 else 0)
        return each * each

    with pytest.MonkeyPatch.context() as patch:
        for threads in (1, 2, 4):
            patch.setattr(compiled.config, "NUMBA_NUM_THREADS", threads)
            begun.clear()
            found = compiled.side_by_side(work, range(40))
            assert [next(found) for _ in range(5)] == [0, 1, 4, 9, 16]
            assert len(begun) <= 5 + threads
            assert list(found) == [each * each for each in range(5, 40)]
            assert sorted(begun) == list(range(40))


def test_what_fails_side_by_side_is_raised() -> None:
    """An error in one of many is raised where its result is due, and nothing hangs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled.config, "NUMBA_NUM_THREADS", 2)
        found = compiled.side_by_side(lambda each: 1 // (3 - each), range(9))
        assert [next(found) for _ in range(3)] == [0, 0, 1]
        with pytest.raises(ZeroDivisionError):
            next(found)


def test_one_of_many_works_alone() -> None:
    """Work that is done beside other work takes one thread for its parts; work by itself takes all."""
    threads: list[set[int]] = []

    def work(_each: int) -> None:
        mine: set[int] = set()
        compiled.in_parts(lambda *_: (mine.add(get_ident()), sleep(0.01)), 8, 1)
        threads.append(mine)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled.config, "NUMBA_NUM_THREADS", 4)
        list(compiled.side_by_side(work, range(3)))
        assert [len(mine) for mine in threads] == [1, 1, 1]
        work(0)
        assert len(threads[-1]) > 1


def test_products_of_matrices_beside_other_work_keep_to_their_thread() -> None:
    """Side by side, linear algebra starts no threads of its own; afterwards it may again."""

    def blas(_: int = 0) -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    with pytest.MonkeyPatch.context() as patch, threadpool_limits(3, user_api="blas"):
        patch.setattr(compiled.config, "NUMBA_NUM_THREADS", 2)
        assert list(compiled.side_by_side(blas, range(3))) == [{1}, {1}, {1}]
        assert blas() == {3}
