"""Orders of the card provider's customers: who, whether away, why saved. Only adds."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE orders
            ADD COLUMN customer text,
            ADD COLUMN off_session boolean NOT NULL DEFAULT false,
            ADD COLUMN setup_future_usage text
                CONSTRAINT orders_setup_future_usage_known
                    CHECK (setup_future_usage IN ('on_session', 'off_session')),
            ADD COLUMN receipt_email text,
            ADD CONSTRAINT orders_saved_card_has_customer
                CHECK (customer IS NOT NULL
                       OR NOT (off_session OR setup_future_usage IS NOT NULL)),
            ADD CONSTRAINT orders_saved_only_on_session
                CHECK (NOT (off_session AND setup_future_usage IS NOT NULL))
    """)
