"""Functions that take an ordinary order a step further in one round trip. Only adds.

Each does the whole step when all is as it ordinarily is, and else changes nothing and says so: then
the general code decides (durable_orders/store/hot_path.py). Every statement of a function sees what
others have committed before it, also while it waited for a lock, since the functions are volatile
and the isolation level is READ COMMITTED. They lock as all our code does: the order's row, then its
charge and that one's tries, or its products by sku.
"""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_RESERVE = """
CREATE FUNCTION reserve_if_ordinary(of_order text, run text, begins_as text[])
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM FROM orders
    WHERE id = of_order AND status = ANY (begins_as) AND decision IS NULL AND stock = 'none'
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM FROM products
    WHERE sku IN (SELECT order_lines.sku FROM order_lines WHERE order_id = of_order)
    ORDER BY sku
    FOR NO KEY UPDATE OF products;
    IF EXISTS (
        SELECT FROM order_lines JOIN products ON products.sku = order_lines.sku
        WHERE order_id = of_order AND on_hand - reserved < quantity
    ) THEN
        RETURN false;
    END IF;
    UPDATE products SET reserved = reserved + quantity
    FROM order_lines WHERE order_id = of_order AND order_lines.sku = products.sku;
    UPDATE orders SET stock = 'reserved', run_id = coalesce(nullif(run, ''), run_id)
    WHERE id = of_order;
    INSERT INTO order_history (order_id, event) VALUES (of_order, 'stock_reserved')
    ON CONFLICT DO NOTHING;
    RETURN true;
END
$$
"""

_COMMIT = """
CREATE FUNCTION commit_if_ordinary(
    of_order text, from_statuses text[], fulfilled_as text, ends_as text
)
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM FROM orders
    WHERE id = of_order AND status = ANY (from_statuses) AND decision IS NULL
        AND stock = 'reserved'
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM FROM products
    WHERE sku IN (SELECT order_lines.sku FROM order_lines WHERE order_id = of_order)
    ORDER BY sku
    FOR NO KEY UPDATE OF products;
    UPDATE products SET on_hand = on_hand - quantity, reserved = reserved - quantity
    FROM order_lines WHERE order_id = of_order AND order_lines.sku = products.sku;
    UPDATE orders
    SET status = coalesce(ends_as, fulfilled_as), stock = 'committed', updated_at = now()
    WHERE id = of_order;
    INSERT INTO order_history (order_id, event)
    SELECT of_order, said.event
    FROM unnest(ARRAY['order_' || fulfilled_as, 'stock_committed', 'order_' || ends_as])
        WITH ORDINALITY AS said (event, number)
    WHERE said.event IS NOT NULL
    ORDER BY said.number
    ON CONFLICT DO NOTHING;
    RETURN true;
END
$$
"""

_ANNOUNCE = """
CREATE FUNCTION announce_if_ordinary(
    of_order text, of_payment text, to_take bigint, of_currency text, unpaid text[],
    of_number integer, method text, before text, of_provider text, begins_as text,
    said_event text, said jsonb
)
RETURNS TABLE (announced timestamptz, order_is text) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    SELECT status INTO order_is FROM orders
    WHERE id = of_order AND charging_closed_at IS NULL AND decision IS NULL
        AND status = ANY (unpaid) AND total = to_take AND currency = of_currency
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM payments WHERE order_id = of_order) THEN
        RETURN;
    END IF;
    INSERT INTO payments (order_id, payment_id, amount, currency, state)
    VALUES (of_order, of_payment, to_take, of_currency, 'open');
    INSERT INTO payment_tries
        (order_id, payment_id, number, payment_method, charge_before, key, state)
    VALUES (of_order, of_payment, of_number, method, before, of_provider, begins_as)
    RETURNING announced_at INTO announced;
    INSERT INTO order_history (order_id, event, detail) VALUES (of_order, said_event, said)
    ON CONFLICT DO NOTHING;
    RETURN NEXT;
END
$$
"""

_RECORD = """
CREATE FUNCTION record_if_ordinary(
    of_order text, of_payment text, known_revision integer, known_refunded bigint,
    to_state text, captured_now bigint, refunded_now bigint, code text,
    capture_until timestamptz, newest text,
    of_number integer, try_was text, try_to text, try_code text,
    said_event text, said jsonb, leads_to text, from_statuses text[]
)
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    order_is text;
BEGIN
    SELECT status INTO order_is FROM orders WHERE id = of_order AND decision IS NULL
    FOR NO KEY UPDATE;
    IF NOT FOUND OR NOT (
        leads_to IS NULL OR order_is = leads_to OR order_is = ANY (from_statuses)
    ) THEN
        RETURN false;
    END IF;
    PERFORM FROM payments
    WHERE order_id = of_order AND payment_id = of_payment
        AND revision = known_revision AND refunded = known_refunded
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF of_number IS NOT NULL THEN
        UPDATE payment_tries SET state = try_to, decline_code = try_code, updated_at = now()
        WHERE order_id = of_order AND number = of_number AND state = try_was;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
    END IF;
    UPDATE payments
    SET state = to_state, captured = captured_now, refunded = refunded_now, decline_code = code,
        capture_before = capture_until, latest_charge = newest,
        revision = revision + 1, updated_at = now()
    WHERE order_id = of_order AND payment_id = of_payment;
    IF said_event IS NOT NULL THEN
        INSERT INTO order_history (order_id, event, detail) VALUES (of_order, said_event, said)
        ON CONFLICT DO NOTHING;
    END IF;
    IF leads_to <> order_is THEN
        UPDATE orders SET status = leads_to, updated_at = now() WHERE id = of_order;
        INSERT INTO order_history (order_id, event) VALUES (of_order, 'order_' || leads_to)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN true;
END
$$
"""


def upgrade() -> None:
    for function in (_RESERVE, _COMMIT, _ANNOUNCE, _RECORD):
        op.execute(function)
