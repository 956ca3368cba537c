"""An order as a person may see it, with everything that happened to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

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
