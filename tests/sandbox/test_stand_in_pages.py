"""The pages a person opens, and the books as a whole."""

import httpx
import pytest
import stripe

from sandbox.books_client import Books
from tests.sandbox.buying import paid


@pytest.mark.parametrize("page", ["/", "/inbox", "/dials"])
async def test_the_pages_need_nothing_from_elsewhere(http: httpx.AsyncClient, page: str) -> None:
    answer = await http.get(page)
    assert answer.status_code == 200
    assert "https://" not in answer.text
    assert "<script" not in answer.text


async def test_the_world_says_that_it_is_well(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).json() == {"status": "ok"}


async def test_the_books_have_a_page_for_every_order(
    shop: stripe.StripeClient, books: Books
) -> None:
    await paid(shop, "book-1")
    await paid(shop, "book-2", amount=900)
    with pytest.raises(stripe.CardError):
        await paid(shop, "book-3", card="pm_card_chargeDeclinedLostCard")
    pages = await books.all()
    assert {name: page.captured for name, page in pages.items()} == {
        "book-1": 2000,
        "book-2": 900,
        "book-3": 0,
    }
    assert [payment.id for payment in pages["book-1"].live_payments]
    assert pages["book-3"].payments[0].charges[0].failure == "lost_card"
    assert (await books.order("unheard-of")).payments == ()
