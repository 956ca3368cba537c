"""Following disputes, early fraud warnings and reviews of a payment to their end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from durable_orders.contracts.search_attributes import CUSTOMER_ID, NEEDS_ATTENTION
from durable_orders.domain.disputes.dispute import ConcernKind, DisputeStatus
from durable_orders.domain.disputes.messages import (
    PaymentRiskInput,
    PaymentRiskOutcome,
    PaymentRiskProgress,
)
from durable_orders.domain.ids import (
    TASK_QUEUE,
    mail_key,
    payment_risk_workflow_id,
    refund_workflow_id,
    won_refund_id,
    workflow_id,
)
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.ports import LockedOutError, NoAnswerError, RefusedError
from durable_orders.domain.refunds.messages import RefundOutcome, ShopRefundTerms
from durable_orders.domain.refunds.refund import NEVER_ISSUED, RefundRequest, RefundState
from durable_orders.domain.terms import FraudWarningPolicy, ShopTerms
from durable_orders.domain.workflow_messages import Reject, RetryNow
from tests.support.eventually import eventually
from tests.support.keys import INSTALLATION
from tests.workflows.conftest import TOTAL, Shop, current_details, ended, events, replayed
from tests.workflows.refunds import paid, refund, refusal_of
from workflows import retry_policies
from workflows.order import OrderWorkflow
from workflows.payment_risk import PaymentRiskWorkflow
from workflows.refund import RefundWorkflow

Handle = WorkflowHandle[PaymentRiskWorkflow, PaymentRiskOutcome]

NOTHING, PART = Money(0, "EUR"), Money(10_00, "EUR")


def payment_of(shop: Shop, order_id: str) -> str:
    [charge] = shop.cards.charges_of(order_id)
    return charge.payment_id


async def tell(shop: Shop, order_id: str, *, waits: bool = True) -> Handle:
    """What a webhook does: the run is started, or woken."""
    client = shop.patient_client if waits else shop.client
    return await client.start_workflow(
        PaymentRiskWorkflow.run,
        PaymentRiskInput(order_id),
        id=payment_risk_workflow_id(order_id),
        task_queue=TASK_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        start_signal="risks_updated",
    )


async def progress(handle: Handle) -> PaymentRiskProgress:
    return await handle.query(PaymentRiskWorkflow.status)


async def asks(handle: Handle) -> str:
    """What a person is asked, once one is."""
    found: list[str] = []

    async def asked() -> bool:
        attention = (await progress(handle)).attention
        found[:] = [attention.problem] if attention else []
        return bool(found)

    await eventually(asked)
    return found[0]


async def quiet(handle: Handle) -> PaymentRiskProgress:
    """Where the run stands, once it waits and needs nobody."""

    async def waits() -> bool:
        now = await progress(handle)
        return now.attention is None and now.doing == "waiting for the bank"

    await eventually(waits)
    return await progress(handle)


async def over(handle: Handle) -> PaymentRiskOutcome:
    outcome = await handle.result()
    await replayed(await handle.fetch_history())
    return outcome


async def lines(shop: Shop, order_id: str) -> list[str]:
    words = ("dispute_", "fraud_", "review_", "payment_risk")
    history = (await shop.book.view(order_id)).history
    return [line.event for line in history if line.event.startswith(words)]


# -- disputes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "withdrawn", "event"),
    [("win", NOTHING, "dispute_won"), ("lose", TOTAL, "dispute_lost")],
)
async def test_a_chargeback_is_followed_until_it_is_won_or_lost(
    shop: Shop, how: str, withdrawn: Money, event: str
) -> None:
    order_id = await paid(shop)
    dispute = shop.risks.dispute(payment_of(shop, order_id), TOTAL)
    handle = await tell(shop, order_id)
    assert dispute.due_by is not None
    due = f"{dispute.due_by:%Y-%m-%d %H:%M} UTC"
    problem = await asks(handle)
    assert problem.startswith(f"chargeback {dispute.dispute_id} over 29.00 EUR (fraudulent)")
    assert due in problem
    described = await handle.describe()
    assert described.typed_search_attributes[NEEDS_ATTENTION] is True
    assert described.typed_search_attributes[CUSTOMER_ID] == "cus_1"
    assert due in await current_details(handle)

    evidence = {"product_description": "two mugs"}
    await shop.risks.submit_evidence(dispute.dispute_id, evidence, submit=True, key="k")
    await handle.signal(PaymentRiskWorkflow.risks_updated)
    assert [one.kind for one in (await quiet(handle)).concerns] == [ConcernKind.CHARGEBACK]

    shop.risks.win(dispute.dispute_id) if how == "win" else shop.risks.lose(dispute.dispute_id)
    await tell(shop, order_id)
    payment_id = payment_of(shop, order_id)
    assert await over(handle) == PaymentRiskOutcome(order_id, payment_id, withdrawn)
    assert (await handle.describe()).typed_search_attributes[NEEDS_ATTENTION] is False
    assert await lines(shop, order_id) == ["dispute_opened", "dispute_updated", event]
    assert shop.cards.given_back(order_id) == 0


async def test_an_inquiry_is_closed_and_leaves_the_money(shop: Shop) -> None:
    order_id = await paid(shop)
    inquiry = shop.risks.dispute(payment_of(shop, order_id), TOTAL, inquiry=True)
    handle = await tell(shop, order_id)
    assert (await asks(handle)).startswith("inquiry")
    shop.risks.win(inquiry.dispute_id)
    await tell(shop, order_id)
    assert (await over(handle)).withdrawn == NOTHING
    assert await lines(shop, order_id) == ["dispute_opened", "dispute_closed"]


async def test_an_inquiry_that_becomes_a_chargeback_is_one_dispute(shop: Shop) -> None:
    order_id = await paid(shop)
    inquiry = shop.risks.dispute(payment_of(shop, order_id), TOTAL, inquiry=True)
    handle = await tell(shop, order_id)
    await asks(handle)
    shop.risks.escalate(inquiry.dispute_id)
    await tell(shop, order_id)

    async def escalated() -> bool:
        return (await asks(handle)).startswith("chargeback")

    await eventually(escalated)
    shop.risks.lose(inquiry.dispute_id)
    await tell(shop, order_id)
    assert (await over(handle)).withdrawn == TOTAL
    assert await lines(shop, order_id) == ["dispute_opened", "dispute_updated", "dispute_lost"]


async def test_two_partial_disputes_end_when_both_are_over(shop: Shop) -> None:
    order_id = await paid(shop)
    payment_id = payment_of(shop, order_id)
    first = shop.risks.dispute(payment_id, PART)
    second = shop.risks.dispute(payment_id, PART)
    handle = await tell(shop, order_id)
    problem = await asks(handle)
    assert first.dispute_id in problem
    assert second.dispute_id in problem
    shop.risks.win(first.dispute_id)
    await tell(shop, order_id)

    async def one_left() -> bool:
        return len((await progress(handle)).concerns) == 1

    await eventually(one_left)
    shop.risks.lose(second.dispute_id)
    await tell(shop, order_id)
    assert (await over(handle)).withdrawn == PART


async def test_news_that_come_twice_late_and_after_the_end_change_nothing(shop: Shop) -> None:
    order_id = await paid(shop)
    dispute = shop.risks.dispute(payment_of(shop, order_id), TOTAL)
    shop.risks.lose(dispute.dispute_id)
    for _ in range(3):
        await tell(shop, order_id)
    handle = await tell(shop, order_id)
    await handle.result()
    again = await tell(shop, order_id)
    assert (await over(again)).withdrawn == TOTAL
    assert await lines(shop, order_id) == ["dispute_opened", "dispute_lost"]


async def test_an_acknowledged_dispute_is_followed_and_asks_nobody(shop: Shop) -> None:
    order_id = await paid(shop)
    dispute = shop.risks.dispute(payment_of(shop, order_id), TOTAL)
    handle = await tell(shop, order_id)
    await asks(handle)
    now = datetime.now(UTC)
    await shop.disputes.acknowledge(order_id, dispute.dispute_id, "ada", "we accept it", now)
    await tell(shop, order_id)
    assert len((await quiet(handle)).concerns) == 1
    shop.risks.lose(dispute.dispute_id)
    await tell(shop, order_id)
    assert (await over(handle)).withdrawn == TOTAL


# -- warnings and reviews --------------------------------------------------------------------------


async def test_a_warning_is_shown_until_somebody_acknowledges_it(shop: Shop) -> None:
    order_id = await paid(shop)
    warning = shop.risks.warn(payment_of(shop, order_id))
    handle = await tell(shop, order_id)
    assert "refund the order before it is disputed" in await asks(handle)
    now = datetime.now(UTC)
    await shop.disputes.acknowledge(order_id, warning.warning_id, "ada", "she called", now)
    await tell(shop, order_id)
    await over(handle)
    assert shop.cards.given_back(order_id) == 0
    assert await lines(shop, order_id) == ["fraud_warning", "payment_risk_acknowledged"]


async def test_a_warning_ends_with_the_dispute_that_it_announced(shop: Shop) -> None:
    order_id = await paid(shop)
    payment_id = payment_of(shop, order_id)
    shop.risks.warn(payment_id)
    handle = await tell(shop, order_id)
    await asks(handle)
    dispute = shop.risks.dispute(payment_id, TOTAL)
    await tell(shop, order_id)

    async def disputed() -> bool:
        return [one.kind for one in (await progress(handle)).concerns] == [ConcernKind.CHARGEBACK]

    await eventually(disputed)
    shop.risks.lose(dispute.dispute_id)
    await tell(shop, order_id)
    await over(handle)
    assert await lines(shop, order_id) == [
        "fraud_warning",
        "dispute_opened",
        "fraud_warning_updated",
        "dispute_lost",
    ]


@pytest.mark.parametrize("reason", ["approved", "refunded", "refunded_as_fraud", "disputed"])
async def test_a_review_is_followed_until_it_is_closed(shop: Shop, reason: str) -> None:
    order_id = await paid(shop)
    review = shop.risks.review(payment_of(shop, order_id))
    handle = await tell(shop, order_id)
    assert "approve or refund it" in await asks(handle)
    shop.risks.close_review(review.review_id, reason)
    await tell(shop, order_id)
    await over(handle)
    assert await lines(shop, order_id) == ["review_opened", "review_closed"]


class TestAShopThatRefundsAtOnce:
    """``on_fraud_warning`` is ``refund``."""

    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(on_fraud_warning=FraudWarningPolicy.REFUND)

    async def test_what_is_left_of_an_order_that_has_left_is_refunded_once(
        self, shop: Shop
    ) -> None:
        order_id = await paid(shop)
        await refund(shop, RefundRequest(order_id, "r1", amount=PART))
        payment_id = payment_of(shop, order_id)
        warning = shop.risks.warn(payment_id)
        handle = await tell(shop, order_id)
        id_ = refund_workflow_id(order_id, warning.warning_id)
        run = shop.client.get_workflow_handle_for(RefundWorkflow.run, id_)

        async def refunded() -> bool:
            return shop.cards.given_back(order_id) == TOTAL.amount

        await eventually(refunded)
        outcome = await run.result()
        assert isinstance(outcome, RefundOutcome)
        assert (outcome.state, outcome.amount) == (RefundState.SUCCEEDED, TOTAL - PART)
        await tell(shop, order_id)
        assert (await progress(handle)).attention is None
        shop.risks.settle_warnings(payment_id)  # as Stripe does then
        await tell(shop, order_id)
        await over(handle)
        again = await tell(shop, order_id)
        await over(again)
        assert len(await shop.refunds.refunds_of(order_id)) == 2

    async def test_a_refund_that_is_about_to_be_set_aside_asks_nobody(self, shop: Shop) -> None:
        """Another event comes before the refund's run has set it aside."""
        order_id = await paid(shop)
        warning = shop.risks.warn(payment_of(shop, order_id))
        gate = shop.refunds.hold("reserve")
        handle = await tell(shop, order_id)
        await gate.entered()
        shop.risks.review(payment_of(shop, order_id))
        await tell(shop, order_id)
        asked = await asks(handle)
        assert asked.startswith("review ")
        assert "was not made" not in asked
        gate.release()

        async def refunded() -> bool:
            return shop.cards.given_back(order_id) == TOTAL.amount

        await eventually(refunded)
        assert [one.request.refund_id for one in await shop.refunds.refunds_of(order_id)] == [
            warning.warning_id
        ]
        await handle.terminate()

    async def test_nothing_is_refunded_of_an_order_that_is_charged_back(self, shop: Shop) -> None:
        order_id = await paid(shop)
        payment_id = payment_of(shop, order_id)
        dispute = shop.risks.dispute(payment_id, PART)
        shop.risks.warn(payment_id)  # of another part, say: it can be acted on
        handle = await tell(shop, order_id)
        assert dispute.dispute_id in await asks(handle)
        assert await shop.refunds.refunds_of(order_id) == ()
        await handle.terminate()

    async def test_an_order_that_has_not_left_is_left_to_its_own_run(self, shop: Shop) -> None:
        gate = shop.warehouse.hold("fulfill")
        order = await shop.order(waits=True)
        await gate.entered()
        order_id = order.id.removeprefix("order-")
        shop.risks.warn(payment_of(shop, order_id))
        handle = await tell(shop, order_id)
        assert len((await quiet(handle)).concerns) == 1
        assert await shop.refunds.refunds_of(order_id) == ()
        await handle.terminate()
        await order.signal(OrderWorkflow.cancel_order, None)
        gate.release()
        await ended(order)


