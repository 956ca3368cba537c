"""In-memory fake of the store: three ports over one ``InMemoryDatabase``.

It keeps the rules of ``store/``; one contract suite runs against both. Each call does its work
without an await, so it is a transaction without a lock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from durable_orders.domain.activity_messages import (
    ManualRefund,
    OrderSummary,
    ReservationClosed,
    ReserveAnswer,
    Reserved,
)
from durable_orders.domain.charges import LIVE, BookedCharge
from durable_orders.domain.ids import IdempotencyKey, IdempotencyKeyReusedError
from durable_orders.domain.installation import CardAccount, ForeignOrderError, Installation
from durable_orders.domain.inventory import StockState, shortage
from durable_orders.domain.lifecycle import FOLLOWS, Status, Stop
from durable_orders.domain.listing import Cursor, OrderFilter, OrderPage, PlacedOrder
from durable_orders.domain.money import Money, total
from durable_orders.domain.order import Basket, Order, placed_from, priced
from durable_orders.domain.parcels import Parcel
from durable_orders.domain.ports import (
    CardCharge,
    CardRefund,
    ChargeEntry,
    ChargeState,
    IllegalStatusError,
    NoSuchOrderError,
    OrderExistsError,
    RefusedError,
)
from durable_orders.domain.refunds.refund import RefundEntry
from durable_orders.domain.views import HistoryLine, OrderView, ParcelView, PaymentView, RefundView
from tests.fakes.script import Scripted
from tests.support.keys import INSTALLATION


@dataclass
class StockedProduct:
    """A product in the catalogue, with its stock."""

    name: str
    price: Money
    on_hand: int
    reserved: int = 0


@dataclass
class _Payment:
    payment_id: str
    amount: Money
    booked: BookedCharge
    refunds: dict[str, Money] = field(default_factory=dict)


@dataclass
class _Row:
    order: Order
    placed_at: datetime
    stock: StockState = "none"
    charging_closed: bool = False
    fulfillment_id: str | None = None
    parcel_ids: tuple[str, ...] = ()
    parcels: dict[str, Parcel] = field(default_factory=dict)
    payments: dict[int, _Payment] = field(default_factory=dict)
    refund_requests: dict[str, RefundEntry] = field(default_factory=dict)
    history: list[HistoryLine] = field(default_factory=list)
    by_hand: ManualRefund | None = None

    def add_line(self, event: str, at: datetime, **detail: str) -> None:
        if not any(line.event == event and line.detail == detail for line in self.history):
            self.history.append(HistoryLine(at, event, detail))

    def move(self, status: Status, stop: Stop | None, now: datetime) -> None:
        known = self.order.status
        if known is status:
            return
        if status not in FOLLOWS[known]:
            if any(line.event == f"order_{status}" for line in self.history):
                return
            raise IllegalStatusError(f"order {self.order.id} is {known}: it cannot become {status}")
        reason = str(stop.reason) if stop else self.order.reason
        self.order = replace(self.order, status=status, reason=reason)
        detail = {"reason": str(stop.reason), "message": stop.message} if stop else {}
        self.add_line(f"order_{status}", now, **detail)


class InMemoryDatabase:
    """Data of the three fakes; ``products`` by sku and ``rows`` by order id are public.

    ``clock`` gives the time of history lines for calls without one. ``installation`` is public too.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.products: dict[str, StockedProduct] = {}
        self.rows: dict[str, _Row] = {}
        self.keys: dict[IdempotencyKey, str] = {}
        self.installation = Installation(INSTALLATION)
        self.clock = clock

    def add_product(self, sku: str, name: str, price: Money, on_hand: int) -> None:
        """Add a product; an existing one keeps its price and stock."""
        self.products.setdefault(sku, StockedProduct(name, price, on_hand))

    def row(self, order_id: str) -> _Row:
        try:
            return self.rows[order_id]
        except KeyError:
            raise NoSuchOrderError(order_id) from None


class InMemoryInstallation(Scripted):
    """``InstallationRepository`` in memory."""

    def __init__(self, database: InMemoryDatabase) -> None:
        super().__init__()
        self._database = database

    async def get(self) -> Installation:
        return await self._play("get", lambda: self._database.installation)

    async def bind(self, seen: CardAccount) -> Installation:
        return await self._play("bind", lambda: self._bind(seen))

    def _bind(self, seen: CardAccount) -> Installation:
        self._database.installation = self._database.installation.bound_to(seen)
        return self._database.installation


