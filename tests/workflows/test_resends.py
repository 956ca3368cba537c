"""A parcel that is to be sent again, and a warehouse that does not say whether it does."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.client import WorkflowUpdateStage

from durable_orders.contracts.error_types import NOT_WAITING
from durable_orders.domain.activity_messages import ResendUnanswered, Resent
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import NoAnswerError, RefusedError
from durable_orders.domain.terms import ShopTerms
from durable_orders.domain.workflow_messages import RefundParcel, ResendParcel, SettleParcel
from tests.support.eventually import eventually
from tests.workflows.conftest import HOURS_OF_SILENCE, TOTAL, Clients, Shop, replayed
from tests.workflows.test_delivery import Handle, flagged, fulfilled, parcel_of, tell
from tests.workflows.test_long_histories import handed_on, histories
from tests.workflows.test_waiting import refused
from workflows import retry_policies
from workflows.order import OrderWorkflow

SHIPPED, LOST, DELIVERED = ParcelStatus.SHIPPED, ParcelStatus.LOST, ParcelStatus.DELIVERED

#: Says nothing, and is asked again in a moment.
SILENCE = NoAnswerError("nobody answers", retry_after=timedelta(milliseconds=100))


@pytest.fixture
def terms() -> ShopTerms:
    return ShopTerms(delivery_deadline=timedelta(days=30))


async def lost(shop: Shop, *parcel_ids: str) -> tuple[Handle, str]:
    """An order whose (first) parcel the carrier cannot find."""
    handle = await fulfilled(shop, *parcel_ids)
    parcel_id = parcel_ids[0] if parcel_ids else parcel_of(shop, handle)
    await tell(handle, parcel_id, SHIPPED, LOST)
    await eventually(lambda: flagged(handle))
    return handle, parcel_id


def go_silent(shop: Shop, *, resends: bool) -> None:
    """The warehouse says nothing, though it may have sent the parcel again."""
    if resends:
        shop.warehouse.lose_answer_next("resend")
    shop.warehouse.fail_until_healed("resend", SILENCE)


async def resend(handle: Handle, parcel_id: str) -> Resent | ResendUnanswered:
    request = ResendParcel(parcel_id, "ops-7")
    return await handle.execute_update(OrderWorkflow.resend_parcel, request)


async def unanswered(shop: Shop, handle: Handle, parcel_id: str) -> None:
    """Its resend was asked for, and got no answer."""
    answer = await resend(handle, parcel_id)
    assert isinstance(answer, ResendUnanswered)
    assert (answer.parcel_id, answer.by) == (parcel_id, "ops-7")
    await told_unknown(handle, parcel_id)


async def told_unknown(handle: Handle, parcel_id: str) -> str:
    """What a person is told, once that is that it is not known what became of the parcel."""
    problem = ""

    async def there() -> bool:
        nonlocal problem
        attention = (await handle.query(OrderWorkflow.status)).attention
        problem = attention.problem if attention else ""
        return "not known whether" in problem

    await eventually(there)
    assert parcel_id in problem
    return problem


async def not_refunded(shop: Shop, handle: Handle, parcel_id: str) -> None:
    """The parcel cannot be refunded now, and the refusal says what to do."""
    decision = RefundParcel(parcel_id, "ops-7")
    refusal = await refused(handle.execute_update(OrderWorkflow.refund_parcel, decision))
    assert refusal.type == NOT_WAITING
    assert f"not known whether the warehouse sends parcel {parcel_id} again" in refusal.message
    assert "refund by line, then settle the parcel" in refusal.message
    assert shop.cards.refunds == {}


async def note(shop: Shop, handle: Handle, event: str) -> dict[str, str]:
    """The detail of the one line of this kind in the order's history, once it is there."""
    found: list[dict[str, str]] = []

    async def there() -> bool:
        view = await shop.book.view(handle.id.removeprefix("order-"))
        found[:] = [line.detail for line in view.history if line.event == event]
        return bool(found)

    await eventually(there)
    [detail] = found
    return detail


async def follows_the_new_one(shop: Shop, handle: Handle, old: str) -> None:
    """The warehouse has told that it had sent the parcel again: the order ends with the new one."""
    shop.warehouse.heal("resend")
    settled = await note(shop, handle, "parcel_settled")
    new = shop.warehouse.parcels[handle.id.removeprefix("order-")][-1]
    assert settled == {"parcel_id": old, "by": "ops-7", "outcome": f"resent as {new}"}
    await tell(handle, new, SHIPPED, DELIVERED)
    outcome = await handle.result()
    assert outcome.status is Status.COMPLETED
    assert new in outcome.parcel_ids
    assert shop.cards.refunds == {}


