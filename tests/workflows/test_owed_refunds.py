"""Refunds that an order starts by itself, of what the customer did not get: heard when they cannot
be, of what is left when some was refunded before, and not dropped because nobody decides.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import WorkflowUpdateFailedError

from durable_orders.contracts.search_attributes import NEEDS_ATTENTION
from durable_orders.domain.ids import SHORT_REFUND_ID, refund_workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import NoAnswerError
from durable_orders.domain.refunds.messages import RefundOutcome, ShopRefundTerms
from durable_orders.domain.refunds.refund import RefundRefused, RefundRequest, RefundState
from durable_orders.domain.terms import ShopTerms
from durable_orders.domain.workflow_messages import (
    Approve,
    RefundParcel,
    Reject,
    Resolve,
    RetryNow,
    SettleParcel,
)
from tests.fakes.refunds import InMemoryRefundBook
from tests.support.eventually import eventually
from tests.workflows import refunds
from tests.workflows.conftest import PRICE, TOTAL, Shop, replayed
from tests.workflows.refunds import ONE_MUG, needs_a_person
from tests.workflows.test_delivery import Handle, flagged, fulfilled, parcel_of, tell
from workflows.order import OrderWorkflow
from workflows.refund import RefundWorkflow

GOODWILL = Money(5_00, "EUR")


@pytest.fixture
def terms() -> ShopTerms:
    return ShopTerms(delivery_deadline=timedelta(days=30))


async def lost(shop: Shop) -> tuple[Handle, str, str]:
    """An order whose only parcel is lost; its run, its id and the parcel's."""
    handle = await fulfilled(shop)
    parcel_id = parcel_of(shop, handle)
    await tell(handle, parcel_id, ParcelStatus.SHIPPED, ParcelStatus.LOST)
    await eventually(lambda: flagged(handle))
    return handle, handle.id.removeprefix("order-"), parcel_id


async def refund_parcel(handle: Handle, parcel_id: str) -> object:
    """What an operator is answered: what was set aside, or the sentence of the refusal."""
    decision = RefundParcel(parcel_id, "ops-7")
    try:
        return await handle.execute_update(OrderWorkflow.refund_parcel, decision)
    except WorkflowUpdateFailedError as failed:
        return str(failed.cause)


async def given_back(shop: Shop, order_id: str, amount: Money) -> None:
    async def arrived() -> bool:
        return shop.cards.given_back(order_id) == amount.amount

    await eventually(arrived)


async def is_still_waited_for(handle: Handle, parcel_id: str) -> None:
    """The order asks what is to become of the parcel, and takes a decision."""
    progress = await handle.query(OrderWorkflow.status)
    assert progress.attention is not None
    assert f"parcel {parcel_id} is lost" in progress.attention.problem


async def told(shop: Shop, order_id: str, event: str) -> list[dict[str, str]]:
    history = (await shop.book.view(order_id)).history
    return [dict(line.detail) for line in history if line.event == event]


def refund_run(shop: Shop, order_id: str, refund_id: str) -> refunds.Handle:
    id_ = refund_workflow_id(order_id, refund_id)
    return shop.client.get_workflow_handle_for(RefundWorkflow.run, id_)


