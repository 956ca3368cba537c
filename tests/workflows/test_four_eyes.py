"""Who asked may not approve, who sent a decision is written down, and names are bounded."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from durable_orders.contracts.error_types import MALFORMED, SECOND_PERSON_NEEDED
from durable_orders.domain.activity_messages import CancelRequest
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.order import Basket, Recipient
from durable_orders.domain.refunds.messages import ShopRefundTerms
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from durable_orders.domain.terms import ShopTerms
from durable_orders.domain.workflow_messages import (
    Approve,
    RefundParcel,
    Reject,
    ResendParcel,
    Resolve,
    RetryNow,
    SettleParcel,
    SkipStep,
)
from tests.workflows.conftest import TOTAL, Shop
from tests.workflows.refunds import begin, new_id
from tests.workflows.refunds import ended as refund_ended
from tests.workflows.refunds import reached as refund_reached
from tests.workflows.test_waiting import reached, refused
from workflows.order import OrderWorkflow
from workflows.refund import RefundWorkflow

ABOVE = {"EUR": TOTAL.amount - 1}
LONG = "x" * 129


@pytest.fixture
def terms() -> ShopTerms:
    return ShopTerms(approval_above=ABOVE, four_eyes=True)


@pytest.fixture
def refund_terms() -> ShopRefundTerms:
    return ShopRefundTerms(approval_above={"EUR": 10_00}, four_eyes=True)


async def waiting(shop: Shop, placed_by: str) -> Any:
    recipient = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square, London")
    order_id = f"f-{new_id()}"
    basket = Basket(order_id, "cus_1", recipient, (("MUG", 2),), "pm_card_visa")
    await shop.book.place(basket, datetime.now(UTC), placed_by=placed_by)
    handle = await shop.start(order_id, waits=True)
    await reached(shop, handle, Status.AWAITING_APPROVAL)
    return handle


async def line_of(shop: Shop, order_id: str, event: str) -> dict[str, str]:
    lines = (await shop.book.view(order_id)).history
    [detail] = [line.detail for line in lines if line.event == event]
    return detail


async def test_the_key_that_placed_an_order_may_reject_and_not_approve_it(shop: Shop) -> None:
    handle = await waiting(shop, "web-shop")
    own = Approve("ceo-anna", "it is fine", "web-shop")
    refusal = await refused(handle.execute_update(OrderWorkflow.approve, own))
    assert refusal.type == SECOND_PERSON_NEEDED
    assert "was requested by web-shop, who may not approve it" in refusal.message
    assert "somebody else has to" in refusal.message
    await handle.execute_update(OrderWorkflow.reject, Reject("ceo-anna", "no", "web-shop"))
    outcome = await handle.result()
    assert outcome.stop.message == "rejected by web-shop (for ceo-anna): no"


async def test_another_key_approves_it_and_both_names_are_written_down(shop: Shop) -> None:
    handle = await waiting(shop, "web-shop")
    await handle.execute_update(OrderWorkflow.approve, Approve("web-shop", "", "ops-desk"))
    outcome = await handle.result()
    assert outcome.status is Status.COMPLETED
    detail = await line_of(shop, outcome.order_id, "order_approved")
    assert detail == {"by": "web-shop", "actor": "ops-desk", "note": ""}
    placed = await line_of(shop, outcome.order_id, "order_placed")
    assert placed["actor"] == "web-shop"


async def test_who_comes_past_all_doors_is_known_by_the_name_they_give_and_told_apart(
    shop: Shop,
) -> None:
    handle = await waiting(shop, "web-shop")
    refusal = await refused(handle.execute_update(OrderWorkflow.approve, Approve("web-shop")))
    assert refusal.type == SECOND_PERSON_NEEDED
    await handle.execute_update(OrderWorkflow.approve, Approve("ceo-anna"))
    outcome = await handle.result()
    assert "actor" not in await line_of(shop, outcome.order_id, "order_approved")


async def test_who_requested_a_refund_may_not_approve_it(shop: Shop) -> None:
    # Placed by no key: anybody approves it.
    order = await waiting(shop, "")
    await order.execute_update(OrderWorkflow.approve, Approve("ops-7"))
    order_id = (await order.result()).order_id
    request = RefundRequest(order_id, new_id(), requested_by="ops-desk")
    handle = await begin(shop, request, waits=True)
    await refund_reached(shop, handle, RefundState.AWAITING_APPROVAL)
    own = Approve("ceo-anna", "", "ops-desk")
    refusal = await refused(handle.execute_update(RefundWorkflow.approve, own))
    assert refusal.type == SECOND_PERSON_NEEDED
    # Whoever sends the same request again has not asked for another refund.
    again = RefundRequest(order_id, request.refund_id, requested_by="ops-night")
    await handle.execute_update(RefundWorkflow.request, again)
    other = Approve("ceo-anna", "", "ops-night")
    await handle.execute_update(RefundWorkflow.approve, other)
    assert (await refund_ended(shop, handle, order_id)).state is RefundState.SUCCEEDED
    detail = await line_of(shop, order_id, "refund_approved")
    assert (detail["by"], detail["actor"]) == ("ceo-anna", "ops-night")


class TestWithoutFourEyes:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(approval_above=ABOVE)

    async def test_the_same_key_may(self, shop: Shop) -> None:
        handle = await waiting(shop, "web-shop")
        await handle.execute_update(OrderWorkflow.approve, Approve("web-shop", "", "web-shop"))
        assert (await handle.result()).status is Status.COMPLETED


TOO_MUCH = [
    (OrderWorkflow.approve, Approve(LONG)),
    (OrderWorkflow.approve, Approve("ops-7", "x" * 501)),
    (OrderWorkflow.approve, Approve("ops-7", "", LONG)),
    (OrderWorkflow.approve, Approve("Ada Lovelace")),
    (OrderWorkflow.reject, Reject("ops\x1b[2J")),
    (OrderWorkflow.reject, Reject("ops-7", "x" * 501)),
    (OrderWorkflow.cancel, CancelRequest(LONG)),
    (OrderWorkflow.cancel, CancelRequest("customer", "k\n")),
    (OrderWorkflow.settle_parcel, SettleParcel("par_1", "x" * 501)),
    (OrderWorkflow.resend_parcel, ResendParcel("par_1", LONG)),
    (OrderWorkflow.refund_parcel, RefundParcel("par_1", "")),
    (OrderWorkflow.operate, RetryNow(LONG)),
    (OrderWorkflow.operate, SkipStep("x" * 501)),
    (OrderWorkflow.operate, Resolve("done", LONG)),
]


@pytest.mark.parametrize(("update", "decision"), TOO_MUCH, ids=range(len(TOO_MUCH)))
async def test_an_update_whose_names_are_none_is_refused(
    shop: Shop, update: Any, decision: Any
) -> None:
    handle = await waiting(shop, "")
    refusal = await refused(handle.execute_update(update, decision))
    assert refusal.type == MALFORMED
    await handle.execute_update(OrderWorkflow.reject, Reject("ops-7"))
    assert (await handle.result()).status is Status.REJECTED


async def test_a_signal_with_such_a_name_still_cancels_by_nobody_known(shop: Shop) -> None:
    handle = await waiting(shop, "")
    await handle.signal(OrderWorkflow.cancel_order, CancelRequest("x" * 100_000))
    outcome = await handle.result()
    assert outcome.status is Status.CANCELLED
    assert outcome.stop.message == "cancelled by unknown"


async def test_a_refund_takes_no_such_name_either(shop: Shop) -> None:
    order = await waiting(shop, "")
    await order.execute_update(OrderWorkflow.approve, Approve("ops-7"))
    order_id = (await order.result()).order_id
    handle = await begin(shop, RefundRequest(order_id, new_id()), waits=True)
    await refund_reached(shop, handle, RefundState.AWAITING_APPROVAL)
    updates: list[tuple[Any, Any]] = [
        (RefundWorkflow.approve, Approve(LONG)),
        (RefundWorkflow.reject, Reject("ops-7", "x" * 501)),
        (RefundWorkflow.cancel, CancelRequest(LONG)),
        (RefundWorkflow.operate, RetryNow(LONG)),
    ]
    for update, decision in updates:
        assert (await refused(handle.execute_update(update, decision))).type == MALFORMED
    await handle.execute_update(RefundWorkflow.cancel, CancelRequest("customer", "web-shop"))
    outcome = await refund_ended(shop, handle, order_id)
    assert outcome.why == "cancelled by web-shop (for customer)"