async def test_a_resend_that_is_silent_for_hours_is_not_told_as_refused(shop: Shop) -> None:
    handle = await shop.order()  # time is skipped: the parcel is late
    await eventually(lambda: flagged(handle))
    late = parcel_of(shop, handle)
    shop.warehouse.lose_answer_next("resend")
    shop.warehouse.fail_until_healed("resend", HOURS_OF_SILENCE)
    answer = await handle.execute_update(OrderWorkflow.resend_parcel, ResendParcel(late, "ops-7"))
    assert isinstance(answer, ResendUnanswered)

    async def asked_for_more_than_four_hours() -> bool:
        return shop.warehouse.calls.count("resend") > 12

    await eventually(asked_for_more_than_four_hours)
    await not_refunded(shop, handle, late)
    await follows_the_new_one(shop, handle, late)


async def test_what_was_sent_again_unheard_is_followed_and_not_refunded(shop: Shop) -> None:
    handle, parcel_id = await lost(shop)
    go_silent(shop, resends=True)
    await unanswered(shop, handle, parcel_id)
    await not_refunded(shop, handle, parcel_id)
    await follows_the_new_one(shop, handle, parcel_id)


@pytest.mark.parametrize("refusal", ["an answer", "a request it does not take"])
async def test_what_is_refused_after_all_can_be_refunded(shop: Shop, refusal: str) -> None:
    handle, parcel_id = await lost(shop)
    order_id = handle.id.removeprefix("order-")
    go_silent(shop, resends=False)
    await unanswered(shop, handle, parcel_id)
    shop.warehouse.heal("resend")
    if refusal == "an answer":
        shop.warehouse.refuse(order_id, "no mug left")
    else:
        shop.warehouse.fail_next("resend", RefusedError("no mug left"))

    detail = await note(shop, handle, "parcel_not_resent")

    why = "no mug left"
    if refusal == "an answer":
        why = "the warehouse does not ship it (cannot_fulfill): the order's history has its words"
    assert detail == {"parcel_id": parcel_id, "by": "ops-7", "why": why}
    await tells_what_to_do(handle, f"parcel {parcel_id} is lost: resend or refund it")
    decision = RefundParcel(parcel_id, "ops-7")
    await handle.execute_update(OrderWorkflow.refund_parcel, decision)
    assert (await handle.result()).status is Status.COMPLETED

    async def refunded() -> bool:
        return shop.cards.given_back(order_id) == TOTAL.amount

    await eventually(refunded)


async def tells_what_to_do(handle: Handle, words: str) -> None:
    async def told() -> bool:
        attention = (await handle.query(OrderWorkflow.status)).attention
        return attention is not None and words in attention.problem

    await eventually(told)


async def test_a_caller_who_asks_again_shares_the_one_request(shop: Shop) -> None:
    handle, parcel_id = await lost(shop)
    gate = shop.warehouse.hold("resend")
    first = asyncio.create_task(resend(handle, parcel_id))
    await gate.entered()
    second = await handle.start_update(
        OrderWorkflow.resend_parcel,
        ResendParcel(parcel_id, "ops-8"),
        wait_for_stage=WorkflowUpdateStage.ACCEPTED,
    )
    gate.release()
    answer = await first
    assert isinstance(answer, Resent)
    assert await second.result() == answer
    assert shop.warehouse.calls.count("resend") == 1
    await tell(handle, answer.parcel_id, DELIVERED)
    assert (await handle.result()).status is Status.COMPLETED


async def test_a_caller_who_asks_again_after_silence_is_told_the_same_at_once(shop: Shop) -> None:
    handle, parcel_id = await lost(shop)
    go_silent(shop, resends=True)
    await unanswered(shop, handle, parcel_id)
    await unanswered(shop, handle, parcel_id)
    await follows_the_new_one(shop, handle, parcel_id)


async def test_a_parcel_that_turns_up_does_not_end_the_asking(shop: Shop) -> None:
    """The one that was sent again is on its way, too: it is followed."""
    handle, parcel_id = await lost(shop)
    go_silent(shop, resends=True)
    await unanswered(shop, handle, parcel_id)
    await tell(handle, parcel_id, DELIVERED)
    await note(shop, handle, "parcel_delivered")
    await told_unknown(handle, parcel_id)
    await follows_the_new_one(shop, handle, parcel_id)


