"""What was decided of an order, and which run carries it. Only adds."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE orders
            ADD COLUMN decision text
                CONSTRAINT orders_decision_known CHECK (decision IN ('undo', 'keep')),
            ADD COLUMN run_id text NOT NULL DEFAULT ''
    """)
    # Orders are being undone whose ledger is closed. Those that have ended say so by their status.
    op.execute("""
        UPDATE orders SET decision = 'undo'
        WHERE charging_closed_at IS NOT NULL AND decision IS NULL
    """)
