"""The HTML pages, and the books of all orders."""

import httpx
import pytest
import stripe

from sandbox.books_client import BooksClient
from tests.sandbox.buying import paid


@pytest.mark.parametrize("page", ["/", "/inbox", "/dials"])
async def test_the_pages_load_nothing_from_other_servers(
    http: httpx.AsyncClient, page: str
) -> None:
    answer = await http.get(page)
    assert answer.status_code == 200
    assert "https://" not in answer.text
    assert "<script" not in answer.text


async def test_the_health_check_is_ok(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).json() == {"status": "ok"}


async def test_the_books_hold_every_order(shop: stripe.StripeClient, books: BooksClient) -> None:
    await paid(shop, "book-1")
    await paid(shop, "book-2", amount=900)
    with pytest.raises(stripe.CardError):
        await paid(shop, "book-3", card="pm_card_chargeDeclinedLostCard")
    booked = await books.all()
    assert {order_id: order.captured for order_id, order in booked.items()} == {
        "book-1": 2000,
        "book-2": 900,
        "book-3": 0,
    }
    assert [payment.id for payment in booked["book-1"].live_payments]
    assert booked["book-3"].payments[0].charges[0].failure == "lost_card"
    assert (await books.order("unheard-of")).payments == ()
