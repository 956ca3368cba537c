"""The refund of an undone order, followed by a run of its own until it has arrived or failed."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from temporalio.service import RPCError

from durable_orders.clients.errors import RefundBeingMadeError, RefundRefusedError
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.activity_messages import CancelRequest, Outcome
from durable_orders.domain.ids import TASK_QUEUE, UNDO_REFUND_ID, mail_key, refund_workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.ports import NoAnswerError
from durable_orders.domain.refunds.messages import RefundOutcome
from durable_orders.domain.refunds.refund import (
    FAILED_BY_DISPUTE,
    TAKEN_BY_DISPUTE,
    RefundEntry,
    RefundRefused,
    RefundRequest,
    RefundState,
)
from durable_orders.domain.workflow_messages import Approve, Resolve, RetryNow
from tests.fakes.cards import REFUND_FAILS, REFUND_PENDING
from tests.support.eventually import eventually
from tests.support.keys import INSTALLATION, undo_refund_key
from tests.workflows.conftest import TOTAL, Shop, ended, replayed
from tests.workflows.refunds import Handle, needs_a_person, reached, refused
from workflows.order import OrderWorkflow
from workflows.refund import RefundWorkflow

HOUR = timedelta(hours=1)


async def undone(shop: Shop, card: str = "pm_card_visa", *, waits: bool = False) -> Outcome:
    """An order that was paid and that the warehouse refused, carried to its end."""
    order_id = await shop.place(card)
    shop.warehouse.refuse(order_id, "no shelf has it")
    handle = await shop.start(order_id, waits=waits)
    outcome = await ended(handle)
    assert (outcome.status, outcome.given_back) == (Status.REFUNDED, TOTAL)
    await replayed(await handle.fetch_history())
    return outcome


def run_of(shop: Shop, order_id: str, *, waits: bool = False) -> Handle:
    client = shop.patient_client if waits else shop.client
    id_ = refund_workflow_id(order_id, UNDO_REFUND_ID)
    return client.get_workflow_handle_for(RefundWorkflow.run, id_)


def client_of(shop: Shop) -> RefundClient:
    """The client that webhooks use; what it starts keeps to the clock."""
    return RefundClient(shop.patient_client, shop.refunds)


def key_of(shop: Shop, order_id: str, attempt: int = 1) -> str:
    [charge] = shop.cards.charges_of(order_id)
    return undo_refund_key(order_id, charge.payment_id, attempt)


async def entry_of(shop: Shop, order_id: str) -> RefundEntry:
    entry = await shop.refunds.find(order_id, UNDO_REFUND_ID)
    assert entry is not None
    return entry


def mails(shop: Shop, order_id: str) -> list[tuple[str, str]]:
    """What the order's mails are about, and what they say of the money, in their order."""
    words = {"is on its way": "on its way", "We have given": "given back", "Nothing was": "nothing"}
    prefix = mail_key(INSTALLATION, order_id, "")
    return [
        (
            mail.key.removeprefix(prefix),
            next(to for said, to in words.items() if said in mail.mail.text),
        )
        for mail in shop.mailer.sent
        if mail.key.startswith(prefix)
    ]


async def is_begun(handle: Handle) -> bool:
    with contextlib.suppress(RPCError):
        return bool((await handle.describe()).run_id)
    return False


async def refund_ended(shop: Shop, handle: Handle) -> RefundOutcome:
    answer = await handle.result()
    assert isinstance(answer, RefundOutcome), answer
    await replayed(await handle.fetch_history())
    return answer


# -- at once ---------------------------------------------------------------------------------------


async def test_a_refund_that_arrives_at_once_needs_no_run_and_no_mail_of_its_own(
    shop: Shop,
) -> None:
    outcome = await undone(shop)
    assert (await entry_of(shop, outcome.order_id)).state is RefundState.SUCCEEDED
    runs = shop.client.list_workflows(f"WorkflowId = 'refund-{outcome.order_id}-undo'")
    assert [run async for run in runs] == []
    assert mails(shop, outcome.order_id) == [("closing", "given back")]
    await shop.check(outcome)


