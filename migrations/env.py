"""Alembic -> our connection: migrations run inside the transaction and lock of `batch.store.database.upgrade`."""

from alembic import context

from batch.store.schema import metadata

connection = context.config.attributes["connection"]
# transactional_ddl: Alembic believes that SQLite cannot roll DDL back; with a BEGIN of our own it can.
context.configure(
    connection=connection,
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
