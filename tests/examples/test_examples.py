"""The examples as processes, on real servers: orders are bought, followed and cancelled."""

from __future__ import annotations

import asyncio
import re
from itertools import count
from typing import Any

import httpx
import pytest

from durable_orders.store.database import connect
from durable_orders.store.migrations import migrate
from tests.examples.conftest import Start
from tests.support.eventually import eventually
from tests.support.servers import Postgres
from tests.support.shop import basket
from tests.support.shop_with_store import ShopWithStore

EUR_29 = {"amount": 2900, "currency": "EUR"}
_numbers = count(1)

by_id = pytest.mark.parametrize("example", ["fastapi_by_id", "django_by_id"])
that_place = pytest.mark.parametrize(
    "example",
    ["fastapi_with_store", "django_with_store", "fastapi_over_http", "django_over_http"],
)
every = pytest.mark.parametrize(
    "example",
    [
        *("fastapi_by_id", "django_by_id"),
        *("fastapi_with_store", "django_with_store", "fastapi_over_http", "django_over_http"),
    ],
)


def cart(order_id: str | None = None, **other: object) -> dict[str, Any]:
    return {
        "order_id": order_id or f"example-{next(_numbers)}",
        "customer_id": "cus_1",
        "recipient": {
            "name": "Ada Lovelace",
            "email": "ada@example.com",
            "address": "12 St James's Square, London",
        },
        "lines": [{"sku": "MUG", "quantity": 2}],
        "payment_method": "pm_card_visa",
    } | other


async def reaches(caller: httpx.AsyncClient, order_id: str, **wanted: str) -> dict[str, Any]:
    """What is said of the order, once it says this."""
    said: dict[str, Any] = {}

    async def there() -> bool:
        nonlocal said
        said = (await caller.get(f"/orders/{order_id}")).raise_for_status().json()
        return said.items() >= wanted.items()

    await eventually(there)
    return said


@by_id
async def test_an_order_is_started_and_followed_by_its_id(
    running: httpx.AsyncClient, shop: ShopWithStore
) -> None:
    order_id = f"example-{next(_numbers)}"
    await shop.orders.place(basket(order_id))

    first = await running.post(f"/orders/{order_id}/start")
    ended = await reaches(running, order_id, status="completed", doing="ended")
    again = await running.post(f"/orders/{order_id}/start")

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() | {"already_started": True} == again.json()
    assert first.json()["workflow_id"] == f"order-{order_id}"
    assert ended["order_id"] == order_id


@that_place
async def test_an_order_is_bought_paid_and_shown(running: httpx.AsyncClient) -> None:
    wanted = cart()
    answers = await asyncio.gather(*(running.post("/orders", json=wanted) for _ in range(3)))

    for answer in answers:
        assert answer.status_code == 201, answer.text
        expected = {"order_id": wanted["order_id"], "total": EUR_29, "payment": "paid"}
        assert answer.json() == expected
    ended = await reaches(running, wanted["order_id"], status="completed")
    placed = [line for line in ended["history"] if line.startswith("order placed (")]
    assert len(placed) == 1
    assert placed[0].endswith("total 29.00 EUR)")
    assert len([line for line in ended["history"] if line.startswith("payment captured")]) == 1


@that_place
async def test_a_decline_is_told_at_once(running: httpx.AsyncClient) -> None:
    answer = await running.post("/orders", json=cart(payment_method="pm_card_visa_chargeDeclined"))
    assert answer.status_code == 201
    assert answer.json()["payment"] == "declined"


@every
async def test_an_order_is_cancelled_while_it_is_carried(
    example: str, running: httpx.AsyncClient, shop: ShopWithStore
) -> None:
    wanted = cart()
    order_id, gate = wanted["order_id"], shop.warehouse.hold("fulfill")
    if example.endswith("by_id"):
        await shop.orders.place(basket(order_id))
        await running.post(f"/orders/{order_id}/start")
    else:
        assert (await running.post("/orders", json=wanted)).json()["payment"] == "paid"
    await gate.entered()

    cancelling = asyncio.create_task(running.post(f"/orders/{order_id}/cancel"))

    async def asked() -> bool:
        return (await shop.orders.status(order_id)).cancel_requested

    await eventually(asked)
    gate.release()
    cancelled = await cancelling
    assert cancelled.status_code == 200, cancelled.text
    assert cancelled.json() == {"kind": "cancelled", "status": "refunded", "given_back": EUR_29}


