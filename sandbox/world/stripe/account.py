"""`GET /v1/account`: the account of the key ("Retrieve account" in the API reference).

One stand-in is one account; every test key is a key of it, as after a key was rolled. A second
stand-in can be another account. As at Stripe, the account has no `livemode`, and a restricted key
may not read it: the stand-in's keys have no permission of those that the dashboard can give.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.world.request_pipeline import (
    ApiCall,
    ApiError,
    ApiResponse,
    RequestPipeline,
    to_http_response,
)
from sandbox.world.state_store import JsonObject, new_id
from sandbox.world.stripe.api import authenticate
from sandbox.world.stripe.error_messages import StripeProvider
from sandbox.world.stripe.errors import INVALID, envelope
from sandbox.world.stripe.parameters import EXPAND, parse, validated

#: The account of a stand-in that is not told to be another one.
ACCOUNT_ID: Final = "acct_1SandboxStandIn"

_CREATED: Final = 1_700_000_000


def account_route(pipeline: RequestPipeline, account_id: str) -> Route:
    provider = StripeProvider()

    async def retrieve(request: Request) -> Response:
        call = ApiCall("stripe.account.retrieve", request.url.path, new_id("req", 14))
        authorization = request.headers.get("authorization", "")
        try:
            authenticate(authorization)
            _check_permission(account_id, authorization)
            validated(parse(request.url.query), EXPAND)
        except ApiError as error:
            return to_http_response(error.response, provider.headers(call))
        return await pipeline.handle(
            provider, call, lambda _: ApiResponse(200, _account(account_id))
        )

    return Route("/v1/account", retrieve, methods=["GET"])


def _check_permission(account_id: str, authorization: str) -> None:
    """Raise Stripe's 403 for a restricted key."""
    key = authorization.partition(" ")[2]
    if not key.startswith("rk_"):
        return
    message = (
        f"The provided key '{key[:8]}{'*' * 20}{key[-6:]}' does not have the required permissions "
        f"for this endpoint on account '{account_id}'. Having the 'rak_accounts_kyc_basic_read' "
        "permission would allow this request to continue."
    )
    raise ApiError(ApiResponse(403, envelope(INVALID, message), began=False))


def _account(account_id: str) -> JsonObject:
    return {
        "id": account_id,
        "object": "account",
        "business_profile": {"mcc": None, "name": "Durable Orders", "url": None},
        "business_type": None,
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "country": "DE",
        "created": _CREATED,
        "default_currency": "eur",
        "details_submitted": True,
        "email": "owner@shop.example",
        "metadata": {},
        "payouts_enabled": True,
        "settings": {"dashboard": {"display_name": "Durable Orders", "timezone": "Etc/UTC"}},
        "type": "standard",
    }
