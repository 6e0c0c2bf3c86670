"""Alembic -> migrations, run in the transaction of `batch.store.versions.upgrade`."""

from alembic import context

from batch.store.schema import metadata

connection = context.config.attributes["connection"]
# transactional_ddl: Alembic assumes that SQLite cannot roll back DDL; it can, because
# `batch.store.engines` issues BEGIN itself.
context.configure(
    connection=connection,
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
