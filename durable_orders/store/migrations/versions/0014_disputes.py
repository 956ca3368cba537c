"""Disputes, early fraud warnings and reviews of payments. Only adds."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0012"
branch_labels = None
depends_on = None

_CHANGES = """
CREATE TABLE disputes (
    dispute_id text NOT NULL,
    order_id text NOT NULL,
    payment_id text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    withdrawn bigint NOT NULL,
    fee bigint NOT NULL,
    fee_currency text NOT NULL,
    reason text NOT NULL,
    status text NOT NULL,
    due_by timestamptz,
    submissions integer NOT NULL,
    acknowledged_by text NOT NULL DEFAULT '',
    revision integer NOT NULL DEFAULT 1,
    opened_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    closed_at timestamptz,
    CONSTRAINT disputes_pkey PRIMARY KEY (dispute_id),
    CONSTRAINT disputes_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT disputes_payment_id_fkey
        FOREIGN KEY (payment_id) REFERENCES payments (payment_id),
    CONSTRAINT disputes_amount_not_negative CHECK (amount >= 0),
    CONSTRAINT disputes_currency_iso CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT disputes_withdrawn_not_negative CHECK (withdrawn >= 0),
    CONSTRAINT disputes_status_known CHECK (status IN (
        'warning_needs_response', 'warning_under_review', 'warning_closed', 'needs_response',
        'under_review', 'won', 'lost', 'prevented'))
);
CREATE INDEX disputes_order_id_idx ON disputes (order_id);
CREATE INDEX disputes_open ON disputes (due_by, opened_at) WHERE closed_at IS NULL;

CREATE TABLE fraud_warnings (
    warning_id text NOT NULL,
    order_id text NOT NULL,
    payment_id text NOT NULL,
    fraud_type text NOT NULL,
    is_actionable boolean NOT NULL,
    acknowledged_by text NOT NULL DEFAULT '',
    revision integer NOT NULL DEFAULT 1,
    opened_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT fraud_warnings_pkey PRIMARY KEY (warning_id),
    CONSTRAINT fraud_warnings_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT fraud_warnings_payment_id_fkey
        FOREIGN KEY (payment_id) REFERENCES payments (payment_id)
);
CREATE INDEX fraud_warnings_order_id_idx ON fraud_warnings (order_id);
CREATE INDEX fraud_warnings_open ON fraud_warnings (opened_at)
    WHERE is_actionable AND acknowledged_by = '';

CREATE TABLE reviews (
    review_id text NOT NULL,
    order_id text NOT NULL,
    payment_id text NOT NULL,
    opened_reason text NOT NULL,
    is_open boolean NOT NULL,
    closed_reason text NOT NULL DEFAULT '',
    acknowledged_by text NOT NULL DEFAULT '',
    revision integer NOT NULL DEFAULT 1,
    opened_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT reviews_pkey PRIMARY KEY (review_id),
    CONSTRAINT reviews_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT reviews_payment_id_fkey
        FOREIGN KEY (payment_id) REFERENCES payments (payment_id)
);
CREATE INDEX reviews_order_id_idx ON reviews (order_id);
CREATE INDEX reviews_open ON reviews (opened_at)
    WHERE is_open AND acknowledged_by = '';
"""


def upgrade() -> None:
    # asyncpg takes one statement at a time.
    for statement in filter(str.strip, _CHANGES.split(";\n")):
        op.execute(statement)
