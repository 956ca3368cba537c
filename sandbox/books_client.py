"""Reading the world's own books: what was really taken, given back, packed and mailed.

Chaos runs and tests compare these with the database and Temporal. All amounts are minor units.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Charge:
    """One attempt on a card; `failure` is the decline code of one that failed."""

    id: str
    status: str
    amount: int
    captured: int
    failure: str | None


@dataclass(frozen=True)
class Payment:
    """One PaymentIntent; `capturable` is what is held and neither taken nor let go."""

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
        """Does it hold the customer's money, or could it still be taken?"""
        return self.capturable > 0 or self.captured > self.refunded


@dataclass(frozen=True)
class Refund:
    """Money on its way back (`pending`), back (`succeeded`), or not (`failed`)."""

    id: str
    payment: str
    charge: str
    amount: int
    currency: str
    status: str


@dataclass(frozen=True)
class Parcel:
    """`accepted`, `recalled`, `left`, `lost` or `delivered`; lines are (sku, quantity).

    `resends` is the parcel whose contents it holds again.
    """

    id: str
    status: str
    lines: tuple[tuple[str, int], ...]
    resends: str | None = None


@dataclass(frozen=True)
class Fulfillment:
    """What the warehouse made of an order: `accepted`, `recalled` or `left`.

    `short` is what of it is not in the parcels, as (sku, quantity).
    """

    id: str
    status: str
    parcels: tuple[Parcel, ...]
    short: tuple[tuple[str, int], ...] = ()

    @property
    def last_sent(self) -> tuple[Parcel, ...]:
        """The parcels that nobody sent again: together they hold the order once."""
        resent = {parcel.resends for parcel in self.parcels}
        return tuple(parcel for parcel in self.parcels if parcel.id not in resent)


@dataclass(frozen=True)
class Mail:
    """One mail that was sent, with the idempotency key that asked for it."""

    id: str
    key: str | None
    kind: str | None
    to: tuple[str, ...]
    subject: str


@dataclass(frozen=True)
class Page:
    """Everything that happened outside for one order. `captured - refunded` is what it cost."""

    order_id: str
    captured: int
    refunded: int
    payments: tuple[Payment, ...]
    refunds: tuple[Refund, ...]
    fulfillments: tuple[Fulfillment, ...]
    mails: tuple[Mail, ...]

    @property
    def parcels(self) -> tuple[Parcel, ...]:
        """The parcels that left or will leave, without those that were sent again as others."""
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
        """How often each key sent a mail: once, if the mail service keeps its promise."""
        return Counter(mail.key or "" for mail in self.mails)


class Books:
    """The books of the world at `url`: `await Books(url).order("1001")`."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def order(self, order_id: str) -> Page:
        """The page of one order; an empty one when nothing happened for it."""
        async with httpx.AsyncClient(base_url=self._url, timeout=30) as http:
            answer = await http.get(f"/books/{order_id}")
        return _page(answer.raise_for_status().json())

    async def all(self) -> dict[str, Page]:
        """Every page by order id; what names no order is under ``""``."""
        async with httpx.AsyncClient(base_url=self._url, timeout=60) as http:
            answer = await http.get("/books")
        orders = answer.raise_for_status().json()["orders"]
        return {order_id: _page(found) for order_id, found in orders.items()}


def _page(found: dict[str, Any]) -> Page:
    payments = (
        Payment(**{**payment, "charges": tuple(Charge(**c) for c in payment["charges"])})
        for payment in found["payments"]
    )
    return Page(
        order_id=found["order_id"],
        captured=found["captured"],
        refunded=found["refunded"],
        payments=tuple(payments),
        refunds=tuple(Refund(**refund) for refund in found["refunds"]),
        fulfillments=tuple(_fulfillment(each) for each in found["fulfillments"]),
        mails=tuple(Mail(**{**mail, "to": tuple(mail["to"])}) for mail in found["mails"]),
    )


def _fulfillment(found: dict[str, Any]) -> Fulfillment:
    parcels = tuple(
        Parcel(parcel["id"], parcel["status"], _lines(parcel["lines"]), parcel.get("resends"))
        for parcel in found["parcels"]
    )
    return Fulfillment(found["id"], found["status"], parcels, _lines(found.get("short", [])))


def _lines(found: list[dict[str, Any]]) -> tuple[tuple[str, int], ...]:
    return tuple((line["sku"], line["quantity"]) for line in found)
