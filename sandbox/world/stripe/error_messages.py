"""How Stripe speaks of keys, rate limits and its own failures ("Idempotent requests", "Errors")."""

from collections.abc import Mapping

from sandbox.world.request_pipeline import Answer, Call
from sandbox.world.state_store import Remembered
from sandbox.world.stripe.context import API_VERSION
from sandbox.world.stripe.errors import envelope


class Stripe:
    """How Stripe words what is not about payments."""

    name = "stripe"
    key_lifetime = 24 * 3600.0  # "Keys are eligible to be removed after they're at least 24 hours"
    keeps_refusals = True

    def headers(self, call: Call) -> Mapping[str, str]:
        named = {} if call.key is None else {"Idempotency-Key": call.key}
        return {"Request-Id": call.request_id, "Stripe-Version": API_VERSION, **named}

    def replayed(self, call: Call, first: Remembered) -> Mapping[str, str]:  # noqa: ARG002
        return {"Idempotent-Replayed": "true", "Original-Request": first.request_id}

    def in_use(self, call: Call) -> Answer:
        message = (
            "There is currently another in-progress request using this Idempotent Key "
            f"({call.key}). Please retry your request later."
        )
        return Answer(409, envelope("idempotency_error", message, code="idempotency_key_in_use"))

    def mismatch(self, call: Call, first: Remembered) -> Answer:
        where = f"for the same endpoint they were first used for ('{call.path}' vs '{first.path}')"
        what = "with the same parameters they were first used with"
        message = (
            f"Keys for idempotent requests can only be used "
            f"{what if first.path == call.path else where}. Try using a key other than "
            f"'{call.key}' if you meant to execute a different request."
        )
        return Answer(400, envelope("idempotency_error", message))

    def rate_limited(self, call: Call, seconds: float) -> Answer:  # noqa: ARG002
        message = "Request rate limit exceeded. Learn more about rate limits in the docs."
        body = envelope("invalid_request_error", message, code="rate_limit")
        return Answer(429, body, {"Retry-After": str(max(1, round(seconds)))})

    def broken(self, call: Call) -> Answer:  # noqa: ARG002
        return Answer(500, envelope("api_error", "An unknown error occurred."))
