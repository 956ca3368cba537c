"""Ports: the external services and the database, as the activities use them.

Rules every implementation keeps (`tests/contracts` runs one suite against each of them):

* the same key, or the same order, twice has the effect of once, and gives the same answer;
* an expected "no" is a value; ``NoAnswerError`` means the outcome is unknown, retry with the same
  key; ``RefusedError`` means that a retry is useless: our bug;
* where there is no object to return, an expected "no" of the card provider is a
  ``ChargeRefusedError``: the activity that charges makes it its answer, like a decline. For any
  other caller it is a refusal.

    ProviderError
    ├── NoAnswerError   no reply, a reply that makes no sense, 5xx
    │   ├── BusyError           load: 429, lock timeouts, a key in use. Wait as told, no try is used
    │   ├── LockedOutError      our key, account or configuration is refused: a person has to act
    │   └── DatabaseAwayError   our own database is unavailable: orders wait
    └── RefusedError    the request itself is wrong
        ├── InvalidValueError       a value that the caller brought cannot be stored
        └── ChargeRefusedError      because of what the customer or the catalogue brought
            ├── CardDeclinedError   the bank declines
            ├── UnusableCardError   the payment method cannot be charged here
            ├── UnknownCustomerError  the customer whose card it is is not known there
            └── AmountRefusedError  the amount or its currency cannot be charged
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from durable_orders.domain.activity_messages import (
    CommitAnswer,
    Fulfilled,
    MailAnswer,
    ManualRefund,
    OrderSummary,
    ReadFulfillmentAnswer,
    Resent,
    ReserveAnswer,
    UndoAnswer,
    UndoRequest,
    WarehouseCancelAnswer,
)
from durable_orders.domain.ids import IdempotencyKey
from durable_orders.domain.lifecycle import Status, Stop
from durable_orders.domain.listing import Cursor, OrderFilter, OrderPage
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, FutureUsage, Order, Recipient
from durable_orders.domain.parcels import Parcel
from durable_orders.domain.views import OrderView

if TYPE_CHECKING:
    from durable_orders.domain.charges import BookedCharge


class ProviderError(Exception):
    """A call of an external service or the database failed.

    The message is a sentence of ours with the provider's codes: it is kept in workflow history.
    ``said`` is what the provider says in its own words, which may hold personal data: it is for the
    order's own history alone.
    """

    def __init__(self, message: str = "", *, said: str = "") -> None:
        super().__init__(message)
        self.said = said


class NoAnswerError(ProviderError):
    """The outcome is unknown; a retry with the same key is safe.

    ``retry_after`` is how long the provider asked us to wait, if it did.
    """

    def __init__(
        self, message: str, *, retry_after: timedelta | None = None, said: str = ""
    ) -> None:
        super().__init__(message, said=said)
        self.retry_after = retry_after


class BusyError(NoAnswerError):
    """The provider has too much to do, or is doing this already: nothing happened by this request.

    Ask again after ``retry_after``, or soon. It is no answer, and uses up none of a step's tries.
    """


class LockedOutError(NoAnswerError):
    """Our credentials, our account or our configuration are refused at the provider.

    An operator has to act; orders wait meanwhile.
    """


class DatabaseAwayError(NoAnswerError):
    """Our own database is unavailable."""


class RefusedError(ProviderError):
    """The request can never succeed as it is."""


class InvalidValueError(RefusedError):
    """A value that the caller brought cannot be stored: their mistake, not ours."""


class ChargeRefusedError(RefusedError):
    """The charge is refused because of what it is made with or for: an answer, not our bug.

    ``code`` is the provider's.
    """

    def __init__(self, sentence: str, *, code: str) -> None:
        super().__init__(sentence)
        self.code = code


class CardDeclinedError(ChargeRefusedError):
    """The bank declines. ``code`` is its decline code, or else the provider's error code."""


class UnusableCardError(ChargeRefusedError):
    """The payment method cannot be charged here: unknown, used up, not this customer's, not a card.

    No bank was asked. Another payment method may do.
    """


class UnknownCustomerError(ChargeRefusedError):
    """The provider has no such customer, any more or at all: no card can be charged for them."""


class AmountRefusedError(ChargeRefusedError):
    """The amount or its currency cannot be charged: too little, too much, not supported."""