async def test_an_order_that_was_given_back_before_has_no_refund(shop: Shop) -> None:
    order_id = await shop.place()
    gate = shop.warehouse.hold("fulfill")
    handle = await shop.start(order_id)
    await gate.entered()
    [charge] = shop.cards.charges_of(order_id)
    shop.cards.refund_by_hand(charge.payment_id)
    shop.warehouse.refuse(order_id, "no shelf has it")
    gate.release()
    assert (await ended(handle)).status is Status.REFUNDED
    assert await shop.refunds.refunds_of(order_id) == ()


# -- pending ---------------------------------------------------------------------------------------

#: Nobody tells the run of a webhook: it reads the refund 8 times on the first day, then once a day.
LOOKS_ON_FIRST_DAY = 8


async def pending_for(shop: Shop, days: int, *, fails: bool = False) -> tuple[Handle, str]:
    """An undone order whose refund the bank decides about after so many days; time is skipped."""
    order_id = await shop.place(REFUND_PENDING)
    shop.warehouse.refuse(order_id, "no shelf has it")
    looks = [shop.cards.hold("find_refund") for _ in range(LOOKS_ON_FIRST_DAY + days)]
    outcome = await ended(await shop.start(order_id))
    assert (outcome.status, outcome.given_back) == (Status.REFUNDED, TOTAL)
    assert mails(shop, order_id) == [("closing", "on its way")]
    for look in looks[:-1]:
        await look.entered()
        look.release()
    await looks[-1].entered()
    assert (await entry_of(shop, order_id)).state is RefundState.PENDING
    if fails:
        shop.cards.fail_refund(key_of(shop, order_id))
    else:
        shop.cards.settle_refund(key_of(shop, order_id))
    looks[-1].release()
    return run_of(shop, order_id), order_id


async def age_of(handle: Handle) -> timedelta:
    """How long the run has lasted, by its own clock."""
    events = [event async for event in handle.fetch_history_events()]
    return events[-1].event_time.ToDatetime() - events[0].event_time.ToDatetime()


@pytest.mark.parametrize("days", [1, 12, 40])
async def test_a_pending_refund_is_followed_until_it_arrives_however_long_that_takes(
    shop: Shop, days: int
) -> None:
    run, order_id = await pending_for(shop, days)
    answer = await refund_ended(shop, run)
    assert (answer.state, answer.mailed) == (RefundState.SUCCEEDED, True)
    assert await age_of(run) >= timedelta(days=days)
    assert mails(shop, order_id) == [("closing", "on its way"), ("refund:undo:1", "given back")]
    assert len(shop.cards.refunds) == 1


@pytest.mark.parametrize("days", [3, 10])
async def test_a_pending_refund_that_fails_is_made_again_when_a_person_says_so(
    shop: Shop, days: int
) -> None:
    run, order_id = await pending_for(shop, days, fails=True)
    progress = await needs_a_person(run)
    assert progress.state is RefundState.FAILED
    assert progress.attention is not None
    assert "29.00 EUR back to us: expired_or_canceled_card" in progress.attention.problem
    assert shop.cards.given_back(order_id) == 0
    again = shop.cards.hold("find_refund")
    await run.execute_update(RefundWorkflow.operate, RetryNow())
    await again.entered()
    shop.cards.settle_refund(key_of(shop, order_id, 2))
    again.release()
    answer = await refund_ended(shop, run)
    assert (answer.state, answer.mailed) == (RefundState.SUCCEEDED, True)
    assert await age_of(run) >= timedelta(days=days)
    assert mails(shop, order_id) == [("closing", "on its way"), ("refund:undo:2", "given back")]
    assert list(shop.cards.refunds) == [key_of(shop, order_id), key_of(shop, order_id, 2)]
    assert shop.cards.given_back(order_id) == TOTAL.amount


