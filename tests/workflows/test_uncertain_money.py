"""Orders whose money is uncertain: held for a person or stopped, before anything is sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import WorkflowHandle

from durable_orders.contracts.error_types import NOT_OPERABLE, NOT_WAITING
from durable_orders.contracts.search_attributes import NEEDS_ATTENTION
from durable_orders.domain.activity_messages import Attention, CancelRequest, Outcome
from durable_orders.domain.disputes.dispute import ConcernKind
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.operators.commands import offered_commands
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.payment_status import PaymentTaken, payment_from_view
from durable_orders.domain.ports import NoAnswerError
from durable_orders.domain.terms import (
    CaptureMethod,
    DisputePolicy,
    FraudWarningPolicy,
    ShopTerms,
)
from durable_orders.domain.workflow_messages import Approve, ParcelUpdate, Reject, RetryNow
from tests.fakes.cards import ELEVATED_RISK
from tests.support.eventually import eventually
from tests.workflows.conftest import TOTAL, Shop, current_details, events, replayed
from tests.workflows.test_returned_money import payment_of
from tests.workflows.test_waiting import reached, reason, refused
from workflows.order import OrderWorkflow

Handle = WorkflowHandle[OrderWorkflow, Outcome]

SILENCE = NoAnswerError("nobody answers")
KINDS = list(ConcernKind)
OF_THE_BOOKS = [ConcernKind.CHARGEBACK, ConcernKind.INQUIRY, ConcernKind.FRAUD_WARNING]
A_PART = Money(10_00, "EUR")
every_kind = pytest.mark.parametrize("kind", KINDS)


async def report(shop: Shop, handle: Handle) -> None:
    """Record what the provider says now, and tell the order, as the run that follows it does."""
    order_id, payment_id = handle.id.removeprefix("order-"), payment_of(shop, handle)
    known = await shop.disputes.risks_of(order_id)
    assert known is not None
    risks = replace(await shop.risks.risks_of(payment_id), revision=known.revision)
    await shop.disputes.record(order_id, risks, datetime.now(UTC))
    await handle.signal(OrderWorkflow.payment_updated)


async def bring(shop: Shop, handle: Handle, kind: ConcernKind) -> str:
    """Make the order's money uncertain, and tell it; returns what the concern is named by."""
    payment_id, concern = payment_of(shop, handle), ""
    match kind:
        case ConcernKind.CHARGEBACK:
            concern = shop.risks.dispute(payment_id, TOTAL).dispute_id
        case ConcernKind.INQUIRY:
            concern = shop.risks.dispute(payment_id, TOTAL, inquiry=True).dispute_id
        case ConcernKind.FRAUD_WARNING:
            concern = shop.risks.warn(payment_id).warning_id
        case ConcernKind.REVIEW:
            concern = shop.cards.put_into_review(payment_id)
        case ConcernKind.AMOUNT:
            shop.cards.refund_by_hand(payment_id, Money(5_00, "EUR"))
            concern = "24.00 EUR of 29.00 EUR"
    await report(shop, handle)
    return concern


async def solve(shop: Shop, handle: Handle, kind: ConcernKind, concern: str) -> None:
    """Have it end by itself, and tell the order."""
    payment_id = payment_of(shop, handle)
    match kind:
        case ConcernKind.CHARGEBACK | ConcernKind.INQUIRY:
            shop.risks.win(concern)
        case ConcernKind.FRAUD_WARNING:
            shop.risks.settle_warnings(payment_id)
        case ConcernKind.REVIEW:
            shop.cards.close_review(payment_id)
        case ConcernKind.AMOUNT:
            shop.cards.fail_refund(next(iter(shop.cards.refunds)))
    await report(shop, handle)


async def held(handle: Handle, *about: str) -> Attention:
    """What a person is told, once the order is held for all that it is ``about``."""
    found: list[Attention] = []

    async def is_held() -> bool:
        attention = (await handle.query(OrderWorkflow.status)).attention
        found[:] = [] if attention is None else [attention]
        return attention is not None and all(each in attention.problem for each in about)

    await eventually(is_held)
    assert found[0].step == "payment"
    return found[0]


