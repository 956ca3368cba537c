"""A shop on a real PostgreSQL, with helpers to place orders and read rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from sqlalchemy import text

from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, Order, Recipient
from durable_orders.domain.ports import CardCharge, ChargeState
from durable_orders.store.database import Database
from durable_orders.store.inventory import PostgresInventory
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.payments import PostgresPaymentLedger
from durable_orders.store.seed import Product, add_products
from tests.support.charges import announce, record

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RECIPIENT = Recipient("Ada Example", "ada@example.org", "1 Sample Street, Berlin")
PRICE = Money(5_00, "EUR")
NOTHING = Money(0, "EUR")
_numbers = count(1)


@dataclass(frozen=True)
class Stock:
    """One product's stock in the table."""

    on_hand: int
    reserved: int


class Shop:
    """The three ports over one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.orders = PostgresOrderRepository(database)
        self.inventory = PostgresInventory(database)
        self.ledger = PostgresPaymentLedger(database)

    @property
    def url(self) -> str:
        """The address of the database."""
        return self.database.url

    async def stocked(self, on_hand: int) -> str:
        """A new product."""
        sku = f"SKU-{next(_numbers):04}"
        await add_products(self.database, [Product(sku, f"Product {sku}", PRICE, on_hand)])
        return sku

    async def placed(self, *quantities: tuple[str, int]) -> Order:
        return await self.orders.place(basket(*quantities or ((await self.stocked(10), 1),)), NOW)

    async def opened(self) -> Order:
        """An order whose first try was announced."""
        order = await self.placed()
        await announce(self.ledger, order)
        return order

    async def charged(self) -> Order:
        """An order whose first try was captured."""
        order = await self.opened()
        await record(self.ledger, order.id, captured(order), answers=1)
        return order

    async def paid(self, *quantities: tuple[str, int]) -> Order:
        """An order with status PAID and no charge in the ledger."""
        order = await self.placed(*quantities)
        await self.orders.move(order.id, Status.PAID, None, NOW)
        return order

    async def stock_of(self, sku: str) -> Stock:
        [row] = await self.sql("SELECT on_hand, reserved FROM products WHERE sku = :sku", sku=sku)
        return Stock(row["on_hand"], row["reserved"])

    async def events_of(self, order: Order) -> list[str]:
        return [line.event for line in (await self.orders.view(order.id)).history]

    async def sql(self, statement: str, **parameters: object) -> list[Mapping[str, Any]]:
        """Run raw SQL, past the store's code; errors are SQLAlchemy's."""
        async with self.database.engine.begin() as connection:
            result = await connection.execute(text(statement), parameters)
            return [dict(row) for row in result.mappings()] if result.returns_rows else []


def basket(*quantities: tuple[str, int]) -> Basket:
    return Basket(f"o-{next(_numbers)}", "customer-1", RECIPIENT, quantities, "pm_card_visa")


def captured(order: Order) -> CardCharge:
    return CardCharge(f"pi_{order.id}", ChargeState.CAPTURED, order.total, order.total, NOTHING)
