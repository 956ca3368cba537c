"""Route: check an order out, and optionally wait for the state of its payment."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter
from pydantic import Field

from durable_orders.api.dependencies import Orders, RequestId
from durable_orders.api.openapi import example, problem_responses
from durable_orders.api.problems import (
    INVALID_ORDER_ID,
    MALFORMED,
    ORDER_ENDED,
    ORDER_STRANDED,
    UNKNOWN_ORDER,
)
from durable_orders.api.schemas import (
    Amount,
    OrderIdText,
    RequestModel,
    ResponseModel,
    order_url,
)
from durable_orders.clients.errors import OrderClientError
from durable_orders.clients.orders import OrderClient
from durable_orders.domain import payment_status as news
from durable_orders.domain.lifecycle import StopReason
from durable_orders.domain.ports import ProviderError

log = logging.getLogger(__name__)

#: Seconds for the card provider, after the wait for the payment.
_PROVIDER_TIMEOUT: Final = 5

router = APIRouter(tags=["orders"])


class CheckoutRequest(RequestModel):
    """Start processing an order that was placed before."""

    order_id: OrderIdText = Field(examples=["1001"])
    wait_seconds: int = Field(
        default=0, ge=0, le=15, description="Wait so long for what becomes of the payment."
    )


class Paid(ResponseModel):
    """The payment is captured."""

    state: Literal["paid"] = "paid"
    amount: Amount


class Held(ResponseModel):
    """The payment is authorized, and captured once the warehouse has accepted the order."""

    state: Literal["held"] = "held"
    amount: Amount


class Declined(ResponseModel):
    """The bank declined. ``another_card``: the order waits for another card; otherwise it ends."""

    state: Literal["declined"] = "declined"
    code: str
    another_card: bool


class NeedsCustomer(ResponseModel):
    """The customer's bank asks them to confirm (3-D Secure). Pass ``client_secret`` on to their
    browser and do not store it. Null when the card provider did not answer: check out again.

    ``needs_payment_method``: they were away (``off_session``) and are asked by mail; in the browser
    they confirm the payment anew, with the same card or another one.
    """

    state: Literal["needs_customer"] = "needs_customer"
    payment_id: str
    needs_payment_method: bool
    client_secret: str | None = Field(repr=False)


class AwaitingApproval(ResponseModel):
    """The order waits for a person's approval before it is charged."""

    state: Literal["awaiting_approval"] = "awaiting_approval"


class Stopped(ResponseModel):
    """The order has ended, and no payment remains."""

    state: Literal["stopped"] = "stopped"
    reason: StopReason | None


class Pending(ResponseModel):
    """The state of the payment is not known yet: ask again, or read the order."""

    state: Literal["pending"] = "pending"


PaymentState = Annotated[
    Paid | Held | Declined | NeedsCustomer | AwaitingApproval | Stopped | Pending,
    Field(discriminator="state"),
]


class CheckoutResponse(ResponseModel):
    """The order is being processed; its state is at ``status_url``. ``payment`` is set when the
    request waited for it.
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
        **problem_responses(UNKNOWN_ORDER),
        **problem_responses(ORDER_ENDED, ORDER_STRANDED),
        **problem_responses(MALFORMED, INVALID_ORDER_ID),
    },
)
async def checkout(
    body: CheckoutRequest, orders: Orders, request_id: RequestId
) -> CheckoutResponse:
    """Check an order out: start its workflow. Repeated, at once or after its end, it is the
    same run.

    With `wait_seconds` the response comes as soon as the state of the payment is known, and
    contains it; without a worker it comes after that time. It is 202 either way: the order is being
    processed.
    """
    url = order_url(body.order_id)
    if not body.wait_seconds:
        run = await orders.start(body.order_id, request_id=request_id)
        return CheckoutResponse(workflow_id=run.workflow_id, status_url=url)
    wait = timedelta(seconds=body.wait_seconds)
    started = await orders.checkout(body.order_id, wait, request_id=request_id)
    payment = await _payment_state(orders, body.order_id, started.payment)
    return CheckoutResponse(workflow_id=started.workflow_id, status_url=url, payment=payment)


async def _payment_state(
    orders: OrderClient, order_id: str, payment_news: news.PaymentProgress
) -> PaymentState:
    state: PaymentState
    match payment_news:
        case news.PaymentTaken(amount=amount):
            state = Paid(state="paid", amount=Amount.model_validate(amount))
        case news.PaymentHeld(amount=amount):
            state = Held(state="held", amount=Amount.model_validate(amount))
        case news.PaymentDeclined(code=code, another_card=another_card):
            state = Declined(state="declined", code=code, another_card=another_card)
        case news.CustomerActionRequired() as needed:
            state = await _needs_customer(orders, order_id, needed)
        case news.ApprovalRequired():
            state = AwaitingApproval(state="awaiting_approval")
        case news.PaymentStopped(reason=reason):
            state = Stopped(state="stopped", reason=reason)
        case news.PaymentPending():
            state = Pending(state="pending")
    return state


async def _needs_customer(
    orders: OrderClient, order_id: str, needed: news.CustomerActionRequired
) -> NeedsCustomer:
    # The order is being processed, whatever the provider answers: no reason to fail the request.
    payment_id, secret = needed.payment_id, None
    try:
        async with asyncio.timeout(_PROVIDER_TIMEOUT):
            payment = await orders.payment_to_finish(order_id)
            payment_id, secret = payment.payment_id, payment.client_secret
    except (OrderClientError, ProviderError, TimeoutError) as error:
        log.warning("the customer of order %s cannot be helped: %s", order_id, error)
    return NeedsCustomer(
        state="needs_customer",
        payment_id=payment_id,
        needs_payment_method=needed.needs_payment_method,
        client_secret=secret,
    )
