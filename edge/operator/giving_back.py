"""Money of an order is given back: asked for with a form, then decided about."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from durable_orders.clients.errors import (
    OrderClientError,
    RefundRefusedError,
    UnknownRefundError,
    UnreachableError,
)
from edge.operator.decisions import Decision
from edge.operator.refund_form import WrongFormError, left_lines, request_in
from edge.operator.rendering import Page
from edge.operator.visits import Form, Sent, Visit, Visiting
from edge.operator.words import sentence, spelled
from edge.parts import Orders, Refunds, RequestId
from edge.problems import MALFORMED, NOT_FOUND, ProblemError
from orders.refund_messages import RefundProgress
from orders.refunds import RefundReason, RefundState
from orders.views import OrderView

router = APIRouter(prefix="/operator/orders/{order_id}", route_class=Page, include_in_schema=False)

#: How long a page waits for what becomes of a refund; the bank may take days.
_PATIENCE: Final = 3.0
#: Where a refund stands when a person decides about it, and for a moment after that.
_BEFORE: Final = frozenset({RefundState.AWAITING_APPROVAL, RefundState.FAILED})
_NO_REASON: Final = "Reason for the order's history (no personal data)"

#: Every decision about a refund, by its name in the address.
DECISIONS: Final = {
    decision.name: decision
    for decision in (
        Decision("approve", "Approve", "The money is given back.", may_tell="Note (no names)"),
        Decision(
            "reject",
            "Reject",
            "No money moves; the amount is free for another refund.",
            asks=_NO_REASON,
            is_harmful=True,
        ),
        Decision("cancel", "Take it back", "No money moves.", is_harmful=True),
        Decision("retry-now", "Try again now", "The bank is asked again at once."),
        Decision(
            "resolve",
            "Settled by hand",
            "You have paid the customer back another way: the card provider is not asked any more.",
            asks="How it was done (no personal data)",
            is_harmful=True,
        ),
    )
}


@router.get("/refund")
async def ask_refund(order_id: str, visit: Visiting, orders: Orders, refunds: Refunds) -> Response:
    """What to give back, and why."""
    # Made here and sent along: the same form twice is one refund.
    refund_id = f"op{secrets.token_hex(8)}"
    blank = Form({"refund_id": refund_id})
    return await _form(visit, await orders.view(order_id), refunds, blank)


@router.post("/refund")
async def request_refund(
    order_id: str,
    visit: Visiting,
    *,
    orders: Orders,
    refunds: Refunds,
    sent: Sent,
    asked_as: RequestId,
) -> Response:
    """Have it given back; the order's page says how far that came."""
    view = await orders.view(order_id)
    try:
        request = request_in(sent, view.order, by=visit.by)
        progress = await refunds.request(request, request_id=asked_as)
    except (WrongFormError, RefundRefusedError) as error:
        return await _form(visit, view, refunds, sent, wrong=sentence(str(error)))
    except OrderClientError as error:
        return await visit.refused(sentence(str(error)), f"/operator/orders/{order_id}")
    progress = await _settled(progress, refunds)
    return await visit.done(_told(progress), f"/operator/orders/{order_id}")


@router.get("/refunds/{refund_id}/{name}")
async def ask(
    order_id: str, refund_id: str, name: str, visit: Visiting, orders: Orders
) -> Response:
    """What the decision will do, and a form to make it."""
    return await _page(await orders.view(order_id), refund_id, _decision(name), visit)


@router.post("/refunds/{refund_id}/{name}")
async def decide(
    order_id: str,
    refund_id: str,
    name: str,
    visit: Visiting,
    *,
    orders: Orders,
    refunds: Refunds,
    sent: Sent,
) -> Response:
    """Make the decision; the order's page says what became of it."""
    decision = _decision(name)
    if decision.asks and not sent["why"]:
        wrong = "Say why: it is kept with the order."
        return await _page(await orders.view(order_id), refund_id, decision, visit, wrong)
    by, why, ids = visit.by, sent["why"], (order_id, refund_id)
    then = f"/operator/orders/{order_id}"
    try:
        match decision.name:
            case "approve":
                await refunds.approve(*ids, by, why)
            case "reject":
                await refunds.reject(*ids, by, why)
            case "cancel":
                await refunds.cancel(*ids, by)
            case "retry-now":
                await refunds.retry_now(*ids, by)
            case _:
                await refunds.resolve(*ids, why, by)
        progress = await _settled(await refunds.status(*ids), refunds, also=_BEFORE)
    except OrderClientError as error:
        return await visit.refused(sentence(str(error)), then)
    return await visit.done(_told(progress), then)


async def _settled(
    progress: RefundProgress, refunds: Refunds, also: frozenset[RefundState] = frozenset()
) -> RefundProgress:
    """The refund once it waits for somebody or has ended, or after a short while; ``also`` are
    states that it is about to leave.
    """
    ref = progress.refund
    quick = {RefundState.REQUESTED, RefundState.ISSUING, *also}
    with contextlib.suppress(TimeoutError, UnreachableError):
        async with asyncio.timeout(_PATIENCE):
            while progress.state in quick and progress.attention is None:
                await asyncio.sleep(0.1)
                progress = await refunds.status(ref.order_id, ref.refund_id)
    return progress


def _told(progress: RefundProgress) -> str:
    amount = f" of {progress.amount}" if progress.amount else ""
    why = f" {sentence(progress.why)}" if progress.why else ""
    return f"Refund {progress.refund.refund_id}{amount}: {spelled(progress.state)}.{why}"


async def _form(
    visit: Visit, view: OrderView, refunds: Refunds, form: Form, wrong: str = ""
) -> Response:
    earlier = await refunds.refunds_of(view.order.id)
    return await visit.page(
        "refund.html",
        MALFORMED.status if wrong else 200,
        order=view.order,
        view=view,
        lines=left_lines(view.order, earlier),
        reasons=list(RefundReason),
        form=form,
        wrong=wrong,
    )


async def _page(
    view: OrderView, refund_id: str, decision: Decision, visit: Visit, wrong: str = ""
) -> Response:
    found = next((each for each in view.refunds if each.refund_id == refund_id), None)
    if found is None:
        raise UnknownRefundError(view.order.id, refund_id)
    return await visit.page(
        "decide.html",
        MALFORMED.status if wrong else 200,
        about=f"Refund {refund_id} of order {view.order.id}",
        order=view.order,
        amount=found.amount,
        state=found.state,
        decision=decision,
        effect=decision.effect,
        wrong=wrong,
    )


def _decision(name: str) -> Decision:
    if name not in DECISIONS:
        raise ProblemError(NOT_FOUND, "There is no such page.")
    return DECISIONS[name]
