"""Constraints of the database, tested with raw SQL past the store's code."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import DBAPIError

from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardRefund
from tests.store.shop import Shop


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("on_hand = -1", "products_on_hand_not_negative|products_not_oversold"),
        ("reserved = -1", "products_reserved_not_negative"),
        ("reserved = on_hand + 1", "products_not_oversold"),
        ("price = -1", "products_price_not_negative"),
        ("currency = 'euro'", "products_currency_iso"),
    ],
)
async def test_stock_and_prices_are_never_negative(
    shop: Shop, change: str, constraint: str
) -> None:
    sku = await shop.stocked(3)
    with pytest.raises(DBAPIError, match=constraint):
        await shop.sql(f"UPDATE products SET {change} WHERE sku = :sku", sku=sku)  # noqa: S608 - ours


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("total = 0", "orders_something_to_pay"),
        ("status = 'lost'", "orders_status_known"),
        ("stock = 'gone'", "orders_stock_known"),
        ("currency = 'eur'", "orders_currency_iso"),
        ("customer = 'cus_1', setup_future_usage = 'always'", "orders_setup_future_usage_known"),
        ("off_session = true", "orders_saved_card_has_customer"),
        ("setup_future_usage = 'on_session'", "orders_saved_card_has_customer"),
        (
            "customer = 'cus_1', off_session = true, setup_future_usage = 'off_session'",
            "orders_saved_only_on_session",
        ),
    ],
)
async def test_an_order_is_in_a_state_that_exists(shop: Shop, change: str, constraint: str) -> None:
    order = await shop.placed()
    with pytest.raises(DBAPIError, match=constraint):
        await shop.sql(f"UPDATE orders SET {change} WHERE id = :id", id=order.id)  # noqa: S608 - ours


@pytest.mark.parametrize("status", Status)
async def test_an_order_can_be_in_every_state_of_the_lifecycle(shop: Shop, status: Status) -> None:
    order = await shop.placed()
    await shop.sql("UPDATE orders SET status = :status WHERE id = :id", id=order.id, status=status)
    assert (await shop.orders.get(order.id)).status is status


async def test_a_line_has_at_least_one_piece_of_something_sold(shop: Shop) -> None:
    order = await shop.placed()
    with pytest.raises(DBAPIError, match="order_lines_quantity_positive"):
        await shop.sql("UPDATE order_lines SET quantity = 0 WHERE order_id = :id", id=order.id)
    with pytest.raises(DBAPIError, match="order_lines_sku_fkey"):
        await shop.sql("UPDATE order_lines SET sku = 'NOPE' WHERE order_id = :id", id=order.id)


@pytest.mark.parametrize(
    "state", ["open", "needs_customer", "processing", "declined", "held", "captured"]
)
async def test_an_order_never_has_two_live_charges(shop: Shop, state: str) -> None:
    order = await shop.opened()
    with pytest.raises(DBAPIError, match="payments_one_live_charge"):
        await shop.sql(
            "INSERT INTO payments (order_id, attempt, payment_id, amount, currency, state)"
            " VALUES (:id, 2, :payment, 500, 'EUR', :state)",
            id=order.id,
            payment=f"pi_{order.id}-2",
            state=state,
        )


@pytest.mark.parametrize("state", ["open", "needs_customer", "processing", "held", "captured"])
async def test_a_charge_never_has_two_live_tries(shop: Shop, state: str) -> None:
    order = await shop.opened()
    add = (
        "INSERT INTO payment_tries"
        " (order_id, number, payment_id, payment_method, charge_before, key, state)"
        " VALUES (:id, :n, :payment, 'pm_1', '', :key, :state)"
    )
    this = {"id": order.id, "payment": f"pi_{order.id}"}
    with pytest.raises(DBAPIError, match="payment_tries_one_live"):
        await shop.sql(add, **this, n=2, key=f"{order.id}:2", state=state)
    await shop.sql("UPDATE payment_tries SET state = 'declined' WHERE order_id = :id", id=order.id)
    await shop.sql(add, **this, n=2, key=f"{order.id}:2", state=state)


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("number = 0", "payment_tries_number_positive"),
        ("state = 'stolen'", "payment_tries_state_known"),
        ("payment_id = 'pi_nobody'", "payment_tries_payment_id_fkey"),
    ],
)
async def test_a_try_is_of_a_charge(shop: Shop, change: str, constraint: str) -> None:
    order = await shop.opened()
    with pytest.raises(DBAPIError, match=constraint):
        await shop.sql(f"UPDATE payment_tries SET {change} WHERE order_id = :id", id=order.id)  # noqa: S608 - ours


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("refunded = captured + 1", "payments_refunded_within_captured"),
        ("refunded = -1", "payments_refunded_within_captured"),
        ("captured = amount + 1", "payments_captured_within_amount"),
        ("amount = 0", "payments_amount_positive"),
        ("attempt = 0", "payments_attempt_positive"),
        ("state = 'stolen'", "payments_state_known"),
    ],
)
async def test_a_charge_adds_up(shop: Shop, change: str, constraint: str) -> None:
    order = await shop.charged()
    with pytest.raises(DBAPIError, match=constraint):
        await shop.sql(f"UPDATE payments SET {change} WHERE order_id = :id", id=order.id)  # noqa: S608 - ours


async def test_a_refund_belongs_to_a_charge_and_is_for_something(shop: Shop) -> None:
    order = await shop.charged()
    add = "INSERT INTO refunds (refund_id, order_id, attempt, amount) VALUES ('r', :id, :n, :m)"
    with pytest.raises(DBAPIError, match="refunds_amount_positive"):
        await shop.sql(add, id=order.id, n=1, m=0)
    with pytest.raises(DBAPIError, match="refunds_order_id_fkey"):
        await shop.sql(add, id=order.id, n=2, m=1)


async def test_an_order_with_anything_in_the_books_cannot_be_deleted(shop: Shop) -> None:
    order = await shop.charged()
    await shop.ledger.record_refund(
        order.id, f"pi_{order.id}", CardRefund(f"re_{order.id}", Money(1, "EUR"))
    )
    for table in ("refunds", "payment_tries", "payments", "order_lines"):
        with pytest.raises(DBAPIError, match="violates foreign key"):
            await shop.sql("DELETE FROM orders WHERE id = :id", id=order.id)
        await shop.sql(f"DELETE FROM {table} WHERE order_id = :id", id=order.id)  # noqa: S608 - ours
    with pytest.raises(DBAPIError, match="order_history_order_id_fkey"):
        await shop.sql("DELETE FROM orders WHERE id = :id", id=order.id)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE order_history SET event = 'nothing_happened'",
        "DELETE FROM order_history",
        "TRUNCATE order_history",
        "TRUNCATE orders CASCADE",
    ],
)
async def test_the_history_of_an_order_can_only_grow(shop: Shop, statement: str) -> None:
    order = await shop.placed()
    with pytest.raises(DBAPIError, match="the history of an order can only grow"):
        await shop.sql(statement)
    assert await shop.events_of(order) == ["order_placed"]
