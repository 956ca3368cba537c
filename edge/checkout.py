"""A shopper checks out, and may wait for the payment."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from durable_orders.clients.errors import OrderClientError
from durable_orders.clients.orders import OrderClient
from edge.describing import declared, example
from edge.parts import Orders, RequestId
from edge.problems import (
    INVALID_ORDER_ID,
    MALFORMED,
    ORDER_ENDED,
    ORDER_STRANDED,
    UNKNOWN_ORDER,
)
from edge.shapes import ORDER_ID, Amount, Asked, Told
from orders import payment_news as news
from orders.lifecycle import Reason
from orders.ports import ProviderError

log = logging.getLogger(__name__)

#: With the provider, in seconds, after what was waited for the payment.
_PATIENCE: Final = 5

router = APIRouter(tags=["orders"])


class Checkout(Asked):
    """A shopper checks out: carry this order, which was placed before."""

    order_id: str = Field(examples=["1001"], json_schema_extra=dict(ORDER_ID))
    wait_seconds: int = Field(
        default=0, ge=0, le=15, description="Wait so long for what becomes of the payment."
    )


class Paid(Told):
    """The money was taken."""

    state: Literal["paid"] = "paid"
    amount: Amount


class Held(Told):
    """The money is set aside, and taken once the warehouse has accepted."""

    state: Literal["held"] = "held"
    amount: Amount


class Declined(Told):
    """The bank said no. ``another_card``: the order waits for one; else it ends."""

    state: Literal["declined"] = "declined"
    code: str
    another_card: bool


class NeedsCustomer(Told):
    """The customer's bank wants them to confirm: hand the secret to their browser, and keep it
    nowhere. Null when the card provider could not be asked for it: check out again.
    """

    state: Literal["needs_customer"] = "needs_customer"
    payment_id: str
    client_secret: str | None = Field(repr=False)


class AwaitingApproval(Told):
    """A person has to let the order pass first."""

    state: Literal["awaiting_approval"] = "awaiting_approval"


class Stopped(Told):
    """The order has ended, and nothing of it is paid any more."""

    state: Literal["stopped"] = "stopped"
    reason: Reason | None


class Pending(Told):
    """Nothing is known yet: ask again, or look at the order."""

    state: Literal["pending"] = "pending"


PaymentState = Annotated[
    Paid | Held | Declined | NeedsCustomer | AwaitingApproval | Stopped | Pending,
    Field(discriminator="state"),
]


class Accepted(Told):
    """The order is carried; ask ``status_url`` how far it is. ``payment`` is there when it was
    waited for.
    """

    workflow_id: str = Field(examples=["order-1001"])
    status_url: str = Field(examples=["/orders/1001"])
    payment: PaymentState | None = None


@router.post(
    "/checkout",
    status_code=202,
    response_model_exclude_unset=True,
    responses={
        202: example(
            {
                "workflow_id": "order-1001",
                "status_url": "/orders/1001",
                "payment": {"state": "paid", "amount": {"amount": 2900, "currency": "EUR"}},
            }
        ),
        **declared(UNKNOWN_ORDER),
        **declared(ORDER_ENDED, ORDER_STRANDED),
        **declared(MALFORMED, INVALID_ORDER_ID),
    },
)
async def checkout(
    asked: Checkout, orders: Orders, request: Request, request_id: RequestId
) -> Accepted:
    """Have an order carried to its end. Twice, at once, or after its end is the same run.

    With `wait_seconds` the answer comes as soon as it is known what became of the payment, and says
    so; without a worker it comes after that time. It is 202 either way: the order is carried.
    """
    # A path: which host we have is the proxy's business.
    url = request.app.url_path_for("read_order", order_id=asked.order_id)
    if not asked.wait_seconds:
        run = await orders.start(asked.order_id, request_id=request_id)
        return Accepted(workflow_id=run.workflow_id, status_url=url)
    wait = timedelta(seconds=asked.wait_seconds)
    done = await orders.checkout(asked.order_id, wait, request_id=request_id)
    payment = await _payment(orders, asked.order_id, done.payment)
    return Accepted(workflow_id=done.workflow_id, status_url=url, payment=payment)


async def _payment(orders: OrderClient, order_id: str, told: news.PaymentNews) -> PaymentState:
    shown: PaymentState
    match told:
        case news.PaymentTaken(amount=amount):
            shown = Paid(state="paid", amount=Amount.model_validate(amount))
        case news.PaymentHeld(amount=amount):
            shown = Held(state="held", amount=Amount.model_validate(amount))
        case news.PaymentDeclined(code=code, another_card=another_card):
            shown = Declined(state="declined", code=code, another_card=another_card)
        case news.CustomerNeeded(payment_id=payment_id):
            shown = await _to_finish(orders, order_id, payment_id)
        case news.ApprovalAwaited():
            shown = AwaitingApproval(state="awaiting_approval")
        case news.PaymentStopped(reason=reason):
            shown = Stopped(state="stopped", reason=reason)
        case news.PaymentPending():
            shown = Pending(state="pending")
    return shown


async def _to_finish(orders: OrderClient, order_id: str, payment_id: str) -> NeedsCustomer:
    # The order is carried whatever the provider answers now, and that is what was asked for.
    try:
        async with asyncio.timeout(_PATIENCE):
            payment = await orders.payment_to_finish(order_id)
    except (OrderClientError, ProviderError, TimeoutError) as error:
        log.warning("the customer of order %s cannot be helped: %s", order_id, error)
        return NeedsCustomer(state="needs_customer", payment_id=payment_id, client_secret=None)
    return NeedsCustomer(
        state="needs_customer", payment_id=payment.payment_id, client_secret=payment.client_secret
    )
