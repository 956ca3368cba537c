"""Refund requests and the pieces they take back.

Only adds: the previous version ignores them and goes on working.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE refund_requests (
    order_id text NOT NULL,
    refund_id text NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    charge_attempt integer NOT NULL,
    amount bigint NOT NULL,
    request jsonb NOT NULL,
    state text NOT NULL,
    attempt integer NOT NULL DEFAULT 1,
    card_refund_id text NOT NULL DEFAULT '',
    why text NOT NULL DEFAULT '',
    restocked boolean NOT NULL DEFAULT false,
    requested_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT refund_requests_pkey PRIMARY KEY (order_id, refund_id),
    CONSTRAINT refund_requests_order_id_fkey
        FOREIGN KEY (order_id, charge_attempt) REFERENCES payments (order_id, attempt),
    CONSTRAINT refund_requests_amount_positive CHECK (amount > 0),
    CONSTRAINT refund_requests_attempt_positive CHECK (attempt > 0),
    CONSTRAINT refund_requests_state_known CHECK (state IN (
        'requested', 'awaiting_approval', 'issuing', 'pending', 'succeeded', 'failed', 'settled',
        'rejected', 'cancelled'))
);

CREATE TABLE refund_lines (
    order_id text NOT NULL,
    refund_id text NOT NULL,
    sku text NOT NULL,
    quantity integer NOT NULL,
    CONSTRAINT refund_lines_pkey PRIMARY KEY (order_id, refund_id, sku),
    CONSTRAINT refund_lines_order_id_fkey
        FOREIGN KEY (order_id, refund_id) REFERENCES refund_requests (order_id, refund_id),
    CONSTRAINT refund_lines_sku_fkey
        FOREIGN KEY (order_id, sku) REFERENCES order_lines (order_id, sku),
    CONSTRAINT refund_lines_quantity_positive CHECK (quantity > 0)
);
"""


def upgrade() -> None:
    # asyncpg takes one statement at a time.
    for statement in filter(str.strip, _TABLES.split(";\n")):
        op.execute(statement)