# -- cards -----------------------------------------------------------------------------------------


class ChargeState(StrEnum):
    """State of a charge at the card provider."""

    OPEN = "open"  # created, not confirmed: no money moves
    NEEDS_CUSTOMER = "needs_customer"  # 3-D Secure
    PROCESSING = "processing"
    HELD = "held"  # authorized, not captured
    CAPTURED = "captured"
    DECLINED = "declined"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class CardCharge:
    """A charge at the provider. ``payment_id`` is its PaymentIntent's id (``pi_…``).

    ``captured`` and ``refunded`` are amounts of money that moved; a refund counts once the provider
    has accepted it, and no longer if it fails. ``latest_charge`` is the id of the last request to a
    bank, granted or declined (Stripe's Charge, ``ch_…``); empty before the first one. A customer
    who fails 3-D Secure leaves none. ``review`` is the id of the review that it is in (``prv_…``).
    """

    payment_id: str
    state: ChargeState
    amount: Money
    captured: Money
    refunded: Money
    decline_code: str = ""
    #: Until when a hold can be captured, if the provider said so.
    capture_before: datetime | None = None
    latest_charge: str = ""
    #: What of a hold can be captured still, if the provider said so: less than ``amount`` when the
    #: bank granted a part, or a part of it was captured before.
    capturable: Money | None = None
    review: str = ""

    @property
    def held(self) -> Money:
        """What of a hold is there for the order: captured already, or still to be."""
        return self.amount if self.capturable is None else self.captured + self.capturable

    @property
    def kept(self) -> Money:
        """What was taken and not given back."""
        return self.captured - self.refunded


@dataclass(frozen=True)
class ChargeDetails:
    """What a charge carries besides its amount, for the provider's pages, receipt and checks.

    ``customer``, ``setup_future_usage`` and ``receipt_email`` as in ``PaymentOptions``;
    ``recipient`` of what is shipped, without their mail address. Personal data: never logged.
    """

    customer: str | None = None
    setup_future_usage: FutureUsage | None = None
    receipt_email: str | None = None
    description: str | None = None
    recipient: Recipient | None = None

    @classmethod
    def of(cls, order: Order) -> ChargeDetails:
        """The details of an order's charge: from its row alone, so the same ones every time."""
        options = order.options
        return cls(
            customer=options.customer,
            setup_future_usage=options.setup_future_usage,
            receipt_email=options.receipt_email,
            description=f"Order {order.id}",
            recipient=order.recipient,
        )


class TryRefusal(StrEnum):
    """What the provider refused of a try, so that no bank was asked."""

    CARD = "unusable_card"
    AMOUNT = "amount_refused"


@dataclass(frozen=True)
class CardTry:
    """One try to have a card pay a charge: one confirmation, by us.

    ``number`` counts an order's tries from 1; a retry of an activity is the same try, with the same
    ``key``. ``charge_before``: ``CardCharge.latest_charge`` before it. ``state`` is that of the
    charge as far as this try has brought it; OPEN: announced, and not answered as far as we know.
    With a ``refusal`` it is DECLINED, for the provider's error code.
    """

    number: int
    payment_method: str
    charge_before: str
    key: str
    announced_at: datetime
    state: ChargeState = ChargeState.OPEN
    decline_code: str = ""
    refusal: TryRefusal | None = None


class CardRefundState(StrEnum):
    """State of a refund at the card provider."""

    PENDING = "pending"  # accepted; the bank has not decided
    SUCCEEDED = "succeeded"  # and can still fail
    FAILED = "failed"  # the money was returned to us


@dataclass(frozen=True)
class CardRefund:
    """A refund at the card provider. ``problem`` says why it failed."""

    refund_id: str
    amount: Money
    state: CardRefundState = CardRefundState.SUCCEEDED
    problem: str = ""


