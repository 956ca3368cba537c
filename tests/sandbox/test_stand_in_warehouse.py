"""The warehouse implements `docs/warehouse-api.md`."""

from typing import Any

import httpx
import pytest

from sandbox.books_client import BooksClient
from sandbox.fault_client import FaultClient

KEY = {"Authorization": "Bearer warehouse-key"}


def fulfillment_request(order_id: str, **more: Any) -> dict[str, Any]:
    return {
        "order_id": order_id,
        "ship_to": {"name": "Ada Lovelace", "address": "12 St James's Square\nLondon"},
        "lines": [{"sku": "MUG", "quantity": 2}],
        **more,
    }


async def create(
    http: httpx.AsyncClient, order_id: str, key: str | None = None, **more: Any
) -> httpx.Response:
    headers = {**KEY, "Idempotency-Key": key or f"order-{order_id}:fulfillment"}
    return await http.post(
        "/warehouse/fulfillments", json=fulfillment_request(order_id, **more), headers=headers
    )


async def cancel(http: httpx.AsyncClient, order_id: str) -> dict[str, Any]:
    answer = await http.post(f"/warehouse/fulfillments/{order_id}/cancel", headers=KEY)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_an_order_is_accepted_once_whatever_the_key(
    http: httpx.AsyncClient, books: BooksClient
) -> None:
    first = await create(http, "w1")
    repeat = await create(http, "w1")
    other = await create(http, "w1", key="order-w1:fulfillment:again")
    assert [answer.status_code for answer in (first, repeat, other)] == [201, 201, 201]
    assert first.json() == repeat.json() == other.json()
    assert "idempotent-replayed" not in first.headers
    assert repeat.headers["idempotent-replayed"] == "true"
    assert len((await books.order("w1")).parcels) == 1
    assert (await http.get("/warehouse/fulfillments/w1", headers=KEY)).json() == first.json()


async def test_a_recalled_order_never_ships(http: httpx.AsyncClient, books: BooksClient) -> None:
    accepted = (await create(http, "w2")).json()["id"]
    recalled = {"id": accepted, "order_id": "w2", "outcome": "recalled", "parcels": []}
    assert await cancel(http, "w2") == recalled
    assert await cancel(http, "w2") == recalled
    assert code(await create(http, "w2", key="late")) == (409, "fulfillment_cancelled")
    assert (await books.order("w2")).parcels == ()


async def test_a_cancellation_wins_over_a_late_request(
    http: httpx.AsyncClient, books: BooksClient
) -> None:
    never: dict[str, Any] = {
        "id": None,
        "order_id": "w3",
        "outcome": "never_accepted",
        "parcels": [],
    }
    assert await cancel(http, "w3") == never
    assert await cancel(http, "w3") == never
    assert code(await create(http, "w3")) == (409, "fulfillment_cancelled")
    missing = await http.get("/warehouse/fulfillments/w3", headers=KEY)
    assert code(missing) == (404, "not_found")
    assert (await books.order("w3")).fulfillments == ()


async def test_what_has_left_cannot_be_recalled(http: httpx.AsyncClient) -> None:
    await create(http, "w4")
    left = await http.post("/sandbox/warehouse/w4/dispatch")
    assert left.json()["status"] == "left"
    outcome = await cancel(http, "w4")
    assert outcome["outcome"] == "already_left"
    assert [parcel["status"] for parcel in outcome["parcels"]] == ["left"]
    assert (await http.post("/sandbox/warehouse/w4/dispatch")).status_code == 409
    delivered = await http.post("/sandbox/warehouse/w4/deliver")
    assert delivered.json()["parcels"][0]["status"] == "delivered"


