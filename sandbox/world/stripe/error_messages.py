"""Stripe's responses about keys, rate limits and failures ("Idempotent requests", "Errors")."""

from collections.abc import Mapping

from sandbox.world.request_pipeline import ApiCall, ApiResponse
from sandbox.world.state_store import StoredResponse
from sandbox.world.stripe.context import API_VERSION
from sandbox.world.stripe.errors import envelope


class StripeProvider:
    """Stripe's idempotency rules and generic responses."""

    name = "stripe"
    key_lifetime = 24 * 3600.0  # "Keys are eligible to be removed after they're at least 24 hours"
    stores_errors = True

    def headers(self, call: ApiCall) -> Mapping[str, str]:
        named = {} if call.key is None else {"Idempotency-Key": call.key}
        return {"Request-Id": call.request_id, "Stripe-Version": API_VERSION, **named}

    def replay_headers(self, call: ApiCall, first: StoredResponse) -> Mapping[str, str]:  # noqa: ARG002
        return {"Idempotent-Replayed": "true", "Original-Request": first.request_id}

    def key_in_use(self, call: ApiCall) -> ApiResponse:
        message = (
            "There is currently another in-progress request using this Idempotent Key "
            f"({call.key}). Please retry your request later."
        )
        return ApiResponse(
            409, envelope("idempotency_error", message, code="idempotency_key_in_use")
        )

    def key_mismatch(self, call: ApiCall, first: StoredResponse) -> ApiResponse:
        where = f"for the same endpoint they were first used for ('{call.path}' vs '{first.path}')"
        what = "with the same parameters they were first used with"
        message = (
            f"Keys for idempotent requests can only be used "
            f"{what if first.path == call.path else where}. Try using a key other than "
            f"'{call.key}' if you meant to execute a different request."
        )
        return ApiResponse(400, envelope("idempotency_error", message))

    def rate_limited(self, call: ApiCall, seconds: float) -> ApiResponse:  # noqa: ARG002
        message = "Request rate limit exceeded. Learn more about rate limits in the docs."
        body = envelope("invalid_request_error", message, code="rate_limit")
        return ApiResponse(429, body, {"Retry-After": str(max(1, round(seconds)))})

    def locked(self, call: ApiCall) -> ApiResponse:  # noqa: ARG002
        message = (
            "This object cannot be accessed right now because another API request or Stripe "
            "process is currently accessing it. If you see this error intermittently, retry the "
            "request."
        )
        return ApiResponse(429, envelope("invalid_request_error", message, code="lock_timeout"))

    def restricted(self, call: ApiCall) -> ApiResponse:  # noqa: ARG002
        message = (
            "Your account cannot currently make live charges. Check the requirements of your "
            "account in the Dashboard."
        )
        return ApiResponse(403, envelope("invalid_request_error", message))

    def server_error(self, call: ApiCall) -> ApiResponse:  # noqa: ARG002
        return ApiResponse(500, envelope("api_error", "An unknown error occurred."))