class Cards(Protocol):
    """The card provider."""

    async def create(
        self,
        *,
        installation: str,
        order_id: str,
        amount: Money,
        key: str,
        hold: bool = False,
        details: ChargeDetails = ChargeDetails(),
    ) -> CardCharge:
        """Create a charge without confirming it: no money moves. Same ``key``, same charge.

        It carries the mark of the ``installation`` that placed the order, and its ``details``, but
        for an address that the provider sends no receipt to. With ``hold``, confirming it only
        authorizes the money. Raises ``AmountRefusedError`` or ``UnknownCustomerError``.
        """

    async def confirm(
        self, payment_id: str, *, payment_method: str, key: str, off_session: bool = False
    ) -> CardCharge:
        """Confirm a charge with this card: take or hold the money. A declined card is a state, not
        an error. ``off_session``: the customer is away, and a bank that wants to hear from them
        declines, for ``AUTHENTICATION_REQUIRED``.

        Same ``key``, same try, as long as the provider keeps keys: the answer is the charge as it
        is by then. A declined charge can be confirmed again, under another key. One that is paid,
        held, in processing or cancelled is returned as it is. Raises ``UnusableCardError`` or
        ``AmountRefusedError`` when no bank was asked: the charge is as it was.
        """

    async def read(self, payment_id: str) -> CardCharge:
        """Retrieve the charge as it is now, with everything refunded so far."""

    async def cancel(self, payment_id: str) -> CardCharge:
        """Cancel an uncaptured charge, so that it never takes money.

        Returns the charge as it is afterwards: CANCELLED, or CAPTURED when it was too late.
        """

    async def capture(self, payment_id: str, *, key: str) -> CardCharge:
        """Capture a hold. Returns the charge as it is afterwards: CAPTURED, CANCELLED when the hold
        had lapsed, or DECLINED when the bank does not pay what it held. Safe to repeat: it is
        captured once.
        """

    async def client_secret(self, payment_id: str) -> str:
        """The secret for the customer's browser to finish the payment. Never store or log it."""

    async def refund(
        self, payment_id: str, amount: Money, *, installation: str, order_id: str, key: str
    ) -> CardRefund:
        """Refund ``amount``. Same ``key``, same refund, which carries the installation's mark.

        Raises ``RefusedError`` above what is left, and when the refund of this key has failed.
        """

    async def find_refund(self, payment_id: str, *, key: str) -> CardRefund | None:
        """The refund that was made with ``key``, as it is now, also a failed one; or None."""


# -- warehouse and mail ----------------------------------------------------------------------------


@dataclass(frozen=True)
class ShippingRequest:
    """What the warehouse is to pack, and where to ship it; for which installation's order."""

    order_id: str
    recipient: Recipient
    quantities: tuple[tuple[str, int], ...]
    installation: str


@dataclass(frozen=True)
class ShippingRefused:
    """The warehouse will not ship, for this ``code`` of its own. ``said`` as in
    ``ProviderError``.
    """

    code: str
    said: str = ""


class Warehouse(Protocol):
    """The warehouse. See docs/warehouse-api.md for the three rules it must keep.

    An order of one ``installation`` is another one than the order of the same id of another.
    """

    async def fulfill(self, request: ShippingRequest, *, key: str) -> Fulfilled | ShippingRefused:
        """Accept the order for packing, once."""

    async def read(self, request: ShippingRequest) -> ReadFulfillmentAnswer:
        """Read the record of an order that was accepted: what its first answer said. Changes
        nothing.
        """

    async def resend(
        self, order_id: str, parcel_id: str, *, installation: str, key: str
    ) -> Resent | ShippingRefused:
        """Send the contents of a lost parcel again, once per ``key``."""

    async def cancel(self, order_id: str, *, installation: str) -> WarehouseCancelAnswer:
        """Cancel the order before it leaves; one never accepted is refused from now on."""


@dataclass(frozen=True)
class Mail:
    """An email ready to send. Byte for byte the same each time it is rendered."""

    to: str
    subject: str
    html: str
    text: str
    tags: tuple[tuple[str, str], ...] = ()


class Mailer(Protocol):
    """The email service."""

    async def send(self, mail: Mail, *, key: str) -> MailAnswer:
        """Send the email. Same ``key``, one email."""


# -- the database ----------------------------------------------------------------------------------


class NoSuchOrderError(LookupError):
    """The database has no order of this id; ``why`` is a sentence in place of saying just that."""

    def __init__(self, order_id: str, why: str = "") -> None:
        super().__init__(why or f"there is no order {order_id}")
        self.order_id = order_id