async def in_the_warehouse(shop: Shop) -> Handle:
    """An order that the warehouse is slow to answer for."""
    gate = shop.warehouse.hold("fulfill")
    handle = await shop.order(waits=True)
    await gate.entered()
    return handle


async def approve(handle: Handle) -> None:
    await handle.execute_update(OrderWorkflow.approve, Approve("ops-7", "known customer"))


async def reject(handle: Handle) -> None:
    await handle.execute_update(OrderWorkflow.reject, Reject("ops-7", "a stolen card"))


async def ended_in_peace(shop: Shop, handle: Handle, kind: ConcernKind) -> Outcome:
    """The order has completed, with the money that is there for it."""
    outcome = await handle.result()
    assert outcome.status is Status.COMPLETED
    assert outcome.taken.amount == shop.cards.taken(outcome.order_id)
    assert outcome.given_back.amount == shop.cards.given_back(outcome.order_id)
    if kind is not ConcernKind.AMOUNT:
        await shop.check(outcome)
    return outcome


async def undone(shop: Shop, handle: Handle, why: StopReason) -> Outcome:
    """Nothing is sent, and the money is with the customer: given back by us, or by the bank."""
    outcome = await handle.result()
    risks = await shop.disputes.risks_of(outcome.order_id)
    withdrawn = risks.withdrawn("EUR") if risks else TOTAL * 0
    if not withdrawn:
        await shop.check(outcome)
    given_back = Money(shop.cards.given_back(outcome.order_id), "EUR")
    assert outcome.taken == outcome.given_back == given_back + withdrawn
    assert (outcome.status, reason(outcome)) == (Status.REFUNDED, why)
    assert outcome.order_id not in shop.warehouse.parcels
    return outcome


async def lines(shop: Shop, outcome: Outcome) -> dict[str, dict[str, str]]:
    view = await shop.book.view(outcome.order_id)
    return {line.event: line.detail for line in view.history}


