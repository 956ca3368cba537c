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


async def test_a_customer_pays_with_another_card_on_the_page_of_the_bank(
    shop: stripe.StripeClient, http: httpx.AsyncClient, books: BooksClient
) -> None:
    as_browser = {"Accept": "text/html"}
    intent = await paid(shop, "page-1", card="pm_card_authenticationRequired")
    page = f"/sandbox/payment_intents/{intent.id}/authenticate"
    assert "Your bank asks" in (await http.get(page)).text

    failed = await http.post(page, data={"outcome": "fail"}, headers=as_browser)

    assert (failed.status_code, failed.headers["location"]) == (303, page)
    again = (await http.get(page)).text
    assert "Not paid yet" in again
    assert "failed authentication" in again
    action = f"/sandbox/payment_intents/{intent.id}/confirm"
    assert f'action="{action}"' in again
    for card, said in (("pm_card_chargeDeclined", "was declined"), ("pm_card_visa", "succeeded")):
        sent = await http.post(action, data={"payment_method": card}, headers=as_browser)
        assert (sent.status_code, sent.headers["location"]) == (303, page)
        assert said in (await http.get(page)).text
    assert (await books.order("page-1")).captured == 2000


async def test_a_customer_who_was_away_pays_with_their_card_on_the_page_of_the_mail(
    shop: stripe.StripeClient, http: httpx.AsyncClient, books: BooksClient
) -> None:
    form = {"payment_method": "pm_card_authenticationRequired"}
    customer, saved = (await http.post("/sandbox/customers", data=form)).json().values()
    with pytest.raises(stripe.CardError):
        await paid(shop, "page-2", card=saved, customer=customer, off_session=True)

    link = await http.get("/sandbox/orders/page-2/pay")
    page = link.headers["location"]
    asked = (await http.get(page)).text
    again = {"payment_method": saved}
    await http.post(page.replace("/authenticate", "/confirm"), data=again)
    await http.post(page, data={"outcome": "succeed"})

    assert link.status_code == 303
    assert "requires authentication" in asked
    assert f"<option>{saved}</option>" in asked
    assert (await books.order("page-2")).captured == 2000
    assert (await http.get("/sandbox/orders/unheard-of/pay")).status_code == 404


async def test_a_customer_with_a_saved_card_is_made_in_one_request(
    shop: stripe.StripeClient, http: httpx.AsyncClient
) -> None:
    made = (await http.post("/sandbox/customers")).json()
    listed = await shop.v1.customers.payment_methods.list_async(made["customer"])
    assert [method.id for method in listed.data] == [made["payment_method"]]
    for body, status in (
        ({"payment_method": "pm_nobodys"}, 400),
        ({"payment_method": "pm_card_chargeDeclined"}, 402),  # a declined card cannot be saved
        ({"card": "pm_card_visa"}, 400),
        ({"payment_method": 1}, 400),
    ):
        refused = await http.post("/sandbox/customers", json=body)
        assert refused.status_code == status, refused.text
        assert refused.json()["error"]["message"]


async def test_the_books_hold_every_order(shop: stripe.StripeClient, books: BooksClient) -> None:
    await paid(shop, "book-1")
    await paid(shop, "book-2", amount=900)
    with pytest.raises(stripe.CardError):
        await paid(shop, "book-3", card="pm_card_chargeDeclinedLostCard")
    booked = await books.all()
    mine = {order_id: order for order_id, order in booked.items() if order_id.startswith("book-")}
    assert {order_id: order.captured for order_id, order in mine.items()} == {
        "book-1": 2000,
        "book-2": 900,
        "book-3": 0,
    }
    assert [payment.id for payment in booked["book-1"].live_payments]
    assert booked["book-3"].payments[0].charges[0].failure == "lost_card"
    assert (await books.order("unheard-of")).payments == ()
