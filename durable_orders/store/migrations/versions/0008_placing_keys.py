"""Idempotency keys of placed orders, and the indexes that orders are listed by. Only adds."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_CHANGES = """
CREATE INDEX orders_newest ON orders (placed_at, id);
CREATE INDEX orders_of_customer ON orders (customer_id, placed_at, id);
CREATE INDEX orders_of_status ON orders (status, placed_at, id);

CREATE TABLE placing_keys (
    key text NOT NULL,
    order_id text NOT NULL,
    placed_at timestamptz NOT NULL,
    CONSTRAINT placing_keys_pkey PRIMARY KEY (key),
    CONSTRAINT placing_keys_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders (id)
);
"""


def upgrade() -> None:
    # asyncpg takes one statement at a time.
    for statement in filter(str.strip, _CHANGES.split(";\n")):
        op.execute(statement)
