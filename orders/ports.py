"""What the activities need of the world outside, in the domain's words.

Rules every implementation keeps (`tests/contracts` runs one suite against each of them):

* the same key, or the same order, twice has the effect of once, and gives the same answer;
* an expected "no" is a value; ``NoAnswerError`` means the outcome is unknown, try again with the
  same key; ``RefusedError`` means that asking again the same way is useless: our bug or our
  configuration.

    ProviderError
    ├── NoAnswerError   no reply, a reply that makes no sense, 5xx, rate limit, key in use
    │   ├── LockedOutError      the key we present is not accepted: retry slowly, tell a person
    │   └── DatabaseAwayError   our own database is silent: nobody else's fault, so orders wait
    └── RefusedError    the request itself is wrong
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from orders.lifecycle import Status, Stop
from orders.messages import (
    FulfillAnswer,
    MailAnswer,
    OrderSummary,
    RecallAnswer,
    ResendAnswer,
    ReserveAnswer,
)
from orders.money import Money
from orders.order import Basket, Order, Recipient
from orders.pages import Bookmark, OrderPage, Wanted
from orders.parcels import Parcel
from orders.placing import RequestKey
from orders.views import OrderView


class ProviderError(Exception):
    """A neighbour could not do as it was asked."""


class NoAnswerError(ProviderError):
    """The outcome is unknown; asking again with the same key is safe.

    ``retry_after`` is how long the neighbour asked us to wait, if it did.
    """

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LockedOutError(NoAnswerError):
    """Our credentials are refused. A person has to act; orders wait meanwhile."""


class DatabaseAwayError(NoAnswerError):
    """Our own database gave no answer."""


class RefusedError(ProviderError):
    """The request can never succeed as it is."""


# -- cards -----------------------------------------------------------------------------------------


class ChargeState(StrEnum):
    """What the card provider says of one charge."""

    OPEN = "open"  # created, not confirmed: no money moves
    NEEDS_CUSTOMER = "needs_customer"  # 3-D Secure
    PROCESSING = "processing"
    HELD = "held"  # authorised, not captured
    CAPTURED = "captured"
    DECLINED = "declined"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class CardCharge:
    """One charge as the provider has it. ``payment_id`` is the provider's id (``pi_…``).

    ``captured`` and ``refunded`` are amounts of money that moved; a refund counts from the moment
    the provider accepted it and stops counting if it fails.
    """

    payment_id: str
    state: ChargeState
    amount: Money
    captured: Money
    refunded: Money
    decline_code: str = ""
    message: str = ""
    #: Until when a hold can be captured, if the provider said so.
    capture_before: datetime | None = None


class CardRefundState(StrEnum):
    """What the card provider says of one refund."""

    PENDING = "pending"  # accepted; the bank has not decided
    SUCCEEDED = "succeeded"  # and can still fail
    FAILED = "failed"  # the money is with us again


@dataclass(frozen=True)
class CardRefund:
    """Money on its way back. ``problem`` says why one failed."""

    refund_id: str
    amount: Money
    state: CardRefundState = CardRefundState.SUCCEEDED
    problem: str = ""


class Cards(Protocol):
    """The card provider."""

    async def create(
        self,
        *,
        order_id: str,
        attempt: int,
        amount: Money,
        payment_method: str,
        key: str,
        hold: bool = False,
    ) -> CardCharge:
        """Announce a charge. Moves no money. Same ``key``, same charge.

        With ``hold``, confirming it sets the money aside instead of taking it.
        """

    async def confirm(self, payment_id: str, *, key: str) -> CardCharge:
        """Take (or try to take) the money. A declined card is a state, not an error.

        Safe to repeat: a charge that is already confirmed is returned as it is.
        """

    async def read(self, payment_id: str) -> CardCharge:
        """The charge as it is now, with everything refunded so far."""

    async def cancel(self, payment_id: str) -> CardCharge:
        """Make sure that an uncaptured charge never takes money.

        Returns the charge as it is afterwards: CANCELLED, or CAPTURED when it was too late.
        """

    async def capture(self, payment_id: str, *, key: str) -> CardCharge:
        """Take what is held. Returns the charge as it is afterwards: CAPTURED, or CANCELLED when
        the hold had lapsed. Safe to repeat: what is captured stays captured once.
        """

    async def client_secret(self, payment_id: str) -> str:
        """What the customer's browser needs to finish the payment. Never stored, never logged."""

    async def refund(
        self, payment_id: str, amount: Money, *, order_id: str, key: str
    ) -> CardRefund:
        """Give ``amount`` back. Same ``key``, same refund.

        ``RefusedError`` above what is left, and when the refund of this key has failed.
        """

    async def find_refund(self, payment_id: str, *, key: str) -> CardRefund | None:
        """The refund that was made under ``key``, as it is now, failed ones too; or None."""


# -- warehouse and mail ----------------------------------------------------------------------------


@dataclass(frozen=True)
class ShippingRequest:
    """What the warehouse is to pack and where it goes."""

    order_id: str
    recipient: Recipient
    quantities: tuple[tuple[str, int], ...]


