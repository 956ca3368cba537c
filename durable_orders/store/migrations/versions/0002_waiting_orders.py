"""Orders that wait: for a person, for the customer's bank, for their parcels.

Only adds: the previous version goes on working. It ignores flags and the end of a hold, and moves
no order into the new states.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_CHANGES = """
ALTER TABLE orders
    ADD COLUMN flagged boolean NOT NULL DEFAULT false,
    DROP CONSTRAINT orders_status_known,
    ADD CONSTRAINT orders_status_known CHECK (status IN (
        'placed', 'awaiting_approval', 'awaiting_payment', 'held', 'paid', 'fulfilled', 'shipped',
        'completed', 'rejected', 'cancelled', 'refunded'));

ALTER TABLE payments ADD COLUMN capture_before timestamptz;

ALTER TABLE parcels
    ADD COLUMN tracking text NOT NULL DEFAULT '',
    ADD CONSTRAINT parcels_status_known CHECK (status IN (
        'accepted', 'shipped', 'lost', 'delivered'));
"""


def upgrade() -> None:
    # asyncpg takes one statement at a time.
    for statement in filter(str.strip, _CHANGES.split(";\n")):
        op.execute(statement)