class InMemoryInventory(Scripted):
    """``Inventory`` in memory."""

    def __init__(self, database: InMemoryDatabase) -> None:
        super().__init__()
        self._database = database

    async def reserve(self, order_id: str) -> ReserveAnswer:
        return await self._play("reserve", lambda: self._reserve(order_id))

    async def release(self, order_id: str) -> None:
        await self._play("release", lambda: self._release(order_id))

    async def commit(self, order_id: str) -> None:
        await self._play("commit", lambda: self._commit(order_id))

    def _reserve(self, order_id: str) -> ReserveAnswer:
        row = self._database.row(order_id)
        if row.stock == "reserved":
            return Reserved()
        if row.stock != "none":
            return ReservationClosed(row.stock)
        products = self._database.products
        short = shortage(
            ((line.sku, line.quantity) for line in row.order.lines),
            {sku: product.on_hand - product.reserved for sku, product in products.items()},
        )
        if short:
            return short
        for line in row.order.lines:
            products[line.sku].reserved += line.quantity
        self._set(row, "reserved")
        return Reserved()

    def _release(self, order_id: str) -> None:
        row = self._database.row(order_id)
        if row.stock in {"committed", "released"}:
            return
        if row.stock == "reserved":
            for line in row.order.lines:
                self._database.products[line.sku].reserved -= line.quantity
        self._set(row, "released")

    def _commit(self, order_id: str) -> None:
        row = self._database.row(order_id)
        if row.stock == "committed":
            return
        if row.stock != "reserved":
            raise IllegalStatusError(f"the stock of order {order_id} is {row.stock}")
        if row.charging_closed:
            raise IllegalStatusError(f"order {order_id} is being undone")
        row.move(Status.FULFILLED, None, self._database.clock())
        for line in row.order.lines:
            product = self._database.products[line.sku]
            product.on_hand -= line.quantity
            product.reserved -= line.quantity
        self._set(row, "committed")

    def _set(self, row: _Row, state: StockState) -> None:
        row.stock = state
        row.add_line(f"stock_{state}", self._database.clock())


class InMemoryPaymentLedger(Scripted):
    """``PaymentLedger`` in memory."""

    def __init__(self, database: InMemoryDatabase) -> None:
        super().__init__()
        self._database = database

    async def find(self, order_id: str, attempt: int) -> ChargeEntry | None:
        return await self._play("find", lambda: self._find(order_id, attempt))

    async def open(self, order_id: str, attempt: int, payment_id: str, amount: Money) -> bool:
        return await self._play("open", lambda: self._open(order_id, attempt, payment_id, amount))

    async def record(self, order_id: str, attempt: int, charge: CardCharge) -> None:
        await self._play("record", lambda: self._record(order_id, attempt, charge))

    async def close(self, order_id: str) -> list[ChargeEntry]:
        return await self._play("close", lambda: self._close(order_id))

    async def record_refund(self, order_id: str, attempt: int, refund: CardRefund) -> None:
        await self._play("record_refund", lambda: self._record_refund(order_id, attempt, refund))

    async def record_manual_refund(self, given_back: ManualRefund) -> None:
        await self._play("record_by_hand", lambda: self._record_by_hand(given_back))

    def _find(self, order_id: str, attempt: int) -> ChargeEntry | None:
        row = self._database.rows.get(order_id)
        payment = row and row.payments.get(attempt)
        return _entry(order_id, attempt, payment) if payment else None

    def _open(self, order_id: str, attempt: int, payment_id: str, amount: Money) -> bool:
        row = self._database.row(order_id)
        if row.charging_closed:
            return False
        if amount != row.order.total:
            raise RefusedError(f"order {order_id} costs {row.order.total}: no charge of {amount}")
        if known := row.payments.get(attempt):
            if known.payment_id != payment_id:
                raise RefusedError(f"charge {attempt} of order {order_id} is {known.payment_id}")
            return True
        all_payments = (
            p for other in self._database.rows.values() for p in other.payments.values()
        )
        if any(payment.payment_id == payment_id for payment in all_payments):
            raise RefusedError(f"{payment_id} pays for something else")
        if attempt < 1 or any(p.booked.state in LIVE for p in row.payments.values()):
            raise RefusedError(f"order {order_id} has a live charge already")
        nothing = Money(0, amount.currency)
        row.payments[attempt] = _Payment(
            payment_id, amount, BookedCharge(ChargeState.OPEN, nothing, nothing)
        )
        self._add_line(row, attempt)
        return True

    def _record(self, order_id: str, attempt: int, charge: CardCharge) -> None:
        row, payment = self._opened(order_id, attempt)
        if payment.payment_id != charge.payment_id:
            raise RefusedError(f"charge {attempt} of order {order_id} is {payment.payment_id}")
        known, booked = payment.booked, payment.booked.merge(charge)
        others = (p for n, p in row.payments.items() if n != attempt)
        if booked.state in LIVE and any(other.booked.state in LIVE for other in others):
            raise RefusedError(f"order {order_id} has a live charge already")
        if not booked.refunded <= booked.captured <= payment.amount:
            raise RefusedError(f"{payment.payment_id}: the amounts are impossible")
        payment.booked = booked
        if booked.state is not known.state:
            self._add_line(row, attempt)

    def _close(self, order_id: str) -> list[ChargeEntry]:
        row = self._database.row(order_id)
        row.charging_closed = True
        row.add_line("charging_closed", self._database.clock())
        return [_entry(order_id, n, payment) for n, payment in sorted(row.payments.items())]

    def _record_refund(self, order_id: str, attempt: int, refund: CardRefund) -> None:
        row, payment = self._opened(order_id, attempt)
        if refund.amount.currency != payment.amount.currency:
            raise RefusedError(f"{payment.payment_id} was not charged in {refund.amount}")
        for other in self._database.rows.values():
            for p in other.payments.values():
                if (stored := p.refunds.get(refund.refund_id)) is None:
                    continue
                if p is not payment or stored != refund.amount:
                    raise RefusedError(f"refund {refund.refund_id} has another meaning")
                return
        known = total(payment.refunds.values(), refund.amount.currency) + refund.amount
        if refund.amount.amount <= 0 or not known <= payment.booked.captured:
            raise RefusedError(f"{payment.payment_id}: more than was captured")
        payment.refunds[refund.refund_id] = refund.amount
        payment.booked = replace(payment.booked, refunded=max(payment.booked.refunded, known))
        row.add_line(
            "payment_refunded",
            self._database.clock(),
            attempt=str(attempt),
            refund_id=refund.refund_id,
            amount=str(refund.amount),
        )

    def _record_by_hand(self, said: ManualRefund) -> None:
        self._close(said.order_id)
        row = self._database.row(said.order_id)
        row.by_hand = said
        detail = {"amount": str(said.amount), "by": said.by, "note": said.note}
        row.add_line("given_back_by_hand", self._database.clock(), **detail)

    def _opened(self, order_id: str, attempt: int) -> tuple[_Row, _Payment]:
        row = self._database.rows.get(order_id)
        if row is None or attempt not in row.payments:
            raise RefusedError(f"charge {attempt} of order {order_id} was never opened")
        return row, row.payments[attempt]

    def _add_line(self, row: _Row, attempt: int) -> None:
        payment = row.payments[attempt]
        detail = {"attempt": str(attempt), "payment_id": payment.payment_id}
        if payment.booked.decline_code:
            detail["code"] = payment.booked.decline_code
        row.add_line(f"payment_{payment.booked.state}", self._database.clock(), **detail)