class TestAShopThatApprovesRefunds:
    """``on_fraud_warning`` is ``refund``, and a person approves every refund."""

    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(on_fraud_warning=FraudWarningPolicy.REFUND)

    @pytest.fixture
    def refund_terms(self) -> ShopRefundTerms:
        return ShopRefundTerms(approval_above={"EUR": 0})

    async def test_a_refund_that_a_person_rejects_leaves_the_warning_to_that_person(
        self, shop: Shop
    ) -> None:
        order_id = await paid(shop)
        warning = shop.risks.warn(payment_of(shop, order_id))
        handle = await tell(shop, order_id)
        id_ = refund_workflow_id(order_id, warning.warning_id)
        run = shop.client.get_workflow_handle_for(RefundWorkflow.run, id_)

        async def waits() -> bool:
            entry = await shop.refunds.find(order_id, warning.warning_id)
            return entry is not None and entry.state is RefundState.AWAITING_APPROVAL

        await eventually(waits)
        await tell(shop, order_id)
        await run.execute_update(RefundWorkflow.reject, Reject("ada", "it was a friend's card"))
        await run.result()
        await tell(shop, order_id)
        assert "refund the order before it is disputed" in await asks(handle)
        assert shop.cards.given_back(order_id) == 0
        await handle.terminate()