class OrderExistsError(Exception):
    """Another order with this id was placed before; nothing was changed."""

    def __init__(self, order_id: str) -> None:
        super().__init__(f"order {order_id} exists already, with other contents")
        self.order_id = order_id


class IllegalStatusError(Exception):
    """``FOLLOWS`` does not allow this change; nothing was changed."""


class Inventory(Protocol):
    """Stock. Each call is one transaction, idempotent per order, and safe under concurrency.

    An order's stock goes none → reserved → committed, or none/reserved → released, and never back:
    releasing an order that was never reserved blocks a late reservation.
    """

    async def reserve(self, order_id: str, run_id: str = "") -> ReserveAnswer:
        """Reserve all lines, or none, and write down which run carries the order from now on.

        An order that is being undone, or has ended early, reserves nothing. Raises
        ``NoSuchOrderError``.
        """

    async def begin(
        self, order_id: str, run_id: str = ""
    ) -> tuple[OrderSummary, ReserveAnswer | None]:
        """The order, read first as ``OrderRepository.summary`` does, and what ``reserve`` answers;
        None, with nothing done, when another run than this one has carried it.

        Raises as both do.
        """

    async def release(self, order_id: str) -> None:
        """Release the reserved stock. A committed order keeps its stock committed."""

    async def commit(self, order_id: str, *, ends_as: Status | None = None) -> CommitAnswer:
        """Remove the reserved stock for good; this also makes the order FULFILLED: it is kept. One
        that is FULFILLED with that, or was since before, then becomes ``ends_as``.

        Repeating is a no-op, also when the order has moved on since. Nothing is removed for an
        order that is being undone. Raises ``IllegalStatusError``, and changes nothing, when nothing
        is reserved, the order is unpaid, or ``ends_as`` does not follow on FULFILLED.
        """


@dataclass(frozen=True)
class ChargeEntry:
    """An order's charge in our ledger, with its tries, oldest first.

    ``revision`` counts what was recorded of it: see ``PaymentLedger.record``. ``is_questioned``:
    whether a dispute, early fraud warning or review of it is recorded, open or over.
    ``order_status`` is the order's; ``undone`` is why, where it was decided to undo the order.
    ``booked`` is all that we have recorded of the charge.
    """

    order_id: str
    payment_id: str
    amount: Money
    state: ChargeState
    revision: int = 0
    tries: tuple[CardTry, ...] = ()
    is_questioned: bool = False
    order_status: Status | None = None
    undone: Stop | None = None
    booked: BookedCharge | None = None

    def find_try(self, number: int) -> CardTry | None:
        """The try of this number; None when it was never announced."""
        return next((one for one in self.tries if one.number == number), None)


class PaymentLedger(Protocol):
    """Our ledger of charges, their tries, and refunds."""

    async def find(self, order_id: str) -> ChargeEntry | None:
        """The order's charge; None when its provider's id was never stored."""

    async def announce(
        self, order_id: str, payment_id: str, amount: Money, card_try: CardTry
    ) -> ChargeEntry | None:
        """Announce a try *before* it is confirmed; with the first one, store the charge's id.

        None when the order is closed for charging, being undone or ended: then nothing may be
        confirmed. A try that was
        announced before is in the entry as it was then, whatever ``card_try`` says. Raises
        ``RefusedError`` for another charge than the order's, a try older than the newest, and one
        beside a try that is not over.
        """

    async def record(
        self,
        entry: ChargeEntry,
        charge: CardCharge,
        *,
        answers: int | None = None,
        leads_to: Status | None = None,
    ) -> bool:
        """Update our record of ``entry`` from the provider's charge, read after ``entry`` was; then
        set the order's status that it ``leads_to``, as ``OrderRepository.move`` does.

        ``answers``: the number of the try that the provider has answered with it. False when
        something else was recorded since ``entry`` was read: the report may be the older one, and
        takes back no decline.
        """

    async def end_try(
        self,
        order_id: str,
        number: int,
        state: ChargeState,
        decline_code: str = "",
        refusal: TryRefusal | None = None,
    ) -> None:
        """End a try that its charge says nothing about; a no-op when it is over."""

    async def close(self, order_id: str) -> list[ChargeEntry]:
        """Close the order for charging; returns every charge there was, oldest first.

        Takes the same lock as ``announce``: every try that it allowed is in the answer. Raises
        ``IllegalStatusError`` for an order that is kept.
        """

    async def record_refund(self, order_id: str, payment_id: str, refund: CardRefund) -> None:
        """Record a refund, once per refund id."""

    async def find_manual_refund(self, order_id: str) -> Money | None:
        """What an operator gave back outside the provider; None when nobody said so."""

    async def record_manual_refund(self, given_back: ManualRefund) -> None:
        """Record what an operator gave back outside the provider; close the order for charging.

        One entry per order: the latest one counts. Raises ``NoSuchOrderError``.
        """


