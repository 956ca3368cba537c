"""What Stripe's documentation leaves open, as questions that a test account answers.

``docs/stripe.md`` lists them. Each question is asked with a few calls of the SDK; its answer is one
line, without ids, so that the answers of the stand-in and of Stripe can be compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import stripe

Ask = Callable[[stripe.StripeClient], Awaitable[str]]

#: Stripe's test mode makes disputes and settles refunds some seconds later.
_SECONDS: Final = 45
#: The most confirms of one intent that are tried.
_CONFIRMS: Final = 60


@dataclass(frozen=True)
class Question:
    """One question, and how to ask it."""

    text: str
    ask: Ask


QUESTIONS: list[Question] = []


def _question(text: str) -> Callable[[Ask], Ask]:
    def add(ask: Ask) -> Ask:
        QUESTIONS.append(Question(text, ask))
        return ask

    return add


async def answer(question: Question, shop: stripe.StripeClient) -> str:
    """The answer in one line; an error that the question does not expect is an answer too."""
    try:
        return await question.ask(shop)
    except stripe.StripeError as error:
        return f"{_named(error)} (not expected)"


def _named(error: stripe.StripeError) -> str:
    details = error.error
    code = getattr(details, "code", None) or error.code
    decline = getattr(details, "decline_code", None)
    names = [str(error.http_status), type(error).__name__, str(code)]
    return " ".join([*names, *([str(decline)] if decline and decline != code else [])])


async def _outcome(call: Awaitable[Any]) -> str:
    """The status of the object that the call returns, or its error."""
    try:
        return str((await call).status)
    except stripe.StripeError as error:
        return _named(error)


async def _intent(shop: stripe.StripeClient, **more: Any) -> stripe.PaymentIntent:
    parameters: Any = {
        "amount": 29_00,
        "currency": "eur",
        "allowed_payment_method_types": ["card"],
        **more,
    }
    return await shop.v1.payment_intents.create_async(parameters)


async def _confirm(shop: stripe.StripeClient, intent: str, **more: Any) -> stripe.PaymentIntent:
    parameters: Any = more
    return await shop.v1.payment_intents.confirm_async(intent, parameters)


async def _paid(shop: stripe.StripeClient, card: str, **more: Any) -> stripe.PaymentIntent:
    intent = await _intent(shop, **more)
    return await _confirm(shop, intent.id, payment_method=card)


async def _method(shop: stripe.StripeClient, card: str) -> str:
    method = await shop.v1.payment_methods.create_async(
        {"type": "card", "card": {"token": f"tok_{card}"}}
    )
    return method.id


async def _within(found: Callable[[], Awaitable[Any]]) -> Any:
    """What `found` returns in the end; None when it stays empty."""
    for _ in range(_SECONDS * 2):
        if value := await found():
            return value
        await asyncio.sleep(0.5)
    return None


@_question("Does `confirm` work without `return_url`, for an intent that allows cards only?")
async def _without_return_url(shop: stripe.StripeClient) -> str:
    intent = await _intent(shop)
    return await _outcome(_confirm(shop, intent.id, payment_method="pm_card_visa"))


@_question("And what does a card that needs 3-D Secure ask for, without `return_url`?")
async def _three_d_secure(shop: stripe.StripeClient) -> str:
    intent = await _intent(shop)
    asked = await _confirm(shop, intent.id, payment_method="pm_card_authenticationRequired")
    action = asked.next_action.type if asked.next_action else None
    return f"{asked.status}, {action}"


@_question("Can an unattached payment method be confirmed again on its intent after a decline?")
async def _again(shop: stripe.StripeClient) -> str:
    intent = await _intent(shop)
    method = await _method(shop, "chargeDeclinedProcessingError")
    return " | ".join(
        [await _outcome(_confirm(shop, intent.id, payment_method=method)) for _ in range(2)]
    )


@_question("Which error has an unattached payment method that paid another intent?")
async def _used(shop: stripe.StripeClient) -> str:
    method = await _method(shop, "visa")
    await _paid(shop, method)
    other = await _intent(shop)
    return await _outcome(_confirm(shop, other.id, payment_method=method))


@_question("And one that was only declined on another intent?")
async def _declined_elsewhere(shop: stripe.StripeClient) -> str:
    method = await _method(shop, "chargeDeclined")
    await _outcome(_paid(shop, method))
    other = await _intent(shop)
    return await _outcome(_confirm(shop, other.id, payment_method=method))


@_question("How many confirms has an intent, and what does the one beyond the limit answer?")
async def _limit(shop: stripe.StripeClient) -> str:
    intent = await _intent(shop)
    for number in range(1, _CONFIRMS + 1):
        outcome = await _outcome(
            _confirm(shop, intent.id, payment_method="pm_card_visa_chargeDeclined")
        )
        after = await shop.v1.payment_intents.retrieve_async(intent.id)
        if after.status == "canceled":
            return f"confirm {number}: {outcome}, cancellation_reason {after.cancellation_reason}"
    return f"more than {_CONFIRMS}"


@_question("Is a confirm whose card was declined replayed for its idempotency key?")
async def _replayed(shop: stripe.StripeClient) -> str:
    intent = await _intent(shop)
    found = []
    for card in ("pm_card_visa_chargeDeclined", "pm_card_visa", "pm_card_visa_chargeDeclined"):
        key: Any = {"idempotency_key": f"{intent.id}:{card}"}
        try:
            done = await shop.v1.payment_intents.confirm_async(
                intent.id, {"payment_method": card}, key
            )
            found.append(str(done.status))
        except stripe.StripeError as error:
            replayed = (error.headers or {}).get("idempotent-replayed")
            found.append(_named(error) + (" replayed" if replayed else ""))
    return " | ".join(found)


@_question("After a decline, what does an intent that waits for 3-D Secure still show of it?")
async def _shows_decline(shop: stripe.StripeClient) -> str:
    intent = await _intent(shop)
    await _outcome(_confirm(shop, intent.id, payment_method="pm_card_visa_chargeDeclined"))
    declined = await shop.v1.payment_intents.retrieve_async(intent.id)
    await _confirm(shop, intent.id, payment_method="pm_card_authenticationRequired")
    waiting = await shop.v1.payment_intents.retrieve_async(intent.id)
    same = "the declined charge" if waiting.latest_charge == declined.latest_charge else "another"
    charge = same if waiting.latest_charge else "none"
    error = "kept" if waiting.last_payment_error else "cleared"
    return f"last_payment_error {error}, latest_charge {charge}"


@_question("Does a decline with `authentication_required` make a charge?")
async def _authentication_charge(shop: stripe.StripeClient) -> str:
    intent = await _intent(shop)
    outcome = await _outcome(
        _confirm(shop, intent.id, payment_method="pm_card_authenticationRequired", off_session=True)
    )
    listed = await shop.v1.charges.list_async({"payment_intent": intent.id})
    return f"{outcome}, charges: {[charge.status for charge in listed.data]}"


@_question("Which error have parameters that exclude each other?")
async def _exclusive(shop: stripe.StripeClient) -> str:
    return await _outcome(_intent(shop, automatic_payment_methods={"enabled": True}))


@_question("Which error has `off_session` together with `setup_future_usage`?")
async def _set_up_off_session(shop: stripe.StripeClient) -> str:
    intent = await _intent(shop)
    return await _outcome(
        _confirm(
            shop,
            intent.id,
            payment_method="pm_card_visa",
            off_session=True,
            setup_future_usage="off_session",
        )
    )


@_question("Which error has a saved card without its customer, and with another one?")
async def _strangers_card(shop: stripe.StripeClient) -> str:
    owner, other = [await shop.v1.customers.create_async() for _ in range(2)]
    saved = await shop.v1.payment_methods.attach_async("pm_card_visa", {"customer": owner.id})
    without = await _outcome(_paid(shop, saved.id))
    return f"{without} | {await _outcome(_paid(shop, saved.id, customer=other.id))}"


@_question("Which errors have 1.235 KWD, 5.50 ISK, 0.20 EUR and 1,000,000.00 EUR?")
async def _amounts(shop: stripe.StripeClient) -> str:
    amounts = (("kwd", 1235), ("isk", 550), ("eur", 20), ("eur", 100_000_000))
    return " | ".join(
        [await _outcome(_intent(shop, amount=amount, currency=name)) for name, amount in amounts]
    )


@_question("Is 0.50 EUR's equivalent the minimum of a currency that the table does not have?")
async def _minimum_elsewhere(shop: stripe.StripeClient) -> str:
    return await _outcome(_intent(shop, amount=10, currency="zar"))


@_question("Is 10,000,000,000 JPY too much?")
async def _much_yen(shop: stripe.StripeClient) -> str:
    return await _outcome(_intent(shop, amount=10_000_000_000, currency="jpy"))


@_question("Is a released hold's charge in any way refunded?")
async def _released(shop: stripe.StripeClient) -> str:
    held = await _paid(shop, "pm_card_visa", capture_method="manual")
    released = await shop.v1.payment_intents.cancel_async(held.id, {"expand": ["latest_charge"]})
    charge: Any = released.latest_charge
    return f"refunded {charge.refunded}, amount_refunded {charge.amount_refunded}"


@_question("Which error has a refund of a payment that was charged back?")
async def _refund_of_disputed(shop: stripe.StripeClient) -> str:
    done = await _paid(shop, "pm_card_createDispute")

    async def disputes() -> list[stripe.Dispute]:
        return (await shop.v1.disputes.list_async({"payment_intent": done.id})).data

    if not await _within(disputes):
        return f"no dispute within {_SECONDS} s"
    return await _outcome(shop.v1.refunds.create_async({"payment_intent": done.id}))


@_question("Is a charge `disputed` while there is an inquiry only?")
async def _inquiry(shop: stripe.StripeClient) -> str:
    done = await _paid(shop, "pm_card_createDisputeInquiry")

    async def disputes() -> list[stripe.Dispute]:
        return (await shop.v1.disputes.list_async({"payment_intent": done.id})).data

    if not await _within(disputes):
        return f"no inquiry within {_SECONDS} s"
    return str((await shop.v1.charges.retrieve_async(str(done.latest_charge))).disputed)


@_question("After a refund has failed, is the charge's `amount_refunded` as before the refund?")
async def _failed_refund(shop: stripe.StripeClient) -> str:
    done = await _paid(shop, "pm_card_refundFail")
    refund = await shop.v1.refunds.create_async({"payment_intent": done.id})

    async def has_failed() -> bool:
        return (await shop.v1.refunds.retrieve_async(refund.id)).status == "failed"

    if not await _within(has_failed):
        return f"it has not failed within {_SECONDS} s"
    charge = await shop.v1.charges.retrieve_async(str(done.latest_charge))
    return f"amount_refunded {charge.amount_refunded}"


@_question("Does `amount_refunded` count a refund that is still pending?")
async def _pending_refund(shop: stripe.StripeClient) -> str:
    done = await _paid(shop, "pm_card_pendingRefund")
    refund = await shop.v1.refunds.create_async({"payment_intent": done.id})
    charge = await shop.v1.charges.retrieve_async(str(done.latest_charge))
    return f"{refund.status}, amount_refunded {charge.amount_refunded}"


@_question("Does an intent go on naming a review that was approved?")
async def _approved_review(shop: stripe.StripeClient) -> str:
    done = await _paid(shop, "pm_card_riskLevelElevated")
    if done.review is None:
        return "it went into no review"
    await shop.v1.reviews.approve_async(str(done.review))
    after = await shop.v1.payment_intents.retrieve_async(done.id, {"expand": ["review"]})
    review: Any = after.review
    return "no" if review is None else f"yes, open {review.open}"
