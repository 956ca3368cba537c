"""Asking for refunds, and following them, through the real server."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import timedelta

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from durable_orders.clients import refunds as refund_client
from durable_orders.clients.errors import (
    NotOperableError,
    NotWaitingError,
    NoWorkerError,
    RefundEndedError,
    RefundRefusedError,
    TooLateError,
    UnknownRefundError,
)
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.ids import InvalidRefundIdError, refund_workflow_id
from durable_orders.domain.money import Money
from durable_orders.domain.ports import RefusedError
from durable_orders.domain.refunds.messages import RefundNeedingAttention, RefundOutcome, RefundRef
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from tests.fakes.cards import REFUND_FAILS, REFUND_PENDING
from tests.fakes.refunds import InMemoryRefundBook
from tests.support.eventually import eventually
from tests.support.keys import refund_key
from tests.support.shop import Shop

EURO = Money(1_00, "EUR")


def client_of(shop: Shop) -> RefundClient:
    return RefundClient(shop.temporal, InMemoryRefundBook(shop.database))


async def paid(shop: Shop, card: str = "pm_card_visa") -> str:
    order_id = await shop.start(card=card)
    await shop.orders.result(order_id)
    return order_id


async def test_a_refund_is_asked_for_followed_and_done(shop: Shop) -> None:
    refunds, order_id = client_of(shop), await paid(shop)
    request = RefundRequest(order_id, "r1", lines=(("MUG", 1),))
    told = await refunds.request(request)
    assert told.amount == Money(14_50, "EUR")
    outcome = await refunds.result(order_id, "r1")
    assert isinstance(outcome, RefundOutcome)
    assert outcome.state is RefundState.SUCCEEDED
    again = await refunds.request(request)
    assert (again.state, again.amount) == (RefundState.SUCCEEDED, told.amount)
    await refunds.result(order_id, "r1")
    ended = await refunds.status(order_id, "r1")
    assert (ended.state, ended.amount) == (RefundState.SUCCEEDED, told.amount)
    assert [entry.request for entry in await refunds.refunds_of(order_id)] == [request]
    assert len(shop.cards.refunds) == 1
    run = shop.temporal.get_workflow_handle(refund_workflow_id(order_id, "r1"))
    assert await (await run.describe()).static_summary() == f"Refund r1 of order {order_id}"


async def test_what_cannot_be_is_refused_and_may_be_asked_for_again_later(shop: Shop) -> None:
    refunds, order_id = client_of(shop), await shop.place()
    request = RefundRequest(order_id, "r1", amount=EURO)
    with pytest.raises(RefundRefusedError, match="cancel the order instead"):
        await refunds.request(request)
    await shop.orders.start(order_id)
    await shop.orders.result(order_id)
    await refunds.request(request)
    assert isinstance(await refunds.result(order_id, "r1"), RefundOutcome)
    with pytest.raises(RefundRefusedError, match="already"):
        await refunds.request(RefundRequest(order_id, "r1"))
    with pytest.raises(InvalidRefundIdError):
        await refunds.request(RefundRequest(order_id, "r-1"))


async def test_a_running_refund_is_helped_by_a_person(shop: Shop) -> None:
    refunds, order_id = client_of(shop), await paid(shop)
    shop.cards.fail_until_healed("refund", RefusedError("the charge is disputed"))
    await refunds.request(RefundRequest(order_id, "r1"))

    async def stuck() -> bool:
        return (await refunds.status(order_id, "r1")).attention is not None

    await eventually(stuck)
    with pytest.raises(RefundRefusedError, match="other contents"):
        await refunds.request(RefundRequest(order_id, "r1", amount=EURO))
    with pytest.raises(NotWaitingError):
        await refunds.approve(order_id, "r1", "ops-7")
    with pytest.raises(NotWaitingError):
        await refunds.reject(order_id, "r1", "ops-7")
    with pytest.raises(TooLateError):
        await refunds.cancel(order_id, "r1")
    await refunds.retry_now(order_id, "r1")
    await eventually(stuck)
    await refunds.resolve(order_id, "r1", "by bank transfer")
    outcome = await refunds.result(order_id, "r1")
    assert isinstance(outcome, RefundOutcome)
    assert outcome.state is RefundState.SETTLED
    with pytest.raises((NotOperableError, RefundEndedError)):
        await refunds.retry_now(order_id, "r1")


async def test_a_webhook_about_a_refund_that_had_arrived_has_it_read_again(shop: Shop) -> None:
    refunds, order_id = client_of(shop), await paid(shop, REFUND_FAILS)
    await refunds.request(RefundRequest(order_id, "r1"))
    await refunds.result(order_id, "r1")
    shop.cards.settle_refund(refund_key(order_id, "r1"))
    await refunds.look_again(order_id, "r1")

    async def failed() -> bool:
        return (await refunds.status(order_id, "r1")).state is RefundState.FAILED

    await eventually(failed)
    await refunds.resolve(order_id, "r1", "by bank transfer")
    outcome = await refunds.result(order_id, "r1")
    assert isinstance(outcome, RefundOutcome)
    assert outcome.state is RefundState.SETTLED
    await refunds.look_again(order_id, "r1")  # settled: there is nothing to look at


async def test_without_a_worker_the_request_is_kept(closed_shop: Shop) -> None:
    shop = closed_shop
    async with shop.worker():
        order_id = await paid(shop)
    refunds = client_of(shop)
    request = RefundRequest(order_id, "r1", amount=EURO)
    with pytest.raises(NoWorkerError):
        await refunds.request(request, wait=timedelta(seconds=0.5))
    async with shop.worker():
        outcome = await refunds.result(order_id, "r1")
    assert isinstance(outcome, RefundOutcome)
    assert shop.cards.given_back(order_id) == 1_00


async def test_a_refund_that_needs_a_person_is_listed_whether_a_worker_answers_or_not(
    closed_shop: Shop,
) -> None:
    shop, refunds = closed_shop, client_of(closed_shop)

    async def troubled(order_id: str) -> list[RefundNeedingAttention]:
        listed = await refunds.attention()
        return [one for one in listed if one.refund == RefundRef(order_id, "r1")]

    async with shop.worker():
        order_id = await paid(shop)
        shop.cards.fail_until_healed("refund", RefusedError("the charge is disputed"))
        await refunds.request(RefundRequest(order_id, "r1", amount=EURO))
        await eventually(lambda: some(troubled(order_id)))
        [one] = await troubled(order_id)
        assert (one.doing, one.amount) == ("giving 1.00 EUR back", EURO)
        assert one.attention is not None
        assert one.attention.problem == "the charge is disputed"
    [one] = await troubled(order_id)
    assert (one.attention, one.doing) == (None, "unknown: no worker answers")
    shop.cards.heal("refund")
    async with shop.worker():
        await refunds.retry_now(order_id, "r1")
        await refunds.result(order_id, "r1")
        assert await troubled(order_id) == []


async def test_a_refund_whose_run_was_terminated_is_listed_and_started_again(
    shop: Shop,
) -> None:
    refunds, order_id = client_of(shop), await paid(shop, REFUND_PENDING)
    await refunds.request(RefundRequest(order_id, "r1", amount=EURO))

    async def pending() -> bool:
        return (await refunds.status(order_id, "r1")).state is RefundState.PENDING

    await eventually(pending)
    assert order_id not in {one.refund.order_id for one in await refunds.attention()}
    run = shop.temporal.get_workflow_handle(refund_workflow_id(order_id, "r1"))
    await run.terminate("by a hand in the Web UI")

    async def listed() -> bool:
        return order_id in {one.refund.order_id for one in await refunds.attention()}

    await eventually(listed)  # Temporal's list lags behind
    [one] = [one for one in await refunds.stranded() if one.refund.order_id == order_id]
    assert (one.refund, one.state, one.amount) == (
        RefundRef(order_id, "r1"),
        RefundState.PENDING,
        EURO,
    )
    assert one.attention is not None
    problem = "it is pending, and nothing carries it on: its run is terminated"
    assert (one.attention.problem, one.attention.can) == (problem, ("look_again",))
    assert (await refunds.status(order_id, "r1")).attention == one.attention
    with pytest.raises(RefundEndedError, match="nothing runs: look again"):
        await refunds.cancel(order_id, "r1")

    await refunds.look_again(order_id, "r1")

    assert await refunds.stranded_of(order_id) == {}
    assert (await refunds.status(order_id, "r1")).attention is None
    shop.cards.settle_refund(refund_key(order_id, "r1"))
    await refunds.look_again(order_id, "r1")
    outcome = await refunds.result(order_id, "r1")
    assert isinstance(outcome, RefundOutcome)
    assert outcome.state is RefundState.SUCCEEDED
    assert shop.cards.given_back(order_id) == EURO.amount


async def test_a_refund_that_was_set_aside_and_got_no_run_is_listed(shop: Shop) -> None:
    refunds, order_id = client_of(shop), await paid(shop)
    request = RefundRequest(order_id, "r1", amount=EURO)
    await InMemoryRefundBook(shop.database).reserve(request, shop.now())

    [one] = [one for one in await refunds.attention() if one.refund.order_id == order_id]

    assert one.attention is not None
    assert one.attention.problem == "it is requested, and nothing carries it on: it has no run"
    await refunds.look_again(order_id, "r1")
    assert isinstance(await refunds.result(order_id, "r1"), RefundOutcome)


@pytest.mark.parametrize("refund_id", ["short", "parcel.par_7"])
async def test_the_ids_of_an_orders_own_refunds_are_not_a_shops(shop: Shop, refund_id: str) -> None:
    refunds, order_id = client_of(shop), await paid(shop)
    with pytest.raises(RefundRefusedError, match="choose another"):
        await refunds.request(RefundRequest(order_id, refund_id, amount=EURO))
    run = shop.temporal.get_workflow_handle(refund_workflow_id(order_id, refund_id))
    with pytest.raises(RPCError):
        await run.describe()


async def test_while_temporal_is_away_the_book_tells_of_a_refund_and_why(shop: Shop) -> None:
    order_id, book = await paid(shop), InMemoryRefundBook(shop.database)
    refunds = RefundClient(shop.temporal, book)
    await refunds.request(RefundRequest(order_id, "r1", amount=EURO))
    await refunds.result(order_id, "r1")
    nowhere = await Client.connect("127.0.0.1:1", lazy=True)

    told = await RefundClient(nowhere, book).status(order_id, "r1")

    assert (told.state, told.doing) == (RefundState.SUCCEEDED, "unknown: Temporal does not answer")
    await book.reserve(RefundRequest(order_id, "r2", amount=EURO), shop.now())
    told = await RefundClient(nowhere, book).status(order_id, "r2")
    assert (told.state, told.attention) == (RefundState.REQUESTED, None)


async def test_a_refund_that_has_ended_since_it_was_listed_needs_nobody(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    refunds, order_id = client_of(shop), await paid(shop)
    await refunds.request(RefundRequest(order_id, "r1", amount=EURO))
    await refunds.result(order_id, "r1")
    everything = "WorkflowType = 'Refund'"
    monkeypatch.setattr(
        refund_client, "_NEED_ATTENTION", everything
    )  # as if the list lagged behind

    async def listed() -> bool:
        runs = shop.temporal.list_workflows(everything)
        return refund_workflow_id(order_id, "r1") in [run.id async for run in runs]

    await eventually(listed)
    assert order_id not in {one.refund.order_id for one in await refunds.attention()}


async def some(found: Awaitable[Sequence[object]]) -> bool:
    return bool(await found)


async def test_what_nobody_asked_for_is_unknown(shop: Shop) -> None:
    refunds = client_of(shop)
    for ask in (refunds.status, refunds.result, refunds.look_again, refunds.retry_now):
        with pytest.raises(UnknownRefundError):
            await ask("nowhere", "r1")