class OrderRepository(Protocol):
    """Repository of orders, their status and history."""

    async def place(
        self,
        basket: Basket,
        now: datetime,
        *,
        key: IdempotencyKey | None = None,
        placed_by: str = "",
    ) -> Order:
        """Price the basket from the catalogue and store it as a new order; its history says which
        API key placed it (``placed_by``).

        The same basket again returns the order that exists. Raises ``InvalidOrderError`` or
        ``OrderExistsError``; and ``KeyReusedError`` when another basket was placed with this key.
        """

    async def get(self, order_id: str) -> Order:
        """The order. Raises ``NoSuchOrderError``, and ``ForeignOrderError`` for one that another
        installation placed: its payment, parcels and mails are not this one's to touch.
        """

    async def get_for_mail(
        self, order_id: str, event: str, **detail: str
    ) -> tuple[Order, str | None]:
        """The order, and the id of the mail of which its history has a line of this event and
        detail; None when it has none. Raises as ``get`` does.
        """

    async def get_for_charge(self, order_id: str) -> tuple[Order, ChargeEntry | None]:
        """The order, and its charge as ``PaymentLedger.find`` has it. Raises as ``get`` does."""

    async def summary(self, order_id: str) -> OrderSummary:
        """The order without personal data. Raises as ``get`` does."""

    async def page(self, wanted: OrderFilter, limit: int, after: Cursor | None = None) -> OrderPage:
        """List at most ``limit`` orders, newest first, of those placed before ``after``."""

    async def move(self, order_id: str, status: Status, stop: Stop | None, now: datetime) -> None:
        """Set the order's status and add it to the history.

        Repeating is a no-op, also when the order has moved on since: a workflow task that lost its
        worker repeats all of its local activities.

        Raises ``NoSuchOrderError`` or ``IllegalStatusError``.
        """

    async def begin_undo(self, undo: UndoRequest, now: datetime) -> UndoAnswer:
        """Decide, under the order's lock, that it is undone; unless it is kept, or has ended.

        From then on its row refuses whatever would carry it further, until ``keep``. Repeating
        gives the same answer, for the reason of the first request. Raises ``NoSuchOrderError``.
        """

    async def cancel_unstarted(self, order_id: str, stop: Stop, now: datetime) -> bool:
        """Cancel, under the order's lock, an order that no run has begun: a run that starts later
        finds it cancelled. False when one has begun it, then only that can undo it.

        Repeating gives the same answer, until a run has told the customer. Raises
        ``NoSuchOrderError``.
        """

    async def keep(self, order_id: str, now: datetime) -> None:
        """Decide that an order stands whose undo came too late: it is no longer being undone, and
        never will be. A no-op for one that ended early. Raises ``NoSuchOrderError``.
        """

    async def record_parcels(
        self, order_id: str, fulfillment_id: str, parcel_ids: tuple[str, ...]
    ) -> None:
        """Record the parcels that the warehouse named, once."""

    async def move_parcel(self, order_id: str, parcel: Parcel, now: datetime) -> None:
        """Update a parcel's status, forwards only, and add it to the history, once.

        Raises ``RefusedError`` for a parcel that the order does not have.
        """

    async def note(self, order_id: str, event: str, now: datetime, **detail: str) -> None:
        """Add a line to the order's history, once per event and detail."""

    async def note_words(self, order_id: str, about: str, words: str, now: datetime) -> None:
        """Add what the warehouse says in its own words to the order's history, as the event
        ``WAREHOUSE_SAID``: the first time only for what it is ``about``. They may hold personal
        data.
        """

    async def view(self, order_id: str) -> OrderView:
        """The order with all that happened to it. Raises ``NoSuchOrderError``."""
