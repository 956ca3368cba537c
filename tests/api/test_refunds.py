"""Refunds over HTTP: once each, never more than is left, decided by who may decide."""

import asyncio
from typing import Any, Final

import httpx

from tests.api.api_clients import is_problem
from tests.api.real import SECOND, SHOP, RealShop, real, wish
from tests.support.eventually import eventually

__all__ = ["real"]

MUG: Final[dict[str, Any]] = {"lines": [{"sku": "MUG", "quantity": 1}]}
EUR_14_50: Final = {"amount": 1450, "currency": "EUR"}


async def asked(
    real: RealShop, order_id: str, headers: dict[str, str] | None = None, **body: object
) -> httpx.Response:
    return await real.http.post(f"/orders/{order_id}/refunds", json=body, headers=headers)


async def settled(real: RealShop, url: str, state: str = "succeeded") -> dict[str, Any]:
    told: dict[str, Any] = {}

    async def there() -> bool:
        nonlocal told
        told = (await real.http.get(url)).json()
        return bool(told["state"] == state)

    await eventually(there, within=20)
    return told


async def test_a_refund_of_a_line_is_given_once_however_often_it_is_asked_for(
    real: RealShop,
) -> None:
    order_id = await real.completed()

    answers = await asyncio.gather(
        *(asked(real, order_id, refund_id="r1", **MUG) for _ in range(10))
    )
    url = f"/orders/{order_id}/refunds/r1"
    told = await settled(real, url)
    again = await asked(real, order_id, refund_id="r1", **MUG)

    assert {answer.status_code for answer in (*answers, again)} == {202}
    assert {answer.headers["location"] for answer in answers} == {url}
    assert (told["order_id"], told["refund_id"], told["amount"]) == (order_id, "r1", EUR_14_50)
    books = await real.books(order_id)
    assert (books["captured"], books["refunded"]) == (2900, 1450)
    order = (await real.http.get(f"/orders/{order_id}")).json()
    assert [refund["refund_id"] for refund in order["refunds"]] == ["r1"]


async def test_what_no_card_can_take_back_is_refused_and_sets_nothing_aside(
    real: RealShop,
) -> None:
    placed = await real.http.post("/orders", json=wish(lines=[{"sku": "DATES", "quantity": 2}]))
    order_id = placed.json()["order_id"]
    await real.http.post("/checkout", json={"order_id": order_id})
    await real.edge.orders.result(order_id)
    fils = {"amount": 1235, "currency": "KWD"}

    refused = await asked(real, order_id, refund_id="r1", amount=fils)
    by_line = await asked(real, order_id, refund_id="r1", lines=[{"sku": "DATES", "quantity": 1}])
    all_of_it = await asked(real, order_id, refund_id="r2", amount=fils | {"amount": 2470})
    await settled(real, f"/orders/{order_id}/refunds/r2")

    for each in (refused, by_line):
        is_problem(each, 409, "amounts of KWD go in steps of 0.010 KWD. Name an amount")
    assert all_of_it.status_code == 202
    assert (await real.books(order_id))["refunded"] == 2470


async def test_a_key_in_place_of_an_id_is_one_refund_too(real: RealShop) -> None:
    order_id = await real.completed()
    key = {"Idempotency-Key": "return of 1 March"}
    is_problem(await asked(real, order_id, key, **MUG), 422, "Idempotency-Key")  # no spaces
    key = {"Idempotency-Key": "return-of-1-March"}

    first, second = [await asked(real, order_id, key, amount=EUR_14_50) for _ in range(2)]
    other = await asked(real, order_id, key, amount={"amount": 1, "currency": "EUR"})

    assert first.status_code == second.status_code == 202
    assert first.headers["location"] == second.headers["location"]
    is_problem(other, 409, "of other contents")
    await settled(real, first.headers["location"])
    assert (await real.books(order_id))["refunded"] == 1450


async def test_the_id_of_the_refund_that_undoes_an_order_is_not_a_shops(real: RealShop) -> None:
    order_id = await real.completed()
    refused = await asked(real, order_id, refund_id="undo", amount=EUR_14_50)
    is_problem(refused, 409, "undo is the id of the refund that undoes an order")
    assert refused.json()["type"] == "/problems/refund-refused"
    assert (await real.books(order_id))["refunded"] == 0


