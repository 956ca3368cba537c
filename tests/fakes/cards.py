"""In-memory fake of the card provider, with Stripe's rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

from durable_orders.domain.charge_limits import charge_problem, smallest
from durable_orders.domain.money import Money
from durable_orders.domain.order import FutureUsage
from durable_orders.domain.ports import (
    AmountRefusedError,
    CardCharge,
    CardRefund,
    CardRefundState,
    ChargeDetails,
    ChargeState,
    NoAnswerError,
    RefusedError,
    UnknownCustomerError,
    UnusableCardError,
)
from durable_orders.domain.terms import AUTHENTICATION_REQUIRED, SOFT_DECLINES
from tests.fakes.script import Scripted

#: Stripe's test payment methods and how they are declined (docs.stripe.com/testing).
DECLINES: Final = {
    "pm_card_visa_chargeDeclined": "generic_decline",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "pm_card_visa_chargeDeclinedLostCard": "lost_card",
    "pm_card_visa_chargeDeclinedStolenCard": "stolen_card",
    "pm_card_visa_chargeDeclinedVelocityLimitExceeded": "card_velocity_exceeded",
    "pm_card_chargeDeclinedExpiredCard": "expired_card",
    "pm_card_chargeDeclinedIncorrectCvc": "incorrect_cvc",
    "pm_card_chargeDeclinedProcessingError": "processing_error",
}
NEED_CUSTOMER: Final = frozenset(
    {
        "pm_card_authenticationRequired",
        "pm_card_threeDSecureRequired",
        "pm_card_threeDSecure2Required",
    }
)
#: The sandbox's own, for a payment that stays in processing. Stripe has no test card for that.
PROCESSING: Final = "pm_sandbox_processing"
#: Needs its customer each time, but while they are away only until it was saved for that.
NEED_SETUP: Final = "pm_card_authenticationRequiredOnSetup"
#: A payment method of nobody's: the provider does not know it.
UNKNOWN: Final = "pm_nobodys"
#: Stripe's test cards for refunds that the bank decides on later: see ``settle_refund``.
REFUND_PENDING: Final = "pm_card_pendingRefund"
REFUND_FAILS: Final = "pm_card_refundFail"
#: Stripe's test card of an elevated risk: its charge is put into review.
ELEVATED_RISK: Final = "pm_card_riskLevelElevated"
HOLD_LASTS: Final = timedelta(days=7)
NO_DETAILS: Final = ChargeDetails()
#: Stripe confirms an intent that waits for the customer, too: then with the new card.
_CONFIRMABLE: Final = frozenset(
    {ChargeState.OPEN, ChargeState.DECLINED, ChargeState.NEEDS_CUSTOMER}
)


@dataclass(frozen=True)
class Announced:
    """The arguments that a charge was created with."""

    order_id: str
    amount: Money
    hold: bool = False
    installation: str = ""
    details: ChargeDetails = NO_DETAILS


@dataclass(frozen=True)
class SavedCard:
    """A payment method of a customer's; of nobody's once it is detached. ``is_set_up``: for being
    charged while they are away.
    """

    card: str
    customer: str | None
    is_set_up: bool = False


@dataclass(frozen=True)
class BookedRefund:
    """A refund as the fake has it."""

    payment_id: str
    order_id: str
    refund: CardRefund
    installation: str = ""


class InMemoryCards(Scripted):
    """``Cards`` in memory. A charge is confirmed as often as it is declined, and paid once.

    Its data are public: ``charges`` and ``announced`` (the arguments of each) by payment id,
    ``confirmations`` (the card of each, a browser's too) by payment id, ``refunds`` by key,
    ``sent`` (the key of each confirmation that was made, however long ago), ``off_session`` (of
    those the ones that were made without the customer), ``customers``, ``saved`` (cards by their
    payment method).
    ``clock`` gives the time that the end of a hold counts from. A confirmation beyond
    ``confirm_limit`` cancels its charge.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        super().__init__()
        self.clock = clock
        self.charges: dict[str, CardCharge] = {}
        self.announced: dict[str, Announced] = {}
        self.refunds: dict[str, BookedRefund] = {}
        self.confirmations: dict[str, list[str]] = {}
        self.sent: list[str] = []
        self.off_session: list[str] = []
        self.customers: set[str] = set()
        self.saved: dict[str, SavedCard] = {}
        self.confirm_limit = 10
        self._payment_of_key: dict[str, str] = {}
        self._confirmed_by_key: dict[str, tuple[str, str, bool]] = {}
        self._captures_declined: dict[str, str] = {}
        self._numbers = count(1)

    # -- for tests ---------------------------------------------------------------------------------

    def charges_of(self, order_id: str) -> list[CardCharge]:
        """Every charge of this order, oldest first."""
        return [self.charges[id_] for id_, a in self.announced.items() if a.order_id == order_id]

    def taken(self, order_id: str) -> int:
        """Minor units ever captured for this order."""
        return sum(charge.captured.amount for charge in self.charges_of(order_id))

    def given_back(self, order_id: str) -> int:
        """Minor units refunded for this order."""
        return sum(charge.refunded.amount for charge in self.charges_of(order_id))

    def add_customer(self) -> str:
        """A new customer; their id."""
        customer = f"cus_{next(self._numbers)}"
        self.customers.add(customer)
        return customer

    def save_card(self, customer: str, card: str = "pm_card_visa") -> str:
        """Save this test card for the customer; the payment method's id."""
        method = f"pm_{next(self._numbers)}"
        self.saved[method] = SavedCard(card, customer)
        return method

    def detach(self, method: str) -> None:
        """Remove a saved card from its customer: it can never be used again."""
        self.saved[method] = replace(self.saved[method], customer=None)

    def cards_of(self, customer: str) -> list[str]:
        """The payment methods that are saved for the customer, oldest first."""
        return [method for method, saved in self.saved.items() if saved.customer == customer]

    def authenticate(self, payment_id: str, *, succeeds: bool = True) -> None:
        """The customer passes (or fails) 3-D Secure."""
        charge = self._waiting(payment_id, ChargeState.NEEDS_CUSTOMER)
        self.charges[payment_id] = (
            self._granted(charge)
            if succeeds
            else _declined(charge, "payment_intent_authentication_failure", charge.latest_charge)
        )

    def confirm_in_browser(self, payment_id: str, card: str = "pm_card_mastercard") -> CardCharge:
        """The customer confirms the charge in the browser, with another card."""
        return self._confirm_with(payment_id, card)

    def cancel_by_hand(self, payment_id: str) -> None:
        """The charge is cancelled in the dashboard."""
        self.charges[payment_id] = _cancelled(self.charges[payment_id])

    def refund_by_hand(self, payment_id: str, amount: Money | None = None) -> None:
        """What was captured, or ``amount`` of it, is refunded in the dashboard."""
        charge = self._waiting(payment_id, ChargeState.CAPTURED)
        refund = CardRefund(f"re_{next(self._numbers)}", amount or charge.kept)
        order_id = self.announced[payment_id].order_id
        self.refunds[f"by hand {refund.refund_id}"] = BookedRefund(payment_id, order_id, refund)
        self.charges[payment_id] = replace(charge, refunded=charge.refunded + refund.amount)

    def capture_by_hand(self, payment_id: str, amount: Money) -> None:
        """A part of what is held is captured in the dashboard: the rest of the hold is released."""
        charge = self._waiting(payment_id, ChargeState.HELD)
        self.charges[payment_id] = replace(_captured(charge), captured=amount)

    def put_into_review(self, payment_id: str) -> str:
        """A rule, or a person in the dashboard, puts the charge into review; returns its id."""
        review = f"prv_{next(self._numbers)}"
        self.charges[payment_id] = replace(self.charges[payment_id], review=review)
        return review

    def close_review(self, payment_id: str) -> None:
        """A person approves the review of the charge in the dashboard."""
        self.charges[payment_id] = replace(self.charges[payment_id], review="")

    def forget_keys(self) -> None:
        """A day has passed: the same key makes another request, or another charge."""
        self._payment_of_key.clear()
        self._confirmed_by_key.clear()

    def finish_processing(self, payment_id: str, *, captured: bool) -> None:
        """The bank decides on a ``PROCESSING`` charge; one with ``hold`` is then only held."""
        charge = self._waiting(payment_id, ChargeState.PROCESSING)
        self.charges[payment_id] = (
            self._granted(charge)
            if captured
            else _declined(charge, "generic_decline", self._new_charge())
        )

    def lapse(self, payment_id: str) -> None:
        """The hold expires before it is captured."""
        charge = self._waiting(payment_id, ChargeState.HELD)
        self.charges[payment_id] = _cancelled(charge)

    def decline_capture(self, payment_id: str, code: str) -> None:
        """The bank does not pay what it holds, for the reason ``code``."""
        self._captures_declined[payment_id] = code

    def settle_refund(self, key: str) -> None:
        """The bank decides on a refund: one on ``REFUND_FAILS`` fails, even after success."""
        booked = self.refunds[key]
        refund = booked.refund
        if self._card_of(booked.payment_id) == REFUND_FAILS:
            self.fail_refund(key)
        elif refund.state is CardRefundState.PENDING:
            settled = replace(refund, state=CardRefundState.SUCCEEDED)
            self.refunds[key] = replace(booked, refund=settled)

    def fail_refund(self, key: str, problem: str = "expired_or_canceled_card") -> None:
        """The refund fails at the bank, whatever the card."""
        booked = self.refunds[key]
        charge, refund = self.charges[booked.payment_id], booked.refund
        if refund.state is CardRefundState.FAILED:
            return
        failed = replace(refund, state=CardRefundState.FAILED, problem=problem)
        self.refunds[key] = replace(booked, refund=failed)
        self.charges[booked.payment_id] = replace(charge, refunded=charge.refunded - refund.amount)

    # -- Cards ---------------------------------------------------------------------------------

    async def create(
        self,
        *,
        installation: str,
        order_id: str,
        amount: Money,
        key: str,
        hold: bool = False,
        details: ChargeDetails = NO_DETAILS,
    ) -> CardCharge:
        asked = Announced(order_id, amount, hold, installation, details)
        return await self._play("create", lambda: self._create(asked, key))

    async def confirm(
        self, payment_id: str, *, payment_method: str, key: str, off_session: bool = False
    ) -> CardCharge:
        return await self._play(
            "confirm",
            lambda: self._confirm_once(payment_id, payment_method, key, off_session=off_session),
        )

    async def read(self, payment_id: str) -> CardCharge:
        return await self._play("read", lambda: self._find(payment_id))

    async def cancel(self, payment_id: str) -> CardCharge:
        return await self._play("cancel", lambda: self._cancel(payment_id))

    async def capture(self, payment_id: str, *, key: str) -> CardCharge:
        return await self._play("capture", lambda: self._capture(payment_id))

    async def client_secret(self, payment_id: str) -> str:
        return await self._play(
            "client_secret", lambda: f"{self._find(payment_id).payment_id}_secret_of_the_browser"
        )

    async def refund(
        self, payment_id: str, amount: Money, *, installation: str, order_id: str, key: str
    ) -> CardRefund:
        mark = (order_id, installation)
        return await self._play("refund", lambda: self._refund(payment_id, amount, mark, key))

    async def find_refund(self, payment_id: str, *, key: str) -> CardRefund | None:
        return await self._play("find_refund", lambda: self._find_refund(payment_id, key))

    # -- implementation ----------------------------------------------------------------------------

    def _find(self, payment_id: str) -> CardCharge:
        if payment_id not in self.charges:
            raise RefusedError(f"there is no payment {payment_id}")
        return self.charges[payment_id]

    def _waiting(self, payment_id: str, state: ChargeState) -> CardCharge:
        charge = self.charges[payment_id]
        if charge.state is not state:
            raise ValueError(f"{payment_id} is {charge.state}, not {state}")
        return charge

    def _card_of(self, payment_id: str) -> str:
        """The test card of the last confirmation."""
        return self._test_card(self.confirmations[payment_id][-1])

    def _test_card(self, method: str) -> str:
        return self.saved[method].card if method in self.saved else method

    def _new_charge(self) -> str:
        return f"ch_{next(self._numbers)}"

    def _granted(self, charge: CardCharge) -> CardCharge:
        """The bank authorizes: the charge is captured, or held."""
        charge = replace(charge, latest_charge=self._new_charge(), decline_code="")
        self._save_for_future(charge.payment_id)
        if self._card_of(charge.payment_id) == ELEVATED_RISK:
            charge = replace(charge, review=f"prv_{next(self._numbers)}")
        if not self.announced[charge.payment_id].hold:
            return _captured(charge)
        capture_before = self.clock() + HOLD_LASTS
        return replace(charge, state=ChargeState.HELD, capture_before=capture_before)

    def _save_for_future(self, payment_id: str) -> None:
        """Save the card that has paid, if it is wanted."""
        details, method = self.announced[payment_id].details, self.confirmations[payment_id][-1]
        if details.setup_future_usage is None or details.customer is None:
            return
        if method not in self.saved:
            method = self.save_card(details.customer, method)
        if details.setup_future_usage is FutureUsage.OFF_SESSION:
            self.saved[method] = replace(self.saved[method], is_set_up=True)

    def _check_usable(self, charge: CardCharge, method: str) -> None:
        """Raise for a payment method that no bank is asked about."""
        code = message = ""
        if not method.startswith("pm_") or method == UNKNOWN:
            code, message = "resource_missing", f"No such PaymentMethod: {method}"
        elif (saved := self.saved.get(method)) is not None:
            customer = self.announced[charge.payment_id].details.customer
            if saved.customer is None:
                code, message = "payment_method_unexpected_state", "It was detached."
            elif customer is None:
                code, message = "unusable_card", f"{method} belongs to {saved.customer}"
            elif customer != saved.customer:
                code, message = "resource_missing", f"The customer does not have {method}"
        if code:
            raise UnusableCardError(message, code=code)

    def _needs_customer(self, method: str, *, off_session: bool) -> bool:
        card, saved = self._test_card(method), self.saved.get(method)
        is_set_up = saved is not None and saved.is_set_up
        return card in NEED_CUSTOMER or (card == NEED_SETUP and not (off_session and is_set_up))

    def _create(self, asked: Announced, key: str) -> CardCharge:
        if known := self._payment_of_key.get(key):
            if self.announced[known] != asked:
                raise RefusedError(f"key {key} was used before, with other parameters")
            return self.charges[known]
        if problem := charge_problem(asked.amount):
            is_small = not smallest(asked.amount.currency) <= asked.amount
            code = "amount_too_small" if is_small else "amount_too_large"
            raise AmountRefusedError(problem, code=code)
        customer = asked.details.customer
        if customer is not None and customer not in self.customers:
            raise UnknownCustomerError(f"No such customer: {customer}", code="resource_missing")
        payment_id = f"pi_{next(self._numbers)}"
        nothing = replace(asked.amount, amount=0)
        self._payment_of_key[key] = payment_id
        self.announced[payment_id] = asked
        self.confirmations[payment_id] = []
        self.charges[payment_id] = CardCharge(
            payment_id, ChargeState.OPEN, asked.amount, captured=nothing, refunded=nothing
        )
        return self.charges[payment_id]

    def _confirm_once(
        self, payment_id: str, method: str, key: str, *, off_session: bool
    ) -> CardCharge:
        charge = self._find(payment_id)
        if known := self._confirmed_by_key.get(key):
            if known != (payment_id, method, off_session):
                raise RefusedError(f"key {key} was used before, with other parameters")
            return charge
        if charge.state in _CONFIRMABLE:
            self._check_usable(charge, method)
        self._confirmed_by_key[key] = (payment_id, method, off_session)
        if charge.state in _CONFIRMABLE:
            self.sent.append(key)
            if off_session:
                self.off_session.append(key)
        return self._confirm_with(payment_id, method, off_session=off_session)

    def _confirm_with(
        self, payment_id: str, method: str, *, off_session: bool = False
    ) -> CardCharge:
        charge = self._find(payment_id)
        if charge.state not in _CONFIRMABLE:
            return charge
        card = self._test_card(method)
        if len(self.confirmations[payment_id]) >= self.confirm_limit:
            charge = _cancelled(charge)
        else:
            self.confirmations[payment_id].append(method)
            nothing_wrong = replace(charge, decline_code="")
            if card in DECLINES:
                charge = _declined(charge, DECLINES[card], self._new_charge())
            elif self._needs_customer(method, off_session=off_session) and off_session:
                charge = _declined(charge, AUTHENTICATION_REQUIRED, self._new_charge())
            elif self._needs_customer(method, off_session=off_session):
                charge = replace(nothing_wrong, state=ChargeState.NEEDS_CUSTOMER)
            elif card == PROCESSING:
                charge = replace(nothing_wrong, state=ChargeState.PROCESSING)
            else:
                charge = self._granted(charge)
        self.charges[payment_id] = charge
        return charge

    def _cancel(self, payment_id: str) -> CardCharge:
        charge = self._find(payment_id)
        if charge.state is ChargeState.PROCESSING:
            raise NoAnswerError(f"{payment_id} is processing and cannot be cancelled just now")
        if charge.state is not ChargeState.CAPTURED:
            charge = _cancelled(charge)
            self.charges[payment_id] = charge
        return charge

    def _capture(self, payment_id: str) -> CardCharge:
        charge = self._find(payment_id)
        if charge.state is not ChargeState.HELD:
            return charge
        if code := self._captures_declined.get(payment_id):
            if code in SOFT_DECLINES:
                raise NoAnswerError(f"{payment_id} is held and not captured just now: {code}")
            return _declined(charge, code, charge.latest_charge)
        self.charges[payment_id] = _captured(charge)
        return self.charges[payment_id]

    def _refund(
        self, payment_id: str, amount: Money, mark: tuple[str, str], key: str
    ) -> CardRefund:
        charge = self._find(payment_id)
        if booked := self.refunds.get(key):
            if (booked.payment_id, booked.refund.amount) != (payment_id, amount):
                raise RefusedError(f"key {key} was used before, for another refund")
            if booked.refund.state is CardRefundState.FAILED:
                raise RefusedError(f"refund {booked.refund.refund_id} failed")
            return booked.refund
        left = charge.captured - charge.refunded
        if amount.amount <= 0 or left < amount:
            raise RefusedError(f"{amount} cannot be given back: {left} is left of {payment_id}")
        pending = self._card_of(payment_id) == REFUND_PENDING
        state = CardRefundState.PENDING if pending else CardRefundState.SUCCEEDED
        refund = CardRefund(f"re_{next(self._numbers)}", amount, state)
        order_id, installation = mark
        self.refunds[key] = BookedRefund(payment_id, order_id, refund, installation)
        self.charges[payment_id] = replace(charge, refunded=charge.refunded + amount)
        return refund

    def _find_refund(self, payment_id: str, key: str) -> CardRefund | None:
        booked = self.refunds.get(key)
        return booked.refund if booked and booked.payment_id == payment_id else None


def _captured(charge: CardCharge) -> CardCharge:
    return replace(charge, state=ChargeState.CAPTURED, captured=charge.amount, capture_before=None)


def _cancelled(charge: CardCharge) -> CardCharge:
    return replace(charge, state=ChargeState.CANCELLED, capture_before=None)


def _declined(charge: CardCharge, code: str, latest_charge: str) -> CardCharge:
    return replace(
        charge,
        state=ChargeState.DECLINED,
        decline_code=code,
        latest_charge=latest_charge,
    )
