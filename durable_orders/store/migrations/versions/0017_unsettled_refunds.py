"""An index of the refunds that are on their way, or owed. Only adds."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE INDEX refund_requests_unsettled ON refund_requests (order_id)
            WHERE state IN ('failed', 'issuing', 'pending')
    """)
