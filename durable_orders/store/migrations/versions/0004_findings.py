"""Audit findings, and the two indexes that the audit reads orders by. Only adds."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_CHANGES = """
CREATE INDEX orders_under_way ON orders (id)
    WHERE status NOT IN ('cancelled', 'completed', 'refunded', 'rejected');
CREATE INDEX orders_updated_at_idx ON orders (updated_at);

CREATE TABLE findings (
    kind text NOT NULL,
    order_id text NOT NULL,
    payment_id text NOT NULL DEFAULT '',
    detail text NOT NULL,
    remedy text NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    resolved_at timestamptz,
    resolution text,
    CONSTRAINT findings_pkey PRIMARY KEY (kind, order_id, payment_id),
    CONSTRAINT findings_seen_in_order CHECK (first_seen <= last_seen),
    CONSTRAINT findings_resolved_somehow CHECK ((resolved_at IS NULL) = (resolution IS NULL))
);
CREATE INDEX findings_unresolved ON findings (kind, order_id, payment_id)
    WHERE resolved_at IS NULL;
"""


def upgrade() -> None:
    # asyncpg takes one statement at a time.
    for statement in filter(str.strip, _CHANGES.split(";\n")):
        op.execute(statement)
