"""Users and films without ratings -> left out of runs, and deleted when nothing names them.

Undone batches leave them, and films that were seen bring them. They are kept, with the batch in
`undone_batch_id`, while a stored list, a filter or `seen` names them.
"""

from collections.abc import Mapping

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    Table,
    bindparam,
    delete,
    exists,
    insert,
    select,
    update,
)

from batch.store import schema

OWNERS = (schema.users, schema.movies)

NAMING = (
    schema.seen,
    schema.item_filters,
    schema.popular_items,
    schema.movie_genres,
    schema.similar_items,
    schema.ratings,
    schema.superseded_ratings,
    schema.superseded_seen,
    schema.recommendations,
)
"""The tables that name users or films, in the order they are searched: large ones last.

But `seen`, which names most of those that are marked, comes first.
"""

FOLLOWING = (schema.refreshed_users, schema.undone_users)
"""Tables whose rows of a user go with the user: another may get the same number."""

_candidates = Table(
    "leftover_candidates",
    MetaData(),
    Column("id", schema.Id, primary_key=True, autoincrement=False),
    prefixes=["TEMPORARY"],
)


def mark_leftovers(connection: Connection, batch_id: int) -> None:
    """Mark the users and films of a batch's ratings, but no film that a catalogue describes.

    The caller then deletes those ratings, and unmarks those that have others.
    """
    for owner in OWNERS:
        owner_id = _id_of(owner)
        of_batch = select(schema.ratings.c[owner_id.name])
        of_batch = of_batch.where(schema.ratings.c.batch_id == batch_id)
        marked = update(owner).where(owner_id.in_(of_batch))
        if owner is schema.movies:
            marked = marked.where(owner.c.batch_id.is_(None))
        connection.execute(marked.values(undone_batch_id=batch_id))


def unmark_leftovers(connection: Connection, rated: Table) -> None:
    """Unmark the users and films that a table of ratings has."""
    for owner in OWNERS:
        if _has_marked(connection, owner):
            owner_id = _id_of(owner)
            is_marked = owner.c.undone_batch_id.is_not(None)
            has_rating = owner_id.in_(select(rated.c[owner_id.name]))
            unmarked = update(owner).where(is_marked, has_rating)
            connection.execute(unmarked.values(undone_batch_id=None))


def unmark_films(connection: Connection, titles: Mapping[str, str]) -> None:
    """Unmark the films with these keys, which a file has named without a rating."""
    m = schema.movies
    is_marked = m.c.undone_batch_id.is_not(None)
    marked = connection.execute(select(m.c.movie_key).where(is_marked)).scalars()
    keys = [{"key": movie_key} for movie_key in marked if movie_key in titles]
    if keys:
        unmarked = update(m).where(m.c.movie_key == bindparam("key"))
        connection.execute(unmarked.values(undone_batch_id=None), keys)


def delete_leftovers(connection: Connection) -> dict[str, int]:
    """Delete the marked users and films that no table names; returns how many of each table."""
    return {owner.name: _delete_unnamed(connection, owner) for owner in OWNERS}


def _delete_unnamed(connection: Connection, owner: Table) -> int:
    if not _has_marked(connection, owner):
        return 0
    owner_id = _id_of(owner)
    marked = select(owner_id).where(owner.c.undone_batch_id.is_not(None))
    _candidates.create(connection)
    connection.execute(insert(_candidates).from_select(["id"], marked))
    for column in _naming_columns(owner_id.name):
        if connection.execute(select(_candidates.c.id).limit(1)).first() is None:
            break
        naming = select(column).where(column.is_not(None))
        connection.execute(delete(_candidates).where(_candidates.c.id.in_(naming)))
    unnamed = delete(owner).where(owner_id.in_(select(_candidates.c.id)))
    n_deleted = connection.execute(unnamed).rowcount
    if owner is schema.users:
        for table in FOLLOWING:
            orphans = table.c.user_id.in_(select(_candidates.c.id))
            connection.execute(delete(table).where(orphans))
    _candidates.drop(connection)
    return n_deleted


def _naming_columns(id_name: str) -> list[Column[int]]:
    """The columns of all tables that name owners; `other_id` is a film's."""
    names = (id_name, "other_id") if id_name == "movie_id" else (id_name,)
    return [table.c[name] for table in NAMING for name in names if name in table.c]


def _has_marked(connection: Connection, owner: Table) -> bool:
    marked = select(exists().where(owner.c.undone_batch_id.is_not(None)))
    return bool(connection.execute(marked).scalar_one())


def _id_of(owner: Table) -> Column[int]:
    return next(iter(owner.primary_key))
