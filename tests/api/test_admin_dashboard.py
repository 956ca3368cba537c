"""All orders: how many are where, page by page, and found by their id."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from durable_orders.domain.audit.messages import Acknowledgement
from durable_orders.domain.audit.model import Discrepancy, DiscrepancyKind
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.order import Basket, Recipient
from durable_orders.store.audit_findings import PostgresFindingRepository
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


async def test_what_an_audit_found_is_shown_until_somebody_answers_for_it(
    closed_premises: Premises,
) -> None:
    findings = PostgresFindingRepository(closed_premises.database)
    order_id = await closed_premises.place()
    detail = "completed, and 1.00 EUR was given back, but its refunds come to 0.00 EUR"
    kind = DiscrepancyKind.REFUNDS_DIFFER
    await findings.note(Discrepancy(kind, order_id, detail, payment_id="pi_<1>"), BEGIN)
    async with closed_premises.operator() as somebody:
        front = await somebody.http.get("/operator")
        word = Acknowledgement("ops-7", "agreed", BEGIN)
        await findings.acknowledge(order_id, kind, word)
        later = await somebody.http.get("/operator")
    words = text_of(front.text)
    assert f"Order {order_id} refunds differ" in words
    assert f"{detail}. Found 1 Mar 2026, 10:00:00 UTC , pi_<1>." in words.replace(
        "Completed", "completed"
    )
    assert "compare the order's refunds with the provider's dashboard" in words.lower()
    assert f'href="/operator/orders/{order_id}"' in front.text
    assert "refunds differ" not in text_of(later.text)