class TestDuringASlowFulfilment:
    @every_kind
    async def test_an_order_is_held_and_goes_on_when_a_person_approves(
        self, shop: Shop, kind: ConcernKind
    ) -> None:
        handle = await in_the_warehouse(shop)
        concern = await bring(shop, handle, kind)
        attention = await held(handle, concern, "nothing is sent before it is decided")
        order_id = handle.id.removeprefix("order-")
        assert shop.warehouse.accepted == {}
        # The shopper sees nothing of it.
        assert (await shop.book.get(order_id)).status is Status.PAID
        assert await handle.query(OrderWorkflow.payment_news) == PaymentTaken(TOTAL)
        assert (await handle.describe()).typed_search_attributes[NEEDS_ATTENTION] is True
        assert [one.arguments for one in offered_commands(attention, order_id)] == [
            f"approve {order_id} --by WHO",
            f'reject {order_id} --by WHO --reason "…"',
        ]
        assert f"approve {order_id} --by WHO" in await current_details(handle)

        await approve(handle)

        outcome = await ended_in_peace(shop, handle, kind)
        accepted = (await lines(shop, outcome))["payment_accepted"]
        assert (accepted["by"], accepted["note"]) == ("ops-7", "known customer")
        assert (await handle.describe()).typed_search_attributes[NEEDS_ATTENTION] is False
        await replayed(await handle.fetch_history())

    @every_kind
    async def test_it_is_undone_when_a_person_rejects(self, shop: Shop, kind: ConcernKind) -> None:
        handle = await in_the_warehouse(shop)
        await held(handle, await bring(shop, handle, kind))
        await reject(handle)
        outcome = await undone(shop, handle, StopReason.NOT_APPROVED)
        assert outcome.stop is not None
        assert outcome.stop.message == "rejected by ops-7: a stolen card"
        assert (await lines(shop, outcome))["payment_not_accepted"]["by"] == "ops-7"
        await replayed(await handle.fetch_history())

    @every_kind
    async def test_it_can_be_cancelled_meanwhile(self, shop: Shop, kind: ConcernKind) -> None:
        handle = await in_the_warehouse(shop)
        await held(handle, await bring(shop, handle, kind))
        await handle.execute_update(OrderWorkflow.cancel, CancelRequest())
        await undone(shop, handle, StopReason.CANCELLED)

    @every_kind
    async def test_it_goes_on_by_itself_when_that_is_over(
        self, shop: Shop, kind: ConcernKind
    ) -> None:
        handle = await in_the_warehouse(shop)
        concern = await bring(shop, handle, kind)
        await held(handle, concern)
        await solve(shop, handle, kind, concern)
        outcome = await ended_in_peace(shop, handle, kind)
        assert (outcome.taken, outcome.given_back) == (TOTAL, TOTAL * 0)
        assert (await handle.describe()).typed_search_attributes[NEEDS_ATTENTION] is False
        await replayed(await handle.fetch_history())

    @every_kind
    async def test_what_comes_after_an_approval_holds_it_again(
        self, shop: Shop, kind: ConcernKind
    ) -> None:
        again = shop.warehouse.hold("fulfill")
        handle = await shop.order(waits=True)
        await again.entered()
        first = await bring(shop, handle, kind)
        await held(handle, first)
        second_time = shop.warehouse.hold("fulfill")
        await approve(handle)
        await second_time.entered()
        other = KINDS[KINDS.index(kind) - 1]
        second = await bring(shop, handle, other)
        # What was accepted is not asked for again.
        assert first not in (await held(handle, second)).problem
        await approve(handle)
        await ended_in_peace(shop, handle, ConcernKind.AMOUNT)

    async def test_more_that_comes_while_it_is_held_is_decided_together(self, shop: Shop) -> None:
        handle = await in_the_warehouse(shop)
        about = [await bring(shop, handle, ConcernKind.INQUIRY)]
        await held(handle, *about)
        about.append(await bring(shop, handle, ConcernKind.REVIEW))
        await held(handle, *about)
        await approve(handle)
        outcome = await ended_in_peace(shop, handle, ConcernKind.INQUIRY)
        assert (await lines(shop, outcome))["payment_accepted"]["about"] == ", ".join(
            reversed(about)
        )

    @pytest.mark.parametrize("taken", [TOTAL, A_PART])
    @pytest.mark.parametrize("was_accepted", [False, True])
    async def test_a_dispute_that_is_lost_does_not_let_it_go_on(
        self, shop: Shop, taken: Money, *, was_accepted: bool
    ) -> None:
        """The bank has the money for good: nobody but a person may have it shipped for nothing."""
        handle = await in_the_warehouse(shop)
        dispute = shop.risks.dispute(payment_of(shop, handle), taken)
        await report(shop, handle)
        await held(handle, dispute.dispute_id)
        if was_accepted:
            gate = shop.warehouse.hold("fulfill")
            await approve(handle)
            await gate.entered()
        shop.risks.lose(dispute.dispute_id)
        await report(shop, handle)
        await held(handle, f"chargeback {dispute.dispute_id} is lost: {taken} is gone")
        assert shop.warehouse.accepted == {}
        await reject(handle)
        await undone(shop, handle, StopReason.NOT_APPROVED)
        await replayed(await handle.fetch_history())

    async def test_an_answer_that_was_lost_in_the_pause_is_one_parcel(self, shop: Shop) -> None:
        """The warehouse accepts while its answer is no longer waited for."""
        gate = shop.warehouse.hold("fulfill", where="after")
        handle = await shop.order(waits=True)
        await gate.entered()
        await held(handle, await bring(shop, handle, ConcernKind.REVIEW))
        await approve(handle)
        await ended_in_peace(shop, handle, ConcernKind.REVIEW)

    async def test_a_rejection_recalls_what_was_accepted_in_the_pause(self, shop: Shop) -> None:
        gate = shop.warehouse.hold("fulfill", where="after")
        handle = await shop.order(waits=True)
        await gate.entered()
        await held(handle, await bring(shop, handle, ConcernKind.REVIEW))
        await reject(handle)
        await undone(shop, handle, StopReason.NOT_APPROVED)
        assert shop.warehouse.cancelled == {handle.id.removeprefix("order-")}

    async def test_an_outage_of_the_warehouse_is_paused_too(self, shop: Shop) -> None:
        shop.warehouse.fail_until_healed("fulfill", SILENCE)
        handle = await shop.order(waits=True)

        async def tried() -> bool:
            return "fulfill" in shop.warehouse.calls

        await eventually(tried)
        await held(handle, await bring(shop, handle, ConcernKind.INQUIRY))
        shop.warehouse.heal("fulfill")
        await approve(handle)
        await ended_in_peace(shop, handle, ConcernKind.INQUIRY)

    async def test_a_held_order_takes_two_decisions_and_no_other_command(self, shop: Shop) -> None:
        handle = await in_the_warehouse(shop)
        taking = shop.inventory.hold("commit")
        await held(handle, await bring(shop, handle, ConcernKind.INQUIRY))
        command = handle.execute_update(OrderWorkflow.operate, RetryNow("ops-7"))
        refusal = await refused(command)
        assert refusal.type == NOT_OPERABLE
        assert refusal.message == "payment takes no retry-now, only approve or reject"
        await approve(handle)
        again = await refused(handle.execute_update(OrderWorkflow.reject, Reject("ops-8")))
        assert again.type == NOT_WAITING
        assert "does not wait for an approval: ops-7 has approved it" in again.message
        taking.release()
        await ended_in_peace(shop, handle, ConcernKind.INQUIRY)

    async def test_money_that_goes_away_meanwhile_stops_it(self, shop: Shop) -> None:
        handle = await in_the_warehouse(shop)
        await held(handle, await bring(shop, handle, ConcernKind.REVIEW))
        shop.cards.refund_by_hand(payment_of(shop, handle))
        await handle.signal(OrderWorkflow.payment_updated)
        order_id = handle.id.removeprefix("order-")
        await reached(shop, handle, Status.REFUNDED)
        assert (await shop.book.get(order_id)).reason == StopReason.PAYMENT_RETURNED
        await handle.terminate()


