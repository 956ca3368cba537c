"""Tries of a charge, announced before they are made. Only adds.

``payments`` has one row per order from here on, ``attempt`` 1; orders of before may have more.
"""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_CHANGES = """
ALTER TABLE payments ADD COLUMN latest_charge text NOT NULL DEFAULT '';
ALTER TABLE payments ADD COLUMN revision integer NOT NULL DEFAULT 0;
ALTER TABLE payments ALTER COLUMN attempt SET DEFAULT 1;
DROP INDEX payments_one_live_charge;
CREATE UNIQUE INDEX payments_one_live_charge ON payments (order_id) WHERE state <> 'cancelled';
CREATE TABLE payment_tries (
    order_id text NOT NULL,
    number integer NOT NULL,
    payment_id text NOT NULL,
    payment_method text NOT NULL,
    charge_before text NOT NULL,
    key text NOT NULL,
    state text NOT NULL,
    decline_code text NOT NULL DEFAULT '',
    announced_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payment_tries_pkey PRIMARY KEY (order_id, number),
    CONSTRAINT payment_tries_key_key UNIQUE (key),
    CONSTRAINT payment_tries_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT payment_tries_payment_id_fkey
        FOREIGN KEY (payment_id) REFERENCES payments (payment_id),
    CONSTRAINT payment_tries_number_positive CHECK (number > 0),
    CONSTRAINT payment_tries_state_known CHECK (state IN (
        'open', 'needs_customer', 'processing', 'held', 'captured', 'declined', 'cancelled'))
);
CREATE UNIQUE INDEX payment_tries_one_live ON payment_tries (order_id)
    WHERE state IN ('captured', 'held', 'needs_customer', 'open', 'processing');
CREATE INDEX payment_tries_payment_id_idx ON payment_tries (payment_id);
"""


def upgrade() -> None:
    # asyncpg takes one statement at a time.
    for statement in filter(str.strip, _CHANGES.split(";\n")):
        op.execute(statement)
