"""The catalogue: products, their prices and what of them is on the shelves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy.dialects.postgresql import insert

from orders.money import Money
from store.database import Database
from store.tables import products


@dataclass(frozen=True)
class Product:
    """Something sold, at ``price`` a piece; ``on_hand`` pieces are on the shelves at first."""

    sku: str
    name: str
    price: Money
    on_hand: int


#: A shop small enough to remember, with the edges a demo needs: one left, none left, yen.
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
    """Add the products that are not there yet; how many were added.

    A product that is there keeps its price and its stock: repeating this never invents goods.
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