class TestBeforeFulfilment:
    @every_kind
    async def test_what_comes_with_the_charge_keeps_it_from_the_warehouse(
        self, shop: Shop, kind: ConcernKind
    ) -> None:
        gate = shop.cards.hold("confirm", where="after")
        handle = await shop.order(waits=True)
        await gate.entered()
        concern = await bring(shop, handle, kind)
        gate.release()
        await held(handle, concern)
        assert shop.warehouse.calls == []
        await approve(handle)
        await ended_in_peace(shop, handle, kind)

    async def test_a_charge_that_goes_into_review_at_once_is_not_sent(self, shop: Shop) -> None:
        handle = await shop.order(ELEVATED_RISK, waits=True)
        await held(handle, "is open at the card provider")
        assert shop.warehouse.calls == []
        shop.cards.close_review(payment_of(shop, handle))
        await handle.signal(OrderWorkflow.payment_updated)
        assert (await shop.check(await handle.result())).status is Status.COMPLETED

    async def test_a_lost_webhook_is_made_up_for_by_a_look(self, shop: Shop) -> None:
        """Nobody tells the order that the review was approved; time is skipped."""
        gate = shop.warehouse.hold("fulfill")
        handle = await shop.order(ELEVATED_RISK)
        await eventually(lambda: _asked(shop, "read"))
        shop.cards.close_review(payment_of(shop, handle))
        await gate.entered()
        gate.release()
        assert (await shop.check(await handle.result())).status is Status.COMPLETED

    async def test_a_long_wait_looks_seldom(self, shop: Shop) -> None:
        handle = await shop.order(ELEVATED_RISK)
        await eventually(lambda: _asked(shop, "read", times=20), within=60)
        history = await handle.fetch_history()
        passed = history.events[-1].event_time.ToDatetime() - (
            history.events[0].event_time.ToDatetime()
        )
        # 5 minutes, 10, 20 …, then once a day.
        assert passed > timedelta(days=8)
        await reject(handle)
        await undone(shop, handle, StopReason.NOT_APPROVED)
        await replayed(await handle.fetch_history())


