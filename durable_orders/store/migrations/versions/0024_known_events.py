"""Webhook events of which the books held everything already. Only adds."""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE webhook_events
            DROP CONSTRAINT webhook_events_ending_known,
            ADD CONSTRAINT webhook_events_ending_known
                CHECK (ending IN ('told', 'already_known', 'nobody', 'given_up'))
    """)