# -- the order's own run ---------------------------------------------------------------------------


async def test_the_orders_own_run_is_told_once_of_each_change(shop: Shop) -> None:
    order = await shop.order("pm_card_authenticationRequired", waits=True)

    async def charged() -> bool:
        order_id = order.id.removeprefix("order-")
        return bool(shop.cards.charges_of(order_id))

    await eventually(charged)
    order_id = order.id.removeprefix("order-")
    review = shop.risks.review(payment_of(shop, order_id))
    handle = await tell(shop, order_id)
    await asks(handle)
    for _ in range(3):
        await tell(shop, order_id)
    shop.risks.close_review(review.review_id)
    await tell(shop, order_id)
    await over(handle)
    heard = events(await order.fetch_history()).count("WORKFLOW_EXECUTION_SIGNALED")
    assert heard == 2
    await order.terminate()


async def test_a_dispute_of_an_order_whose_run_has_ended_is_followed_all_the_same(
    shop: Shop,
) -> None:
    order_id = await paid(shop)
    shop.risks.dispute(payment_of(shop, order_id), TOTAL)
    handle = await tell(shop, order_id)
    await asks(handle)
    assert shop.disputes.calls.count("record") == 1
    await handle.terminate()


@pytest.mark.parametrize("order_id", ["nobody", "unpaid"])
async def test_there_is_nothing_to_follow_without_a_payment(shop: Shop, order_id: str) -> None:
    if order_id == "unpaid":
        order_id = await shop.place()
    outcome = await over(await tell(shop, order_id))
    assert outcome == PaymentRiskOutcome(order_id)
    assert shop.risks.calls == []