async def _asked(shop: Shop, method: str, *, times: int = 1) -> bool:
    return shop.cards.calls.count(method) >= times


class TestWaitingForTheOrdersApproval:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(approval_above={"EUR": 0})

    async def test_each_decision_is_asked_for_at_its_time(self, shop: Shop) -> None:
        handle = await shop.order(ELEVATED_RISK, waits=True)
        await reached(shop, handle, Status.AWAITING_APPROVAL)
        await handle.signal(OrderWorkflow.payment_updated)
        assert (await handle.query(OrderWorkflow.status)).attention is None
        await approve(handle)
        await held(handle, "is open at the card provider")
        await handle.execute_update(OrderWorkflow.approve, Approve("ops-8", "seen it"))
        outcome = await shop.check(await handle.result())
        assert outcome.status is Status.COMPLETED
        told = await lines(shop, outcome)
        assert (told["order_approved"]["by"], told["payment_accepted"]["by"]) == ("ops-7", "ops-8")


class TestOnceTheWarehouseHasAccepted:
    async def _accepted(self, shop: Shop, kind: ConcernKind) -> tuple[Handle, str]:
        """News come with the warehouse's answer."""
        gate = shop.warehouse.hold("fulfill", where="after")
        look = shop.cards.hold("read")
        handle = await shop.order(waits=True)
        await gate.entered()
        concern = await bring(shop, handle, kind)
        await look.entered()
        gate.release()
        look.release()
        return handle, concern

    @every_kind
    async def test_a_person_is_told_before_it_ships(self, shop: Shop, kind: ConcernKind) -> None:
        handle, concern = await self._accepted(shop, kind)
        await held(handle, concern)
        await approve(handle)
        await ended_in_peace(shop, handle, kind)

    @every_kind
    async def test_a_rejection_recalls_the_parcel(self, shop: Shop, kind: ConcernKind) -> None:
        handle, concern = await self._accepted(shop, kind)
        await held(handle, concern)
        await reject(handle)
        await undone(shop, handle, StopReason.NOT_APPROVED)
        assert shop.warehouse.cancelled == {handle.id.removeprefix("order-")}

    async def test_a_rejection_that_is_too_late_leaves_it_shipped(self, shop: Shop) -> None:
        handle, concern = await self._accepted(shop, ConcernKind.REVIEW)
        await held(handle, concern)
        shop.warehouse.dispatch(handle.id.removeprefix("order-"))
        await reject(handle)
        await ended_in_peace(shop, handle, ConcernKind.REVIEW)


class TestAfterShipping:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(
            delivery_deadline=timedelta(days=30),
            on_dispute=DisputePolicy.STOP,
            on_fraud_warning=FraudWarningPolicy.REFUND,
        )

    @every_kind
    async def test_nothing_happens_to_the_order(self, shop: Shop, kind: ConcernKind) -> None:
        handle = await shop.order(waits=True)
        await reached(shop, handle, Status.FULFILLED)
        await bring(shop, handle, kind)
        [parcel_id] = shop.warehouse.parcels[handle.id.removeprefix("order-")]
        for status in (ParcelStatus.SHIPPED, ParcelStatus.DELIVERED):
            await handle.signal(OrderWorkflow.parcel_updated, ParcelUpdate(parcel_id, status))
        outcome = await handle.result()
        assert (outcome.status, outcome.stop) == (Status.COMPLETED, None)
        assert (await handle.query(OrderWorkflow.status)).attention is None