async def test_a_parcel_that_left_can_get_lost_and_still_turn_up(http: httpx.AsyncClient) -> None:
    await create(http, "w12")
    assert (await http.post("/sandbox/warehouse/w12/lose")).status_code == 409
    left = (await http.post("/sandbox/warehouse/w12/dispatch")).json()["parcels"][0]
    lost = (await http.post("/sandbox/warehouse/w12/lose")).json()["parcels"][0]
    found = (await http.post("/sandbox/warehouse/w12/deliver")).json()["parcels"][0]
    assert [parcel["status"] for parcel in (left, lost, found)] == ["left", "lost", "delivered"]
    assert left["tracking"] == lost["tracking"] == found["tracking"]
    assert (await http.post("/sandbox/warehouse/w12/lose")).status_code == 409


async def test_one_parcel_of_several_can_move_alone(
    http: httpx.AsyncClient, faults: FaultClient
) -> None:
    await faults.inject("warehouse.fulfillments.create", "split", order_id="w13", parcels=2)
    first, second = (await create(http, "w13")).json()["parcels"]
    path = "/sandbox/warehouse/w13/dispatch"
    alone = (await http.post(path, json={"parcel": second["id"]})).json()["parcels"]
    assert [parcel["status"] for parcel in alone] == ["accepted", "left"]
    assert (await http.post(path, json={"parcel": second["id"]})).status_code == 409
    both = (await http.post(path)).json()["parcels"]
    assert [parcel["id"] for parcel in both] == [first["id"], second["id"]]
    assert [parcel["status"] for parcel in both] == ["left", "left"]


async def test_a_part_of_an_order_can_be_short(
    http: httpx.AsyncClient, faults: FaultClient, books: BooksClient
) -> None:
    endpoint = "warehouse.fulfillments.create"
    lines = [{"sku": "MUG", "quantity": 2}, {"sku": "PEN", "quantity": 2}]
    await faults.inject(endpoint, "short", order_id="w14", sku="MUG")
    accepted = (await create(http, "w14", lines=lines)).json()
    assert accepted["short"] == [{"sku": "MUG", "quantity": 2}]
    [fulfillment] = (await books.order("w14")).fulfillments
    assert fulfillment.short == (("MUG", 2),)
    assert fulfillment.parcels[0].lines == (("PEN", 2),)

    await faults.inject(endpoint, "short", order_id="w15")
    part = (await create(http, "w15", lines=lines)).json()
    assert part["short"] == [{"sku": "PEN", "quantity": 1}]
    assert part["parcels"][0]["lines"] == [lines[0], {"sku": "PEN", "quantity": 1}]

    await faults.inject(endpoint, "short", order_id="w16", sku="MUG")
    assert code(await create(http, "w16", lines=lines[:1])) == (422, "cannot_fulfill")


async def resend(
    http: httpx.AsyncClient, order_id: str, parcel_id: str, key: str = ""
) -> httpx.Response:
    path = f"/warehouse/fulfillments/{order_id}/parcels/{parcel_id}/resend"
    return await http.post(path, headers={**KEY, "Idempotency-Key": key or f"resend:{parcel_id}"})


async def test_a_lost_parcel_is_sent_again_once_and_may_still_turn_up(
    http: httpx.AsyncClient, books: BooksClient
) -> None:
    [packed] = (await create(http, "w17")).json()["parcels"]
    for move in ("dispatch", "lose"):
        await http.post(f"/sandbox/warehouse/w17/{move}")
    first = await resend(http, "w17", packed["id"])
    repeat = await resend(http, "w17", packed["id"])
    other = await resend(http, "w17", packed["id"], key="another")

    assert [answer.status_code for answer in (first, repeat, other)] == [201, 201, 201]
    assert first.json() == repeat.json() == other.json()
    assert repeat.headers["idempotent-replayed"] == "true"
    new = first.json()["parcel"]
    assert new == {**packed, "id": new["id"], "resends": packed["id"]}
    assert [parcel.id for parcel in (await books.order("w17")).parcels] == [new["id"]]
    left = (await http.post("/sandbox/warehouse/w17/dispatch")).json()["parcels"]
    assert [parcel["status"] for parcel in left] == ["lost", "left"]
    found = (await http.post("/sandbox/warehouse/w17/deliver")).json()["parcels"]
    assert [parcel["status"] for parcel in found] == ["delivered", "delivered"]


