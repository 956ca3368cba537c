"""Placing and listing orders over HTTP: once per key, at our prices, page by page."""

import asyncio
import re
from itertools import count

import httpx
import pytest

from tests.api.api_clients import is_problem
from tests.api.real import SHOP, RealShop, real, wish

__all__ = ["real"]

EUR_29 = {"amount": 2900, "currency": "EUR"}
_customers = count(1)


@pytest.fixture
def customer() -> str:
    """One with no order yet."""
    return f"customer-{next(_customers)}"


async def listed(real: RealShop, **query: object) -> httpx.Response:
    return await real.http.get("/orders", params={k: str(v) for k, v in query.items()})


def key(text: str) -> dict[str, str]:
    return {"Idempotency-Key": text}


async def test_an_order_is_placed_at_the_catalogues_prices(real: RealShop) -> None:
    answer = await real.http.post("/orders", json=wish(order_id="placed-1"))

    assert answer.status_code == 201
    assert answer.headers["location"] == "/orders/placed-1"
    assert answer.json() == {
        "order_id": "placed-1",
        "total": EUR_29,
        "lines": [
            {
                "sku": "MUG",
                "name": "Mug, hand-glazed",
                "quantity": 2,
                "unit_price": {"amount": 1450, "currency": "EUR"},
            }
        ],
        "status_url": "/orders/placed-1",
    }
    seen = await real.http.get(answer.headers["location"])
    assert (seen.json()["status"], seen.json()["total"]) == ("placed", EUR_29)
    assert seen.json()["history"][0]["text"] == "order placed (actor ops-desk, total 29.00 EUR)"
    assert not any(secret in seen.text for secret in ("Ada", "ada@", "Square", "pm_card"))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, (None, False, None)),
        ({"customer": "cus_NffrFeUfNV2Hib"}, ("cus_NffrFeUfNV2Hib", False, None)),
        ({"customer": "cus_1", "off_session": True}, ("cus_1", True, None)),
        *(
            ({"customer": "cus_1", "setup_future_usage": usage}, ("cus_1", False, usage))
            for usage in ("on_session", "off_session")
        ),
        ({"customer": None, "off_session": False, "receipt_email": None}, (None, False, None)),
    ],
)
async def test_how_an_order_is_paid_is_shown_without_the_address_of_its_receipt(
    real: RealShop, given: dict[str, object], shown: tuple[object, ...]
) -> None:
    body = wish(receipt_email="ada+receipts@example.com") | given
    placed = await real.http.post("/orders", json=body)
    order_id = placed.json()["order_id"]
    seen = await real.http.get(f"/orders/{order_id}")
    names = ("customer", "off_session", "setup_future_usage")
    assert tuple(seen.json()[name] for name in names) == shown
    assert "receipts" not in seen.text


@pytest.mark.parametrize(
    "other",
    [
        {"customer": "cus_2"},
        {"customer": None},
        {"off_session": True},
        {"setup_future_usage": "on_session"},
        {"receipt_email": "bob@example.com"},
        {"receipt_email": None},
    ],
)
async def test_an_order_that_is_paid_in_another_way_is_another_order(
    real: RealShop, other: dict[str, object]
) -> None:
    body = wish(customer="cus_1", receipt_email="ada@example.com")
    assert (await real.http.post("/orders", json=body)).status_code == 201
    assert (await real.http.post("/orders", json=body)).status_code == 201
    is_problem(await real.http.post("/orders", json=body | other), 409, "exists already")


async def test_the_shops_key_is_enough_and_a_price_of_the_callers_is_refused(
    real: RealShop,
) -> None:
    as_shop = {"Authorization": f"Bearer {SHOP}"}
    assert (await real.http.post("/orders", json=wish(), headers=as_shop)).status_code == 201

    priced = wish(lines=[{"sku": "MUG", "quantity": 1, "unit_price": 1}])
    is_problem(await real.http.post("/orders", json=priced), 422, "unit_price")
    is_problem(await real.http.post("/orders", json=wish(total=1)), 422, "total")