class Warehouse(Protocol):
    """The warehouse. See docs/warehouse-api.md for the two rules it must keep."""

    async def fulfill(self, request: ShippingRequest, *, key: str) -> FulfillAnswer:
        """Accept the order for packing, once."""

    async def resend(self, order_id: str, parcel_id: str, *, key: str) -> ResendAnswer:
        """Send the contents of a parcel that was lost again, once per ``key``."""

    async def cancel(self, order_id: str) -> RecallAnswer:
        """Take the order back; one never accepted is refused from now on."""


@dataclass(frozen=True)
class Mail:
    """A mail ready to send. Byte for byte the same each time it is rendered."""

    to: str
    subject: str
    html: str
    text: str
    tags: tuple[tuple[str, str], ...] = ()


class Mailer(Protocol):
    """The mail service."""

    async def send(self, mail: Mail, *, key: str) -> MailAnswer:
        """Hand the mail over. Same ``key``, one mail."""


# -- the database ----------------------------------------------------------------------------------


class NoSuchOrderError(LookupError):
    """The database has no order of this id."""

    def __init__(self, order_id: str) -> None:
        super().__init__(f"there is no order {order_id}")
        self.order_id = order_id


class OrderExistsError(Exception):
    """Another order with this id was placed before; nothing was changed."""

    def __init__(self, order_id: str) -> None:
        super().__init__(f"order {order_id} exists already, with other contents")
        self.order_id = order_id


class IllegalStatusError(Exception):
    """``FOLLOWS`` does not allow this step; nothing was changed."""


class Inventory(Protocol):
    """Stock. Each call is one transaction, idempotent per order, and safe under concurrency.

    An order's stock goes none → reserved → committed, or none/reserved → released, and never back:
    releasing an order that was never reserved keeps a late reservation out.
    """

    async def reserve(self, order_id: str) -> ReserveAnswer:
        """Set all lines aside, or none. Raises ``NoSuchOrderError``."""

    async def release(self, order_id: str) -> None:
        """Give back what is set aside. A committed order keeps its stock committed."""

    async def commit(self, order_id: str) -> None:
        """Take what is set aside off the shelves for good."""


@dataclass(frozen=True)
class ChargeEntry:
    """One charge attempt in our own books."""

    order_id: str
    attempt: int
    payment_id: str
    amount: Money
    state: ChargeState


class PaymentLedger(Protocol):
    """Our own books of charges and refunds."""

    async def find(self, order_id: str, attempt: int) -> ChargeEntry | None:
        """What we know of this attempt, None when its id was never stored."""

    async def open(self, order_id: str, attempt: int, payment_id: str, amount: Money) -> bool:
        """Store the provider's id *before* the charge is confirmed.

        False when the order is closed for charging: then the charge must not be confirmed. Storing
        the same id again is True; another id for the same attempt raises ``RefusedError``.
        """

    async def record(self, order_id: str, attempt: int, charge: CardCharge) -> None:
        """Bring our entry up to what the provider says."""

    async def close(self, order_id: str) -> list[ChargeEntry]:
        """Let no further charge begin; returns every attempt there was, oldest first.

        Takes the same lock as ``open``: whatever ``open`` allowed is in the answer.
        """

    async def record_refund(self, order_id: str, attempt: int, refund: CardRefund) -> None:
        """Note money given back, once per refund id."""


class OrderBook(Protocol):
    """Orders, their status and history."""

    async def place(self, basket: Basket, now: datetime, *, key: RequestKey | None = None) -> Order:
        """Price the basket from the catalogue and keep it as a new order.

        The same basket again returns the order that exists. Raises ``InvalidOrderError`` or
        ``OrderExistsError``; and ``KeyReusedError`` when another basket was placed with this key.
        """

    async def get(self, order_id: str) -> Order:
        """The order. Raises ``NoSuchOrderError``."""

    async def summary(self, order_id: str) -> OrderSummary:
        """The order without personal data. Raises ``NoSuchOrderError``."""

    async def page(self, wanted: Wanted, limit: int, after: Bookmark | None = None) -> OrderPage:
        """At most ``limit`` orders, newest first, from those placed before ``after``."""

    async def move(self, order_id: str, status: Status, stop: Stop | None, now: datetime) -> None:
        """Give the order this status and write it into its history.

        Again is a no-op, also when the order has moved on since: a workflow task that lost its
        worker repeats all of its local activities.

        Raises ``NoSuchOrderError`` or ``IllegalStatusError``.
        """

    async def record_parcels(
        self, order_id: str, fulfillment_id: str, parcel_ids: tuple[str, ...]
    ) -> None:
        """Note the parcels the warehouse named, once."""

    async def move_parcel(self, order_id: str, parcel: Parcel, now: datetime) -> None:
        """Note where a parcel is, forwards only, and write it into the history, once.

        Raises ``RefusedError`` for a parcel that the order does not have.
        """

    async def note(self, order_id: str, event: str, now: datetime, **detail: str) -> None:
        """Add a line to the order's history, once per event and detail."""

    async def view(self, order_id: str) -> OrderView:
        """Everything a person may want to see of an order. Raises ``NoSuchOrderError``."""