@every
async def test_an_order_that_has_ended_is_not_cancelled(
    running: httpx.AsyncClient, shop: ShopWithStore
) -> None:
    order_id = f"example-{next(_numbers)}"
    await shop.orders.place(basket(order_id))
    await shop.orders.start(order_id)
    await shop.orders.result(order_id)

    answer = await running.post(f"/orders/{order_id}/cancel")

    assert answer.status_code == 409
    assert "has ended, it is completed" in answer.json()["detail"]


@every
async def test_an_order_that_is_not_known_is_not_found(running: httpx.AsyncClient) -> None:
    for ask in (running.get("/orders/nobody"), running.post("/orders/nobody/cancel")):
        answer = await ask
        assert answer.status_code == 404
        assert "nobody" in answer.json()["detail"]
    wrong = await running.get("/orders/-1")
    assert wrong.status_code == 422
    assert "is not an order id" in wrong.json()["detail"]


@that_place
async def test_what_cannot_be_bought_is_refused(running: httpx.AsyncClient) -> None:
    nothing_like_it = await running.post(
        "/orders", json=cart(lines=[{"sku": "CAR", "quantity": 1}])
    )
    assert nothing_like_it.status_code == 422
    assert "CAR is not in the catalogue" in nothing_like_it.json()["detail"]

    unreadable = await running.post("/orders", json={"order_id": "example-0"})
    assert unreadable.status_code == 422
    assert "customer_id" in unreadable.text

    first = cart()
    await running.post("/orders", json=first)
    other = await running.post("/orders", json=first | {"lines": [{"sku": "TEE", "quantity": 1}]})
    assert other.status_code == 409
    assert "exists already, with other contents" in other.json()["detail"]


# -- trouble ---------------------------------------------------------------------------------------

NOWHERE = {"TEMPORAL_ADDRESS": "127.0.0.1:1"}


@by_id
async def test_without_temporal_a_customer_is_asked_to_come_again(
    example: str, start: Start
) -> None:
    program = await start(example, NOWHERE)
    await program.ready()

    answer = await program.http.get("/orders/1001")

    assert answer.status_code == 503
    assert answer.json() == {"detail": "try again in a moment"}


@pytest.mark.parametrize("example", ["fastapi_over_http", "django_over_http"])
@pytest.mark.parametrize("trouble", ["away", "key revoked"])
async def test_trouble_with_the_api_is_not_shown_to_a_customer(
    example: str, trouble: str, start: Start, api_settings: dict[str, str]
) -> None:
    wrong = {
        "away": {"ORDERS_API_URL": "http://127.0.0.1:1"},
        "key revoked": {"ORDERS_API_KEY": "x"},
    }
    program = await start(example, api_settings | wrong[trouble])
    await program.ready()

    answer = await program.http.get("/orders/1001")

    assert answer.status_code == 503
    assert answer.json() == {"detail": "try again in a moment"}


async def test_a_schema_that_does_not_fit_stops_the_start(
    start: Start, shop: ShopWithStore, postgres: Postgres
) -> None:
    program = await start(
        "fastapi_with_store", shop.environment | {"DATABASE_URL": await postgres.empty()}
    )
    await program.ends()
    assert "SchemaVersionError: the database has no schema yet" in program.log
    assert re.search(r": run \S.* store migrate$", program.log, re.M)


async def test_a_schema_that_does_not_fit_fails_each_request_until_it_is_migrated(
    start: Start, shop: ShopWithStore, postgres: Postgres
) -> None:
    url = await postgres.empty()
    program = await start("django_with_store", shop.environment | {"DATABASE_URL": url})
    await program.ready()

    assert (await program.http.get("/orders/1001")).status_code == 500
    assert "SchemaVersionError: the database has no schema yet" in program.log
    database = connect(url)
    await migrate(database)
    await database.close()
    assert (await program.http.get("/orders/1001")).status_code == 404
