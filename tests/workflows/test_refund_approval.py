"""Refunds above the shop's limit: approved, rejected, forgotten, taken back."""

from __future__ import annotations

import pytest

from durable_orders.contracts.error_types import NOT_WAITING, OTHER_CONTENTS, TOO_LATE
from durable_orders.domain.activity_messages import CancelRequest
from durable_orders.domain.money import Money
from durable_orders.domain.ports import Mail, RefusedError
from durable_orders.domain.refunds.messages import RefundProgress, ShopRefundTerms
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from durable_orders.domain.workflow_messages import Approve, Reject
from tests.support.keys import mail_key
from tests.workflows.conftest import PRICE, Shop
from tests.workflows.refunds import (
    ONE_MUG,
    Handle,
    begin,
    ended,
    new_id,
    paid,
    reached,
    refund,
    refusal_of,
    refused,
)
from workflows.refund import RefundWorkflow


@pytest.fixture
def refund_terms() -> ShopRefundTerms:
    return ShopRefundTerms(approval_above={"EUR": 10_00})


def reminders(shop: Shop, request: RefundRequest) -> list[Mail]:
    """What the approver was sent about this refund."""
    kind = f"refund_approval_reminder_{request.refund_id}"
    key = mail_key(request.order_id, kind)
    return [sent.mail for sent in shop.mailer.sent if sent.key == key]


async def waiting(shop: Shop) -> tuple[Handle, RefundRequest]:
    request = RefundRequest(await paid(shop), new_id(), lines=ONE_MUG, restock=True)
    handle = await begin(shop, request, waits=True)
    await reached(shop, handle, RefundState.AWAITING_APPROVAL)
    assert shop.cards.refunds == {}
    return handle, request


async def test_below_the_limit_nobody_is_asked(shop: Shop) -> None:
    amount = Money(10_00, "EUR")
    outcome = await refund(shop, RefundRequest(await paid(shop), new_id(), amount=amount))
    assert outcome.state is RefundState.SUCCEEDED


async def test_whoever_decides_in_the_second_half_was_reminded(shop: Shop) -> None:
    sent = shop.mailer.hold("send", where="after")
    sent.release()
    reminded = shop.mailer.hold("send", where="after")
    handle = await begin(shop, request := RefundRequest(await paid(shop), new_id()))
    await reminded.entered()  # the confirmation went before it
    assert len(reminders(shop, request)) == 1
    await handle.execute_update(RefundWorkflow.approve, Approve("ops-7"))
    reminded.release()
    assert (await ended(shop, handle, request.order_id)).state is RefundState.SUCCEEDED


async def test_a_reminder_that_cannot_be_sent_changes_nothing(shop: Shop) -> None:
    request = RefundRequest(await paid(shop), new_id())
    shop.mailer.fail_until_healed("send", RefusedError("no such address"))
    outcome = await refund(shop, request)
    assert outcome.state is RefundState.REJECTED


async def test_an_approved_refund_is_paid(shop: Shop) -> None:
    handle, request = await waiting(shop)
    await handle.execute_update(RefundWorkflow.approve, Approve("ops-7", "seen it"))
    outcome = await ended(shop, handle, request.order_id)
    assert (outcome.state, outcome.restocked) == (RefundState.SUCCEEDED, True)
    assert reminders(shop, request) == []


async def test_a_rejected_refund_gives_its_amount_free(shop: Shop) -> None:
    handle, request = await waiting(shop)
    await handle.execute_update(RefundWorkflow.reject, Reject("ops-7", "worn"))
    outcome = await ended(shop, handle, request.order_id)
    assert (outcome.state, outcome.why) == (RefundState.REJECTED, "rejected by ops-7: worn")
    assert (outcome.restocked, outcome.mailed) == (False, False)
    small = RefundRequest(request.order_id, new_id(), lines=ONE_MUG, amount=Money(1, "EUR"))
    assert (await refund(shop, small)).state is RefundState.SUCCEEDED


async def test_nobody_deciding_gives_the_amount_free_after_one_reminder(shop: Shop) -> None:
    request = RefundRequest(await paid(shop), new_id())
    outcome = await refund(shop, request)
    [mail] = reminders(shop, request)
    assert mail.to == "approver@example.com"
    assert f"refund approve {request.order_id} {request.refund_id} --by" in mail.text
    assert "29.00 EUR" in mail.text
    assert outcome.state is RefundState.REJECTED
    assert outcome.why == "nobody decided within 3 days, 0:00:00"
    assert shop.cards.refunds == {}


async def test_a_cancelled_refund_gives_its_amount_free(shop: Shop) -> None:
    handle, request = await waiting(shop)
    told = await handle.execute_update(RefundWorkflow.cancel, CancelRequest("customer"))
    assert told.state is RefundState.CANCELLED
    assert (await ended(shop, handle, request.order_id)).state is RefundState.CANCELLED
    assert shop.cards.refunds == {}


async def test_what_was_freed_stays_freed_when_it_is_asked_for_again(shop: Shop) -> None:
    handle, request = await waiting(shop)
    await handle.execute_update(RefundWorkflow.cancel, CancelRequest("customer"))
    await handle.result()
    assert (await refund(shop, request)).state is RefundState.CANCELLED
    assert shop.cards.refunds == {}


async def test_cancelling_in_the_web_ui_does_the_same(shop: Shop) -> None:
    handle, request = await waiting(shop)
    await handle.cancel()
    assert (await ended(shop, handle, request.order_id)).state is RefundState.CANCELLED


async def test_what_waits_is_set_aside(shop: Shop) -> None:
    handle, request = await waiting(shop)
    too_much = RefundRequest(request.order_id, new_id(), amount=PRICE + Money(1, "EUR"))
    assert "14.50 EUR of order" in await refusal_of(shop, too_much)
    await handle.cancel()
    await handle.result()


async def test_a_second_decision_and_a_cancel_come_too_late(shop: Shop) -> None:
    gate = shop.cards.hold("refund")
    handle, request = await waiting(shop)
    await handle.execute_update(RefundWorkflow.approve, Approve("ops-7"))
    await gate.entered()
    second = await refused(handle.execute_update(RefundWorkflow.reject, Reject("ops-8")))
    late = await refused(handle.execute_update(RefundWorkflow.cancel, CancelRequest()))
    await handle.cancel()  # the Web UI's button: too late as well
    gate.release()
    assert (second.type, late.type) == (NOT_WAITING, TOO_LATE)
    assert "ops-7 has approved it" in second.message
    assert (await ended(shop, handle, request.order_id)).state is RefundState.SUCCEEDED


async def test_a_running_refund_answers_the_same_request_and_refuses_another(shop: Shop) -> None:
    handle, request = await waiting(shop)
    told = await handle.execute_update(RefundWorkflow.request, request)
    assert isinstance(told, RefundProgress)
    assert (told.state, told.amount) == (RefundState.AWAITING_APPROVAL, PRICE)
    other = RefundRequest(request.order_id, request.refund_id)
    refusal = await refused(handle.execute_update(RefundWorkflow.request, other))
    assert refusal.type == OTHER_CONTENTS
    await handle.cancel()
    await handle.result()
