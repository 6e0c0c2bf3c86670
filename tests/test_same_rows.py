"""The same ratings, settings, seed and versions give the same rows in any process."""

import json
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
    """Ingest and run in a process of its own; all lists, with their reasons in words."""
    folder.mkdir()
    ratings = random_rows(3)
    halves = {"a.csv": ratings[::2], "b.csv": ratings[1::2]}
    if backwards:
        halves = {"b.csv": ratings[1::2][::-1], "a.csv": ratings[::2][::-1]}
    files = {"genres.csv": genre_csv()}
    files |= {name: long_csv(half) for name, half in halves.items()}
    outside = os.environ.items()
    environ = {name: value for name, value in outside if not name.startswith("RECBATCH_")}
    environ["PYTHONHASHSEED"] = seed
    environ["NUMBA_NUM_THREADS"] = threads

    environ["RECBATCH_INGEST__PATHS"] = json.dumps(list(files))
    for name, text in files.items():
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "batch", "-q", "run"]
    subprocess.run(command, cwd=folder, env=environ, check=True)
    url = f"sqlite:///{folder / 'recbatch.db'}"
    why = {}
    with query.snapshot(url) as connection:
        for model in query.models(connection):
            for answer in query.lists(connection, model=model):
                for film in answer.films:
                    why[answer.user_key, answer.model, film.rank] = film.why
    return [(*row, why[row[:3]]) for row in rows(open_database(url), LISTS)]


@pytest.mark.promise("D1")
def test_processes_agree(tmp_path: Path) -> None:
    """Another order of files and rows, hash seed and number of threads change no row."""
    first = lists(tmp_path / "a", backwards=False, seed="1", threads="1")
    second = lists(tmp_path / "b", backwards=True, seed="2", threads="2")
    assert len(first) == 4 * 25 * 5
    assert all(why for *_, why in first)
    assert first == second
