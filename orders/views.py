"""An order as a person may see it, with everything that happened to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from orders.lifecycle import Status
from orders.money import Money
from orders.order import Order


@dataclass(frozen=True)
class HistoryLine:
    at: datetime
    event: str
    detail: dict[str, str]


@dataclass(frozen=True)
class PaymentView:
    payment_id: str
    attempt: int
    state: str
    amount: Money
    captured: Money
    refunded: Money


@dataclass(frozen=True)
class ParcelView:
    parcel_id: str
    status: str


@dataclass(frozen=True)
class OrderView:
    """An order with what happened to it, oldest first."""

    order: Order
    placed_at: datetime
    stock: Literal["none", "reserved", "committed", "released"]
    payments: tuple[PaymentView, ...] = ()
    parcels: tuple[ParcelView, ...] = ()
    history: tuple[HistoryLine, ...] = ()


@dataclass(frozen=True)
class Sighting:
    """An order at a moment, and the step that its run was last seen to begin."""

    view: OrderView
    doing: str


@dataclass(frozen=True)
class ListedOrder:
    """A started order as Temporal lists it, up to a second behind.

    ``run`` is Temporal's word for the state of its run: running, completed, failed (an outage; the
    order is undone), terminated.
    """

    order_id: str
    status: Status
    customer_id: str | None
    needs_attention: bool
    run: str
    started_at: datetime
    ended_at: datetime | None