class TestAShopThatStops:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(on_dispute=DisputePolicy.STOP)

    @pytest.mark.parametrize("kind", OF_THE_BOOKS)
    async def test_a_disputed_order_is_undone_at_once(self, shop: Shop, kind: ConcernKind) -> None:
        handle = await in_the_warehouse(shop)
        concern = await bring(shop, handle, kind)
        outcome = await undone(shop, handle, StopReason.DISPUTED)
        assert outcome.stop is not None
        assert concern in outcome.stop.message
        [mail] = [sent.mail for sent in shop.mailer.sent if outcome.order_id in sent.key]
        assert "its payment was questioned before anything was sent" in mail.text
        await replayed(await handle.fetch_history())

    @pytest.mark.parametrize("kind", OF_THE_BOOKS)
    async def test_so_is_one_that_was_not_at_the_warehouse_yet(
        self, shop: Shop, kind: ConcernKind
    ) -> None:
        gate = shop.cards.hold("confirm", where="after")
        handle = await shop.order(waits=True)
        await gate.entered()
        await bring(shop, handle, kind)
        gate.release()
        await undone(shop, handle, StopReason.DISPUTED)
        assert "fulfill" not in shop.warehouse.calls

    @pytest.mark.parametrize("kind", sorted({*KINDS} - {*OF_THE_BOOKS}))
    async def test_a_review_or_an_amount_is_for_a_person_all_the_same(
        self, shop: Shop, kind: ConcernKind
    ) -> None:
        handle = await in_the_warehouse(shop)
        await held(handle, await bring(shop, handle, kind))
        await approve(handle)
        await ended_in_peace(shop, handle, kind)

    async def test_a_dispute_while_it_is_held_for_something_else_stops_it(self, shop: Shop) -> None:
        handle = await in_the_warehouse(shop)
        await held(handle, await bring(shop, handle, ConcernKind.REVIEW))
        await bring(shop, handle, ConcernKind.INQUIRY)
        await undone(shop, handle, StopReason.DISPUTED)


class TestAShopThatRefundsWarnings:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(on_fraud_warning=FraudWarningPolicy.REFUND)

    async def test_a_fraud_warning_gives_the_money_back(self, shop: Shop) -> None:
        handle = await in_the_warehouse(shop)
        warning = await bring(shop, handle, ConcernKind.FRAUD_WARNING)
        outcome = await undone(shop, handle, StopReason.DISPUTED)
        assert outcome.stop is not None
        assert outcome.stop.message == f"early fraud warning {warning}: made_with_stolen_card"

    async def test_a_dispute_is_for_a_person(self, shop: Shop) -> None:
        handle = await in_the_warehouse(shop)
        await held(handle, await bring(shop, handle, ConcernKind.CHARGEBACK))
        await reject(handle)
        await undone(shop, handle, StopReason.NOT_APPROVED)


