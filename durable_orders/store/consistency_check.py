"""Consistency check: the invariants across tables, which no single constraint can hold."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from durable_orders.store.database import Database

# Each query returns one sentence per fault. Stock is checked for orders that are kept or have
# ended, money for ended orders only: before that, the two may differ.
# The queries about money skip an order with an acknowledged audit finding, as long as the ledger
# has the same sum for the order as when the finding was acknowledged.
# A dispute may take more than was paid, when the rate of its currency has changed: of the payment
# it has taken all.
_FAULTS: Final = (
    """
    SELECT format('%s has %s reserved, its orders say %s', p.sku, p.reserved, coalesce(o.held, 0))
    FROM products p LEFT JOIN (
        SELECT l.sku, sum(l.quantity) AS held
        FROM order_lines l JOIN orders ON orders.id = l.order_id AND orders.stock = 'reserved'
        GROUP BY l.sku
    ) o USING (sku)
    WHERE p.reserved <> coalesce(o.held, 0) ORDER BY p.sku
    """,
    """
    SELECT format('order %s costs %s, its lines say %s', o.id, o.total, l.sum)
    FROM orders o JOIN (
        SELECT order_id, sum(quantity * unit_price) FROM order_lines GROUP BY order_id
    ) l ON l.order_id = o.id
    WHERE o.total <> l.sum ORDER BY o.id
    """,
    """
    SELECT format('order %s is %s, but its stock is %s', id, status, stock)
    FROM orders
    WHERE (status IN ('fulfilled', 'shipped', 'completed') AND stock <> 'committed')
       OR (status IN ('rejected', 'cancelled', 'refunded') AND stock NOT IN ('none', 'released'))
    ORDER BY id
    """,
    """
    SELECT format('order %s is %s, but it was decided to %s it', id, status, decision)
    FROM orders
    WHERE (status IN ('fulfilled', 'shipped', 'completed') AND decision = 'undo')
       OR (status IN ('rejected', 'cancelled', 'refunded') AND decision = 'keep')
    ORDER BY id
    """,
    # Only the operator vouches for a manual refund: the provider still has the money, or had none.
    # What was given back in place of the refund that undoes an order is settled, as other refunds.
    """
    WITH kept AS (
        SELECT p.order_id, p.kept - coalesce(d.withdrawn, 0) AS kept
        FROM (
            SELECT order_id, sum(captured - refunded) AS kept FROM payments GROUP BY order_id
        ) p LEFT JOIN (
            SELECT d.order_id, sum(least(d.withdrawn, p.captured)) AS withdrawn
            FROM disputes d JOIN payments p USING (payment_id) GROUP BY d.order_id
        ) d USING (order_id)
    )
    SELECT format('order %s is %s, but %s of it was kept', o.id, o.status, coalesce(p.kept, 0))
           || CASE WHEN h.amount IS NULL THEN ''
              ELSE format(', and %s given back by hand, as %s says', h.amount, h.said_by) END
           || CASE u.state WHEN 'failed' THEN format(', its refund of %s has failed', u.amount)
              WHEN 'settled' THEN format(', and %s given back in place of its refund', u.amount)
              ELSE '' END
    FROM orders o LEFT JOIN kept p ON p.order_id = o.id
    LEFT JOIN given_back_by_hand h ON h.order_id = o.id
    LEFT JOIN refund_requests u ON u.order_id = o.id AND u.refund_id = 'undo' AND h.amount IS NULL
        AND NOT (u.state = 'settled' AND u.why = 'a dispute has taken it for the customer')
    WHERE o.status IN ('rejected', 'cancelled', 'refunded')
      AND CASE u.state WHEN 'settled' THEN coalesce(p.kept, 0) <> u.amount
          ELSE p.kept <> 0 OR h.amount > coalesce(p.kept, 0) END
      AND NOT EXISTS (
          SELECT FROM findings f
          WHERE f.order_id = o.id
            AND f.kind IN ('money_kept', 'given_back_too_much', 'refund_failed')
            AND f.resolved_at IS NULL AND f.acknowledged_kept = coalesce(p.kept, 0)
      )
    ORDER BY o.id
    """,
    # A completed order keeps its total less the refunds that were requested, and less what disputes
    # took: that is subtracted on both sides.
    """
    SELECT format('order %s is %s, but %s of it was kept, not %s',
                  o.id, o.status, coalesce(p.kept, 0) - coalesce(d.withdrawn, 0),
                  o.total - coalesce(r.asked, 0) - coalesce(d.withdrawn, 0))
    FROM orders o LEFT JOIN (
        SELECT order_id, sum(captured - refunded) AS kept FROM payments GROUP BY order_id
    ) p ON p.order_id = o.id LEFT JOIN (
        SELECT order_id, sum(amount) AS asked FROM refund_requests
        WHERE state IN ('pending', 'succeeded') GROUP BY order_id
    ) r ON r.order_id = o.id LEFT JOIN (
        SELECT d.order_id, sum(least(d.withdrawn, p.captured)) AS withdrawn
        FROM disputes d JOIN payments p USING (payment_id) GROUP BY d.order_id
    ) d ON d.order_id = o.id
    WHERE o.status = 'completed' AND coalesce(p.kept, 0) <> o.total - coalesce(r.asked, 0)
      AND NOT EXISTS (
          SELECT FROM findings f
          WHERE f.order_id = o.id AND f.kind IN ('shipped_unpaid', 'paid_in_part', 'refunds_differ')
            AND f.resolved_at IS NULL
            AND f.acknowledged_kept = coalesce(p.kept, 0) - coalesce(d.withdrawn, 0)
      )
    ORDER BY o.id
    """,
    """
    SELECT format('order %s paid %s, its refunds come to %s', p.order_id, p.captured, r.asked)
    FROM (SELECT order_id, sum(captured) AS captured FROM payments GROUP BY order_id) p
    JOIN (
        SELECT order_id, sum(amount) AS asked FROM refund_requests
        WHERE state NOT IN ('rejected', 'cancelled') GROUP BY order_id
    ) r USING (order_id)
    WHERE r.asked > p.captured ORDER BY p.order_id
    """,
    """
    SELECT format('order %s paid %s, its disputes took %s', p.order_id, p.captured, d.withdrawn)
    FROM (SELECT order_id, sum(captured) AS captured FROM payments GROUP BY order_id) p
    JOIN (
        SELECT d.order_id, sum(least(d.withdrawn, p.captured)) AS withdrawn
        FROM disputes d JOIN payments p USING (payment_id) GROUP BY d.order_id
    ) d USING (order_id)
    WHERE d.withdrawn > p.captured ORDER BY p.order_id
    """,
    """
    SELECT format('dispute %s of order %s is of payment %s, which is of order %s',
                  d.dispute_id, d.order_id, d.payment_id, p.order_id)
    FROM disputes d JOIN payments p USING (payment_id)
    WHERE d.order_id <> p.order_id ORDER BY d.dispute_id
    """,
    """
    SELECT format('order %s: %s of %s were returned, %s ordered',
                  l.order_id, r.returned, l.sku, l.quantity)
    FROM order_lines l JOIN (
        SELECT order_id, sku, sum(quantity) AS returned
        FROM refund_lines JOIN refund_requests USING (order_id, refund_id)
        WHERE state NOT IN ('rejected', 'cancelled') GROUP BY order_id, sku
    ) r USING (order_id, sku)
    WHERE r.returned > l.quantity ORDER BY l.order_id, l.sku
    """,
    """
    SELECT format('order %s is %s, but has %s parcels', o.id, o.status, count(p.parcel_id))
    FROM orders o LEFT JOIN parcels p ON p.order_id = o.id
    GROUP BY o.id
    HAVING o.status = 'completed' AND count(p.parcel_id) = 0
    ORDER BY o.id
    """,
    # A charge that was declined, too: a browser with its secret could pay it. What an operator
    # settled by hand is for the audit.
    """
    SELECT format('order %s is %s, but its charge %s is %s', o.id, o.status, p.payment_id, p.state)
    FROM orders o JOIN payments p ON p.order_id = o.id
    WHERE o.status IN ('rejected', 'cancelled', 'refunded')
      AND p.state NOT IN ('cancelled', 'captured')
      AND NOT EXISTS (SELECT FROM given_back_by_hand h WHERE h.order_id = o.id)
    ORDER BY o.id
    """,
    """
    SELECT format('order %s is %s, but its try %s is %s', o.id, o.status, t.number, t.state)
    FROM orders o JOIN payment_tries t ON t.order_id = o.id
    WHERE o.status IN ('completed', 'rejected', 'cancelled', 'refunded')
      AND t.state IN ('open', 'needs_customer', 'processing')
      AND NOT EXISTS (SELECT FROM given_back_by_hand h WHERE h.order_id = o.id)
    ORDER BY o.id
    """,
    """
    SELECT format('try %s of order %s is %s, but %s is %s and of order %s',
                  t.number, t.order_id, t.state, p.payment_id, p.state, p.order_id)
    FROM payment_tries t JOIN payments p USING (payment_id)
    WHERE t.order_id <> p.order_id
       OR (t.state = 'captured' AND p.state <> 'captured')
       OR (t.state = 'held' AND p.state NOT IN ('held', 'captured', 'cancelled'))
    ORDER BY t.order_id, t.number
    """,
    """
    SELECT format('order %s has %s tries, the last one is its %s', order_id, count(*), max(number))
    FROM payment_tries GROUP BY order_id HAVING count(*) <> max(number) ORDER BY order_id
    """,
    """
    SELECT format('%s gave back %s, its refunds say %s', p.payment_id, p.refunded, r.sum)
    FROM payments p JOIN (
        SELECT order_id, attempt, sum(amount) FROM refunds GROUP BY order_id, attempt
    ) r USING (order_id, attempt)
    WHERE r.sum > p.refunded ORDER BY p.payment_id
    """,
)


async def find_inconsistencies(database: Database) -> list[str]:
    """Run all checks and return one sentence per fault.

    Safe on a busy database: the queries allow for orders that are between two steps.
    """
    async with database.snapshot() as connection:
        return [sentence for query in _FAULTS for sentence in await connection.scalars(text(query))]
