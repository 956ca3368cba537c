"""The HTTP edge: it translates what the client says, and says when it cannot."""

import asyncio

import httpx
import pytest
from temporalio.client import Client

from durable_orders.clients.orders import OrderClient
from durable_orders.domain.activity_messages import CancelUnderWay
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.ports import NoAnswerError
from tests.api.api_clients import asking, is_problem
from tests.support.eventually import eventually
from tests.support.shop import Shop


async def test_checking_out_twenty_times_at_once_is_one_run(
    shop: Shop, http: httpx.AsyncClient
) -> None:
    order_id = await shop.place()

    asked = (http.post("/checkout", json={"order_id": order_id}) for _ in range(20))
    answers = await asyncio.gather(*asked)

    expected = {"workflow_id": f"order-{order_id}", "status_url": f"/orders/{order_id}"}
    assert {answer.status_code for answer in answers} == {202}
    assert all(answer.json() == expected for answer in answers)
    assert (await shop.orders.result(order_id)).status is Status.COMPLETED
    assert len(shop.cards.charges_of(order_id)) == 1


async def test_checking_out_a_stranded_order_is_refused_and_changes_nothing(
    closed_shop: Shop, closed: httpx.AsyncClient
) -> None:
    order_id = await closed_shop.start()
    run = closed_shop.temporal.get_workflow_handle(workflow_id(order_id))
    await run.terminate()

    answer = await closed.post("/checkout", json={"order_id": order_id})

    is_problem(answer, 409, "nothing carries it on, its run is terminated")
    assert "temporal workflow reset" in answer.json()["detail"]
    assert (await closed_shop.book.get(order_id)).status is Status.PLACED


async def test_an_order_is_told_with_its_money_parcels_and_history(
    shop: Shop, http: httpx.AsyncClient
) -> None:
    order_id = await shop.start()
    await shop.orders.result(order_id)

    answer = await http.get(f"/orders/{order_id}")

    assert answer.status_code == 200
    told = answer.json()
    assert told["status"] == "completed"
    assert told["total"] == {"amount": 2900, "currency": "EUR"}
    assert [payment["captured"]["amount"] for payment in told["payments"]] == [2900]
    assert len(told["parcels"]) == 1
    assert told["history"][0]["event"] == "order_placed"


async def test_an_order_is_told_without_personal_data(
    closed_shop: Shop, closed: httpx.AsyncClient
) -> None:
    text = (await closed.get(f"/orders/{await closed_shop.place()}")).text

    assert not any(secret in text for secret in ("Ada", "ada@", "Square", "pm_card"))


async def test_an_order_that_waits_says_for_what(shop: Shop, http: httpx.AsyncClient) -> None:
    approval = await shop.start(flagged=True)
    customer = await shop.start(card="pm_card_authenticationRequired")
    await shop.reaches(approval, "waiting for approval")
    await shop.reaches(customer, "waiting for the customer's bank")

    told = [(await http.get(f"/orders/{order_id}")).json() for order_id in (approval, customer)]

    assert [page["status"] for page in told] == ["awaiting_approval", "awaiting_payment"]
    assert "secret" not in str(told)
    for order_id in (approval, customer):
        await shop.orders.cancel(order_id)


async def test_cancelling_tells_what_became_of_the_order(
    shop: Shop, http: httpx.AsyncClient
) -> None:
    gate = shop.warehouse.hold("fulfill")
    order_id = await shop.start()
    await gate.entered()
    cancelling = asyncio.create_task(http.post(f"/orders/{order_id}/cancel"))

    async def asked() -> bool:
        return (await shop.orders.status(order_id)).cancel_requested

    await eventually(asked)
    gate.release()
    answer = await cancelling

    assert answer.status_code == 200
    assert answer.json() == {
        "kind": "cancelled",
        "status": "refunded",
        "given_back": {"amount": 2900, "currency": "EUR"},
    }