class TestMoneyThatIsOnlyHeld:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(capture=CaptureMethod.AT_FULFILLMENT)

    @pytest.fixture
    async def captured(self, shop: Shop) -> Handle:
        """A part of what is held was captured in the dashboard, and the order is held for it."""
        handle = await in_the_warehouse(shop)
        shop.cards.capture_by_hand(payment_of(shop, handle), A_PART)
        await handle.signal(OrderWorkflow.payment_updated)
        await held(handle, "10.00 EUR of 29.00 EUR is captured")
        return handle

    async def test_a_part_that_was_captured_by_hand_is_enough_if_a_person_says_so(
        self, shop: Shop, captured: Handle
    ) -> None:
        await approve(captured)
        outcome = await captured.result()
        assert (outcome.status, outcome.taken) == (Status.COMPLETED, A_PART)
        await replayed(await captured.fetch_history())

    async def test_else_it_goes_back(self, shop: Shop, captured: Handle) -> None:
        await reject(captured)
        outcome = await undone(shop, captured, StopReason.NOT_APPROVED)
        assert (outcome.taken, outcome.given_back) == (A_PART, A_PART)
        [mail] = [sent.mail for sent in shop.mailer.sent if outcome.order_id in sent.key]
        assert "We have given 10.00 EUR back to your card" in mail.text

    async def test_a_shopper_is_shown_what_was_really_taken(
        self, shop: Shop, captured: Handle
    ) -> None:
        await approve(captured)
        outcome = await captured.result()
        assert await captured.query(OrderWorkflow.payment_news) == PaymentTaken(A_PART)
        view = await shop.book.view(outcome.order_id)
        assert payment_from_view(view) == PaymentTaken(A_PART)

    @pytest.mark.parametrize("decision", ["approve", "reject"])
    async def test_a_capture_that_finds_less_asks_a_person_before_it_ships(
        self, shop: Shop, decision: str
    ) -> None:
        """Nobody tells of it: the warehouse has accepted when our capture comes."""
        gate = shop.cards.hold("capture")
        handle = await shop.order(waits=True)
        await gate.entered()
        shop.cards.capture_by_hand(payment_of(shop, handle), A_PART)
        gate.release()
        await held(handle, "10.00 EUR of 29.00 EUR is captured", "the warehouse has accepted")
        if decision == "approve":
            await approve(handle)
            outcome = await handle.result()
            assert (outcome.status, outcome.taken) == (Status.COMPLETED, A_PART)
        else:
            await reject(handle)
            outcome = await undone(shop, handle, StopReason.NOT_APPROVED)
            assert shop.warehouse.cancelled == {outcome.order_id}
        await replayed(await handle.fetch_history())

    async def test_a_parcel_that_leaves_before_the_decision_ends_the_wait(self, shop: Shop) -> None:
        gate = shop.cards.hold("capture")
        handle = await shop.order(waits=True)
        await gate.entered()
        shop.cards.capture_by_hand(payment_of(shop, handle), A_PART)
        gate.release()
        await held(handle, "10.00 EUR of 29.00 EUR is captured")
        order_id = handle.id.removeprefix("order-")
        [parcel_id] = shop.warehouse.parcels[order_id]
        shop.warehouse.dispatch(order_id)
        news = ParcelUpdate(parcel_id, ParcelStatus.SHIPPED)
        await handle.signal(OrderWorkflow.parcel_updated, news)
        outcome = await handle.result()
        assert (outcome.status, outcome.taken) == (Status.COMPLETED, A_PART)
        assert (await handle.query(OrderWorkflow.status)).attention is None

    async def test_a_hold_is_not_waited_with_until_the_bank_lets_go(self, shop: Shop) -> None:
        handle = await shop.order(ELEVATED_RISK)
        outcome = await shop.check(await handle.result())
        assert (outcome.status, reason(outcome)) == (Status.REJECTED, StopReason.HOLD_LAPSED)
        assert "before the bank let go" in (outcome.stop.message if outcome.stop else "")
        assert shop.warehouse.accepted == {}

    async def test_a_person_is_told_until_when_it_is_held(self, shop: Shop) -> None:
        handle = await shop.order(ELEVATED_RISK, waits=True)
        await held(handle, ", the money is held until ")
        assert (await shop.book.get(handle.id.removeprefix("order-"))).status is Status.HELD
        await approve(handle)
        assert (await shop.check(await handle.result())).status is Status.COMPLETED

    async def test_a_hold_that_is_released_meanwhile_ends_the_wait(self, shop: Shop) -> None:
        handle = await shop.order(ELEVATED_RISK, waits=True)
        await held(handle, "is open at the card provider")
        shop.cards.cancel_by_hand(payment_of(shop, handle))
        await handle.signal(OrderWorkflow.payment_updated)
        outcome = await shop.check(await handle.result())
        assert (outcome.status, reason(outcome)) == (Status.REJECTED, StopReason.HOLD_LAPSED)


async def test_an_ordinary_order_asks_no_more_than_before(shop: Shop) -> None:
    handle = await shop.order()
    await shop.check(await handle.result())
    assert shop.cards.calls == ["create", "confirm"]
    assert shop.disputes.calls == []
    assert len(events(await handle.fetch_history())) == ORDINARY_EVENTS


#: How long the history of an ordinary order is, the first of its worker. More than that is paid for
#: by every order.
ORDINARY_EVENTS = 23
