"""Seed data: products with their prices and stock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy.dialects.postgresql import insert

from durable_orders.domain.money import Money
from durable_orders.store.database import Database
from durable_orders.store.tables import products


@dataclass(frozen=True)
class Product:
    """A product at ``price`` a piece, with ``on_hand`` pieces in stock at first."""

    sku: str
    name: str
    price: Money
    on_hand: int


#: The demo's catalogue, with its edge cases: one piece left, out of stock, priced in yen.
DEMO: Final = (
    Product("MUG", "Mug, hand-glazed", Money(14_50, "EUR"), 1_000),
    Product("TEE", "T-shirt, organic cotton", Money(29_00, "EUR"), 500),
    Product("POSTER", "Poster, A2", Money(18_00, "EUR"), 200),
    Product("STICKER", "Sticker sheet", Money(3_50, "EUR"), 10_000),
    Product("PRINT-1OF1", "Signed print, one of one", Money(240_00, "EUR"), 1),
    Product("CALENDAR", "Last year's calendar", Money(12_00, "EUR"), 0),
    Product("TENUGUI", "Tenugui, indigo (Tokyo shop)", Money(1_800, "JPY"), 300),
)


async def add_products(database: Database, catalogue: Iterable[Product]) -> int:
    """Add the missing products and return how many were added.

    An existing product keeps its price and stock: repeating this never invents goods.
    """
    rows = [
        {
            "sku": product.sku,
            "name": product.name,
            "price": product.price.amount,
            "currency": product.price.currency,
            "on_hand": product.on_hand,
        }
        for product in catalogue
    ]
    if not rows:
        return 0
    async with database.statement() as connection:
        added = await connection.scalars(
            insert(products)
            .values(rows)
            .on_conflict_do_nothing(index_elements=["sku"])
            .returning(products.c.sku)
        )
        return len(added.all())
