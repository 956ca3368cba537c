"""An index of refunds that are not done yet. Only adds."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE INDEX refund_requests_unfinished ON refund_requests (order_id, refund_id)
            WHERE state IN ('awaiting_approval', 'failed', 'issuing', 'pending', 'requested')
    """)
