"""Columns of numbers -> rows, against rows written one by one, on both databases."""

import json

import numpy as np
import pytest
from sqlalchemy import select

from batch.store import schema
from batch.store.bulk_insert import WriteError, insert_columns
from batch.store.database import Database

SCORES = np.array([1 / 3, -1e6, 5e-324, 0.0, 4.5, 1e6])
PREDICTED = np.array([np.nan, 2 / 3, np.nan, 0.0, 1e-7, np.nan])


def lists(**others: object) -> dict[str, np.ndarray]:
    """Six rows of `recommendations` but for run and model."""
    columns = {
        "user_id": np.array([2**62, 1, 2, 3, 4, 5]), "rank": np.array([32767, 1, 2, 3, 4, 5]),
        "movie_id": np.arange(6) - 3, "score": SCORES, "predicted_rating": PREDICTED, "support": np.arange(6),
    }  # fmt: skip
    return {**columns, **{name: np.asarray(column) for name, column in others.items()}}


def test_columns_are_rows(database: Database) -> None:
    """Each number arrives bit by bit in its row, whole ones whole, and nan as NULL, whichever rows have it."""
    columns = lists()
    with database.writer.begin() as connection:
        same = {"run_id": 7, "model": "näher"}
        assert insert_columns(connection, schema.recommendations, same, columns) == 6
        found = connection.execute(
            select(schema.recommendations).order_by(schema.recommendations.c.movie_id)
        ).all()
    told = list(zip(*(column.tolist() for column in columns.values()), strict=True))
    expected = [
        (
            7,
            user,
            "näher",
            rank,
            movie,
            score,
            None if predicted != predicted else predicted,
            float(support),
            None,
        )
        for user, rank, movie, score, predicted, support in told
    ]
    assert [repr(tuple(row)) for row in found] == [repr(row) for row in expected]


def test_whole_numbers_with_gaps(database: Database) -> None:
    """A column of whole numbers of which some are unknown comes as floats with nan, and is stored whole."""
    with database.writer.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TEMPORARY TABLE runs_seen (run_id BIGINT, last_batch_id BIGINT)"
        )
        table = schema.runs.to_metadata(schema.MetaData(), schema=None, name="runs_seen")
        columns = {"run_id": np.array([1, 2, 3]), "last_batch_id": np.array([np.nan, 2.0**52, 0.0])}
        insert_columns(connection, table, {}, columns)
        found = connection.exec_driver_sql(
            "SELECT run_id, last_batch_id FROM runs_seen ORDER BY run_id"
        ).all()
    assert [repr(tuple(row)) for row in found] == ["(1, None)", f"(2, {2**52})", "(3, 0)"]


def test_no_rows(database: Database) -> None:
    """Columns without rows are no rows."""
    columns = {name: column[:0] for name, column in lists().items()}
    with database.writer.begin() as connection:
        assert (
            insert_columns(connection, schema.recommendations, {"run_id": 1, "model": "x"}, columns)
            == 0
        )
        assert connection.execute(select(schema.recommendations)).all() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"score": PREDICTED},
        {"score": SCORES + np.inf},
        {"support": -SCORES - 1},
        {"user_id": [1] * 6, "rank": [1] * 6},
    ],
)
def test_what_breaks_a_rule(database: Database, wrong: dict[str, object]) -> None:
    """A row that the table refuses is an error that names the table and quotes no row."""
    with (
        pytest.raises(WriteError, match=r"^recommendations could not be written: [^\n]*$"),
        database.writer.begin() as connection,
    ):
        insert_columns(
            connection, schema.recommendations, {"run_id": 1, "model": "x"}, lists(**wrong)
        )


def test_json_is_stored_as_it_is(database: Database) -> None:
    """A column of JSON arrives as that JSON whatever its length, text on SQLite and jsonb on Postgres; '' as NULL."""
    texts = [
        '{"kind":"a"}',
        "",
        '{"b":[1,2.5,{"c":"' + "x" * 3000 + '"}]}',
        "",
        "[]",
        '{"d":"\\u00bd \\"q\\""}',
    ]
    with database.writer.begin() as connection:
        columns = lists(reason=np.array(texts))
        assert (
            insert_columns(
                connection, schema.recommendations, {"run_id": 7, "model": "näher"}, columns
            )
            == 6
        )
        c = schema.recommendations.c
        found = connection.execute(select(c.reason, c.predicted_rating).order_by(c.movie_id)).all()
    kept = [
        row.reason if isinstance(row.reason, str | None) else json.dumps(row.reason)
        for row in found
    ]
    assert [text and json.loads(text) for text in kept] == [
        json.loads(text) if text else None for text in texts
    ]
    if not database.url.drivername.startswith("postgresql"):
        assert kept == [text or None for text in texts]
    assert [row.predicted_rating for row in found] == [
        None if x != x else x for x in PREDICTED.tolist()
    ]