class TestALostParcelOfAnOrderThatWasRefundedInPart:
    @pytest.mark.parametrize(
        "earlier",
        [
            RefundRequest("", "r1", amount=GOODWILL),
            RefundRequest("", "r1", lines=ONE_MUG),
            RefundRequest("", "r1", lines=ONE_MUG, amount=GOODWILL),
        ],
        ids=["goodwill", "a line", "a line for less"],
    )
    async def test_what_is_left_is_given_back_and_the_operator_is_told(
        self, shop: Shop, earlier: RefundRequest
    ) -> None:
        handle, order_id, parcel_id = await lost(shop)
        request = RefundRequest(order_id, "r1", earlier.lines, earlier.amount)
        before = await (await refunds.begin(shop, request)).result()
        assert isinstance(before, RefundOutcome)

        answer = await refund_parcel(handle, parcel_id)

        owed = PRICE if earlier.lines else TOTAL - GOODWILL
        assert getattr(answer, "amount", None) == owed, answer
        sentence = f"{owed} is left of the {TOTAL} that these pieces cost: "
        assert sentence in getattr(answer, "why", "")
        await given_back(shop, order_id, before.amount + owed)
        assert (await handle.result()).status is Status.COMPLETED
        [settled] = await told(shop, order_id, "parcel_settled")
        assert settled["outcome"].startswith(f"refunded as parcel.{parcel_id}: {sentence}")
        requested = (await told(shop, order_id, "refund_requested"))[-1]
        assert requested["why"].startswith(sentence)
        await replayed(await handle.fetch_history())

    async def test_when_all_was_refunded_before_that_is_said_and_the_parcel_still_waited_for(
        self, shop: Shop
    ) -> None:
        handle, order_id, parcel_id = await lost(shop)
        await (await refunds.begin(shop, RefundRequest(order_id, "r1"))).result()

        answer = await refund_parcel(handle, parcel_id)

        assert f"parcel {parcel_id} is not refunded, and still waited for" in str(answer)
        assert "was given back already" in str(answer)
        await is_still_waited_for(handle, parcel_id)
        settled = SettleParcel(parcel_id, "refunded as r1")
        await handle.execute_update(OrderWorkflow.settle_parcel, settled)
        assert (await handle.result()).status is Status.COMPLETED
        assert shop.cards.given_back(order_id) == TOTAL.amount

    async def test_what_is_set_aside_is_answered_though_the_database_lost_its_first_answer(
        self, shop: Shop
    ) -> None:
        handle, order_id, parcel_id = await lost(shop)
        await (await refunds.begin(shop, RefundRequest(order_id, "r1", amount=GOODWILL))).result()
        shop.refunds.lose_answer_next("reserve")

        answer = await refund_parcel(handle, parcel_id)

        assert getattr(answer, "amount", None) == TOTAL - GOODWILL, answer
        await given_back(shop, order_id, TOTAL)
        assert (await handle.result()).status is Status.COMPLETED

    async def test_a_database_that_is_away_leaves_the_parcel_waited_for_until_it_is_known(
        self, shop: Shop
    ) -> None:
        handle, order_id, parcel_id = await lost(shop)
        shop.refunds.fail_next("reserve", NoAnswerError("nobody answers"), times=7)

        answer = await refund_parcel(handle, parcel_id)

        assert getattr(answer, "amount", None) == TOTAL, answer
        await given_back(shop, order_id, TOTAL)
        assert (await handle.result()).status is Status.COMPLETED


class TestALostParcelBesideAnUndecidedRefund:
    @pytest.fixture
    def refund_terms(self) -> ShopRefundTerms:
        return ShopRefundTerms(approval_above={"EUR": 4_00})

    @pytest.mark.parametrize("approved", [True, False], ids=["approved", "rejected"])
    async def test_it_is_refused_until_that_is_decided_and_the_customer_gets_everything(
        self, shop: Shop, *, approved: bool
    ) -> None:
        handle, order_id, parcel_id = await lost(shop)
        request = RefundRequest(order_id, "r1", amount=GOODWILL)
        other = await refunds.begin(shop, request, waits=True)
        await refunds.reached(shop, other, RefundState.AWAITING_APPROVAL)

        answer = await refund_parcel(handle, parcel_id)

        assert "refund r1 of 5.00 EUR is not decided yet" in str(answer)
        await is_still_waited_for(handle, parcel_id)
        if approved:
            await other.execute_update(RefundWorkflow.approve, Approve("ops-7"))
        else:
            await other.execute_update(RefundWorkflow.reject, Reject("ops-7", "worn"))
        await other.result()

        answer = await refund_parcel(handle, parcel_id)

        owed = TOTAL - GOODWILL if approved else TOTAL
        assert getattr(answer, "amount", None) == owed, answer
        assert (await handle.result()).status is Status.COMPLETED
        own = refund_run(shop, order_id, f"parcel.{parcel_id}")
        await refunds.reached(shop, own, RefundState.AWAITING_APPROVAL)
        await own.execute_update(RefundWorkflow.approve, Approve("ops-7"))
        await own.result()
        assert shop.cards.given_back(order_id) == TOTAL.amount