async def test_a_person_who_knows_what_became_of_it_ends_the_asking(shop: Shop) -> None:
    handle, parcel_id = await lost(shop)
    go_silent(shop, resends=False)
    await unanswered(shop, handle, parcel_id)
    decision = SettleParcel(parcel_id, "refunded as r1, they will not resend it", "ops-7")
    await handle.execute_update(OrderWorkflow.settle_parcel, decision)
    outcome = await handle.result()
    assert (outcome.status, outcome.parcel_ids) == (Status.COMPLETED, (parcel_id,))
    assert not await flagged(handle)


async def test_an_answer_that_crosses_a_persons_word_is_heard(shop: Shop) -> None:
    handle, parcel_id = await lost(shop)
    shop.warehouse.fail_next("resend", SILENCE, times=6)
    gate = shop.warehouse.hold("resend", where="after")
    await unanswered(shop, handle, parcel_id)
    await gate.entered()
    decision = SettleParcel(parcel_id, "they will not resend it", "ops-7")
    await handle.execute_update(OrderWorkflow.settle_parcel, decision)
    gate.release()
    new = parcel_of(shop, handle)
    assert new != parcel_id

    async def followed() -> bool:
        view = await shop.book.view(handle.id.removeprefix("order-"))
        told = [line.detail["outcome"] for line in view.history if line.event == "parcel_settled"]
        return told == ["they will not resend it", f"resent as {new}"]

    await eventually(followed)
    await tell(handle, new, DELIVERED)
    assert (await handle.result()).parcel_ids == (parcel_id, new)


async def test_other_parcels_are_decided_about_meanwhile(shop: Shop) -> None:
    handle, parcel_id = await lost(shop, "par_a", "par_b")
    await tell(handle, "par_b", SHIPPED, LOST)
    go_silent(shop, resends=True)
    await unanswered(shop, handle, parcel_id)
    await tells_what_to_do(handle, "sends parcel par_a again, and 1 more: nobody answers")
    decision = SettleParcel("par_b", "a voucher", "ops-8")
    await handle.execute_update(OrderWorkflow.settle_parcel, decision)
    shop.warehouse.heal("resend")

    async def resent() -> bool:
        return "par_a" not in (await awaited(shop, handle))

    await eventually(resent)
    new = shop.warehouse.parcels[handle.id.removeprefix("order-")][-1]
    await tell(handle, new, DELIVERED)
    assert (await handle.result()).parcel_ids == ("par_a", "par_b", new)


async def awaited(shop: Shop, handle: Handle) -> set[str]:
    """The parcels of the order that nobody has settled."""
    view = await shop.book.view(handle.id.removeprefix("order-"))
    settled = {line.detail["parcel_id"] for line in view.history if line.event == "parcel_settled"}
    return {parcel.parcel_id for parcel in view.parcels} - settled


class TestContinuingAsNew:
    """Runs that continue as new whenever they have nothing else to do."""

    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(retry_policies, "LONG_HISTORY", 8)
        monkeypatch.setattr(retry_policies, "CONTINUE_AS_NEW_PAUSE", timedelta(milliseconds=50))

    @pytest.mark.parametrize("resends", [True, False], ids=["sent", "not sent"])
    async def test_the_next_runs_go_on_asking(self, shop: Shop, *, resends: bool) -> None:
        handle, parcel_id = await lost(shop, "par_a", "par_b")
        go_silent(shop, resends=resends)
        await unanswered(shop, handle, parcel_id)
        before = (await handle.query(OrderWorkflow.status)).attention
        for _ in range(2):
            run_id = (await handle.describe()).run_id
            await tell(handle, "par_b", *[SHIPPED] * 9)
            await handed_on(handle, run_id)

        assert (await handle.query(OrderWorkflow.status)).attention == before
        await not_refunded(shop, handle, parcel_id)
        await tell(handle, "par_b", DELIVERED)
        await follows_the_new_one(shop, handle, parcel_id)
        for history in await histories(shop, handle):
            await replayed(history)


class TestAWorkerThatIsReplaced:
    @pytest.fixture
    def shop(self, clients: Clients, terms: ShopTerms) -> Shop:
        """A shop without a worker."""
        return Shop(clients.skipping, clients.patient, terms=terms)

    async def test_the_next_one_goes_on_asking(self, shop: Shop) -> None:
        async with shop.worker(shop.client):
            handle, parcel_id = await lost(shop)
            go_silent(shop, resends=True)
            await unanswered(shop, handle, parcel_id)
        async with shop.worker(shop.client):
            await not_refunded(shop, handle, parcel_id)
            await follows_the_new_one(shop, handle, parcel_id)
