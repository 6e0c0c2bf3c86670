"""The plain preset to the letter, from file to table: what is published equals the formulas, cell by cell."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

import reference
from batch.store.database import open_database, upgrade

ROOT = Path(__file__).parents[1]
USERS, FILMS = 30, 45


def wide_csv(stars: reference.Floats) -> str:
    """The wide matrix, as exports write it: 0.0 where there is no rating. Keys are out of order on purpose."""
    films = [f"Film {number}, the" for number in range(FILMS)]
    header = ",User," + ",".join(f'"{film}"' for film in films)
    lines = [",".join("0.0" if np.isnan(cell) else str(cell) for cell in row) for row in stars]
    return (
        "\n".join(
            [header, *(f"{number},Person {number},{line}" for number, line in enumerate(lines))]
        )
        + "\n"
    )


def by_key(stars: reference.Floats) -> tuple[reference.Floats, list[str], list[str]]:
    """The same table with users and films in order of key, and their keys."""
    people = sorted(range(USERS), key=lambda number: f"Person {number}")
    films = sorted(range(FILMS), key=lambda number: f"Film {number}, the")
    keys = [f"Person {number}" for number in people], [f"Film {number}, the" for number in films]
    return stars[np.ix_(people, films)], *keys


@pytest.mark.parametrize("seed", [1, 2])
def test_what_plain_publishes_is_the_formulas(url: str, tmp_path: Path, seed: int) -> None:
    """The shipped config with the plain preset publishes, by force, the formulas' lists with scores to 1e-5."""
    stars = reference.random_stars(seed, USERS, FILMS, (1.0, 2.0, 3.0, 4.0, 5.0), 0.2, n_empty=2)
    (tmp_path / "user_reviews.csv").write_text(wide_csv(stars))
    shutil.copy(ROOT / "config.yaml", tmp_path)
    database = open_database(url)
    upgrade(database)
    environ = os.environ | {"RECBATCH_DATABASE__URL": url, "RECBATCH_MODELS__PRESET": "plain"}
    for words in (["ingest", "user_reviews.csv"], ["run", "--force"]):
        program = [sys.executable, "-m", "batch", *words]
        done = subprocess.run(
            program, cwd=tmp_path, env=environ, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    table, people, films = by_key(stars)
    ratings = reference.ratings_of(table)
    lines = reference.lines_of(ratings)
    baseline = reference.expected("user_mean", lines, FILMS)
    off = reference.deviations(lines, baseline)
    columns, columns_off = reference.turned(lines, FILMS), reference.turned(off, FILMS)
    compared_runs = {
        "user_user": reference.user_weighted_sums(
            *reference.similarities("cosine", lines, off), 0, "all"
        ),
        "item_item": reference.user_weighted_sums(
            *reference.similarities("cosine", columns, columns_off), 0, "all"
        ),
    }
    counts = [len(column) for column in columns]
    query = text(
        "SELECT rank, movie_key, score, predicted_rating FROM current_recommendations"
        " WHERE user_key = :user AND model = :model ORDER BY rank"
    )
    n_lists = 0
    with database.reader.connect() as connection:
        for model, s in compared_runs.items():
            grid, _ = getattr(reference, model)(off, baseline, s, 0)
            for user, key in enumerate(people):
                best = reference.best(grid[user], lines[user], counts, 5)
                found = connection.execute(query, {"user": key, "model": model}).all()
                assert [(row.rank, row.movie_key) for row in found] == [
                    (rank, films[item]) for rank, item in enumerate(best, 1)
                ]
                for row, item in zip(found, best, strict=True):
                    assert row.score == pytest.approx(grid[user][item], abs=1e-5)
                    assert row.predicted_rating == pytest.approx(grid[user][item], abs=1e-5)
                n_lists += len(found) == 5
    assert n_lists == 2 * (USERS - 2)  # all but the two who rated nothing
