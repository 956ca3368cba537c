"""What the provider refused of a try, so that no bank was asked. Only adds."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE payment_tries ADD COLUMN refusal text
            CONSTRAINT payment_tries_refusal_known
                CHECK (refusal IN ('unusable_card', 'amount_refused'))
    """)
