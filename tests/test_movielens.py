"""Real ratings end to end on both databases: ml-latest-small in, lists out as in the README."""

import re
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import text

from batch.ingest import ingest
from batch.job import nightly
from batch.job.inputs import ingest_settings
from batch.job.nightly import Order
from batch.models import PUBLISHED
from batch.store.database import Database, open_database
from batch.store.run_lock import run_lock
from batch.store.versions import upgrade
from data import settings
from reuse import share_results

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
LISTS = (
    "SELECT model, user_key, rank, movie_key, score, predicted_rating FROM current_recommendations"
)


@pytest.fixture(scope="module")
def nights(
    movielens: Path, postgres_server: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Database, Database]:
    """One published night of ml-latest-small on SQLite and on Postgres."""
    folder = tmp_path_factory.mktemp("movielens")
    made = open_database(f"sqlite:///{folder / 'recbatch.db'}"), open_database(postgres_server)
    for database in made:
        upgrade(database)
        config = settings(folder)
        with run_lock(database):
            reports = ingest(database, [movielens], ingest_settings(config))
        assert [(report.status, report.read, report.accepted) for report in reports] == [
            ("skipped", 0, 0),  # README.txt
            ("merged", 9742, 9742),
            ("merged", 100_836, 100_836),
        ]
        with pytest.MonkeyPatch.context() as patch:
            share_results(patch)
            assert nightly.run(database, config, Order(date(2026, 11, 23))).status == "published"
    return made


def rows(database: Database, sql: str) -> list[tuple[object, ...]]:
    with database.reader.connect() as connection:
        return sorted(tuple(row) for row in connection.execute(text(sql)))


def test_every_user_has_five_films_of_every_model(nights: tuple[Database, Database]) -> None:
    """610 users times 5 films for each of the three models, on both databases."""
    counted = """
        SELECT model, count(*), count(DISTINCT user_key)
        FROM current_recommendations GROUP BY model"""
    for database in nights:
        assert rows(database, counted) == [(name, 3050, 610) for name in sorted(PUBLISHED)]


def test_both_databases_publish_the_same_rows(nights: tuple[Database, Database]) -> None:
    """SQLite and Postgres hold the same films in the same order with the same scores."""
    on_sqlite, on_postgres = (rows(database, LISTS) for database in nights)
    assert on_sqlite == on_postgres
    assert rows(nights[0], "SELECT data_sha256 FROM runs") == rows(
        nights[1], "SELECT data_sha256 FROM runs"
    )


def test_the_night_was_worth_it(nights: tuple[Database, Database]) -> None:
    """Each model predicts better than `bias`, and neighbourhood lists beat popular films."""
    measured = {
        (model, metric): value
        for model, metric, value in rows(nights[0], "SELECT model, metric, value FROM run_metrics")
    }
    for model in PUBLISHED:
        assert measured[model, "own.rmse"] < measured["bias", "own.rmse"]
    for model in ("user_user", "item_item"):
        assert measured[model, "own.precision@5"] > measured["popular", "own.precision@5"]


@pytest.mark.parametrize(
    "sql", re.findall(r"```sql\n(.*?)```", README, re.S), ids=lambda sql: sql.splitlines()[0]
)
def test_the_readmes_sql_works_as_written(nights: tuple[Database, Database], sql: str) -> None:
    """Each statement in the README gives the same rows on both databases, except for times.

    There are five of each list, and of each shelf at most.
    """
    found = [rows(database, sql) for database in nights]
    if "current_shelves" in sql:
        assert len(found[0]) > 10
        assert max(rank for _, rank, _ in found[0]) == 5
    else:
        assert len(found[0]) == (1 if "DISTINCT" in sql else 5)
    if "DISTINCT" not in sql:
        assert found[0] == found[1]


def test_the_readmes_python_works_as_written(nights: tuple[Database, Database]) -> None:
    """The README's Python block runs, and finds a list and everyone's lists."""
    [program] = re.findall(r"```python\n(.*?)```", README, re.S)
    assert "sqlite:///recbatch.db" in program
    found: dict[str, object] = {}
    exec(program.replace("sqlite:///recbatch.db", str(nights[0].url)), found)  # noqa: S102  our own README
    assert found["same"] == found["answer"]
    assert len(found["everyone"]) == 610  # type: ignore[arg-type]


def test_every_film_that_five_people_liked_has_ten_similar_ones(
    nights: tuple[Database, Database],
) -> None:
    """Real likes are enough for full lists, which are the same on both databases."""
    liked = "SELECT movie_id FROM ratings WHERE rating >= 4 GROUP BY movie_id HAVING count(*) >= 5"
    lists = "SELECT movie_id FROM similar_items GROUP BY movie_id HAVING count(*) = 10"
    short = f"SELECT count(*) FROM ({liked}) l WHERE movie_id NOT IN ({lists})"
    listed = "SELECT * FROM similar_items ORDER BY run_id, movie_id, rank"
    sqlite, postgres = nights
    assert rows(sqlite, short) == [(0,)]
    assert rows(sqlite, listed) == rows(postgres, listed)


def test_films_that_hardly_anyone_rated_are_not_what_tuned_recommends(
    nights: tuple[Database, Database],
) -> None:
    """The tuned neighbourhood models list no film with fewer than five ratings."""
    rare = "SELECT movie_id FROM ratings GROUP BY movie_id HAVING count(*) < 5"
    listed = (
        f"SELECT count(*) FROM recommendations WHERE model <> 'neural' AND movie_id IN ({rare})"
    )
    assert rows(nights[0], listed) == [(0,)]
