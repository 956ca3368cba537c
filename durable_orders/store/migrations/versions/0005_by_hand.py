"""Manual refunds, acknowledged findings, and an index of refunds that wait for approval."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_CHANGES = """
CREATE TABLE given_back_by_hand (
    order_id text NOT NULL,
    amount bigint NOT NULL,
    said_by text NOT NULL,
    note text NOT NULL,
    said_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT given_back_by_hand_pkey PRIMARY KEY (order_id),
    CONSTRAINT given_back_by_hand_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT given_back_by_hand_amount_not_negative CHECK (amount >= 0)
);

ALTER TABLE findings
    ADD COLUMN acknowledged_at timestamptz,
    ADD COLUMN acknowledged_by text,
    ADD COLUMN acknowledged_note text,
    ADD COLUMN acknowledged_kept bigint,
    ADD CONSTRAINT findings_acknowledged_by_somebody CHECK (
        num_nulls(acknowledged_at, acknowledged_by, acknowledged_note, acknowledged_kept)
        IN (0, 4)
    );

CREATE INDEX refund_requests_awaiting_approval ON refund_requests (requested_at)
    WHERE state = 'awaiting_approval';
"""


def upgrade() -> None:
    # asyncpg takes one statement at a time.
    for statement in filter(str.strip, _CHANGES.split(";\n")):
        op.execute(statement)
