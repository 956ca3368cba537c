"""Read models of an order: the order with everything that happened to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Final, Literal

from durable_orders.domain.activity_messages import Attention
from durable_orders.domain.disputes.listing import RiskView
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import Order

#: Event of a history line that holds the warehouse's own ``words``.
WAREHOUSE_SAID: Final = "warehouse_said"


@dataclass(frozen=True)
class HistoryLine:
    at: datetime
    event: str
    detail: dict[str, str]

    @property
    def words(self) -> str:
        """The line as text."""
        detail = ", ".join(f"{name} {value}" for name, value in self.detail.items() if value)
        event = self.event.replace("_", " ")
        return f"{event} ({detail})" if detail else event

    @property
    def without_personal_data(self) -> HistoryLine:
        """The line without a neighbour's own words, which may hold any."""
        if self.event != WAREHOUSE_SAID:
            return self
        return replace(self, detail={"about": self.detail.get("about", "")})


@dataclass(frozen=True)
class CardTryView:
    """One try of a card; ``state`` is a ``ChargeState``."""

    number: int
    state: str
    decline_code: str = ""


@dataclass(frozen=True)
class PaymentView:
    """The charge of an order, with our tries of cards; a browser's are not among them."""

    payment_id: str
    state: str
    amount: Money
    captured: Money
    refunded: Money
    tries: tuple[CardTryView, ...] = ()


@dataclass(frozen=True)
class ParcelView:
    parcel_id: str
    status: str
    tracking: str = ""


@dataclass(frozen=True)
class RefundView:
    """A refund of the order; ``state`` is a ``RefundState``."""

    refund_id: str
    amount: Money
    state: str
    restocked: bool = False


@dataclass(frozen=True)
class OrderView:
    """An order with what happened to it, oldest first."""

    order: Order
    placed_at: datetime
    stock: Literal["none", "reserved", "committed", "released"]
    payments: tuple[PaymentView, ...] = ()
    #: Outside the card provider, as an operator reported; None when no operator has.
    given_back_by_hand: Money | None = None
    parcels: tuple[ParcelView, ...] = ()
    refunds: tuple[RefundView, ...] = ()
    #: Disputes, early fraud warnings and reviews of its payment.
    risks: tuple[RiskView, ...] = ()
    history: tuple[HistoryLine, ...] = ()


@dataclass(frozen=True)
class OrderSnapshotView:
    """An order at a moment, and the last step that its run had begun."""

    view: OrderView
    doing: str


@dataclass(frozen=True)
class ListedOrder:
    """A started order as Temporal lists it, up to a second behind.

    ``run`` is Temporal's status of its run: running, completed, failed (an outage; the order is
    undone), terminated.
    """

    order_id: str
    status: Status
    customer_id: str | None
    needs_attention: bool
    run: str
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class OrderNeedingAttention:
    """A running order with a step that keeps failing. ``attention`` is None when no worker
    answered; ``doing`` says so.
    """

    order_id: str
    status: Status
    doing: str
    attention: Attention | None


@dataclass(frozen=True)
class PaymentToFinish:
    """What the customer's browser needs to finish a payment (3-D Secure).

    The secret gives access to this one payment: pass it on, never store or log it.
    """

    payment_id: str
    client_secret: str = field(repr=False)


def without_personal_data(view: OrderView) -> dict[str, object]:
    """The view as JSON: its recipient, payment method, the address of its receipt and what the
    warehouse said in its own words stay in the database.
    """
    order = view.order
    return {
        "order_id": order.id,
        "customer_id": order.customer_id,
        "customer": order.options.customer,
        "off_session": order.options.off_session,
        "setup_future_usage": order.options.setup_future_usage,
        "status": order.status,
        "reason": order.reason,
        "total": asdict(order.total),
        "placed_at": view.placed_at,
        "lines": [asdict(line) for line in order.lines],
        "stock": view.stock,
        "payments": [asdict(payment) for payment in view.payments],
        "given_back_by_hand": view.given_back_by_hand and asdict(view.given_back_by_hand),
        "parcels": [asdict(parcel) for parcel in view.parcels],
        "refunds": [asdict(refund) for refund in view.refunds],
        "risks": [asdict(risk) for risk in view.risks],
        "history": [asdict(line.without_personal_data) for line in view.history],
    }
