"""All orders: how many are where, page by page, and found by their id."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.order import Basket, Recipient
from durable_orders.store.orders import PostgresOrderRepository
from tests.api.admin_pages import (
    Operator,
    Premises,
    cards,
    closed_premises,
    said,
    text_of,
    usual_edge,
    warehouse,
)

__all__ = ["cards", "closed_premises", "usual_edge", "warehouse"]

BEGIN = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


@pytest.fixture
async def sixty(closed_premises: Premises) -> list[str]:
    """Orders of this customer alone, newest first; the oldest twenty were rejected."""
    book = PostgresOrderRepository(closed_premises.database)
    ids = []
    for n in range(60):
        # Three at a time were placed in the same moment.
        at = BEGIN + timedelta(minutes=n // 3)
        order_id = f"page-{n:02}"
        recipient = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square")
        basket = Basket(order_id, "cus_pages", recipient, (("MUG", 1),), "pm_card_visa")
        await book.place(basket, at)
        if n < 20:
            stop = Stop(StopReason.OUT_OF_STOCK, "none left")
            await book.move(order_id, Status.REJECTED, stop, at)
        ids.append(order_id)
    return ids[::-1]


def listed(html: str) -> list[str]:
    return re.findall(r'<th scope="row"><a href="/operator/orders/([^"]+)">', html)


async def all_pages(somebody: Operator, path: str) -> list[list[str]]:
    pages = []
    while path:
        html = (await somebody.http.get(path)).text
        pages.append(listed(html))
        older = re.search(r'<a href="([^"]+)" rel="next">', html)
        path = older[1].replace("&amp;", "&") if older else ""
    return pages


async def test_orders_are_shown_page_by_page_newest_first(
    closed_premises: Premises, sixty: list[str]
) -> None:
    async with closed_premises.operator() as somebody:
        pages = await all_pages(somebody, "/operator?customer=cus_pages")
        rejected = await all_pages(somebody, "/operator?customer=cus_pages&status=rejected")
        front = await somebody.http.get("/operator")
        refused = await somebody.http.get("/operator?status=rejected")
        find = await somebody.http.get("/operator/find", params={"order": " page-07 "})
        nobody = await somebody.http.get("/operator/find", params={"order": "page-99"})
        said_so = said(await somebody.http.get(nobody.headers["location"]))
        blank = await somebody.http.get("/operator/find")
    assert [len(page) for page in pages] == [25, 25, 10]
    assert [order_id for page in pages for order_id in page] == sixty
    assert rejected == [sixty[40:]]
    words = text_of(front.text)
    assert "placed 40" in words
    assert "rejected 20" in words
    assert "out of stock" in text_of(refused.text)
    assert "1 Mar 2026, 10:19:00 UTC" in words
    assert '<time datetime="2026-03-01T10:19:00+00:00">' in front.text
    assert find.headers["location"] == "/operator/orders/page-07"
    assert said_so == "Not done. There is no order page-99."
    assert blank.headers["location"] == "/operator"
