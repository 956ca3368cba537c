"""Routes: webhooks of Stripe, the warehouse and Resend, authenticated by their signatures.

An event is verified and stored before the response; ``inbox`` delivers it to its order afterwards.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect

from durable_orders.api.dependencies import Deps
from durable_orders.api.openapi import example, problem_responses
from durable_orders.api.problems import (
    BAD_SIGNATURE,
    MALFORMED,
    NOT_LISTENING,
    OUR_FAULT,
    REFUSED,
    TOO_LARGE,
    TOO_MANY,
    UNAVAILABLE,
    ProblemError,
)
from durable_orders.api.rate_limits import AccessPolicy, client_address
from durable_orders.api.webhook_inbox import WebhookNotConfiguredError
from durable_orders.domain.webhooks import BadSignatureError, WebhookSource

router = APIRouter(
    prefix="/webhooks",
    tags=["webhooks"],
    responses={
        200: example({"received": True}),
        **problem_responses(
            BAD_SIGNATURE, TOO_LARGE, MALFORMED, TOO_MANY, OUR_FAULT, UNAVAILABLE, NOT_LISTENING
        ),
    },
)

_SECRET_SETTINGS: Final = {
    WebhookSource.STRIPE: "STRIPE_WEBHOOK_SECRET",
    WebhookSource.WAREHOUSE: "FULFILLMENT_WEBHOOK_SECRET",
    WebhookSource.RESEND: "RESEND_WEBHOOK_SECRET",
}


@router.post("/stripe")
async def stripe_webhook(request: Request, dependencies: Deps) -> dict[str, bool]:
    """Receive a Stripe event, signed in `Stripe-Signature`."""
    return await _receive(WebhookSource.STRIPE, request, dependencies)


@router.post("/warehouse")
async def warehouse_webhook(request: Request, dependencies: Deps) -> dict[str, bool]:
    """Receive a warehouse event, signed in `webhook-signature` (Standard Webhooks)."""
    return await _receive(WebhookSource.WAREHOUSE, request, dependencies)


@router.post("/resend")
async def resend_webhook(request: Request, dependencies: Deps) -> dict[str, bool]:
    """Receive a Resend event, signed in `svix-signature`."""
    return await _receive(WebhookSource.RESEND, request, dependencies)


async def _receive(source: WebhookSource, request: Request, dependencies: Deps) -> dict[str, bool]:
    """Answer 200 once the event is stored, is a duplicate, or concerns nothing here."""
    not_listening = ProblemError(
        NOT_LISTENING, f"nobody listens to this neighbour: {_SECRET_SETTINGS[source]} is not set"
    )
    if dependencies.inbox is None:
        raise not_listening
    try:
        await dependencies.inbox.receive(source, request.headers, await request.body())
    except WebhookNotConfiguredError:
        raise not_listening from None
    except BadSignatureError:
        # A good signature is never refused for the bad ones of others behind the same address.
        policy: AccessPolicy = request.app.state.policy
        policy.count_failure(client_address(request.scope))
        raise
    except ClientDisconnect:
        raise ProblemError(REFUSED, "the body did not come to its end") from None
    return {"received": True}
