"""What Stripe and the network between us may answer, and what it means."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable_orders.domain.money import Money
from durable_orders.domain.ports import (
    CardRefund,
    ChargeState,
    LockedOutError,
    NoAnswerError,
    ProviderError,
    RefusedError,
)
from durable_orders.providers.stripe.cards import StripeCards
from tests.unit.canned import answering, http

INTENT = {
    "id": "pi_1",
    "object": "payment_intent",
    "amount": 4200,
    "amount_received": 0,
    "currency": "eur",
    "status": "requires_confirmation",
    "last_payment_error": None,
}


def error(status: int, kind: str, code: str | None = None, **headers: str) -> bytes:
    body = {"error": {"type": kind, "message": "no", **({"code": code} if code else {})}}
    return http(status, body, **headers)


NO_ANSWERS = {
    "hang up": b"",
    "half an answer": http(200, INTENT)[:-20],
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a proxy's page": http(502, "<html>Bad Gateway</html>"),
    "a page that calls itself fine": http(200, "<html>Welcome</html>"),
    "a list": http(200, []),
    "null": http(200, None),
    "an empty object": http(200, {}),
    "an unknown status": http(200, {**INTENT, "status": "meditating"}),
    "an amount in words": http(200, {**INTENT, "amount": "many"}),
    "a currency that is none": http(200, {**INTENT, "currency": "euros"}),
    "409 key in use": error(409, "idempotency_error", "idempotency_key_in_use"),
    "400 key in use": error(400, "idempotency_error", "idempotency_key_in_use"),
    "409 anything": error(409, "invalid_request_error"),
    "429 object locked": error(429, "invalid_request_error", "lock_timeout"),
    "400 rate limit": error(400, "invalid_request_error", "rate_limit"),
    "500": error(500, "api_error"),
    "503": error(503, "api_error"),
}


async def ask(reply: bytes) -> ProviderError:
    """The error that reading a payment raises when Stripe answers ``reply``."""
    async with answering(reply) as url, StripeCards("sk_test_secret", api_base=url) as cards:
        with pytest.raises(ProviderError) as caught:
            await cards.read("pi_1")
    return caught.value


@pytest.mark.parametrize("reply", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
async def test_no_answer_is_never_a_refusal(reply: bytes) -> None:
    assert type(await ask(reply)) is NoAnswerError


async def test_nobody_there_is_no_answer() -> None:
    async with answering(b"") as url:
        pass
    async with StripeCards("sk_test_secret", api_base=url) as cards:
        with pytest.raises(NoAnswerError):
            await cards.read("pi_1")


@pytest.mark.parametrize("status", [429, 503])
async def test_stripe_may_say_how_long_to_wait(status: int) -> None:
    failed = await ask(error(status, "api_error", Retry_After="12"))
    assert isinstance(failed, NoAnswerError)
    assert failed.retry_after == timedelta(seconds=12)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_names_the_setting_and_not_the_key(status: int) -> None:
    body = {"error": {"type": "invalid_request_error", "message": "Invalid: sk_test_****cret"}}
    failed = await ask(http(status, body))
    assert isinstance(failed, LockedOutError)
    assert "STRIPE_API_KEY" in str(failed)
    assert "sk_test" not in str(failed)


@pytest.mark.parametrize(
    "reply",
    [
        error(400, "invalid_request_error", "parameter_unknown"),
        error(404, "invalid_request_error", "resource_missing"),
        error(400, "idempotency_error"),
        error(402, "card_error", "card_declined"),
    ],
)
async def test_a_wrong_request_is_refused_for_good(reply: bytes) -> None:
    assert isinstance(await ask(reply), RefusedError)


@pytest.mark.parametrize(
    ("status", "problem", "state", "code"),
    [
        ("requires_payment_method", None, ChargeState.OPEN, ""),
        (
            "requires_payment_method",
            {"code": "card_declined", "decline_code": "lost_card", "message": "No."},
            ChargeState.DECLINED,
            "lost_card",
        ),
        ("requires_payment_method", {"code": "expired_card"}, ChargeState.DECLINED, "expired_card"),
        ("requires_confirmation", None, ChargeState.OPEN, ""),
        ("requires_action", None, ChargeState.NEEDS_CUSTOMER, ""),
        ("processing", None, ChargeState.PROCESSING, ""),
        ("requires_capture", None, ChargeState.HELD, ""),
        ("canceled", {"code": "card_declined"}, ChargeState.CANCELLED, ""),
    ],
)
async def test_every_status_of_an_intent_has_a_state(
    status: str, problem: dict[str, str] | None, state: ChargeState, code: str
) -> None:
    reply = http(200, {**INTENT, "status": status, "last_payment_error": problem})
    async with answering(reply) as url, StripeCards("sk_test_secret", api_base=url) as cards:
        charge = await cards.read("pi_1")
    assert (charge.state, charge.decline_code) == (state, code)


# -- two questions, and the world moves between them -----------------------------------------------

UNEXPECTED = error(400, "invalid_request_error", "payment_intent_unexpected_state")


async def test_what_can_be_neither_cancelled_nor_refunded_yet_is_no_answer() -> None:
    processing = http(200, {**INTENT, "status": "processing"})
    async with (
        answering(UNEXPECTED, processing) as url,
        StripeCards("sk_test_secret", api_base=url) as cards,
    ):
        with pytest.raises(NoAnswerError, match="processing"):
            await cards.cancel("pi_1")


async def test_a_charge_without_a_card_cannot_be_confirmed() -> None:
    empty = http(200, {**INTENT, "status": "requires_payment_method"})
    async with (
        answering(UNEXPECTED, empty) as url,
        StripeCards("sk_test_secret", api_base=url) as cards,
    ):
        with pytest.raises(RefusedError):
            await cards.confirm("pi_1", payment_method="pm_card_visa", key="k")


async def test_a_decline_that_left_no_trace_is_still_a_decline() -> None:
    declined = error(402, "card_error", "card_declined")
    async with (
        answering(declined, http(200, INTENT)) as url,
        StripeCards("sk_test_secret", api_base=url) as cards,
    ):
        charge = await cards.confirm("pi_1", payment_method="pm_card_visa", key="k")
    assert (charge.state, charge.decline_code) == (ChargeState.DECLINED, "card_declined")


async def test_a_refund_that_was_made_meanwhile_under_our_key_is_ours() -> None:
    def listing(*refunds: object) -> bytes:
        return http(200, {"object": "list", "data": list(refunds), "has_more": False, "url": "/"})

    ours = {
        "id": "re_1",
        "object": "refund",
        "amount": 4200,
        "currency": "eur",
        "status": "succeeded",
        "metadata": {"refund_key": "k"},
    }
    theirs = {**ours, "id": "re_2", "metadata": {}}
    too_late = error(400, "invalid_request_error", "charge_already_refunded")
    async with (
        answering(listing(theirs), too_late, listing(theirs, ours)) as url,
        StripeCards("sk_test_secret", api_base=url) as cards,
    ):
        refund = await cards.refund(
            "pi_1", Money(4200, "EUR"), installation="testshop", order_id="t-1", key="k"
        )
    assert refund == CardRefund("re_1", Money(4200, "EUR"))