@pytest.mark.parametrize("days", [3, 10])
async def test_a_pending_refund_that_fails_is_settled_by_hand(shop: Shop, days: int) -> None:
    run, order_id = await pending_for(shop, days, fails=True)
    await needs_a_person(run)
    await run.execute_update(RefundWorkflow.operate, Resolve("by bank transfer", "ops-7"))
    answer = await refund_ended(shop, run)
    assert (answer.state, answer.mailed) == (RefundState.SETTLED, False)
    assert mails(shop, order_id) == [("closing", "on its way")]
    assert (shop.cards.given_back(order_id), len(shop.cards.refunds)) == (0, 1)
    [payment] = (await shop.book.view(order_id)).payments
    assert payment.refunded.amount == 0


async def test_nobody_is_told_to_pay_what_a_dispute_takes_for_the_customer(shop: Shop) -> None:
    """Stripe: a pending refund fails when its charge is charged back."""
    outcome = await undone(shop, REFUND_PENDING, waits=True)
    run = run_of(shop, outcome.order_id, waits=True)
    await reached(shop, run, RefundState.PENDING)
    shop.cards.fail_refund(key_of(shop, outcome.order_id), FAILED_BY_DISPUTE)
    await run.signal(RefundWorkflow.refund_updated)
    attention = (await needs_a_person(run)).attention
    assert attention is not None
    assert "A dispute of the payment takes it for the customer" in attention.problem
    assert "give nothing back another way" in attention.problem
    await run.execute_update(RefundWorkflow.operate, Resolve("the dispute was lost", "ops-7"))
    answer = await refund_ended(shop, run)
    assert (answer.state, answer.why) == (RefundState.SETTLED, TAKEN_BY_DISPUTE)


async def test_a_webhook_has_a_pending_refund_looked_at_at_once(shop: Shop) -> None:
    outcome = await undone(shop, REFUND_PENDING, waits=True)
    run = run_of(shop, outcome.order_id, waits=True)
    await reached(shop, run, RefundState.PENDING)
    shop.cards.settle_refund(key_of(shop, outcome.order_id))
    assert await client_of(shop).look_again(outcome.order_id, UNDO_REFUND_ID)
    assert (await refund_ended(shop, run)).state is RefundState.SUCCEEDED
    assert mails(shop, outcome.order_id)[1:] == [("refund:undo:1", "given back")]


async def test_a_refund_that_is_followed_since_a_webhook_has_one_run_and_one_mail(
    shop: Shop,
) -> None:
    """The webhook comes while the order's run still does something else, and the refund arrives."""
    order_id = await shop.place(REFUND_PENDING)
    shop.warehouse.refuse(order_id, "no shelf has it")
    ending = shop.inventory.hold("release")
    handle = await shop.start(order_id, waits=True)
    await ending.entered()
    assert await client_of(shop).look_again(order_id, UNDO_REFUND_ID)
    run = run_of(shop, order_id, waits=True)
    await reached(shop, run, RefundState.PENDING)
    ending.release()
    await ended(handle)
    await replayed(await handle.fetch_history())
    shop.cards.settle_refund(key_of(shop, order_id))
    await client_of(shop).look_again(order_id, UNDO_REFUND_ID)
    assert (await refund_ended(shop, run)).mailed
    assert sorted(mails(shop, order_id)) == [
        ("closing", "on its way"),
        ("refund:undo:1", "given back"),
    ]


async def test_a_refund_that_arrived_before_the_order_ended_is_mailed_once(shop: Shop) -> None:
    order_id = await shop.place(REFUND_PENDING)
    shop.warehouse.refuse(order_id, "no shelf has it")
    ending = shop.inventory.hold("release")
    handle = await shop.start(order_id, waits=True)
    await ending.entered()
    shop.cards.settle_refund(key_of(shop, order_id))
    await client_of(shop).look_again(order_id, UNDO_REFUND_ID)
    assert (await refund_ended(shop, run_of(shop, order_id))).mailed
    ending.release()
    await ended(handle)
    answer = await refund_ended(shop, run_of(shop, order_id))  # the order's run has started another
    assert (answer.state, answer.mailed) == (RefundState.SUCCEEDED, False)
    assert sorted(mails(shop, order_id)) == [
        ("closing", "on its way"),
        ("refund:undo:1", "given back"),
    ]


