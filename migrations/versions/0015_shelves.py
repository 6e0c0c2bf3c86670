"""The view of each user's best films by genre."""

from alembic import op

from batch.store.views import shelves_query

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Create the view, of the lists there are."""
    op.execute(f"CREATE VIEW current_shelves AS {shelves_query(op.get_bind().dialect)}")


def downgrade() -> None:
    """Drop the view."""
    op.execute("DROP VIEW current_shelves")
