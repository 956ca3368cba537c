"""What Stripe, the warehouse and Resend tell us. They have no key of ours: they sign it.

Verified and stored here, told to the order by ``inbox``: the answer does not wait for that.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect

from edge.describing import declared, exampled
from edge.parts import Parts
from edge.problems import (
    BAD_SIGNATURE,
    MALFORMED,
    NOT_LISTENING,
    OUR_FAULT,
    REFUSED,
    TOO_LARGE,
    UNAVAILABLE,
    ProblemError,
)
from inbox import NotListeningError
from orders.webhooks import Source

router = APIRouter(
    prefix="/webhooks",
    tags=["webhooks"],
    responses={
        200: exampled({"received": True}),
        **declared(BAD_SIGNATURE, TOO_LARGE, MALFORMED, OUR_FAULT, UNAVAILABLE, NOT_LISTENING),
    },
)

_SETTINGS: Final = {
    Source.STRIPE: "STRIPE_WEBHOOK_SECRET",
    Source.WAREHOUSE: "FULFILLMENT_WEBHOOK_SECRET",
    Source.RESEND: "RESEND_WEBHOOK_SECRET",
}


@router.post("/stripe")
async def stripe_webhook(request: Request, edge: Parts) -> dict[str, bool]:
    """An event of Stripe's, signed in `Stripe-Signature`."""
    return await _received(Source.STRIPE, request, edge)


@router.post("/warehouse")
async def warehouse_webhook(request: Request, edge: Parts) -> dict[str, bool]:
    """An event of the warehouse's, signed in `Warehouse-Signature`."""
    return await _received(Source.WAREHOUSE, request, edge)


@router.post("/resend")
async def resend_webhook(request: Request, edge: Parts) -> dict[str, bool]:
    """An event of Resend's, signed in `svix-signature`."""
    return await _received(Source.RESEND, request, edge)


async def _received(source: Source, request: Request, edge: Parts) -> dict[str, bool]:
    """200 once the event is stored, or is of no use here; also when it came before."""
    nobody = ProblemError(
        NOT_LISTENING, f"nobody listens to this neighbour: {_SETTINGS[source]} is not set"
    )
    if edge.inbox is None:
        raise nobody
    try:
        await edge.inbox.receive(source, request.headers, await request.body())
    except NotListeningError:
        raise nobody from None
    except ClientDisconnect:
        raise ProblemError(REFUSED, "the body did not come to its end") from None
    return {"received": True}