async def test_while_the_order_makes_its_refund_no_run_of_its_own_is_started(shop: Shop) -> None:
    order_id = await shop.place()
    shop.warehouse.refuse(order_id, "no shelf has it")
    giving = shop.cards.hold("refund")
    handle = await shop.start(order_id, waits=True)
    await giving.entered()
    with pytest.raises(RefundBeingMadeError, match="is being made by the order itself"):
        await client_of(shop).look_again(order_id, UNDO_REFUND_ID)
    giving.release()
    await ended(handle)
    assert mails(shop, order_id) == [("closing", "given back")]


async def test_the_refund_of_an_order_that_failed_is_followed_too(shop: Shop) -> None:
    """A neighbour was silent for too long: the order's run fails, its refund goes on."""
    shop.warehouse.fail_until_healed("fulfill", NoAnswerError("silence", retry_after=HOUR))
    order_id = await shop.place(REFUND_PENDING)
    outcome = await ended(await shop.start(order_id))
    assert outcome.stop is not None
    run = run_of(shop, order_id)
    shop.cards.settle_refund(key_of(shop, order_id))
    assert (await refund_ended(shop, run)).state is RefundState.SUCCEEDED
    assert mails(shop, order_id) == [("closing", "on its way"), ("refund:undo:1", "given back")]


async def test_a_cancelled_orders_refund_is_followed_though_no_mail_can_be_sent(
    shop: Shop,
) -> None:
    order_id = await shop.place(REFUND_PENDING)
    gate = shop.warehouse.hold("fulfill")
    shop.mailer.fail_until_healed("send", NoAnswerError("silence", retry_after=HOUR))
    handle = await shop.start(order_id, waits=True)
    await gate.entered()
    await handle.signal(OrderWorkflow.cancel_order, CancelRequest())
    gate.release()
    await eventually(lambda: is_begun(run_of(shop, order_id)))
    await reached(shop, run_of(shop, order_id, waits=True), RefundState.PENDING)
    assert (await shop.book.view(order_id)).order.status is Status.REFUNDED
    shop.cards.settle_refund(key_of(shop, order_id))
    await client_of(shop).look_again(order_id, UNDO_REFUND_ID)
    await reached(shop, run_of(shop, order_id, waits=True), RefundState.SUCCEEDED)
    shop.mailer.heal("send")


# -- sent back after it had arrived ----------------------------------------------------------------


@pytest.mark.parametrize("days", [3, 10])
async def test_a_refund_that_had_arrived_and_is_sent_back_asks_for_a_person(
    shop: Shop, days: int
) -> None:
    """The provider has forgotten the keys by then. A webhook says so, two or three times."""
    outcome = await undone(shop, REFUND_FAILS)
    order_id = outcome.order_id
    assert mails(shop, order_id) == [("closing", "given back")]
    shop.cards.forget_keys()
    shop.cards.settle_refund(key_of(shop, order_id))
    for _ in range(days):
        assert await client_of(shop).look_again(order_id, UNDO_REFUND_ID)
    run = run_of(shop, order_id, waits=True)
    progress = await needs_a_person(run)
    assert progress.state is RefundState.FAILED
    assert (await entry_of(shop, order_id)).state is RefundState.FAILED
    await run.execute_update(RefundWorkflow.operate, RetryNow())
    answer = await refund_ended(shop, run)
    assert (answer.state, answer.mailed) == (RefundState.SUCCEEDED, True)
    assert mails(shop, order_id) == [("closing", "given back"), ("refund:undo:2", "given back")]
    assert shop.cards.given_back(order_id) == TOTAL.amount
    [payment] = (await shop.book.view(order_id)).payments
    assert payment.refunded == TOTAL


async def test_a_refund_that_was_sent_back_and_settled_needs_no_look_any_more(shop: Shop) -> None:
    outcome = await undone(shop, REFUND_FAILS)
    shop.cards.settle_refund(key_of(shop, outcome.order_id))
    await client_of(shop).look_again(outcome.order_id, UNDO_REFUND_ID)
    run = run_of(shop, outcome.order_id, waits=True)
    await needs_a_person(run)
    await run.execute_update(RefundWorkflow.operate, Resolve("by bank transfer", "ops-7"))
    assert (await refund_ended(shop, run)).state is RefundState.SETTLED
    assert not await client_of(shop).look_again(outcome.order_id, UNDO_REFUND_ID)


