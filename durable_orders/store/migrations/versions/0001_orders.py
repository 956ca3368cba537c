"""Products, orders, payments, parcels and the append-only history."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE products (
    sku text CONSTRAINT products_pkey PRIMARY KEY,
    name text NOT NULL,
    price bigint NOT NULL,
    currency text NOT NULL,
    on_hand bigint NOT NULL,
    reserved bigint NOT NULL DEFAULT 0,
    CONSTRAINT products_price_not_negative CHECK (price >= 0),
    CONSTRAINT products_currency_iso CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT products_on_hand_not_negative CHECK (on_hand >= 0),
    CONSTRAINT products_reserved_not_negative CHECK (reserved >= 0),
    CONSTRAINT products_not_oversold CHECK (reserved <= on_hand)
);

CREATE TABLE orders (
    id text CONSTRAINT orders_pkey PRIMARY KEY,
    customer_id text NOT NULL,
    recipient_name text NOT NULL,
    recipient_email text NOT NULL,
    recipient_address text NOT NULL,
    payment_method text NOT NULL,
    total bigint NOT NULL,
    currency text NOT NULL,
    status text NOT NULL,
    reason text,
    reason_message text,
    stock text NOT NULL DEFAULT 'none',
    charging_closed_at timestamptz,
    fulfillment_id text,
    placed_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT orders_something_to_pay CHECK (total > 0),
    CONSTRAINT orders_currency_iso CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT orders_status_known CHECK (status IN (
        'placed', 'paid', 'fulfilled', 'completed', 'rejected', 'cancelled', 'refunded')),
    CONSTRAINT orders_stock_known CHECK (stock IN ('none', 'reserved', 'committed', 'released'))
);

CREATE TABLE order_lines (
    order_id text NOT NULL CONSTRAINT order_lines_order_id_fkey REFERENCES orders (id),
    sku text NOT NULL CONSTRAINT order_lines_sku_fkey REFERENCES products (sku),
    position smallint NOT NULL,
    name text NOT NULL,
    quantity integer NOT NULL,
    unit_price bigint NOT NULL,
    CONSTRAINT order_lines_pkey PRIMARY KEY (order_id, sku),
    CONSTRAINT order_lines_quantity_positive CHECK (quantity > 0),
    CONSTRAINT order_lines_unit_price_not_negative CHECK (unit_price >= 0)
);

CREATE TABLE payments (
    order_id text NOT NULL CONSTRAINT payments_order_id_fkey REFERENCES orders (id),
    attempt integer NOT NULL,
    payment_id text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    state text NOT NULL,
    captured bigint NOT NULL DEFAULT 0,
    refunded bigint NOT NULL DEFAULT 0,
    decline_code text NOT NULL DEFAULT '',
    opened_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payments_pkey PRIMARY KEY (order_id, attempt),
    CONSTRAINT payments_payment_id_key UNIQUE (payment_id),
    CONSTRAINT payments_attempt_positive CHECK (attempt > 0),
    CONSTRAINT payments_amount_positive CHECK (amount > 0),
    CONSTRAINT payments_currency_iso CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT payments_refunded_within_captured CHECK (0 <= refunded AND refunded <= captured),
    CONSTRAINT payments_captured_within_amount CHECK (captured <= amount),
    CONSTRAINT payments_state_known CHECK (state IN (
        'open', 'needs_customer', 'processing', 'held', 'captured', 'declined', 'cancelled'))
);
CREATE UNIQUE INDEX payments_one_live_charge ON payments (order_id)
    WHERE state IN ('captured', 'held', 'needs_customer', 'open', 'processing');

CREATE TABLE refunds (
    refund_id text CONSTRAINT refunds_pkey PRIMARY KEY,
    order_id text NOT NULL,
    attempt integer NOT NULL,
    amount bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT refunds_order_id_fkey
        FOREIGN KEY (order_id, attempt) REFERENCES payments (order_id, attempt),
    CONSTRAINT refunds_amount_positive CHECK (amount > 0)
);
CREATE INDEX refunds_order_id_idx ON refunds (order_id);

CREATE TABLE parcels (
    order_id text NOT NULL CONSTRAINT parcels_order_id_fkey REFERENCES orders (id),
    parcel_id text NOT NULL CONSTRAINT parcels_parcel_id_key UNIQUE,
    status text NOT NULL DEFAULT 'accepted',
    CONSTRAINT parcels_pkey PRIMARY KEY (order_id, parcel_id)
);

CREATE TABLE order_history (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT order_history_pkey PRIMARY KEY,
    order_id text NOT NULL CONSTRAINT order_history_order_id_fkey REFERENCES orders (id),
    at timestamptz NOT NULL DEFAULT now(),
    event text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'::jsonb
);
CREATE UNIQUE INDEX order_history_said_once
    ON order_history (order_id, event, md5(CAST(detail AS text)));
"""

_ONLY_GROWS = """
CREATE FUNCTION order_history_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the history of an order can only grow: % is not allowed', TG_OP;
END
$$
"""

_GUARD = """
CREATE TRIGGER order_history_only_grows
    BEFORE UPDATE OR DELETE OR TRUNCATE ON order_history
    FOR EACH STATEMENT EXECUTE FUNCTION order_history_only_grows()
"""


def upgrade() -> None:
    # asyncpg takes one statement at a time.
    for statement in (*filter(str.strip, _TABLES.split(";\n")), _ONLY_GROWS, _GUARD):
        op.execute(statement)
