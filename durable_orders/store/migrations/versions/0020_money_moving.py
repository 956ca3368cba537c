"""Indexes by which the audit reads orders of any age whose money may move, or has moved lately.
Only adds.
"""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE INDEX payments_may_take_money ON payments (order_id)
            WHERE state IN ('declined', 'held', 'needs_customer', 'open', 'processing')
    """)
    op.execute("CREATE INDEX refund_requests_updated_at_idx ON refund_requests (updated_at)")
    op.execute("CREATE INDEX disputes_updated_at_idx ON disputes (updated_at)")
