"""Client for the stand-in's books: what was really captured, refunded, packed, mailed per order.

The demo, the benchmarks and the tests compare them with the database and Temporal. Amounts are in
minor units.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx


@dataclass(frozen=True)
class Charge:
    """One charge of a card; `failure` is the decline code of a failed one."""

    id: str
    status: str
    amount: int
    captured: int
    failure: str | None


@dataclass(frozen=True)
class Payment:
    """One PaymentIntent; `capturable` is authorized, and neither captured nor released."""

    id: str
    status: str
    amount: int
    currency: str
    customer: str | None
    capturable: int
    captured: int
    refunded: int
    charges: tuple[Charge, ...]

    @property
    def is_live(self) -> bool:
        """Whether money of the customer is captured and not refunded, or can still be captured."""
        return self.capturable > 0 or self.captured > self.refunded


@dataclass(frozen=True)
class Refund:
    """One refund: `pending`, `succeeded` or `failed`."""

    id: str
    payment: str
    charge: str
    amount: int
    currency: str
    status: str


@dataclass(frozen=True)
class Dispute:
    """One dispute; `withdrawn` is what it took from the shop and did not give back, without fees.

    The statuses are Stripe's: `warning_…` for an inquiry, `needs_response`, `under_review`, `won`,
    `lost`.
    """

    id: str
    payment: str
    charge: str
    amount: int
    currency: str
    reason: str
    status: str
    withdrawn: int


@dataclass(frozen=True)
class Parcel:
    """`accepted`, `recalled`, `left`, `lost` or `delivered`; lines are (sku, quantity).

    `resends` is the id of the parcel that it replaces.
    """

    id: str
    status: str
    lines: tuple[tuple[str, int], ...]
    resends: str | None = None


@dataclass(frozen=True)
class Fulfillment:
    """The warehouse's fulfilment of an order: `accepted`, `recalled` or `left`.

    `short` lists what is missing from the parcels, as (sku, quantity).
    """

    id: str
    status: str
    parcels: tuple[Parcel, ...]
    short: tuple[tuple[str, int], ...] = ()

    @property
    def last_sent(self) -> tuple[Parcel, ...]:
        """The parcels without a replacement: together they hold the order once."""
        resent = {parcel.resends for parcel in self.parcels}
        return tuple(parcel for parcel in self.parcels if parcel.id not in resent)


@dataclass(frozen=True)
class Mail:
    """One mail that was sent ``at`` this time, with the idempotency key of its request."""

    id: str
    key: str | None
    kind: str | None
    to: tuple[str, ...]
    subject: str
    at: datetime | None = None


@dataclass(frozen=True)
class OrderBooks:
    """What the stand-in did for one order.

    `captured - refunded - withdrawn` is what the customer paid and the shop has kept.
    """

    order_id: str
    captured: int
    refunded: int
    payments: tuple[Payment, ...]
    refunds: tuple[Refund, ...]
    fulfillments: tuple[Fulfillment, ...]
    mails: tuple[Mail, ...]
    disputes: tuple[Dispute, ...] = ()

    @property
    def withdrawn(self) -> int:
        """What disputes took and did not give back."""
        return sum(dispute.withdrawn for dispute in self.disputes)

    @property
    def kept(self) -> int:
        """What the shop has kept."""
        return self.captured - self.refunded - self.withdrawn

    @property
    def parcels(self) -> tuple[Parcel, ...]:
        """The parcels that left or will leave, without those that were replaced."""
        return tuple(
            parcel
            for fulfillment in self.fulfillments
            for parcel in fulfillment.last_sent
            if parcel.status != "recalled"
        )

    @property
    def live_payments(self) -> tuple[Payment, ...]:
        return tuple(payment for payment in self.payments if payment.is_live)

    def mails_of(self, kind: str) -> tuple[Mail, ...]:
        return tuple(mail for mail in self.mails if mail.kind == kind)

    def mails_by_key(self) -> Counter[str]:
        """The number of mails per idempotency key: more than one is a fault of the mail service."""
        return Counter(mail.key or "" for mail in self.mails)


class BooksClient:
    """Reads the books of the stand-in at `url`: `await BooksClient(url).order("1001")`."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def order(self, order_id: str) -> OrderBooks:
        """The books of one order; empty when nothing happened for it."""
        async with httpx.AsyncClient(base_url=self._url, timeout=30) as http:
            response = await http.get(f"/books/{order_id}")
        return _order_books(response.raise_for_status().json())

    async def all(self) -> dict[str, OrderBooks]:
        """The books of every order by its id; entries without an order are under ``""``."""
        async with httpx.AsyncClient(base_url=self._url, timeout=60) as http:
            response = await http.get("/books")
        orders = response.raise_for_status().json()["orders"]
        return {order_id: _order_books(found) for order_id, found in orders.items()}


def _order_books(found: dict[str, Any]) -> OrderBooks:
    payments = (
        Payment(**{**payment, "charges": tuple(Charge(**c) for c in payment["charges"])})
        for payment in found["payments"]
    )
    return OrderBooks(
        order_id=found["order_id"],
        captured=found["captured"],
        refunded=found["refunded"],
        payments=tuple(payments),
        refunds=tuple(Refund(**refund) for refund in found["refunds"]),
        fulfillments=tuple(_fulfillment(each) for each in found["fulfillments"]),
        mails=tuple(_mail(mail) for mail in found["mails"]),
        disputes=tuple(Dispute(**dispute) for dispute in found["disputes"]),
    )


def _mail(found: dict[str, Any]) -> Mail:
    at = datetime.fromisoformat(found["at"])
    return Mail(**{**found, "to": tuple(found["to"]), "at": at})


def _fulfillment(found: dict[str, Any]) -> Fulfillment:
    parcels = tuple(
        Parcel(parcel["id"], parcel["status"], _lines(parcel["lines"]), parcel.get("resends"))
        for parcel in found["parcels"]
    )
    return Fulfillment(found["id"], found["status"], parcels, _lines(found.get("short", [])))


def _lines(found: list[dict[str, Any]]) -> tuple[tuple[str, int], ...]:
    return tuple((line["sku"], line["quantity"]) for line in found)