class InMemoryOrderRepository(Scripted):
    """``OrderBook`` in memory."""

    def __init__(self, database: InMemoryDatabase) -> None:
        super().__init__()
        self._database = database

    async def place(
        self, basket: Basket, now: datetime, *, key: IdempotencyKey | None = None
    ) -> Order:
        return await self._play("place", lambda: self._place_by(key, basket, now))

    async def page(self, wanted: OrderFilter, limit: int, after: Cursor | None = None) -> OrderPage:
        return await self._play("page", lambda: self._page(wanted, limit, after))

    async def get(self, order_id: str) -> Order:
        return await self._play("get", lambda: self._get(order_id))

    async def summary(self, order_id: str) -> OrderSummary:
        return await self._play("summary", lambda: self._summary(order_id))

    async def move(self, order_id: str, status: Status, stop: Stop | None, now: datetime) -> None:
        await self._play("move", lambda: self._move(order_id, status, stop, now))

    async def record_parcels(
        self, order_id: str, fulfillment_id: str, parcel_ids: tuple[str, ...]
    ) -> None:
        await self._play(
            "record_parcels", lambda: self._record_parcels(order_id, fulfillment_id, parcel_ids)
        )

    async def move_parcel(self, order_id: str, parcel: Parcel, now: datetime) -> None:
        await self._play("move_parcel", lambda: self._move_parcel(order_id, parcel, now))

    async def note(self, order_id: str, event: str, now: datetime, **detail: str) -> None:
        await self._play(
            "note", lambda: self._database.row(order_id).add_line(event, now, **detail)
        )

    async def view(self, order_id: str) -> OrderView:
        return await self._play("view", lambda: self._view(order_id))

    def _place_by(self, key: IdempotencyKey | None, basket: Basket, now: datetime) -> Order:
        keys = self._database.keys
        if key in keys and not placed_from(self._database.row(keys[key]).order, basket):
            raise IdempotencyKeyReusedError(key)
        order = self._place(basket, now)
        if key is not None:
            keys[key] = order.id
        return order

    def _page(self, wanted: OrderFilter, limit: int, after: Cursor | None) -> OrderPage:
        rows = sorted(self._database.rows.values(), key=lambda row: (row.placed_at, row.order.id))
        found = [
            PlacedOrder(
                row.order.id,
                row.order.customer_id,
                row.order.status,
                row.order.reason,
                row.order.total,
                row.placed_at,
            )
            for row in reversed(rows)
            if wanted.status in {None, row.order.status}
            and wanted.customer_id in {None, row.order.customer_id}
            and (after is None or (row.placed_at, row.order.id) < (after.placed_at, after.order_id))
        ]
        return OrderPage.of(found[: limit + 1], limit)

    def _place(self, basket: Basket, now: datetime) -> Order:
        if known := self._database.rows.get(basket.order_id):
            if not placed_from(known.order, basket):
                raise OrderExistsError(basket.order_id)
            return known.order
        catalogue = {sku: (p.name, p.price) for sku, p in self._database.products.items()}
        order = replace(priced(basket, catalogue), key_prefix=self._database.installation.name)
        row = self._database.rows[order.id] = _Row(order, now)
        row.add_line("order_placed", now, total=str(order.total))
        return order

    def _get(self, order_id: str) -> Order:
        order = self._database.row(order_id).order
        if order.key_prefix not in self._database.installation.names:
            raise ForeignOrderError(order_id, order.key_prefix)
        return order

    def _summary(self, order_id: str) -> OrderSummary:
        order = self._get(order_id)
        return OrderSummary(
            order.id,
            order.customer_id,
            order.total,
            order.status,
            flagged=order.flagged,
            key_prefix=order.key_prefix,
        )

    def _move(self, order_id: str, status: Status, stop: Stop | None, now: datetime) -> None:
        self._database.row(order_id).move(status, stop, now)

    def _record_parcels(
        self, order_id: str, fulfillment_id: str, parcel_ids: tuple[str, ...]
    ) -> None:
        row = self._database.row(order_id)
        if row.fulfillment_id not in {None, fulfillment_id}:
            raise RefusedError(f"order {order_id} is fulfilled as {row.fulfillment_id}")
        others = (other for other in self._database.rows.values() if other is not row)
        if any(parcel in other.parcel_ids for other in others for parcel in parcel_ids):
            raise RefusedError("one of these parcels belongs to another order")
        row.fulfillment_id = fulfillment_id
        for parcel_id in parcel_ids:
            detail = {"fulfillment_id": fulfillment_id, "parcel_id": parcel_id}
            row.add_line("parcel_named", self._database.clock(), **detail)
        row.parcel_ids = tuple(dict.fromkeys((*row.parcel_ids, *parcel_ids)))

    def _move_parcel(self, order_id: str, parcel: Parcel, now: datetime) -> None:
        row = self._database.row(order_id)
        if parcel.parcel_id not in row.parcel_ids:
            raise RefusedError(f"order {order_id} has no parcel {parcel.parcel_id}")
        known = row.parcels.get(parcel.parcel_id, Parcel(parcel.parcel_id))
        merged = row.parcels[parcel.parcel_id] = known.merge(parcel)
        if merged.status is not known.status:
            detail = {"parcel_id": parcel.parcel_id, "tracking": merged.tracking}
            row.add_line(f"parcel_{merged.status}", now, **detail)

    def _view(self, order_id: str) -> OrderView:
        row = self._database.row(order_id)
        return OrderView(
            order=row.order,
            placed_at=row.placed_at,
            stock=row.stock,
            payments=tuple(
                PaymentView(
                    payment_id=payment.payment_id,
                    attempt=attempt,
                    state=payment.booked.state,
                    amount=payment.amount,
                    captured=payment.booked.captured,
                    refunded=payment.booked.refunded,
                )
                for attempt, payment in sorted(row.payments.items())
            ),
            given_back_by_hand=row.by_hand.amount if row.by_hand else None,
            parcels=tuple(_parcel(row, parcel_id) for parcel_id in sorted(row.parcel_ids)),
            refunds=tuple(
                RefundView(id_, refund.amount, refund.state, restocked=refund.restocked)
                for id_, refund in row.refund_requests.items()
            ),
            history=tuple(row.history),
        )


def _parcel(row: _Row, parcel_id: str) -> ParcelView:
    parcel = row.parcels.get(parcel_id, Parcel(parcel_id))
    return ParcelView(parcel_id, parcel.status, parcel.tracking)


def _entry(order_id: str, attempt: int, payment: _Payment) -> ChargeEntry:
    return ChargeEntry(order_id, attempt, payment.payment_id, payment.amount, payment.booked.state)
