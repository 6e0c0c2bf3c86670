"""Rows of a run -> a digest per model, by which rows that were changed by hand are noticed.

A digest is the sum of a hash of each row, modulo 2^64. So the order of rows has no effect, and
rows that this program deletes are subtracted without reading the others.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    cast,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import BIT

from batch.params import SCORE_DECIMALS
from batch.store import schema
from batch.store.column_types import Real

_lists, _popular, _digests = schema.recommendations, schema.popular_items, schema.run_digests
_similar = schema.similar_items

POPULAR = "popular"
"""The `model` of the digest of `popular_items`."""
SIMILAR = "similar"
"""The `model` of the digest of `similar_items`."""
MODULUS = 2**64
FIELD = "|"
"""Between the fields of a row, of which only the last, the reason, may contain it."""
FETCHED = 10_000
"""Rows fetched from SQLite at a time."""


@dataclass(frozen=True)
class Digest:
    """The number of a model's rows, and the sum of their hashes."""

    n_rows: int
    total: int  # modulo MODULUS

    def without(self, other: "Digest") -> "Digest":
        """The digest after the rows of the other were deleted."""
        return Digest(self.n_rows - other.n_rows, (self.total - other.total) % MODULUS)


NOTHING = Digest(0, 0)


def compute(connection: Connection, run_id: int) -> dict[str, Digest]:
    """The digest of each model's rows as they are now, of `popular` and of `similar`."""
    popular: Any = select(literal(POPULAR).label("model"), _row_text(_popular_fields()))
    popular = popular.where(_popular.c.run_id == run_id)
    digests = _of_lists(connection, run_id) | _digests_of(connection, popular)
    return digests | _of_similar(connection, run_id)


def _of_lists(
    connection: Connection, run_id: int, *conditions: ColumnElement[bool]
) -> dict[str, Digest]:
    """The digest of each model's rows that meet the conditions."""
    texts: Any = select(_lists.c.model, _row_text(_list_fields()))
    return _digests_of(connection, texts.where(_lists.c.run_id == run_id, *conditions))


def of_similar(connection: Connection, run_id: int, movie_ids: Collection[int]) -> Digest:
    """The digest of these films' rows of `similar_items` as they are now."""
    return _of_similar(connection, run_id, _similar.c.movie_id.in_(movie_ids)).get(SIMILAR, NOTHING)


def _of_similar(
    connection: Connection, run_id: int, *conditions: ColumnElement[bool]
) -> dict[str, Digest]:
    texts: Any = select(literal(SIMILAR).label("model"), _row_text(_similar_fields()))
    return _digests_of(connection, texts.where(_similar.c.run_id == run_id, *conditions))


def record(connection: Connection, run_id: int) -> None:
    """Store the digests of a run whose rows are final."""
    _store(connection, run_id, compute(connection, run_id))


def subtract(connection: Connection, run_id: int, *conditions: ColumnElement[bool]) -> None:
    """Renew the digests of a run for the deletion of rows of lists, which are still there.

    The rows are those that meet the conditions, on columns of `recommendations`.
    """
    stored = recorded(connection, run_id)
    if not stored:
        return
    deleted = _of_lists(connection, run_id, *conditions)
    renewed = {
        model: digest.without(deleted.get(model, NOTHING)) for model, digest in stored.items()
    }
    _store(connection, run_id, renewed)


def replace_similar(connection: Connection, run_id: int, before: Digest, after: Digest) -> None:
    """Renew the digest of `similar_items` after rows of digest `before` became those of `after`."""
    stored = recorded(connection, run_id)
    if SIMILAR not in stored:
        return
    rest = stored[SIMILAR].without(before)
    renewed = Digest(rest.n_rows + after.n_rows, (rest.total + after.total) % MODULUS)
    _store(connection, run_id, stored | {SIMILAR: renewed})


def remove(connection: Connection, run_id: int) -> None:
    """Delete the digests of a run whose rows are deleted."""
    connection.execute(delete(_digests).where(_digests.c.run_id == run_id))


def recorded(connection: Connection, run_id: int) -> dict[str, Digest]:
    """The stored digests of a run by model; none for a run of an older version."""
    d = _digests.c
    rows = connection.execute(select(d.model, d.n_rows, d.digest).where(d.run_id == run_id))
    return {model: Digest(n_rows, int(digest, 16)) for model, n_rows, digest in rows}


def changed_models(connection: Connection, run_id: int) -> list[str]:
    """Models whose rows are not those that were recorded; none for a run without digests."""
    stored = recorded(connection, run_id)
    if not stored:
        return []
    current = compute(connection, run_id)
    models = sorted({*stored, *current})
    return [name for name in models if stored.get(name, NOTHING) != current.get(name, NOTHING)]


def _store(connection: Connection, run_id: int, digests: Mapping[str, Digest]) -> None:
    remove(connection, run_id)
    for model, digest in digests.items():
        row = {"run_id": run_id, "model": model, "n_rows": digest.n_rows}
        connection.execute(insert(_digests), row | {"digest": f"{digest.total:016x}"})


def _list_fields() -> list[ColumnElement[Any]]:
    c = _lists.c
    numbers = [c.user_id, c.rank, c.movie_id]
    return [*numbers, *map(_as_whole, (c.score, c.predicted_rating, c.support)), c.reason]


def _popular_fields() -> list[ColumnElement[Any]]:
    return [_popular.c.rank, _popular.c.movie_id, _as_whole(_popular.c.score)]


def _similar_fields() -> list[ColumnElement[Any]]:
    c = _similar.c
    return [c.movie_id, c.rank, c.other_id, _as_whole(c.score), c.support]


def _as_whole(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """A number with the decimals that are stored, as a whole one: its text is the same anywhere."""
    # Explicitly of floats: Postgres would round its decimals otherwise.
    scaled = value * cast(10.0**SCORE_DECIMALS, Real)
    return cast(func.round(scaled), BigInteger)


def _row_text(fields: list[ColumnElement[Any]]) -> ColumnElement[str]:
    text: ColumnElement[str] = literal_column("''", Text)
    for field in fields:
        text = text + func.coalesce(cast(field, Text), "") + FIELD
    return text.label("row_text")


def _digests_of(connection: Connection, texts: Select[Any]) -> dict[str, Digest]:
    """Model -> digest, of a query for model and text of rows."""
    if connection.dialect.name == "postgresql":
        return _summed_by_server(connection, texts)
    return _summed_here(connection, texts)


def _summed_by_server(connection: Connection, texts: Select[Any]) -> dict[str, Digest]:
    rows = texts.subquery()
    sha256 = func.encode(func.sha256(func.convert_to(rows.c.row_text, "UTF8")), "hex")
    first_bits = cast(literal_column("'x'", Text) + func.substr(sha256, 1, 16), BIT(64))
    total = func.sum(cast(first_bits, BigInteger))
    by_model = select(rows.c.model, func.count(), total).group_by(rows.c.model)
    return {
        model: Digest(count, int(total) % MODULUS)
        for model, count, total in connection.execute(by_model)
    }


def _summed_here(connection: Connection, texts: Select[Any]) -> dict[str, Digest]:
    counts: dict[str, int] = {}
    totals: dict[str, int] = {}
    for rows in connection.execute(texts).partitions(FETCHED):
        for model, text in rows:
            first_bits = hashlib.sha256(text.encode()).digest()[:8]
            counts[model] = counts.get(model, 0) + 1
            totals[model] = totals.get(model, 0) + int.from_bytes(first_bits, "big")
    return {model: Digest(counts[model], totals[model] % MODULUS) for model in counts}
