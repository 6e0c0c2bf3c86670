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
RUN = {"run_id": 7, "model": "näher"}
LISTS = schema.recommendations


def lists(**replaced: object) -> dict[str, np.ndarray]:
    """Six rows of `recommendations`, less run and model."""
    columns = {
        "user_id": [2**62, 1, 2, 3, 4, 5],
        "rank": [32767, 1, 2, 3, 4, 5],
        "movie_id": [-3, -2, -1, 0, 1, 2],
        "score": SCORES,
        "predicted_rating": PREDICTED,
        "support": np.arange(6),
        **replaced,
    }
    return {name: np.asarray(column) for name, column in columns.items()}


def none_for_nan(number: float) -> float | None:
    return None if np.isnan(number) else number


def test_columns_are_rows(database: Database) -> None:
    """Each number arrives bit by bit in its row, whole ones whole, and nan as NULL."""
    columns = lists()
    with database.writer.begin() as connection:
        assert insert_columns(connection, LISTS, RUN, columns) == 6
        stored = connection.execute(select(LISTS).order_by(LISTS.c.movie_id)).all()
    expected = []
    values = [column.tolist() for column in columns.values()]
    for user, rank, movie, score, predicted, support in zip(*values, strict=True):
        key = (7, user, "näher", rank, movie)
        expected.append((*key, score, none_for_nan(predicted), float(support), None))
    assert [repr(tuple(row)) for row in stored] == [repr(row) for row in expected]


def test_whole_numbers_with_gaps(database: Database) -> None:
    """A column of whole numbers with unknown ones arrives as floats with nan, stored whole."""
    create = "CREATE TEMPORARY TABLE runs_seen (run_id BIGINT, last_batch_id BIGINT)"
    table = schema.runs.to_metadata(schema.MetaData(), schema=None, name="runs_seen")
    columns = {"run_id": np.array([1, 2, 3]), "last_batch_id": np.array([np.nan, 2.0**52, 0.0])}
    with database.writer.begin() as connection:
        connection.exec_driver_sql(create)
        insert_columns(connection, table, {}, columns)
        query = "SELECT run_id, last_batch_id FROM runs_seen ORDER BY run_id"
        stored = connection.exec_driver_sql(query).all()
    assert [repr(tuple(row)) for row in stored] == ["(1, None)", f"(2, {2**52})", "(3, 0)"]


def test_no_rows(database: Database) -> None:
    """Columns without rows insert nothing."""
    columns = {name: column[:0] for name, column in lists().items()}
    with database.writer.begin() as connection:
        assert insert_columns(connection, LISTS, RUN, columns) == 0
        assert connection.execute(select(LISTS)).all() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"score": PREDICTED},
        {"score": SCORES + np.inf},
        {"support": -SCORES - 1},
        {"user_id": [1] * 6, "rank": [1] * 6},
    ],
)
def test_a_row_that_breaks_a_rule(database: Database, wrong: dict[str, object]) -> None:
    """A row that the table refuses is an error that names the table and quotes no row."""
    message = r"^recommendations could not be written: [^\n]*$"
    with (
        pytest.raises(WriteError, match=message),
        database.writer.begin() as connection,
    ):
        insert_columns(connection, LISTS, RUN, lists(**wrong))


TEXTS = [
    '{"kind":"a"}',
    "",
    '{"b":[1,2.5,{"c":"' + "x" * 3000 + '"}]}',
    "",
    "[]",
    '{"d":"\\u00bd \\"q\\""}',
]


def test_json_is_stored_as_it_is(database: Database) -> None:
    """JSON of any length is stored as text on SQLite and as jsonb on Postgres, and '' as NULL."""
    c = LISTS.c
    with database.writer.begin() as connection:
        columns = lists(reason=np.array(TEXTS))
        assert insert_columns(connection, LISTS, RUN, columns) == 6
        query = select(c.reason, c.predicted_rating).order_by(c.movie_id)
        stored = connection.execute(query).all()
    for row, written in zip(stored, TEXTS, strict=True):
        if not written:
            assert row.reason is None
        elif database.file:
            assert row.reason == written
        else:
            data = json.loads(row.reason) if isinstance(row.reason, str) else row.reason
            assert data == json.loads(written)
    predicted = [row.predicted_rating for row in stored]
    assert predicted == [none_for_nan(number) for number in PREDICTED.tolist()]
