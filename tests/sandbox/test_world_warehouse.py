"""The warehouse keeps `docs/warehouse-api.md`."""

from typing import Any

import httpx
import pytest

from sandbox.books import Books
from sandbox.dials import Dials

KEY = {"Authorization": "Bearer warehouse-key"}


def a_wish(order_id: str, **more: Any) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "ship_to": {"name": "Ada Lovelace", "address": "12 St James's Square\nLondon"},
        "lines": [{"sku": "MUG", "quantity": 2}],
        **more,
    }


async def ask(
    http: httpx.AsyncClient, order_id: str, key: str | None = None, **more: Any
) -> httpx.Response:
    headers = {**KEY, "Idempotency-Key": key or f"order-{order_id}:fulfillment"}
    return await http.post(
        "/warehouse/fulfillments", json=a_wish(order_id, **more), headers=headers
    )


async def cancel(http: httpx.AsyncClient, order_id: str) -> dict[str, Any]:
    answer = await http.post(f"/warehouse/fulfillments/{order_id}/cancel", headers=KEY)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_an_order_is_accepted_once_whatever_the_key(
    http: httpx.AsyncClient, books: Books
) -> None:
    first = await ask(http, "w1")
    repeat = await ask(http, "w1")
    other = await ask(http, "w1", key="order-w1:fulfillment:again")
    assert [answer.status_code for answer in (first, repeat, other)] == [201, 201, 201]
    assert first.json() == repeat.json() == other.json()
    assert "idempotent-replayed" not in first.headers
    assert repeat.headers["idempotent-replayed"] == "true"
    assert len((await books.order("w1")).parcels) == 1
    assert (await http.get("/warehouse/fulfillments/w1", headers=KEY)).json() == first.json()


async def test_a_recalled_order_never_ships(http: httpx.AsyncClient, books: Books) -> None:
    accepted = (await ask(http, "w2")).json()["id"]
    recalled = {"id": accepted, "order_id": "w2", "outcome": "recalled", "parcels": []}
    assert await cancel(http, "w2") == recalled
    assert await cancel(http, "w2") == recalled
    assert code(await ask(http, "w2", key="late")) == (409, "fulfillment_cancelled")
    assert (await books.order("w2")).parcels == ()


async def test_a_cancellation_wins_over_a_late_request(
    http: httpx.AsyncClient, books: Books
) -> None:
    never: dict[str, Any] = {
        "id": None,
        "order_id": "w3",
        "outcome": "never_accepted",
        "parcels": [],
    }
    assert await cancel(http, "w3") == never
    assert await cancel(http, "w3") == never
    assert code(await ask(http, "w3")) == (409, "fulfillment_cancelled")
    missing = await http.get("/warehouse/fulfillments/w3", headers=KEY)
    assert code(missing) == (404, "not_found")
    assert (await books.order("w3")).fulfillments == ()


async def test_what_has_left_cannot_be_recalled(http: httpx.AsyncClient) -> None:
    await ask(http, "w4")
    left = await http.post("/sandbox/warehouse/w4/dispatch")
    assert left.json()["status"] == "left"
    outcome = await cancel(http, "w4")
    assert outcome["outcome"] == "already_left"
    assert [parcel["status"] for parcel in outcome["parcels"]] == ["left"]
    assert (await http.post("/sandbox/warehouse/w4/dispatch")).status_code == 409
    delivered = await http.post("/sandbox/warehouse/w4/deliver")
    assert delivered.json()["parcels"][0]["status"] == "delivered"


async def test_a_refused_article_is_not_shipped(http: httpx.AsyncClient, dials: Dials) -> None:
    dial = await dials.turn(
        "warehouse.fulfillments.create", "refuse", sku="LAMP", reason="LAMP is banned"
    )
    refused = await ask(http, "w5", lines=[{"sku": "LAMP", "quantity": 1}])
    assert code(refused) == (422, "cannot_fulfill")
    assert refused.json()["error"]["message"] == "LAMP is banned"
    assert (await ask(http, "w6")).status_code == 201
    await dials.off(dial)
    assert code(await ask(http, "w5", lines=[{"sku": "LAMP", "quantity": 1}]))[0] == 422  # kept


async def test_an_order_can_be_packed_in_several_parcels(
    http: httpx.AsyncClient, dials: Dials, books: Books
) -> None:
    await dials.turn("warehouse.fulfillments.create", "split", order_id="w7", parcels=2)
    await ask(http, "w7", lines=[{"sku": "MUG", "quantity": 2}, {"sku": "PEN", "quantity": 1}])
    parcels = (await books.order("w7")).parcels
    assert len(parcels) == 2
    packed = [line for parcel in parcels for line in parcel.lines]
    assert sorted(packed) == [("MUG", 1), ("MUG", 1), ("PEN", 1)]


async def test_the_same_key_for_another_body_is_refused(http: httpx.AsyncClient) -> None:
    await ask(http, "w8", key="shared")
    assert code(await ask(http, "w9", key="shared")) == (409, "idempotency_mismatch")


@pytest.mark.parametrize(
    "wrong",
    [
        {"lines": []},
        {"lines": [{"sku": "MUG", "quantity": 0}]},
        {"lines": [{"sku": "MUG", "quantity": True}]},
        {"ship_to": {"name": "Ada"}},
        {"gift": True},
        {"order_id": ""},
    ],
)
async def test_a_body_of_another_shape_is_refused(
    http: httpx.AsyncClient, wrong: dict[str, Any]
) -> None:
    answer = await http.post(
        "/warehouse/fulfillments",
        json={**a_wish("w10"), **wrong},
        headers={**KEY, "Idempotency-Key": "shape"},
    )
    assert code(answer) == (400, "invalid_request")


async def test_keys_are_required(http: httpx.AsyncClient) -> None:
    no_key = await http.post("/warehouse/fulfillments", json=a_wish("w11"), headers=KEY)
    assert code(no_key) == (400, "idempotency_key_required")
    nobody = await http.post("/warehouse/fulfillments/w11/cancel")
    assert code(nobody) == (401, "unauthorized")
