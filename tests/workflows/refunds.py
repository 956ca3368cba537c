"""Refunds as tests ask for them: begun, followed, carried to their end with the books checked."""

from __future__ import annotations

from collections.abc import Awaitable
from itertools import count

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from durable_orders.domain.ids import TASK_QUEUE, refund_workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.refunds.messages import RefundAnswer, RefundOutcome, RefundProgress
from durable_orders.domain.refunds.refund import RefundRefused, RefundRequest, RefundState
from tests.support.eventually import eventually
from tests.workflows.conftest import ON_HAND, QUANTITY, TOTAL, Shop, replayed
from workflows.refund import RefundWorkflow

Handle = WorkflowHandle[RefundWorkflow, RefundAnswer]

ONE_MUG = (("MUG", 1),)
_numbers = count(1)


def new_id() -> str:
    return f"r{next(_numbers)}"


async def paid(shop: Shop, card: str = "pm_card_visa") -> str:
    """An order that is completed; its id."""
    outcome = await (await shop.order(card)).result()
    assert outcome.status is Status.COMPLETED
    return outcome.order_id


async def begin(shop: Shop, request: RefundRequest, *, waits: bool = False) -> Handle:
    client = shop.patient_client if waits else shop.client
    return await client.start_workflow(
        RefundWorkflow.run,
        request,
        id=refund_workflow_id(request.order_id, request.refund_id),
        task_queue=TASK_QUEUE,
    )


async def refund(shop: Shop, request: RefundRequest) -> RefundOutcome:
    """A refund carried to its end, with the books checked and its run replayed."""
    handle = await begin(shop, request)
    return await ended(shop, handle, request.order_id)


async def ended(shop: Shop, handle: Handle, order_id: str) -> RefundOutcome:
    answer = await handle.result()
    assert isinstance(answer, RefundOutcome), answer
    await check(shop, order_id)
    await replayed(await handle.fetch_history())
    return answer


async def refusal_of(shop: Shop, request: RefundRequest) -> str:
    before = shop.cards.given_back(request.order_id)
    answer = await (await begin(shop, request)).result()
    assert isinstance(answer, RefundRefused), answer
    assert shop.cards.given_back(request.order_id) == before
    assert await shop.refunds.find(request.order_id, request.refund_id) is None
    return answer.message


async def check(shop: Shop, order_id: str) -> None:
    """Of the total, all is kept but what somebody asked for; books and provider agree."""
    refunds = await shop.refunds.refunds_of(order_id)
    arrived = sum(r.amount.amount for r in refunds if r.state is RefundState.SUCCEEDED)
    view = await shop.book.view(order_id)
    assert shop.cards.taken(order_id) == TOTAL.amount
    assert shop.cards.given_back(order_id) == arrived
    assert sum(p.refunded.amount for p in view.payments) == arrived
    restocked = sum(n for r in refunds if r.restocked for _, n in r.lines)
    assert shop.database.products["MUG"].on_hand == ON_HAND - QUANTITY + restocked
    assert view.order.status is Status.COMPLETED


async def reached(shop: Shop, handle: Handle, state: RefundState) -> None:
    async def there() -> bool:
        return (await handle.query(RefundWorkflow.status)).state is state

    await eventually(there)


async def needs_a_person(handle: Handle) -> RefundProgress:
    async def there() -> bool:
        return (await handle.query(RefundWorkflow.status)).attention is not None

    await eventually(there)
    return await handle.query(RefundWorkflow.status)


async def refused(update: Awaitable[object]) -> ApplicationError:
    with pytest.raises(WorkflowUpdateFailedError) as refusal:
        await update
    assert isinstance(refusal.value.cause, ApplicationError)
    return refusal.value.cause


def mails_of(shop: Shop, refund_id: str) -> int:
    return sum(f":refund:{refund_id}:" in mail.key for mail in shop.mailer.sent)