async def test_a_cancellation_that_takes_long_is_accepted(shop: Shop) -> None:
    class Slow(OrderClient):
        async def cancel(self, *_: object, **__: object) -> CancelUnderWay:
            return CancelUnderWay()

    async with asking(shop, Slow(shop.temporal, shop.book)) as http:
        answer = await http.post("/orders/1001/cancel")

    assert (answer.status_code, answer.json()) == (202, {"kind": "under_way"})


@pytest.mark.usefixtures("brief_mails")
async def test_cancelling_too_late_is_a_conflict(shop: Shop, http: httpx.AsyncClient) -> None:
    gate = shop.mailer.hold("send")
    order_id = await shop.start()
    await gate.entered()

    is_problem(await http.post(f"/orders/{order_id}/cancel"), 409, "too late to cancel")

    gate.release()
    await shop.orders.result(order_id)
    is_problem(await http.post(f"/orders/{order_id}/cancel"), 409, "it is completed")


async def test_an_order_that_was_not_started_is_cancelled_for_good(
    shop: Shop, http: httpx.AsyncClient
) -> None:
    order_id = await shop.place()
    response = await http.post(f"/orders/{order_id}/cancel")
    assert (response.status_code, response.json()) == (
        200,
        {
            "kind": "cancelled",
            "status": "cancelled",
            "given_back": {"amount": 0, "currency": "EUR"},
        },
    )
    later = await http.post("/checkout", json={"order_id": order_id, "wait_seconds": 5})
    assert later.json()["payment"]["reason"] == "cancelled"
    assert shop.cards.charges_of(order_id) == []


async def test_an_unknown_order_is_not_found(closed: httpx.AsyncClient) -> None:
    is_problem(await closed.get("/orders/nobody"), 404, "there is no order nobody")
    is_problem(await closed.post("/orders/nobody/cancel"), 404, "there is no order nobody")
    is_problem(await closed.post("/checkout", json={"order_id": "nobody"}), 404, "no order nobody")


@pytest.mark.parametrize("order_id", ["a b", "-1", "x" * 65, "1' OR '1'='1"])
async def test_what_cannot_be_an_order_id_is_refused(
    closed: httpx.AsyncClient, order_id: str
) -> None:
    is_problem(await closed.get(f"/orders/{order_id}"), 422, "is not an order id")
    is_problem(await closed.post(f"/orders/{order_id}/cancel"), 422, "is not an order id")
    is_problem(await closed.post("/checkout", json={"order_id": order_id}), 422, "not an order id")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"order_id": 7}', b'{"id": "1001"}'])
async def test_a_checkout_that_names_no_order_is_refused(
    closed: httpx.AsyncClient, body: bytes
) -> None:
    headers = {"content-type": "application/json"}
    is_problem(await closed.post("/checkout", content=body, headers=headers), 422, "body")


async def test_a_page_that_is_not_there_is_a_problem_too(closed: httpx.AsyncClient) -> None:
    is_problem(await closed.get("/nowhere"), 404, "nothing at this address")


async def test_while_temporal_is_away_the_caller_is_asked_to_come_back(closed_shop: Shop) -> None:
    order_id = await closed_shop.place()
    nowhere = await Client.connect("127.0.0.1:1", lazy=True)

    async with asking(closed_shop, OrderClient(nowhere, closed_shop.book)) as http:
        is_problem(await http.post("/checkout", json={"order_id": order_id}), 503, "ask again")
        is_problem(await http.post(f"/orders/{order_id}/cancel"), 503, "ask again")
        # What the book knows can still be told.
        assert (await http.get(f"/orders/{order_id}")).status_code == 200
        assert (await http.get("/healthz")).status_code == 200


async def test_while_the_database_is_away_the_caller_is_asked_to_come_back(
    closed_shop: Shop, closed: httpx.AsyncClient
) -> None:
    order_id = await closed_shop.place()
    for method in ("view", "summary"):
        closed_shop.book.fail_until_healed(method, NoAnswerError("postgres-7.internal is away"))

    for answer in (
        await closed.get(f"/orders/{order_id}"),
        await closed.post("/checkout", json={"order_id": order_id}),
    ):
        is_problem(answer, 503, "ask again")
        assert "postgres-7" not in answer.text

    assert not await closed_shop.was_started(order_id)
