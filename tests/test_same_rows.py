"""The same tables by keys, settings, seed and versions give the same rows, in whichever process, to the last digit."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batch import query
from batch.store.database import open_database
from data import genre_csv, long_csv, random_rows
from tables import rows

LISTS = """
    SELECT user_key, model, rank, movie_key, score, predicted_rating FROM current_recommendations
    ORDER BY user_key, model, rank"""


def lists(folder: Path, backwards: bool, seed: str, threads: str) -> list[tuple[Any, ...]]:
    """Ingest and run in processes of their own; everyone's lists, with their reasons in words."""
    folder.mkdir()
    ratings = random_rows(3)
    files = {
        "genres.csv": genre_csv(),
        "a.csv": long_csv(ratings[::2]),
        "b.csv": long_csv(ratings[1::2]),
    }
    if backwards:
        files = {name: files[name] for name in sorted(files, reverse=True)}
        files["a.csv"], files["b.csv"] = (
            long_csv(part[::-1]) for part in (ratings[::2], ratings[1::2])
        )
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith("RECBATCH_")
    }
    environ |= {"PYTHONHASHSEED": seed, "NUMBA_NUM_THREADS": threads}
    for name, text in files.items():
        (folder / name).write_text(text)
        subprocess.run(
            [sys.executable, "-m", "batch", "ingest", name], cwd=folder, env=environ, check=True
        )
    subprocess.run(
        [sys.executable, "-m", "batch", "-q", "run"], cwd=folder, env=environ, check=True
    )
    with query.snapshot(f"sqlite:///{folder / 'recbatch.db'}") as connection:
        told = [
            answer
            for model in query.models(connection)
            for answer in query.lists(connection, model=model)
        ]
    why = {
        (answer.user_key, answer.model, film.rank): film.why
        for answer in told
        for film in answer.films
    }
    found = rows(open_database(f"sqlite:///{folder / 'recbatch.db'}"), LISTS)
    return [(*row, why[row[:3]]) for row in found]


@pytest.mark.promise("D1")
def test_processes_agree(tmp_path: Path) -> None:
    """Another order of files and rows, other hashes and another number of threads change no row of any list."""
    first = lists(tmp_path / "a", backwards=False, seed="1", threads="1")
    second = lists(tmp_path / "b", backwards=True, seed="2", threads="2")
    assert len(first) == 4 * 25 * 5
    assert all(why for *_, why in first)
    assert first == second