class TestShortLinesThatCannotBeRefunded:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms()

    async def short(self, shop: Shop, *earlier: RefundRequest, waits: bool = True) -> Handle:
        """An order that lacks a mug, whose refund is begun when these others are set aside."""
        order_id = await shop.place()
        shop.warehouse.run_short(order_id, ONE_MUG)
        gate = shop.refunds.hold("reserve")
        handle = await shop.start(order_id, waits=waits)
        await gate.entered()
        others = InMemoryRefundBook(shop.database)
        for one in earlier:
            request = RefundRequest(order_id, one.refund_id, one.lines, one.amount)
            await others.reserve(request, datetime.now(UTC))
        gate.release()
        assert (await handle.result()).status is Status.COMPLETED
        return handle

    async def test_an_operator_is_asked_and_it_is_made_when_that_is_mended(
        self, shop: Shop
    ) -> None:
        handle = await self.short(shop, RefundRequest("", "r1", amount=TOTAL - GOODWILL))
        order_id = handle.id.removeprefix("order-")
        own = refund_run(shop, order_id, SHORT_REFUND_ID)
        progress = await needs_a_person(own)
        assert progress.attention is not None
        assert "refund r1 of 24.00 EUR is not decided yet" in progress.attention.problem
        assert (await own.describe()).typed_search_attributes[NEEDS_ATTENTION]
        [line] = await told(shop, order_id, "refund_refused")
        assert (line["refund_id"], line["why"]) == (SHORT_REFUND_ID, progress.attention.problem)

        decided = RefundState.CANCELLED
        await shop.refunds.move(order_id, "r1", decided, datetime.now(UTC), "a mistake")
        await own.execute_update(RefundWorkflow.operate, RetryNow("ops-7"))

        outcome = await own.result()
        assert isinstance(outcome, RefundOutcome)
        assert (outcome.state, outcome.amount) == (RefundState.SUCCEEDED, PRICE)
        assert shop.cards.given_back(order_id) == PRICE.amount
        assert not (await own.describe()).typed_search_attributes[NEEDS_ATTENTION]
        await replayed(await own.fetch_history())

    async def test_it_is_made_by_itself_once_the_other_is_decided(self, shop: Shop) -> None:
        everything = RefundRequest("", "r1", amount=TOTAL)
        handle = await self.short(shop, everything, waits=False)
        order_id = handle.id.removeprefix("order-")
        own = refund_run(shop, order_id, SHORT_REFUND_ID)
        await needs_a_person(own)
        await shop.refunds.move(order_id, "r1", RefundState.CANCELLED, datetime.now(UTC))
        outcome = await own.result()
        assert isinstance(outcome, RefundOutcome)
        assert outcome.state is RefundState.SUCCEEDED
        assert shop.cards.given_back(order_id) == PRICE.amount

    async def test_pieces_that_another_refund_took_back_for_less_are_an_operators_to_settle(
        self, shop: Shop
    ) -> None:
        less = RefundRequest("", "r1", (("MUG", 2),), GOODWILL)
        order_id = (await self.short(shop, less)).id.removeprefix("order-")
        await (
            await refunds.begin(shop, RefundRequest(order_id, "r1", less.lines, GOODWILL))
        ).result()
        own = refund_run(shop, order_id, SHORT_REFUND_ID)
        await needs_a_person(own)
        await own.execute_update(RefundWorkflow.operate, RetryNow("ops-7"))
        progress = await needs_a_person(own)
        assert progress.attention is not None
        await own.execute_update(RefundWorkflow.operate, Resolve("by bank transfer", "ops-7"))
        assert isinstance(await own.result(), RefundRefused)
        [line] = await told(shop, order_id, "operator_resolve")
        assert (line["why"], line["refund_id"]) == ("by bank transfer", SHORT_REFUND_ID)

    async def refunded_in_the_dashboard(self, shop: Shop, amount: Money) -> str:
        """An order that lacks a mug, of which so much is given back before its refund begins."""
        order_id = await shop.place()
        shop.warehouse.run_short(order_id, ONE_MUG)
        gate = shop.refunds.hold("reserve")
        handle = await shop.start(order_id, waits=True)
        await gate.entered()
        [charge] = shop.cards.charges_of(order_id)
        shop.cards.refund_by_hand(charge.payment_id, amount)
        [booked] = shop.cards.refunds.values()
        await shop.ledger.record_refund(order_id, charge.payment_id, booked.refund)
        gate.release()
        assert (await handle.result()).status is Status.COMPLETED
        return order_id

    async def test_some_of_what_they_cost_is_given_back_when_no_more_is_left(
        self, shop: Shop
    ) -> None:
        order_id = await self.refunded_in_the_dashboard(shop, Money(20_00, "EUR"))
        await given_back(shop, order_id, TOTAL)
        [line] = await told(shop, order_id, "refund_requested")
        assert line["why"].startswith("9.00 EUR is left of the 14.50 EUR")

    async def test_nobody_is_asked_when_the_customer_has_everything_back(self, shop: Shop) -> None:
        order_id = await self.refunded_in_the_dashboard(shop, TOTAL)
        own = refund_run(shop, order_id, SHORT_REFUND_ID)
        assert isinstance(await own.result(), RefundRefused)
        [line] = await told(shop, order_id, "refund_refused")
        assert "29.00 EUR, was given back already" in line["why"]