async def test_without_an_id_one_is_made_each_time(real: RealShop) -> None:
    first, second = [await real.place(order_id=None) for _ in range(2)]
    assert first != second
    assert (await real.http.get(f"/orders/{first}")).status_code == 200


async def test_twenty_at_once_with_one_key_are_one_order_and_one_answer(
    real: RealShop, customer: str
) -> None:
    body = wish(order_id=None, customer_id=customer)

    answers = await asyncio.gather(
        *(real.http.post("/orders", json=body, headers=key("twenty")) for _ in range(20))
    )

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert len((await listed(real, customer=customer)).json()["orders"]) == 1


async def test_the_same_key_later_is_the_same_answer_whatever_became_of_the_order(
    real: RealShop,
) -> None:
    body = wish(order_id=None)
    first = await real.http.post("/orders", json=body, headers=key("later"))
    await real.http.post("/checkout", json={"order_id": first.json()["order_id"]})
    await real.edge.orders.result(first.json()["order_id"])
    # The API key was replaced meanwhile: the request is the shop's, not that key's.
    other = key("later") | {"Authorization": f"Bearer {SHOP}"}

    again = await real.http.post("/orders", json=body, headers=other)

    assert (again.status_code, again.json()) == (201, first.json())


@pytest.mark.parametrize(
    "changed", [{"lines": [{"sku": "MUG", "quantity": 3}]}, {"flagged": True}, {"order_id": "own"}]
)
async def test_the_same_key_with_another_body_is_refused(
    real: RealShop, changed: dict[str, object], customer: str
) -> None:
    body = wish(order_id=None, customer_id=customer)
    await real.http.post("/orders", json=body, headers=key(customer))

    refused = await real.http.post("/orders", json=body | changed, headers=key(customer))

    is_problem(refused, 409, "sent before with other contents")
    assert refused.json()["type"] == "/problems/idempotency-key-reused"
    assert len((await listed(real, customer=customer)).json()["orders"]) == 1


async def test_an_id_of_ones_own_is_a_key_too(real: RealShop) -> None:
    body = wish()
    first = await real.http.post("/orders", json=body)
    again = await real.http.post("/orders", json=body)
    other = await real.http.post("/orders", json=body | {"customer_id": "cus_2"})

    assert (again.status_code, again.json()) == (201, first.json())
    is_problem(other, 409, "exists already, with other contents")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"lines": [{"sku": "UNICORN", "quantity": 1}]}, "UNICORN is not in the catalogue"),
        ({"lines": [{"sku": "MUG", "quantity": 0}]}, "greater than or equal to 1"),
        ({"lines": [{"sku": "MUG", "quantity": "2"}]}, "valid integer"),
        ({"lines": [{"sku": "MUG", "quantity": 1}] * 2}, "MUG is there twice"),
        (
            {"lines": [{"sku": "MUG", "quantity": 1}, {"sku": "TENUGUI", "quantity": 1}]},
            "one order has one currency",
        ),
        ({"lines": [{"sku": "CLIP", "quantity": 1}]}, "0.20 EUR is too little for a card"),
        ({"lines": [{"sku": "HOUSE", "quantity": 1}]}, "too much for a card"),
        ({"lines": [{"sku": "DATES", "quantity": 1}]}, "in steps of 0.010 KWD"),
        ({"lines": []}, "lines"),
        ({"order_id": "a b"}, "is not an order id"),
        ({"customer_id": "ada@example.com"}, "customer_id"),
        ({"payment_method": "4242424242424242"}, "payment_method"),
        ({"recipient": {"name": "A\u0000da", "email": "a@b", "address": "x"}}, "recipient"),
        ({"recipient": {"name": "Ada", "email": "nobody", "address": "x"}}, "recipient"),
        ({"flagged": "yes"}, "flagged"),
        ({"customer": "customer-1"}, "your own id of them is customer_id"),
        ({"off_session": True}, "name the customer of the card provider's, cus_"),
        ({"customer": "cus_1", "off_session": "yes"}, "off_session"),
        ({"setup_future_usage": "off_session"}, "a card is saved (setup_future_usage) for a"),
        ({"customer": "cus_1", "setup_future_usage": "always"}, "'on_session' or 'off_session'"),
        (
            {"customer": "cus_1", "off_session": True, "setup_future_usage": "on_session"},
            "a card is not saved while its customer is away",
        ),
        ({"receipt_email": "ada@localhost"}, "with a dot in the domain"),
        ({"receipt_email": ""}, "receipt_email"),
    ],
)
async def test_what_cannot_be_sold_like_this_is_refused_with_a_sentence(
    real: RealShop, changed: dict[str, object], sentence: str
) -> None:
    refused = await real.http.post("/orders", json=wish() | changed)
    is_problem(refused, 422, sentence)
    told = refused.json()
    del told["request_id"]  # at random, it may have any digits
    assert "4242" not in str(told)


