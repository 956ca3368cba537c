"""Card provider: Stripe, through its own SDK.

One charge is one PaymentIntent: it is created, its id is stored, and only then it is confirmed by
that id, once for each card that is tried (https://docs.stripe.com/api/payment_intents). A response
that Stripe replays for an idempotency key shows the state of the first request: then the intent is
read again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

import stripe

from durable_orders.domain.ids import CLIENT_SECRET
from durable_orders.domain.installation import MARK
from durable_orders.domain.money import Money, total
from durable_orders.domain.ports import (
    CardCharge,
    CardDeclinedError,
    CardRefund,
    ChargeDetails,
    ChargeState,
    NoAnswerError,
    RefusedError,
)
from durable_orders.domain.terms import SOFT_DECLINES
from durable_orders.providers.http_replies import SenselessAnswerError, checked_id, failure_name
from durable_orders.providers.stripe.errors import (
    HoldExpiredError,
    ReceiptRefusedError,
    RepeatedFailureError,
    UnexpectedStateError,
    provider_error,
)
from durable_orders.providers.stripe.http_client import StripeHttpClient
from durable_orders.providers.stripe.money import to_stripe
from durable_orders.providers.stripe.objects import (
    EXPANDED,
    REFUND_KEY,
    add_details,
    capture_before_of,
    charge_of,
    has_key,
    not_failed,
    refund_as_it_is,
    refund_of,
    refunded_by,
    was_replayed,
)

if TYPE_CHECKING:
    from stripe.params import PaymentIntentConfirmParams, PaymentIntentCreateParams

log: Final = logging.getLogger(__name__)

#: What the conversion of an answer raises that does not have the documented shape.
_SENSELESS: Final = (
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,  # a time that is none
    RecursionError,
)


class StripeCards:
    """``Cards`` at Stripe. Belongs to one event loop; close it with ``aclose``.

    Time-outs are in seconds, for a whole call. ``money_timeout`` is for those that move money: a
    bank may be slow. ``require`` is awaited before each request, and raises a ``ProviderError`` as
    long as none may be sent.
    """

    def __init__(
        self,
        api_key: str,
        *,
        api_base: str = "https://api.stripe.com",
        timeout: float = 20.0,
        money_timeout: float = 80.0,
        connect_timeout: float = 5.0,
        require: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._require = require
        stripe.enable_telemetry = False  # only available as a module global
        # At DEBUG the SDK logs whole responses, including client secrets.
        logging.getLogger("stripe").setLevel(logging.WARNING)
        self._timeout = timeout
        self._money_timeout = money_timeout
        longest = max(timeout, money_timeout)
        self._http = StripeHttpClient(timeout=longest, connect_timeout=connect_timeout)
        client = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base.rstrip("/")},
            http_client=self._http,
            max_network_retries=0,
        )
        #: For conversations about other objects, over the same connections.
        self.client = client
        self._intents = client.v1.payment_intents
        self._refunds = client.v1.refunds

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.close_async()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def create(
        self,
        *,
        installation: str,
        order_id: str,
        amount: Money,
        key: str,
        hold: bool = False,
        details: ChargeDetails = ChargeDetails(),  # noqa: B008 - frozen
    ) -> CardCharge:
        stripe_amount, currency = to_stripe(amount)
        params: PaymentIntentCreateParams = {
            "amount": stripe_amount,
            "currency": currency,
            # Other methods redirect the customer, who is not present. Since version
            # 2026-09-30 of the API this is no longer `payment_method_types`.
            "allowed_payment_method_types": ["card"],
            "capture_method": "manual" if hold else "automatic",
            "metadata": {MARK: installation, "order_id": order_id},
        }
        add_details(params, details)
        try:
            return await self._create(params, f"{key}:create")
        except ReceiptRefusedError:
            # What Stripe takes for a mail address only Stripe knows, and it creates nothing then.
            # An order does not fail for want of a receipt.
            log.warning("Stripe sends no receipt for order %s: its address is refused", order_id)
            del params["receipt_email"]
            return await self._create(params, f"{key}:create:no-receipt")

    async def _create(self, params: PaymentIntentCreateParams, key: str) -> CardCharge:
        async with self._translate_errors("create a payment"):
            intent = await self._intents.create_async(params, {"idempotency_key": key})
            charge = charge_of(intent)
        return await self.read(charge.payment_id) if was_replayed(intent) else charge

    async def confirm(
        self, payment_id: str, *, payment_method: str, key: str, off_session: bool = False
    ) -> CardCharge:
        # The card each time: a decline clears the one that the intent had.
        params: PaymentIntentConfirmParams = {"payment_method": payment_method}
        if off_session:
            params["off_session"] = True
        try:
            async with self._translate_errors("confirm a payment", self._money_timeout):
                intent = await self._intents.confirm_async(
                    payment_id, params, {"idempotency_key": f"{key}:confirm"}
                )
                charge = charge_of(intent)
        except CardDeclinedError as declined:
            charge = await self.read(payment_id)
            # The intent may not show the decline.
            return _declined(charge, declined) if charge.state is ChargeState.OPEN else charge
        except UnexpectedStateError:
            charge = await self.read(payment_id)
            if charge.state is ChargeState.OPEN:
                raise
            return charge  # confirmed before, or cancelled: both are answers
        # The end of a hold is on the charge, and whether a review is open on the review: both have
        # to be expanded. The parameters of a confirm are bound to its key, so `expand` cannot be
        # added there: the intent is read again.
        is_partial = charge.state is ChargeState.HELD or bool(charge.review)
        is_partial = is_partial or was_replayed(intent)
        return await self.read(payment_id) if is_partial else charge

    async def read(self, payment_id: str) -> CardCharge:
        async with self._translate_errors("read a payment"):
            intent = await self._intents.retrieve_async(payment_id, {"expand": [*EXPANDED]})
            charge = charge_of(intent)
            if charge.state is ChargeState.HELD:
                return replace(charge, capture_before=capture_before_of(intent))
        if not charge.captured:
            return charge
        async with self._translate_errors("list refunds"):
            refunded = [refunded_by(refund) for refund in await self._refunds_of(payment_id)]
            return replace(charge, refunded=total(refunded, charge.amount.currency))

    async def cancel(self, payment_id: str) -> CardCharge:
        try:
            async with self._translate_errors("cancel a payment"):
                # Without an idempotency key: cancelling twice is harmless, and for a key Stripe
                # would replay a stored 500 for a day.
                return charge_of(await self._intents.cancel_async(payment_id))
        except UnexpectedStateError as unexpected:
            charge = await self.read(payment_id)
            if charge.state in {ChargeState.CANCELLED, ChargeState.CAPTURED}:
                return charge
            # PROCESSING, or changed between the two requests: neither cancelled nor captured yet.
            raise NoAnswerError(
                f"{payment_id} is {charge.state} and cannot be cancelled just now"
            ) from unexpected

    async def capture(self, payment_id: str, *, key: str) -> CardCharge:
        # For a key with a stored response (a 500, a state that has changed since) Stripe replays it
        # for a day, and the hold may end before. Then the capture is sent without the key, which is
        # safe here: a hold that was captured in full cannot be captured again.
        charge = await self._capture(payment_id, key)
        if charge.state in {ChargeState.HELD, ChargeState.DECLINED}:
            charge = await self._capture(payment_id, None)
        if charge.state is ChargeState.HELD:
            raise NoAnswerError(f"{payment_id} is held, and Stripe does not capture it just now")
        return charge  # captured, declined, expired or never confirmed: all are answers

    async def _capture(self, payment_id: str, key: str | None) -> CardCharge:
        """The charge after one request to capture it; HELD when that had no effect for now."""
        try:
            async with self._translate_errors("capture a payment", self._money_timeout):
                intent = await self._intents.capture_async(
                    payment_id, options={"idempotency_key": key} if key else {}
                )
                charge = charge_of(intent)
        except HoldExpiredError:
            # The authorization has expired; Stripe updates the intent only later, unless asked to.
            return await self.cancel(payment_id)
        except (RepeatedFailureError, UnexpectedStateError):
            return await self.read(payment_id)
        except CardDeclinedError as declined:
            charge = await self.read(payment_id)
            is_final = charge.state is ChargeState.HELD and declined.code not in SOFT_DECLINES
            # Not cancelled here: when the goods have left, a person may still get the money.
            return _declined(charge, declined) if is_final else charge
        is_partial = was_replayed(intent) or bool(charge.review)
        return await self.read(payment_id) if is_partial else charge

    async def client_secret(self, payment_id: str) -> str:
        async with self._translate_errors("read a payment"):
            intent = await self._intents.retrieve_async(payment_id)
            return checked_id(CLIENT_SECRET, intent.client_secret)

    async def refund(
        self, payment_id: str, amount: Money, *, installation: str, order_id: str, key: str
    ) -> CardRefund:
        # Stripe forgets keys after a day, and undoing may take longer: look for the refund first.
        if known := await self._known_refund(payment_id, amount, key):
            return known
        stripe_amount, _ = to_stripe(amount)
        try:
            async with self._translate_errors("refund a payment", self._money_timeout):
                refund = await self._refunds.create_async(
                    {
                        "payment_intent": payment_id,
                        "amount": stripe_amount,
                        "metadata": {
                            MARK: installation,
                            "order_id": order_id,
                            REFUND_KEY: key,
                        },
                    },
                    {"idempotency_key": key},
                )
                return refund_of(refund)
        except RefusedError:
            # This refund may have been made in between, and have used up the refundable amount.
            if known := await self._known_refund(payment_id, amount, key):
                return known
            raise

    async def find_refund(self, payment_id: str, *, key: str) -> CardRefund | None:
        async with self._translate_errors("list refunds"):
            for refund in await self._refunds_of(payment_id):
                if has_key(refund, key):
                    return refund_as_it_is(refund)
        return None

    async def _known_refund(self, payment_id: str, amount: Money, key: str) -> CardRefund | None:
        known = await self.find_refund(payment_id, key=key)
        if known is not None and not_failed(known).amount != amount:
            raise RefusedError(
                f"{known.refund_id} is the refund of this key, and gave {known.amount} back, "
                f"not {amount}"
            )
        return known

    async def _refunds_of(self, payment_id: str) -> list[stripe.Refund]:
        """All refunds of a payment, newest first. Not from ``search``, which lags behind."""
        page = await self._refunds.list_async({"payment_intent": payment_id, "limit": 100})
        return [refund async for refund in page.auto_paging_iter()]

    def translate_errors(self, operation: str) -> AbstractAsyncContextManager[None]:
        """Limit the time of a block that uses ``client``, and translate its exceptions."""
        return self._translate_errors(operation)

    @asynccontextmanager
    async def _translate_errors(
        self, operation: str, seconds: float | None = None
    ) -> AsyncIterator[None]:
        """Limit the time of the block, and translate its exceptions into errors of ``orders``."""
        if self._require is not None:
            await self._require()
        try:
            async with asyncio.timeout(seconds or self._timeout):
                yield
        except stripe.StripeError as error:
            # Without its cause, here and below: it quotes what Stripe has said, and the log at its
            # most talkative tells causes.
            raise provider_error(operation, error) from None
        except TimeoutError as error:
            why = failure_name(error)
            raise NoAnswerError(f"Stripe gave no answer ({operation}): {why}") from None
        except _SENSELESS as error:
            why = str(error) if isinstance(error, SenselessAnswerError) else type(error).__name__
            raise NoAnswerError(f"Stripe's answer makes no sense ({operation}): {why}") from None


def _declined(charge: CardCharge, declined: CardDeclinedError) -> CardCharge:
    """The charge, declined for the reason of an HTTP 402 that its intent does not show."""
    return replace(
        charge,
        state=ChargeState.DECLINED,
        decline_code=declined.code,
    )