class TestWhatIsOwedAndNobodyApproves:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms()

    @pytest.fixture
    def refund_terms(self) -> ShopRefundTerms:
        return ShopRefundTerms(approval_above={"EUR": 0})

    async def undecided(self, shop: Shop) -> tuple[refunds.Handle, str]:
        """The refund of a piece that the warehouse was short of, three days after it began."""
        order_id = await shop.place()
        shop.warehouse.run_short(order_id, ONE_MUG)
        assert (await (await shop.start(order_id)).result()).status is Status.COMPLETED
        own = refund_run(shop, order_id, SHORT_REFUND_ID)
        await needs_a_person(own)
        return own, order_id

    def reminders(self, shop: Shop, order_id: str) -> list[str]:
        kind = f"order-{order_id}:mail:refund_approval_reminder_{SHORT_REFUND_ID}"
        return [mail.key for mail in shop.mailer.sent if kind in mail.key]

    async def test_it_goes_on_asking_until_somebody_approves(self, shop: Shop) -> None:
        own, order_id = await self.undecided(shop)

        async def reminded_again_and_again() -> bool:
            return len(self.reminders(shop, order_id)) >= 4

        await eventually(reminded_again_and_again)
        keys = self.reminders(shop, order_id)
        assert len(set(keys)) == len(keys)
        progress = await own.query(RefundWorkflow.status)
        assert progress.attention is not None
        assert "nobody has decided within 3 days" in progress.attention.problem
        assert progress.state is RefundState.AWAITING_APPROVAL

        await own.execute_update(RefundWorkflow.approve, Approve("ops-7"))

        outcome = await own.result()
        assert isinstance(outcome, RefundOutcome)
        assert outcome.state is RefundState.SUCCEEDED
        assert shop.cards.given_back(order_id) == PRICE.amount
        assert not (await own.describe()).typed_search_attributes[NEEDS_ATTENTION]
        await replayed(await own.fetch_history())

    async def test_somebody_may_still_reject_it_and_says_why(self, shop: Shop) -> None:
        own, order_id = await self.undecided(shop)
        await own.execute_update(RefundWorkflow.reject, Reject("ops-7", "replaced by hand"))
        outcome = await own.result()
        assert isinstance(outcome, RefundOutcome)
        why = "rejected by ops-7: replaced by hand"
        assert (outcome.state, outcome.why) == (RefundState.REJECTED, why)
        [line] = await told(shop, order_id, "refund_rejected")
        assert line["why"] == why
        assert not (await own.describe()).typed_search_attributes[NEEDS_ATTENTION]

    async def test_what_a_shop_requested_itself_still_ends_after_three_days(
        self, shop: Shop
    ) -> None:
        order_id = await refunds.paid(shop)
        outcome = await refunds.refund(shop, RefundRequest(order_id, "r1"))
        assert outcome.state is RefundState.REJECTED
        assert "nobody decided" in outcome.why
