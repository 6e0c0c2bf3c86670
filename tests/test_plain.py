"""The plain preset, from file to table: the published lists are those of the formulas."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

import reference
from batch.store.database import open_database
from batch.store.versions import upgrade
from fixed import program

ROOT = Path(__file__).parents[1]
USERS, FILMS = 30, 45


def wide_csv(stars: reference.Floats) -> str:
    """A wide matrix with 0.0 where there is no rating; its keys are not in order."""
    films = [f"Film {number}, the" for number in range(FILMS)]
    header = ",User," + ",".join(f'"{film}"' for film in films)
    lines = [header]
    for number, row in enumerate(stars):
        cells = ",".join("0.0" if np.isnan(cell) else str(cell) for cell in row)
        lines.append(f"{number},Person {number},{cells}")
    return "\n".join(lines) + "\n"


def by_key(stars: reference.Floats) -> tuple[reference.Floats, list[str], list[str]]:
    """The same table with users and films in order of key, and their keys."""
    users = sorted(range(USERS), key=lambda number: f"Person {number}")
    films = sorted(range(FILMS), key=lambda number: f"Film {number}, the")
    user_keys = [f"Person {number}" for number in users]
    movie_keys = [f"Film {number}, the" for number in films]
    return stars[np.ix_(users, films)], user_keys, movie_keys


@pytest.mark.parametrize("seed", [1, 2])
def test_plain_publishes_the_lists_of_the_formulas(url: str, tmp_path: Path, seed: int) -> None:
    """With the plain preset, `run --force` publishes the formulas' lists, with scores to 1e-5."""
    whole_stars = (1.0, 2.0, 3.0, 4.0, 5.0)
    stars = reference.random_stars(seed, USERS, FILMS, whole_stars, 0.2, n_empty=2)
    (tmp_path / "user_reviews.csv").write_text(wide_csv(stars))
    shutil.copy(ROOT / "config.yaml", tmp_path)
    database = open_database(url)
    upgrade(database)
    environ = {"RECBATCH_DATABASE__URL": url, "RECBATCH_MODELS__PRESET": "plain"}
    for arguments in (["ingest", "user_reviews.csv"], ["run", "--force"]):
        done = program(tmp_path, *arguments, **environ)
        assert done.returncode == 0, done.stderr
    table, user_keys, movie_keys = by_key(stars)
    ratings = reference.ratings_of(table)
    lines = reference.lines_of(ratings)
    baseline = reference.expected("user_mean", lines, FILMS)
    off = reference.deviations(lines, baseline)
    columns = reference.turned(lines, FILMS)
    columns_off = reference.turned(off, FILMS)
    of_users = reference.similarities("cosine", lines, off)
    of_films = reference.similarities("cosine", columns, columns_off)
    weights_by_model = {
        "user_user": reference.neighbour_weights(*of_users, 0, "all"),
        "item_item": reference.neighbour_weights(*of_films, 0, "all"),
    }
    counts = [len(column) for column in columns]
    query = text(
        "SELECT rank, movie_key, score, predicted_rating FROM current_recommendations"
        " WHERE user_key = :user AND model = :model ORDER BY rank"
    )
    n_lists = 0
    with database.reader.connect() as connection:
        for model, weights in weights_by_model.items():
            grid, _ = getattr(reference, model)(off, baseline, weights, 0)
            for user, key in enumerate(user_keys):
                best = reference.best(grid[user], lines[user], counts, 5)
                published = connection.execute(query, {"user": key, "model": model}).all()
                expected = [(rank, movie_keys[item]) for rank, item in enumerate(best, 1)]
                assert [(row.rank, row.movie_key) for row in published] == expected
                for row, item in zip(published, best, strict=True):
                    assert row.score == pytest.approx(grid[user][item], abs=1e-5)
                    assert row.predicted_rating == pytest.approx(grid[user][item], abs=1e-5)
                n_lists += len(published) == 5
    assert n_lists == 2 * (USERS - 2)  # all but the two who rated nothing