# -- money -----------------------------------------------------------------------------------------


async def test_what_is_charged_back_is_not_refunded_and_the_refusal_names_the_dispute(
    shop: Shop,
) -> None:
    order_id = await paid(shop)
    dispute = shop.risks.dispute(payment_of(shop, order_id), TOTAL)
    handle = await tell(shop, order_id)
    await asks(handle)
    message = await refusal_of(shop, RefundRequest(order_id, "r1"))
    assert f"is charged back by dispute {dispute.dispute_id}" in message
    shop.risks.lose(dispute.dispute_id)
    await tell(shop, order_id)
    await over(handle)
    message = await refusal_of(shop, RefundRequest(order_id, "r1"))
    assert f"29.00 EUR was taken by dispute {dispute.dispute_id}" in message


async def test_an_inquiry_can_be_refunded(shop: Shop) -> None:
    order_id = await paid(shop)
    inquiry = shop.risks.dispute(payment_of(shop, order_id), TOTAL, inquiry=True)
    handle = await tell(shop, order_id)
    await asks(handle)
    assert (await refund(shop, RefundRequest(order_id, "r1"))).state is RefundState.SUCCEEDED
    shop.risks.win(inquiry.dispute_id)
    await tell(shop, order_id)
    await over(handle)


async def test_a_dispute_that_is_won_can_be_refunded_again(shop: Shop) -> None:
    order_id = await paid(shop)
    dispute = shop.risks.dispute(payment_of(shop, order_id), TOTAL)
    shop.risks.win(dispute.dispute_id)
    await over(await tell(shop, order_id))
    assert (await refund(shop, RefundRequest(order_id, "r1"))).state is RefundState.SUCCEEDED