async def test_with_neither_an_id_nor_a_key_nothing_is_given(real: RealShop) -> None:
    order_id = await real.completed()
    is_problem(await asked(real, order_id, **MUG), 422, "send a refund_id or an Idempotency-Key")
    assert (await real.books(order_id))["refunded"] == 0


async def test_more_than_is_left_is_a_conflict(real: RealShop) -> None:
    order_id = await real.completed()
    too_much = {"amount": 2901, "currency": "EUR"}
    refused = await asked(real, order_id, refund_id="r1", amount=too_much)
    is_problem(refused, 409, "29.00 EUR")
    assert refused.json()["type"] == "/problems/refund-refused"

    await asked(real, order_id, refund_id="r2", amount=EUR_14_50)
    await settled(real, f"/orders/{order_id}/refunds/r2")
    left = await asked(real, order_id, refund_id="r3", amount={"amount": 1451, "currency": "EUR"})
    is_problem(left, 409, "14.50 EUR")
    yen = await asked(real, order_id, refund_id="r4", amount={"amount": 1, "currency": "JPY"})
    is_problem(yen, 409, "EUR")


async def test_a_large_refund_waits_for_a_person(real: RealShop) -> None:
    order_id = await real.completed()
    url = f"/orders/{order_id}/refunds/r1"
    as_shop = {"Authorization": f"Bearer {SHOP}"}

    refused = await asked(real, order_id, as_shop, refund_id="r1")
    await asked(real, order_id, refund_id="r1", restock=True, reason="returned")
    await settled(real, url, "awaiting_approval")
    not_theirs = await real.http.post(f"{url}/approve", headers=as_shop)
    seen = {"by": "ops-7", "note": "seen"}
    own = await real.http.post(f"{url}/approve", json=seen)
    as_second = {"Authorization": f"Bearer {SECOND}"}
    approved = await real.http.post(f"{url}/approve", json=seen, headers=as_second)

    is_problem(own, 403, "was requested by ops-desk, who may not approve it")
    assert own.json()["type"] == "/problems/second-person-needed"
    is_problem(refused, 403, "scope operator")
    is_problem(not_theirs, 403, "scope operator")
    assert approved.json() == {
        "order_id": order_id,
        "refund_id": "r1",
        "decision": "approved",
        "by": "ops-7",
        "actor": "ops-night",
    }
    await settled(real, url)
    history = (await real.http.get(f"/orders/{order_id}")).json()["history"]
    [detail] = [line["detail"] for line in history if line["event"] == "refund_approved"]
    assert (detail["by"], detail["actor"]) == ("ops-7", "ops-night")
    [asked_by] = [line["detail"] for line in history if line["event"] == "refund_requested"]
    assert asked_by["actor"] == "ops-desk"
    assert (await real.books(order_id))["refunded"] == 2900


async def test_a_refund_that_is_rejected_moves_no_money(real: RealShop) -> None:
    order_id = await real.completed()
    url = f"/orders/{order_id}/refunds/r1"
    await asked(real, order_id, refund_id="r1")
    await settled(real, url, "awaiting_approval")

    rejected = await real.http.post(f"{url}/reject", json={"reason": "never came back"})

    assert rejected.json()["by"] == "ops-desk"
    await settled(real, url, "rejected")
    assert (await real.books(order_id))["refunded"] == 0
    is_problem(await real.http.post(f"{url}/approve"), 409, "")


async def test_what_is_not_there_is_not_found(real: RealShop) -> None:
    order_id = await real.completed()
    is_problem(await asked(real, "nobody", refund_id="r1"), 404, "there is no order nobody")
    is_problem(await real.http.get(f"/orders/{order_id}/refunds/r9"), 404, "has no refund r9")
    url = f"/orders/{order_id}/refunds/r9"
    is_problem(await real.http.post(f"{url}/approve"), 404, "has no refund r9")
    is_problem(await real.http.get(f"/orders/{order_id}/refunds/a-b"), 422, "not a refund id")
    is_problem(await asked(real, order_id, refund_id="a-b"), 422, "is not a refund id")


async def test_an_order_that_is_not_paid_is_not_refunded(real: RealShop) -> None:
    order_id = await real.place()
    is_problem(await asked(real, order_id, refund_id="r1"), 409, "cancel the order instead")
