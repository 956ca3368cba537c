"""What many a shop has, from the checkout to the warehouse, and back: addresses of several lines,
SKUs with spaces, customers of an identity provider.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, Final

import pytest

from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.terms import ShopTerms
from durable_orders.store.database import Database
from durable_orders.store.seed import Product, add_products
from tests.api.posting import posting
from tests.api.real import RealShop, real, wish
from tests.contracts.signing import parcel_event, signed
from tests.support.eventually import eventually
from tests.support.shop import Shop

__all__ = ["real"]

ADDRESS: Final = "12 St James's Square\nLondon SW1Y 4JH\nUnited Kingdom"
SKUS: Final = ("T SHIRT (L)", "A=B/7, blau", "茶碗")
CUSTOMERS: Final = (
    "auth0|5f7c8ec7c33c6c004bbafe82",
    "gid://shopify/Customer/207119551",
    "C 1042/7 (Köln) & 'Co'",
    "x" * 255,
    "ü" * 255,
)


@pytest.fixture
async def stocked(real: RealShop, database: Database) -> RealShop:
    """The shop, which sells what is called like this."""
    await add_products(
        database, [Product(sku, sku.title(), Money(1000, "EUR"), 1_000) for sku in SKUS]
    )
    return real


def ordinary(customer: str, address: str = ADDRESS) -> dict[str, Any]:
    recipient = {"name": "Zoë O'Neill", "email": "zoe+shop@example.com", "address": address}
    lines = [{"sku": sku, "quantity": 2} for sku in SKUS]
    return wish(customer_id=customer, recipient=recipient, lines=lines)


@pytest.mark.parametrize("customer", CUSTOMERS)
async def test_an_order_with_ordinary_texts_is_carried_to_its_end(
    stocked: RealShop, customer: str
) -> None:
    placed = await stocked.http.post("/orders", json=ordinary(customer))
    assert placed.status_code == 201, placed.text
    order_id = placed.json()["order_id"]
    await stocked.http.post("/checkout", json={"order_id": order_id, "wait_seconds": 15})
    outcome = await stocked.edge.orders.result(order_id)

    assert (outcome.status, str(outcome.taken)) == (Status.COMPLETED, "60.00 EUR")
    # The warehouse was asked in these words, to the letter.
    [fulfillment] = (await stocked.books(order_id))["fulfillments"]
    assert [line["sku"] for line in fulfillment["parcels"][0]["lines"]] == list(SKUS)
    told = (await stocked.http.get(f"/orders/{order_id}")).json()
    assert told["customer_id"] == customer
    assert [line["sku"] for line in told["lines"]] == list(SKUS)
    page = (await stocked.http.get("/orders", params={"customer": customer})).json()
    assert [order["order_id"] for order in page["orders"]] == [order_id]

    async def listed() -> bool:
        """As Temporal does: the customer is a search attribute of the run."""
        rows = {row.order_id: row.customer_id async for row in stocked.edge.orders.list()}
        return rows.get(order_id) == customer

    await eventually(listed)


async def test_one_of_its_lines_is_given_back(stocked: RealShop) -> None:
    order_id = (await stocked.http.post("/orders", json=ordinary("auth0|7"))).json()["order_id"]
    await stocked.http.post("/checkout", json={"order_id": order_id})
    await stocked.edge.orders.result(order_id)
    body = {"refund_id": "r1", "lines": [{"sku": "T SHIRT (L)", "quantity": 1}], "restock": True}
    assert (await stocked.http.post(f"/orders/{order_id}/refunds", json=body)).status_code == 202
    await asyncio.wait_for(stocked.edge.refunds.result(order_id, "r1"), 20)
    books = await stocked.books(order_id)
    assert (books["captured"], books["refunded"]) == (6000, 1000)
    [entry] = await stocked.edge.refunds.refunds_of(order_id)
    assert entry.lines == (("T SHIRT (L)", 1),)


@pytest.mark.parametrize(
    "address",
    [ADDRESS, "Musterstraße 1\r\n12345 Köln\r\n", "1-1 千代田\n東京", "x" * 499 + "\n"],
)
async def test_an_address_is_kept_line_by_line(stocked: RealShop, address: str) -> None:
    placed = await stocked.http.post("/orders", json=ordinary("auth0|8", address))
    assert placed.status_code == 201, placed.text
    view = await stocked.edge.orders.view(placed.json()["order_id"])
    assert view.order.recipient.address == address
    # The same again is the same order, and another break of a line another one.
    body = ordinary("auth0|8", address) | {"order_id": view.order.id}
    assert (await stocked.http.post("/orders", json=body)).status_code == 201
    body["recipient"]["address"] = f"{address.strip()}\n\nx"
    assert (await stocked.http.post("/orders", json=body)).status_code in {409, 422}


@pytest.mark.parametrize("parcel_id", ["par_1", "PAR 2026/00017", "Päckchen №1"])
async def test_a_parcel_and_its_carriers_reference_are_told_as_they_are_called(
    closed_shop: Shop, database: Database, parcel_id: str
) -> None:
    shop = closed_shop
    shop.terms = ShopTerms(delivery_deadline=timedelta(days=9))
    tracking = "AB 1234 5678 9GB"
    async with shop.worker(), posting(shop, database) as post, post.inbox.at_work():
        order_id = await shop.place()
        shop.warehouse.pack(order_id, parcel_id)
        await shop.orders.start(order_id)
        await shop.reaches(order_id, "waiting for the parcels")
        for type_ in ("parcel.left", "parcel.delivered"):
            body = parcel_event(type_, order_id, parcel_id, tracking=tracking)
            answer = await post.send("warehouse", signed("warehouse", body))
            assert (answer.status_code, answer.json()) == (200, {"received": True})
            if type_ == "parcel.left":
                await eventually(lambda: mailed(shop, f"Track it as {tracking}."))
        outcome = await asyncio.wait_for(shop.orders.result(order_id), 20)

    assert (outcome.status, outcome.parcel_ids) == (Status.COMPLETED, (parcel_id,))
    [parcel] = (await shop.orders.view(order_id)).parcels
    assert (parcel.parcel_id, parcel.status, parcel.tracking) == (
        parcel_id,
        ParcelStatus.DELIVERED,
        tracking,
    )


async def mailed(shop: Shop, sentence: str) -> bool:
    return any(sentence in sent.mail.text for sent in shop.mailer.sent)