async def charged_back_before_it_left(shop: Shop, amount: Money = TOTAL) -> tuple[str, str]:
    """An order that is charged back while the warehouse is asked, and cancelled; its dispute."""
    gate = shop.warehouse.hold("fulfill")
    order = await shop.order(waits=True)
    await gate.entered()
    order_id = order.id.removeprefix("order-")
    dispute = shop.risks.dispute(payment_of(shop, order_id), amount)
    # Stripe refuses every refund of a charge that is charged back.
    shop.cards.fail_until_healed("refund", RefusedError("charge_disputed"))
    await order.signal(OrderWorkflow.cancel_order, None)
    gate.release()
    if amount == TOTAL:
        outcome = await ended(order)
        assert (outcome.status, outcome.given_back) == (Status.REFUNDED, TOTAL)
    return order_id, dispute.dispute_id


async def test_undoing_an_order_ends_although_its_payment_was_charged_back(shop: Shop) -> None:
    order_id, dispute_id = await charged_back_before_it_left(shop)
    # Nobody had told us of the dispute: it was read when the refund was refused.
    recorded = await shop.disputes.find(dispute_id)
    assert recorded is not None
    assert recorded[1].withdrawn == TOTAL
    assert shop.cards.given_back(order_id) == 0
    shop.cards.heal("refund")
    [mail] = [sent.mail for sent in shop.mailer.sent if f"order-{order_id}:" in sent.key]
    assert "Your bank has taken 29.00 EUR back from us" in mail.text
    assert "We have given" not in mail.text


