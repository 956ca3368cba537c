"""Orders that wait: for a person, for the customer's bank, for another card, for the warehouse."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from durable_orders.contracts import timeouts
from durable_orders.contracts.error_types import NOT_WAITING
from durable_orders.domain.activity_messages import CancelRequest, Outcome
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.ports import ChargeState
from durable_orders.domain.terms import CaptureMethod, ShopTerms
from durable_orders.domain.workflow_messages import Approve, NewCard, Reject, Resolve
from tests.support.eventually import eventually
from tests.workflows.conftest import HOURS_OF_SILENCE, TOTAL, Shop, ended
from workflows import retry_policies
from workflows.order import OrderWorkflow

Handle = WorkflowHandle[OrderWorkflow, Outcome]

THREE_D_SECURE = "pm_card_authenticationRequired"
DECLINED = "pm_card_visa_chargeDeclined"
MASTERCARD = NewCard("pm_card_mastercard")


async def reached(shop: Shop, handle: Handle, status: Status) -> None:
    order_id = handle.id.removeprefix("order-")

    async def there() -> bool:
        return (await shop.book.get(order_id)).status is status

    await eventually(there)


async def wanted(handle: Handle) -> None:
    """Return once the order waits for another card."""

    async def waits() -> bool:
        return (await handle.query(OrderWorkflow.status)).doing == "waiting for another card"

    await eventually(waits)


async def refused(update: Awaitable[object]) -> ApplicationError:
    with pytest.raises(WorkflowUpdateFailedError) as refusal:
        await update
    assert isinstance(refusal.value.cause, ApplicationError)
    return refusal.value.cause


def reason(outcome: Outcome) -> StopReason | None:
    return outcome.stop.reason if outcome.stop else None


class TestApproval:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(approval_above={"EUR": TOTAL.amount - 1})

    async def test_an_approved_order_goes_on(self, shop: Shop) -> None:
        handle = await shop.order(waits=True)
        await reached(shop, handle, Status.AWAITING_APPROVAL)
        assert shop.cards.charges == {}
        await handle.execute_update(OrderWorkflow.approve, Approve("ops-7", "known customer"))
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.COMPLETED
        view = await shop.book.view(outcome.order_id)
        [line] = [line for line in view.history if line.event == "order_approved"]
        assert line.detail == {"by": "ops-7", "note": "known customer"}

    async def test_a_rejected_order_is_undone(self, shop: Shop) -> None:
        handle = await shop.order(waits=True)
        await reached(shop, handle, Status.AWAITING_APPROVAL)
        await handle.execute_update(OrderWorkflow.reject, Reject("ops-7", "stolen card"))
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.REJECTED
        assert reason(outcome) is StopReason.NOT_APPROVED

    async def test_nobody_deciding_for_a_day_rejects_the_order_after_one_reminder(
        self, shop: Shop
    ) -> None:
        handle = await shop.order()
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.REJECTED
        assert reason(outcome) is StopReason.APPROVAL_TIMED_OUT
        reminders = [mail.mail for mail in shop.mailer.sent if "reminder" in mail.key]
        assert [mail.to for mail in reminders] == ["approver@example.com"]
        assert "Ada" not in reminders[0].text

    async def test_a_second_decision_is_told_about_the_first(self, shop: Shop) -> None:
        gate = shop.cards.hold("create")
        handle = await shop.order(waits=True)
        await reached(shop, handle, Status.AWAITING_APPROVAL)
        await handle.execute_update(OrderWorkflow.approve, Approve("ops-7"))
        await gate.entered()
        refusal = await refused(handle.execute_update(OrderWorkflow.reject, Reject("ops-8")))
        gate.release()
        assert refusal.type == NOT_WAITING
        assert "ops-7 has approved it" in refusal.message
        await shop.check(await handle.result())

    async def test_a_decision_after_the_time_is_told_so(self, shop: Shop) -> None:
        gate = shop.mailer.hold("send")  # the reminder
        closing = shop.mailer.hold("send")
        handle = await shop.order()
        gate.release()
        await closing.entered()
        refusal = await refused(handle.execute_update(OrderWorkflow.approve, Approve("ops-7")))
        closing.release()
        assert "nobody decided" in refusal.message
        await shop.check(await handle.result())

    async def test_a_cancel_while_waiting_charges_nothing(self, shop: Shop) -> None:
        handle = await shop.order(waits=True)
        await reached(shop, handle, Status.AWAITING_APPROVAL)
        await handle.cancel()
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.CANCELLED
        assert shop.cards.charges == {}

    async def test_a_cancel_racing_an_approval_ends_in_one_of_both(self, shop: Shop) -> None:
        handle = await shop.order(waits=True)
        await reached(shop, handle, Status.AWAITING_APPROVAL)
        approved, cancelled = await asyncio.gather(
            handle.execute_update(OrderWorkflow.approve, Approve("ops-7")),
            handle.execute_update(OrderWorkflow.cancel, CancelRequest()),
            return_exceptions=True,
        )
        assert not isinstance(cancelled, BaseException)
        outcome = await shop.check(await handle.result())
        assert outcome.status in {Status.CANCELLED, Status.REFUNDED}
        if approved is not None:  # the cancellation came first
            assert isinstance(approved, WorkflowUpdateFailedError)
            assert outcome.status is Status.CANCELLED

    async def test_an_order_that_is_being_cancelled_takes_no_approval(self, shop: Shop) -> None:
        handle = await shop.order(waits=True)
        await reached(shop, handle, Status.AWAITING_APPROVAL)
        gate = shop.inventory.hold("release")
        await handle.signal(OrderWorkflow.cancel_order)
        await gate.entered()
        refusal = await refused(handle.execute_update(OrderWorkflow.approve, Approve("ops-7")))
        gate.release()
        assert refusal.type == NOT_WAITING
        assert "it is being cancelled" in refusal.message
        assert (await shop.check(await handle.result())).status is Status.CANCELLED


async def test_a_flagged_order_waits_whatever_its_total(shop: Shop) -> None:
    handle = await shop.start(await shop.place(flagged=True), waits=True)
    await reached(shop, handle, Status.AWAITING_APPROVAL)
    await handle.execute_update(OrderWorkflow.approve, Approve("ops-7"))
    assert (await shop.check(await handle.result())).status is Status.COMPLETED


async def test_an_approval_nobody_asked_for_is_refused(shop: Shop) -> None:
    gate = shop.cards.hold("create")
    handle = await shop.order()
    await gate.entered()
    refusal = await refused(handle.execute_update(OrderWorkflow.approve, Approve("ops-7")))
    gate.release()
    assert refusal.type == NOT_WAITING
    await handle.result()


async def test_the_customer_confirms_and_the_webhook_says_look_again(shop: Shop) -> None:
    handle = await shop.order(THREE_D_SECURE, waits=True)
    await reached(shop, handle, Status.AWAITING_PAYMENT)
    [charge] = shop.cards.charges_of(handle.id.removeprefix("order-"))
    shop.cards.authenticate(charge.payment_id)
    await handle.signal(OrderWorkflow.payment_updated)
    assert (await shop.check(await handle.result())).status is Status.COMPLETED


async def test_a_lost_webhook_costs_minutes_not_the_order(shop: Shop) -> None:
    gate = shop.cards.hold("read")
    handle = await shop.order(THREE_D_SECURE)
    await gate.entered()
    [charge] = shop.cards.charges_of(handle.id.removeprefix("order-"))
    shop.cards.authenticate(charge.payment_id)
    gate.release()
    assert (await shop.check(await handle.result())).status is Status.COMPLETED


async def test_a_customer_who_never_confirms_loses_the_order_and_no_money(shop: Shop) -> None:
    outcome = await shop.check(await (await shop.order(THREE_D_SECURE)).result())
    assert outcome.status is Status.REJECTED
    assert reason(outcome) is StopReason.PAYMENT_TIMED_OUT
    [charge] = shop.cards.charges_of(outcome.order_id)
    assert charge.state is ChargeState.CANCELLED


async def test_a_customer_who_fails_to_confirm_is_declined(shop: Shop) -> None:
    handle = await shop.order(THREE_D_SECURE, waits=True)
    await reached(shop, handle, Status.AWAITING_PAYMENT)
    [charge] = shop.cards.charges_of(handle.id.removeprefix("order-"))
    shop.cards.authenticate(charge.payment_id, succeeds=False)
    await handle.signal(OrderWorkflow.payment_updated)
    outcome = await shop.check(await handle.result())
    assert reason(outcome) is StopReason.CARD_DECLINED


async def test_a_customer_who_pays_at_the_last_moment_is_refunded_when_it_was_too_late(
    shop: Shop,
) -> None:
    """The money arrives between the deadline and the undo: the undo sees it and gives it back."""
    gate = shop.cards.hold("cancel")
    handle = await shop.order(THREE_D_SECURE)
    await gate.entered()
    [charge] = shop.cards.charges_of(handle.id.removeprefix("order-"))
    shop.cards.authenticate(charge.payment_id)
    gate.release()
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.REFUNDED


@pytest.mark.parametrize("taken", [True, False])
async def test_a_cancel_while_the_customer_confirms_gives_back_whatever_was_taken(
    shop: Shop,
    taken: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    handle = await shop.order(THREE_D_SECURE, waits=True)
    await reached(shop, handle, Status.AWAITING_PAYMENT)
    if taken:
        [charge] = shop.cards.charges_of(handle.id.removeprefix("order-"))
        shop.cards.authenticate(charge.payment_id)
    await handle.signal(OrderWorkflow.cancel_order)
    outcome = await shop.check(await handle.result())
    assert outcome.status is (Status.REFUNDED if taken else Status.CANCELLED)


class TestAnotherCard:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(new_card_window=timedelta(hours=2))

    async def test_another_card_pays_the_order(self, shop: Shop) -> None:
        handle = await shop.order(DECLINED, waits=True)
        await wanted(handle)
        accepted = await handle.execute_update(OrderWorkflow.submit_payment_method, MASTERCARD)
        assert accepted.number == 2
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.COMPLETED
        [charge] = shop.cards.charges_of(outcome.order_id)
        assert shop.cards.confirmations[charge.payment_id] == [DECLINED, MASTERCARD.payment_method]

    async def test_no_other_card_in_time_rejects_the_order(self, shop: Shop) -> None:
        outcome = await shop.check(await (await shop.order(DECLINED)).result())
        assert reason(outcome) is StopReason.CARD_DECLINED
        [charge] = shop.cards.charges_of(outcome.order_id)
        assert charge.state is ChargeState.CANCELLED  # no browser pays it any more

    async def test_a_card_that_is_not_waited_for_is_refused(self, shop: Shop) -> None:
        gate = shop.cards.hold("create")
        handle = await shop.order()
        await gate.entered()
        update = handle.execute_update(OrderWorkflow.submit_payment_method, NewCard("pm_card_visa"))
        refusal = await refused(update)
        gate.release()
        assert refusal.type == NOT_WAITING
        await handle.result()


class TestHold:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(capture=CaptureMethod.AT_FULFILLMENT)

    async def test_the_money_is_taken_once_the_warehouse_has_accepted(self, shop: Shop) -> None:
        gate = shop.warehouse.hold("fulfill")
        handle = await shop.order()
        await gate.entered()
        order_id = handle.id.removeprefix("order-")
        assert (await shop.book.get(order_id)).status is Status.HELD
        assert shop.cards.taken(order_id) == 0
        gate.release()
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.COMPLETED
        assert outcome.taken == TOTAL

    async def test_a_refusal_of_the_warehouse_releases_the_hold(self, shop: Shop) -> None:
        order_id = await shop.place()
        shop.warehouse.refuse(order_id, "the roof leaks")
        outcome = await shop.check(await (await shop.start(order_id)).result())
        assert outcome.status is Status.REJECTED
        assert shop.cards.refunds == {}

    @pytest.mark.parametrize("where", ["before", "after"])
    async def test_a_cancel_racing_the_capture_keeps_no_money(
        self, shop: Shop, where: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # As it really is: the run hears of the cancellation when it has its workflow task renewed,
        # after four fifths of ``timeouts.WORKFLOW_TASK``. The first try is held for twice as long.
        monkeypatch.setitem(retry_policies.LOCAL, "schedule_to_close_timeout", timedelta(seconds=8))
        gate = shop.cards.hold("capture", where=where)  # type: ignore[arg-type]
        handle = await shop.start(await shop.place(), task_timeout=timeouts.WORKFLOW_TASK)
        await gate.entered()
        await handle.signal(OrderWorkflow.cancel_order)
        outcome = await shop.check(await handle.result())
        assert outcome.status is (Status.CANCELLED if where == "before" else Status.REFUNDED)

    async def test_a_hold_that_lapsed_recalls_the_parcel(self, shop: Shop) -> None:
        gate = shop.cards.hold("capture")
        handle = await shop.order()
        await gate.entered()
        [charge] = shop.cards.charges_of(handle.id.removeprefix("order-"))
        shop.cards.lapse(charge.payment_id)
        gate.release()
        outcome = await shop.check(await handle.result())
        assert reason(outcome) is StopReason.HOLD_LAPSED
        assert outcome.status is Status.REJECTED

    @pytest.mark.parametrize("lapsed", [True, False])
    async def test_a_parcel_that_left_before_the_money_was_taken_is_still_to_be_paid(
        self,
        shop: Shop,
        lapsed: bool,  # noqa: FBT001 - a parameter of the test
    ) -> None:
        """Cancelled between handing over and capturing, but the parcel was quicker."""
        gate = shop.cards.hold("capture")
        handle = await shop.order(waits=True)
        await gate.entered()
        order_id = handle.id.removeprefix("order-")
        shop.warehouse.dispatch(order_id)
        if lapsed:
            shop.cards.lapse(shop.cards.charges_of(order_id)[0].payment_id)
        await handle.signal(OrderWorkflow.cancel_order)
        if lapsed:

            async def asks_for_a_person() -> bool:
                return (await handle.query(OrderWorkflow.status)).attention is not None

            await eventually(asks_for_a_person)
            await handle.execute_update(OrderWorkflow.operate, Resolve("paid by invoice"))
        outcome = await handle.result()
        assert outcome.status is Status.COMPLETED
        assert outcome.taken.amount == (0 if lapsed else TOTAL.amount)

    async def test_a_silent_bank_is_asked_for_hours_and_then_everything_is_undone(
        self, shop: Shop
    ) -> None:
        shop.cards.fail_until_healed("capture", HOURS_OF_SILENCE)
        outcome = await shop.check(await ended(await shop.order()))
        assert outcome.status is Status.REJECTED
        assert reason(outcome) is StopReason.NO_ANSWER

    async def test_a_capture_whose_answer_is_lost_is_made_once(self, shop: Shop) -> None:
        shop.cards.lose_answer_next("capture")
        outcome = await shop.check(await (await shop.order()).result())
        assert outcome.status is Status.COMPLETED


#: Every state an order can be cancelled in while it waits, and how to get there.
WAITS: list[tuple[str, ShopTerms, str, Status]] = [
    ("approval", ShopTerms(approval_above={"EUR": 0}), "pm_card_visa", Status.AWAITING_APPROVAL),
    ("customer", ShopTerms(), THREE_D_SECURE, Status.AWAITING_PAYMENT),
    (
        "another card",
        ShopTerms(new_card_window=timedelta(hours=2)),
        DECLINED,
        Status.AWAITING_PAYMENT,
    ),
]


async def by_signal(handle: Handle) -> None:
    await handle.signal(OrderWorkflow.cancel_order)


async def by_update(handle: Handle) -> None:
    await handle.execute_update(OrderWorkflow.cancel, CancelRequest())


async def by_temporal(handle: Handle) -> None:
    await handle.cancel()


@pytest.mark.parametrize("cancel", [by_signal, by_update, by_temporal])
@pytest.mark.parametrize(
    ("terms", "card", "status"), [wait[1:] for wait in WAITS], ids=[wait[0] for wait in WAITS]
)
async def test_a_cancel_while_waiting_takes_nothing_whoever_asks(
    shop: Shop,
    terms: ShopTerms,
    card: str,
    status: Status,
    cancel: Callable[[Handle], Awaitable[None]],
) -> None:
    handle = await shop.order(card, waits=True)
    await reached(shop, handle, status)
    await cancel(handle)
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.CANCELLED
    assert outcome.taken.amount == 0
