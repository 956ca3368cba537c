"""What Stripe and the network between us may answer, and what it means."""

from __future__ import annotations

import inspect
import re
from datetime import timedelta

import pytest
import stripe

from durable_orders.domain.money import Money
from durable_orders.domain.ports import (
    AmountRefusedError,
    BusyError,
    CardDeclinedError,
    CardRefund,
    ChargeState,
    LockedOutError,
    NoAnswerError,
    ProviderError,
    RefusedError,
    UnknownCustomerError,
    UnusableCardError,
)
from durable_orders.providers.stripe.cards import StripeCards
from durable_orders.providers.stripe.error_codes import CODES, MEANINGS, Meaning
from durable_orders.providers.stripe.errors import (
    HoldExpiredError,
    NoSuchObjectError,
    ReceiptRefusedError,
    UnexpectedStateError,
    provider_error,
)
from durable_orders.providers.stripe.listing import StripeChargeListing
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


def error(
    status: int,
    kind: str,
    code: str | None = None,
    *,
    param: str | None = None,
    message: str = "no",
    **headers: str,
) -> bytes:
    said = {"type": kind, "message": message, "code": code, "param": param}
    body = {"error": {name: value for name, value in said.items() if value is not None}}
    return http(status, body, **headers)


def invalid(code: str | None = None, **more: str) -> bytes:
    """A 400 of Stripe's."""
    return error(400, "invalid_request_error", code, **more)


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
    "500": error(500, "api_error"),
    "503": error(503, "api_error"),
    "400 the provider behind it": error(
        400, "invalid_request_error", "payment_method_provider_timeout"
    ),
}
LOAD = {
    "409 key in use": error(409, "idempotency_error", "idempotency_key_in_use"),
    "400 key in use": error(400, "idempotency_error", "idempotency_key_in_use"),
    "409 anything": error(409, "invalid_request_error"),
    "429 anything": error(429, "invalid_request_error"),
    "429 object locked": error(429, "invalid_request_error", "lock_timeout"),
    "400 object locked": error(400, "invalid_request_error", "lock_timeout"),
    "400 rate limit": error(400, "invalid_request_error", "rate_limit"),
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


@pytest.mark.parametrize("reply", LOAD.values(), ids=LOAD.keys())
async def test_load_is_no_answer_of_its_own_kind(reply: bytes) -> None:
    assert type(await ask(reply)) is BusyError


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


RESTRICTED = {
    "403 with its reason": error(
        403, "invalid_request_error", message="Your account cannot currently make live charges."
    ),
    "403 by its code": error(403, "invalid_request_error", "account_invalid"),
    "400 without a code": invalid(
        message="This Connect account cannot currently make live charges. The requirements …"
    ),
    "400 a capability": invalid("capability_not_active"),
    "400 not activated": invalid("testmode_charges_only"),
    "400 a limit of ours": invalid("charge_exceeds_source_limit"),
    "400 our balance": invalid("balance_insufficient"),
    "402 our balance": error(402, "card_error", "balance_insufficient"),
}


@pytest.mark.parametrize("reply", RESTRICTED.values(), ids=RESTRICTED.keys())
async def test_an_account_that_is_restricted_is_for_a_person(reply: bytes) -> None:
    failed = await ask(reply)
    assert isinstance(failed, LockedOutError)
    assert "the account in Stripe's dashboard" in str(failed)


async def test_a_refusal_names_its_code_its_parameter_and_its_request_and_no_words() -> None:
    said = "No such thing as Ada Lovelace, 12 St James's Square"
    reply = invalid("parameter_invalid_empty", param="shipping[name]", message=said)
    failed = await ask(reply.replace(b"\r\n", b"\r\nRequest-Id: req_7\r\n", 1))
    assert str(failed) == (
        "Stripe refuses (read a payment, HTTP 400, req_7): parameter_invalid_empty, parameter "
        "shipping[name]"
    )


USED_BEFORE = (
    "The provided PaymentMethod was previously used with a PaymentIntent without Customer "
    "attachment, shared with a connected account without Customer attachment, or was detached from "
    "a Customer. It may not be used again. To use a PaymentMethod multiple times, you must attach "
    "it to a Customer first."
)
UNUSABLE = {
    "unknown": (invalid("resource_missing", param="payment_method"), "resource_missing"),
    "of another mode": (
        invalid(
            "resource_missing",
            param="payment_method",
            message="No such PaymentMethod: 'pm_1'; a similar object exists in live mode",
        ),
        "resource_missing",
    ),
    "of another customer, by its parameter": (
        invalid(
            "resource_missing",
            param="payment_method",
            message="The customer does not have a payment method with the ID pm_1.",
        ),
        "resource_missing",
    ),
    "detached": (invalid("payment_method_unexpected_state"), "payment_method_unexpected_state"),
    "used before": (invalid(message=USED_BEFORE), "unusable_card"),
    "used before, as a 402": (
        error(402, "invalid_request_error", message=USED_BEFORE),
        "unusable_card",
    ),
    "of another customer": (
        invalid(message="The payment method supplied (pm_1) does not belong to the Customer"),
        "unusable_card",
    ),
    "a token": (
        invalid(param="payment_method", message="A token may not be passed in as a PaymentMethod."),
        "unusable_card",
    ),
    "empty": (
        invalid("parameter_invalid_empty", param="payment_method"),
        "parameter_invalid_empty",
    ),
    "not activated": (invalid("payment_method_unactivated"), "payment_method_unactivated"),
    "no card": (invalid("payment_method_unsupported_type"), "payment_method_unsupported_type"),
    "of another intent": (
        invalid("payment_intent_incompatible_payment_method"),
        "payment_intent_incompatible_payment_method",
    ),
}


@pytest.mark.parametrize(("reply", "code"), UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_what_the_customer_brought_is_an_answer(reply: bytes, code: str) -> None:
    refused = await ask(reply)
    assert type(refused) is UnusableCardError
    assert refused.code == code


@pytest.mark.parametrize(
    "reply",
    [
        invalid("resource_missing", param="customer", message="No such customer: 'cus_1'"),
        invalid(param="customer", message="The customer was deleted."),
        error(404, "invalid_request_error", "resource_missing", param="customer"),
    ],
)
async def test_a_customer_whom_stripe_does_not_know_is_an_answer(reply: bytes) -> None:
    assert type(await ask(reply)) is UnknownCustomerError


@pytest.mark.parametrize("code", ["email_invalid", "parameter_invalid_string_empty"])
async def test_an_address_that_gets_no_receipt_is_told_from_a_bug_and_not_repeated(
    code: str,
) -> None:
    message = "Invalid email address: ada@example.com"
    refused = await ask(invalid(code, param="receipt_email", message=message))
    assert type(refused) is ReceiptRefusedError
    assert "ada@example.com" not in str(refused)


@pytest.mark.parametrize(
    "reply",
    [
        invalid("amount_too_small", param="amount"),
        invalid("amount_too_large"),
        invalid("parameter_invalid_integer", param="amount"),
        invalid(param="currency", message="Invalid currency: xxx."),
        invalid(param="amount", message="The amount must be divisible by 10."),
    ],
)
async def test_what_the_catalogue_brought_is_an_answer(reply: bytes) -> None:
    assert type(await ask(reply)) is AmountRefusedError


async def test_a_declined_card_keeps_the_banks_code() -> None:
    body = {"type": "card_error", "code": "card_declined", "decline_code": "lost_card"}
    refused = await ask(http(402, {"error": body}))
    assert type(refused) is CardDeclinedError
    assert refused.code == "lost_card"


@pytest.mark.parametrize(
    "reply",
    [
        invalid("parameter_unknown", param="payment_method"),
        invalid("parameters_exclusive", param="payment_method"),
        invalid("parameter_missing", param="amount"),
        invalid("parameter_unknown"),
        invalid("a_code_of_next_year"),
        error(400, "idempotency_error"),
    ],
)
async def test_a_wrong_request_is_our_bug(reply: bytes) -> None:
    assert type(await ask(reply)) is RefusedError


async def test_what_is_not_there_is_a_refusal_of_its_own_kind() -> None:
    reply = error(404, "invalid_request_error", "resource_missing", param="intent")
    assert type(await ask(reply)) is NoSuchObjectError


# -- every code of Stripe's ------------------------------------------------------------------------


def codes_of_the_sdk() -> set[str]:
    """The error codes that the pinned SDK knows."""
    source = inspect.getsource(stripe.PaymentIntent)
    lists = re.findall(r"code: Optional\[\s*Union\[\s*Literal\[(.*?)\]", source, re.S)
    return {code for listed in lists for code in re.findall(r'"(\w+)"', listed)}


def test_every_code_of_the_sdk_is_sorted_once() -> None:
    known = codes_of_the_sdk()
    assert len(known) > 200
    assert known - MEANINGS.keys() == set()
    sorted_ = [code for codes in CODES.values() for code in codes.split()]
    assert len(sorted_) == len(set(sorted_))


#: What our requests get for a code of each meaning, whatever the HTTP status of a refusal.
ERROR_OF = {
    Meaning.LOAD: BusyError,
    Meaning.NO_ANSWER: NoAnswerError,
    Meaning.ACCOUNT: LockedOutError,
    Meaning.CARD: UnusableCardError,
    Meaning.AMOUNT: AmountRefusedError,
    Meaning.STATE: UnexpectedStateError,
    Meaning.HOLD_EXPIRED: HoldExpiredError,
    Meaning.OUR_BUG: RefusedError,
}


@pytest.mark.parametrize("code", sorted(MEANINGS))
def test_a_code_means_what_the_table_says(code: str) -> None:
    said = {"error": {"type": "invalid_request_error", "code": code, "message": "no"}}
    refused = stripe.InvalidRequestError("no", None, code, None, 400, said)  # type: ignore[no-untyped-call]
    error = provider_error("confirm a payment", refused)
    expected = NoSuchObjectError if code == "resource_missing" else ERROR_OF[MEANINGS[code]]
    assert type(error) is expected


@pytest.mark.parametrize(
    "code", sorted(code for code, meaning in MEANINGS.items() if meaning is Meaning.CARD)
)
def test_a_bank_that_says_no_with_a_402_declines(code: str) -> None:
    said = {"error": {"type": "card_error", "code": code, "message": "no"}}
    refused = stripe.CardError("no", None, code, None, 402, said)  # type: ignore[no-untyped-call]
    assert type(provider_error("confirm a payment", refused)) is CardDeclinedError


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


# -- only one refusal means that there is no such payment ------------------------------------------


async def test_a_payment_that_is_not_there_is_not_found() -> None:
    reply = error(404, "invalid_request_error", "resource_missing", param="intent")
    async with answering(reply) as url, StripeChargeListing("sk_test_1", api_base=url) as books:
        assert await books.find(frozenset({"shop"}), "pi_1") is None


@pytest.mark.parametrize(
    "reply",
    [
        invalid("parameter_unknown", param="expand"),
        invalid(param="expand", message="This property cannot be expanded."),
        error(404, "invalid_request_error", message="Unrecognized request URL"),
        error(402, "card_error", "card_declined"),
    ],
)
async def test_another_refusal_is_never_taken_for_a_payment_that_is_not_there(
    reply: bytes,
) -> None:
    async with answering(reply) as url, StripeChargeListing("sk_test_1", api_base=url) as books:
        with pytest.raises(RefusedError):
            await books.find(frozenset({"shop"}), "pi_1")


# -- slow banks ------------------------------------------------------------------------------------


async def test_a_bank_may_take_longer_than_any_other_answer() -> None:
    """Where money is being taken, a slow bank is not a dead one."""
    captured = {**INTENT, "status": "succeeded", "amount_received": 4200}
    async with (
        answering(http(200, captured), after=0.4) as url,
        StripeCards("sk_test_1", api_base=url, timeout=0.1, money_timeout=10) as cards,
    ):
        assert (
            await cards.confirm("pi_1", payment_method="pm_1", key="k")
        ).state is ChargeState.CAPTURED
        assert (await cards.capture("pi_1", key="k")).state is ChargeState.CAPTURED
        with pytest.raises(NoAnswerError):
            await cards.read("pi_1")


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