async def test_a_parcel_is_not_sent_again_when_it_arrived_or_was_recalled_or_is_nobodys(
    http: httpx.AsyncClient,
) -> None:
    [arrived] = (await create(http, "w18")).json()["parcels"]
    [recalled] = (await create(http, "w19")).json()["parcels"]
    for move in ("dispatch", "deliver"):
        await http.post(f"/sandbox/warehouse/w18/{move}")
    await cancel(http, "w19")

    assert code(await resend(http, "w18", arrived["id"])) == (422, "cannot_fulfill")
    assert code(await resend(http, "w19", recalled["id"])) == (409, "fulfillment_cancelled")
    assert code(await resend(http, "w18", recalled["id"])) == (404, "not_found")
    assert code(await resend(http, "w-never", arrived["id"])) == (404, "not_found")


async def test_a_parcel_that_could_not_be_sent_again_can_be_asked_for_again(
    http: httpx.AsyncClient, faults: FaultClient
) -> None:
    first, second = [(await create(http, id_)).json()["parcels"][0]["id"] for id_ in ("w20", "w21")]
    fault = await faults.inject(
        "warehouse.parcels.resend", "refuse", order_id="w20", reason="no mug"
    )
    refused = await resend(http, "w20", first, key="k20")
    assert code(refused) == (422, "cannot_fulfill")
    assert refused.json()["error"]["message"] == "no mug"
    await faults.remove(fault)
    assert (await resend(http, "w20", first, key="k20")).status_code == 201
    assert code(await resend(http, "w21", second, key="k20")) == (409, "idempotency_mismatch")


async def test_a_refused_article_is_not_shipped(
    http: httpx.AsyncClient, faults: FaultClient
) -> None:
    fault = await faults.inject(
        "warehouse.fulfillments.create", "refuse", sku="LAMP", reason="LAMP is banned"
    )
    refused = await create(http, "w5", lines=[{"sku": "LAMP", "quantity": 1}])
    assert code(refused) == (422, "cannot_fulfill")
    assert refused.json()["error"]["message"] == "LAMP is banned"
    assert (await create(http, "w6")).status_code == 201
    await faults.remove(fault)
    assert code(await create(http, "w5", lines=[{"sku": "LAMP", "quantity": 1}]))[0] == 422  # kept


async def test_an_order_can_be_packed_in_several_parcels(
    http: httpx.AsyncClient, faults: FaultClient, books: BooksClient
) -> None:
    await faults.inject("warehouse.fulfillments.create", "split", order_id="w7", parcels=2)
    await create(http, "w7", lines=[{"sku": "MUG", "quantity": 2}, {"sku": "PEN", "quantity": 1}])
    parcels = (await books.order("w7")).parcels
    assert len(parcels) == 2
    packed = [line for parcel in parcels for line in parcel.lines]
    assert sorted(packed) == [("MUG", 1), ("MUG", 1), ("PEN", 1)]


async def test_the_same_key_for_another_body_is_refused(http: httpx.AsyncClient) -> None:
    await create(http, "w8", key="shared")
    assert code(await create(http, "w9", key="shared")) == (409, "idempotency_mismatch")


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
        json={**fulfillment_request("w10"), **wrong},
        headers={**KEY, "Idempotency-Key": "shape"},
    )
    assert code(answer) == (400, "invalid_request")


async def test_keys_are_required(http: httpx.AsyncClient) -> None:
    no_key = await http.post(
        "/warehouse/fulfillments", json=fulfillment_request("w11"), headers=KEY
    )
    assert code(no_key) == (400, "idempotency_key_required")
    nobody = await http.post("/warehouse/fulfillments/w11/cancel")
    assert code(nobody) == (401, "unauthorized")
    again = "/warehouse/fulfillments/w11/parcels/par_1/resend"
    assert code(await http.post(again, headers=KEY)) == (400, "idempotency_key_required")
    assert code(await http.post(again)) == (401, "unauthorized")