async def test_the_rest_of_a_partly_disputed_order_waits_for_the_dispute_or_a_person(
    shop: Shop,
) -> None:
    order_id, dispute_id = await charged_back_before_it_left(shop, PART)
    order = shop.client.get_workflow_handle_for(OrderWorkflow.run, workflow_id(order_id))

    async def told() -> bool:
        attention = (await order.query(OrderWorkflow.status)).attention
        return attention is not None and dispute_id in attention.problem

    await eventually(told)
    shop.risks.lose(dispute_id)
    shop.cards.heal("refund")
    await order.execute_update(OrderWorkflow.operate, RetryNow("ada"))
    outcome = await ended(order)
    assert (outcome.status, outcome.given_back) == (Status.REFUNDED, TOTAL)
    assert shop.cards.given_back(order_id) == (TOTAL - PART).amount


async def test_a_dispute_that_is_won_after_its_order_was_undone_is_the_customers(
    shop: Shop,
) -> None:
    order_id, dispute_id = await charged_back_before_it_left(shop)
    shop.cards.heal("refund")
    handle = await tell(shop, order_id)
    await asks(handle)
    assert shop.cards.given_back(order_id) == 0
    shop.risks.win(dispute_id)
    await tell(shop, order_id)

    async def refunded() -> bool:
        return shop.cards.given_back(order_id) == TOTAL.amount

    await eventually(refunded)
    id_ = refund_workflow_id(order_id, won_refund_id(dispute_id))
    run = shop.client.get_workflow_handle_for(RefundWorkflow.run, id_)
    outcome = await run.result()
    assert isinstance(outcome, RefundOutcome)
    assert outcome.amount == TOTAL
    await tell(shop, order_id)
    assert (await over(handle)).withdrawn == NOTHING
    assert (await shop.book.get(order_id)).status is Status.REFUNDED
    assert "only what is paid" in await refusal_of(shop, RefundRequest(order_id, "r1"))


async def test_a_dispute_that_is_lost_after_its_order_was_undone_ends_it(shop: Shop) -> None:
    order_id, dispute_id = await charged_back_before_it_left(shop)
    shop.cards.heal("refund")
    shop.risks.lose(dispute_id)
    assert (await over(await tell(shop, order_id))).withdrawn == TOTAL
    assert shop.cards.given_back(order_id) == 0
    assert {one.state for one in await shop.refunds.refunds_of(order_id)} <= NEVER_ISSUED


# -- time, outages and long lives ------------------------------------------------------------------


async def test_without_news_it_looks_by_itself_and_reminds_the_approver_once(shop: Shop) -> None:
    order_id = await paid(shop)
    dispute = shop.risks.dispute(payment_of(shop, order_id), TOTAL)
    lost = shop.risks.hold("risks_of")
    handle = await tell(shop, order_id, waits=False)
    await lost.entered()
    lost.release()
    key = mail_key(INSTALLATION, order_id, f"dispute_reminder_{dispute.dispute_id}")

    async def reminded() -> bool:
        return any(sent.key == key for sent in shop.mailer.sent)

    await eventually(reminded)
    looks = shop.risks.calls.count("risks_of")
    assert 7 <= looks <= 20  # daily, and more often near the deadline
    [mail] = [sent.mail for sent in shop.mailer.sent if sent.key == key]
    assert mail.to == "approver@example.com"
    assert dispute.dispute_id in mail.text
    shop.risks.lose(dispute.dispute_id)
    await handle.result()
    assert sum(sent.key == key for sent in shop.mailer.sent) == 1