@pytest.mark.parametrize("text", ["", "a b", "é", "x" * 256])
async def test_a_key_that_is_none_is_refused(real: RealShop, text: str) -> None:
    headers = [(b"Idempotency-Key", text.encode("latin-1"))]
    refused = await real.http.post("/orders", json=wish(), headers=headers)
    is_problem(refused, 422, "Idempotency-Key")


async def test_pages_show_every_order_once_while_others_are_placed(
    real: RealShop, customer: str
) -> None:
    placed = [await real.place(customer_id=customer) for _ in range(7)]

    found, cursor = [], None
    while True:
        query = {"customer": customer, "limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await listed(real, **query)).json()
        found += [order["order_id"] for order in page["orders"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        await real.place(customer_id=customer)

    assert found == placed[::-1]


async def test_orders_are_listed_by_status_and_customer_without_personal_data(
    real: RealShop, customer: str
) -> None:
    waiting = await real.place(customer_id=customer, flagged=True)
    placed = await real.place(customer_id=customer)
    await real.http.post("/checkout", json={"order_id": waiting, "wait_seconds": 15})

    answer = await listed(real, customer=customer, status="awaiting_approval")
    both = await listed(real, customer=customer)

    [order] = answer.json()["orders"]
    assert order | {"placed_at": ""} == {
        "order_id": waiting,
        "customer_id": customer,
        "status": "awaiting_approval",
        "reason": None,
        "total": EUR_29,
        "placed_at": "",
    }
    assert [order["order_id"] for order in both.json()["orders"]] == [placed, waiting]
    assert not re.search(r"\bAda\b|Lovelace", both.text)  # a bookmark may have any letters


@pytest.mark.parametrize(
    ("query", "kind", "sentence"),
    [
        ({"cursor": "nonsense"}, "invalid-cursor", "no cursor of ours"),
        ({"cursor": ""}, "invalid-cursor", "no cursor of ours"),
        ({"cursor": "MTo1OjEwMDE="}, "invalid-cursor", "no cursor of ours"),
        ({"limit": 0}, "malformed-request", "limit"),
        ({"limit": 101}, "malformed-request", "limit"),
        ({"status": "lost"}, "malformed-request", "status"),
        ({"customer": "ada@example.com"}, "malformed-request", "customer"),
        ({"customer": "a\nb"}, "malformed-request", "customer"),
        ({"customer": ""}, "malformed-request", "customer"),
    ],
)
async def test_a_list_that_makes_no_sense_is_refused(
    real: RealShop, query: dict[str, object], kind: str, sentence: str
) -> None:
    refused = await listed(real, **query)
    is_problem(refused, 422, sentence)
    assert refused.json()["type"] == f"/problems/{kind}"
