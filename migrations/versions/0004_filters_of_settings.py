"""A column that marks filters made from the settings, and views made from the one predicate."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from batch.store.column_types import Moment
from batch.store.views import view_queries

revision = "0004"
down_revision = "0003"

CHECK = "CONSTRAINT ck_item_filters_setting CHECK (setting IN ('films', 'genres'))"


def upgrade() -> None:
    """Add the column, NULL in the rows there are, and define the views again.

    The views show the same rows as before.
    """
    op.execute(f"ALTER TABLE item_filters ADD COLUMN setting TEXT {CHECK}")
    queries = view_queries(op.get_bind().dialect)
    queries.pop("current_similar", None)  # of 0011, which makes its table
    for name, query in queries.items():
        if op.get_bind().dialect.name == "postgresql":
            # Replaced, not dropped, so that grants on it stay.
            op.execute(f"CREATE OR REPLACE VIEW {name} AS {query}")
        else:
            op.execute(f"DROP VIEW IF EXISTS {name}")
            op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    """End the filters of the settings, which nothing would end later, and drop the column.

    The views stay: they do not read the column.
    """
    now = datetime.now(UTC)
    ends_at = sa.column("ends_at", Moment())
    setting = sa.column("setting", sa.Text())
    filters = sa.table("item_filters", ends_at, setting)
    open_ended = sa.or_(ends_at.is_(None), ends_at > now)
    ended = sa.update(filters).where(setting.is_not(None), open_ended)
    op.execute(ended.values(ends_at=now))
    op.drop_column("item_filters", "setting")