async def test_a_run_that_is_started_again_does_not_remind_again(shop: Shop) -> None:
    order_id = await paid(shop)
    soon = timedelta(days=1)
    dispute = shop.risks.dispute(payment_of(shop, order_id), TOTAL, due_in=soon)
    handle = await tell(shop, order_id)
    await asks(handle)
    await handle.terminate()
    again = await tell(shop, order_id)
    await asks(again)
    reminder = f"dispute_reminder_{dispute.dispute_id}"
    assert sum(reminder in sent.key for sent in shop.mailer.sent) == 1
    await again.terminate()


async def test_an_outage_of_the_provider_is_waited_out_and_shown(shop: Shop) -> None:
    order_id = await paid(shop)
    dispute = shop.risks.dispute(payment_of(shop, order_id), TOTAL)
    shop.risks.lose(dispute.dispute_id)
    hour = timedelta(hours=1)
    shop.risks.fail_next(
        "risks_of", LockedOutError("the key is refused", retry_after=hour), times=9
    )
    shop.disputes.fail_next("record", NoAnswerError("the database is away"), times=2)
    assert (await over(await tell(shop, order_id, waits=False))).withdrawn == TOTAL


async def test_a_request_that_stripe_refuses_is_tried_again_and_shown(shop: Shop) -> None:
    order_id = await paid(shop)
    shop.risks.fail_until_healed("risks_of", RefusedError("Stripe refuses: a bug of ours"))
    handle = await tell(shop, order_id)
    assert "a bug of ours" in await asks(handle)
    await handle.terminate()


async def test_an_answer_that_was_lost_after_it_was_recorded_tells_the_order_all_the_same(
    shop: Shop,
) -> None:
    order = await shop.order("pm_card_authenticationRequired", waits=True)
    order_id = order.id.removeprefix("order-")

    async def charged() -> bool:
        return bool(shop.cards.charges_of(order_id))

    await eventually(charged)
    shop.risks.review(payment_of(shop, order_id))
    shop.disputes.lose_answer_next("record")
    handle = await tell(shop, order_id)
    await asks(handle)
    assert "WORKFLOW_EXECUTION_SIGNALED" in events(await order.fetch_history())
    await handle.terminate()
    await order.terminate()


async def test_a_long_life_continues_as_new_and_forgets_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_policies, "LONG_RISK_HISTORY", 40)
    order_id = await paid(shop)
    dispute = shop.risks.dispute(payment_of(shop, order_id), TOTAL, due_in=timedelta(days=1))
    first = await tell(shop, order_id)
    problem = await asks(first)
    handle = shop.client.get_workflow_handle_for(PaymentRiskWorkflow.run, first.id)

    async def continued() -> bool:
        await tell(shop, order_id)
        return (await handle.describe()).run_id != first.first_execution_run_id

    await eventually(continued)
    assert await asks(handle) == problem
    described = await handle.describe()
    assert described.status is WorkflowExecutionStatus.RUNNING
    assert described.typed_search_attributes[NEEDS_ATTENTION] is True
    shop.risks.win(dispute.dispute_id)
    await tell(shop, order_id)
    assert (await handle.result()).withdrawn == NOTHING
    assert (await handle.describe()).typed_search_attributes[NEEDS_ATTENTION] is False
    assert sum("dispute_reminder" in sent.key for sent in shop.mailer.sent) == 1
    recorded = await shop.disputes.find(dispute.dispute_id)
    assert recorded is not None
    assert recorded[1].status is DisputeStatus.WON


async def test_cancelling_the_run_only_ends_the_following(shop: Shop) -> None:
    order_id = await paid(shop)
    shop.risks.dispute(payment_of(shop, order_id), TOTAL)
    handle = await tell(shop, order_id)
    await asks(handle)
    await handle.cancel()
    assert (await over(handle)).withdrawn == TOTAL
    again = await tell(shop, order_id)
    assert "chargeback" in await asks(again)
    await again.terminate()