async def test_a_refund_that_fails_before_the_order_ends_is_followed_to_a_person(
    shop: Shop,
) -> None:
    order_id = await shop.place(REFUND_FAILS)
    shop.warehouse.refuse(order_id, "no shelf has it")
    shop.cards.lose_answer_next("refund")
    again = shop.cards.hold("read")
    handle = await shop.start(order_id, waits=True)
    await again.entered()
    again.release()
    again = shop.cards.hold("read")
    await again.entered()
    shop.cards.settle_refund(key_of(shop, order_id))
    again.release()
    assert (await ended(handle)).status is Status.REFUNDED
    run = run_of(shop, order_id, waits=True)
    assert (await needs_a_person(run)).state is RefundState.FAILED
    assert mails(shop, order_id) == [("closing", "on its way")]
    await run.execute_update(RefundWorkflow.operate, RetryNow())
    assert (await refund_ended(shop, run)).state is RefundState.SUCCEEDED
    assert mails(shop, order_id)[1:] == [("refund:undo:2", "given back")]


# -- the shop and the operator ---------------------------------------------------------------------


async def test_a_shop_cannot_request_the_refund_that_undoes_an_order(shop: Shop) -> None:
    outcome = await (await shop.order()).result()
    request = RefundRequest(outcome.order_id, UNDO_REFUND_ID, amount=TOTAL)
    with pytest.raises(RefundRefusedError, match="an order makes by itself: take another id"):
        await client_of(shop).request(request)
    handle = await shop.client.start_workflow(
        RefundWorkflow.run,
        request,
        id=refund_workflow_id(outcome.order_id, UNDO_REFUND_ID),
        task_queue=TASK_QUEUE,
    )
    answer = await handle.result()
    assert isinstance(answer, RefundRefused)
    assert "take another id" in answer.message
    assert await shop.refunds.refunds_of(outcome.order_id) == ()


async def test_a_refund_that_is_followed_can_neither_be_cancelled_nor_approved(shop: Shop) -> None:
    outcome = await undone(shop, REFUND_PENDING, waits=True)
    run = run_of(shop, outcome.order_id, waits=True)
    await reached(shop, run, RefundState.PENDING)
    assert "too late" in str(
        await refused(run.execute_update(RefundWorkflow.cancel, CancelRequest()))
    )
    approve = run.execute_update(RefundWorkflow.approve, Approve("ops-7"))
    assert "does not wait for an approval" in str(await refused(approve))
    shop.cards.settle_refund(key_of(shop, outcome.order_id))
    await run.signal(RefundWorkflow.refund_updated)
    assert (await refund_ended(shop, run)).state is RefundState.SUCCEEDED


async def test_a_refund_that_is_followed_is_shown_as_any_other(shop: Shop) -> None:
    run, order_id = await pending_for(shop, 3, fails=True)
    await needs_a_person(run)
    client = client_of(shop)
    [entry] = await client.refunds_of(order_id)
    assert (entry.request.refund_id, entry.state, entry.amount) == (
        UNDO_REFUND_ID,
        RefundState.FAILED,
        TOTAL,
    )
    [shown] = (await shop.book.view(order_id)).refunds
    assert (shown.refund_id, shown.state) == (UNDO_REFUND_ID, "failed")
    history = (await shop.book.view(order_id)).history
    assert [line.event for line in history if line.event.startswith("refund_")] == [
        "refund_issuing",
        "refund_pending",
        "refund_failed",
    ]

    async def listed() -> bool:
        needing = await client.attention()
        return any(one.refund.order_id == order_id for one in needing)

    await eventually(listed)
    await run.execute_update(RefundWorkflow.operate, Resolve("by bank transfer", "ops-7"))
    await refund_ended(shop, run)
