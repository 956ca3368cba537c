"""In-memory fake of the store: three ports over one ``InMemoryDatabase``.

It keeps the rules of ``store/``; one contract suite runs against both. Each call does its work
without an await, so it is a transaction without a lock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from durable_orders.domain.activity_messages import (
    AlreadyFulfilled,
    CommitAnswer,
    EndedBefore,
    ManualRefund,
    OrderSummary,
    OrderUndone,
    ReservationClosed,
    ReserveAnswer,
    Reserved,
    StockCommitted,
    UndoAnswer,
    UndoBegun,
    UndoRequest,
)
from durable_orders.domain.charges import (
    LIVE_TRY,
    TRY_OVER,
    BookedCharge,
    answers_newest,
    merge_try,
)
from durable_orders.domain.disputes.dispute import PaymentRisks
from durable_orders.domain.disputes.listing import risk_views
from durable_orders.domain.ids import IdempotencyKey, IdempotencyKeyReusedError
from durable_orders.domain.installation import CardAccount, ForeignOrderError, Installation
from durable_orders.domain.inventory import StockState, shortage
from durable_orders.domain.lifecycle import (
    FOLLOWS,
    Decision,
    Status,
    Stop,
    StopReason,
    decided,
)
from durable_orders.domain.listing import Cursor, OrderFilter, OrderPage, PlacedOrder
from durable_orders.domain.money import Money, total
from durable_orders.domain.order import Basket, Order, placed_from, priced
from durable_orders.domain.parcels import Parcel
from durable_orders.domain.ports import (
    CardCharge,
    CardRefund,
    CardTry,
    ChargeEntry,
    ChargeState,
    IllegalStatusError,
    NoSuchOrderError,
    OrderExistsError,
    RefusedError,
    TryRefusal,
)
from durable_orders.domain.refunds.refund import RefundEntry
from durable_orders.domain.views import (
    WAREHOUSE_SAID,
    CardTryView,
    HistoryLine,
    OrderView,
    ParcelView,
    PaymentView,
    RefundView,
)
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
    revision: int = 0
    tries: dict[int, CardTry] = field(default_factory=dict)
    refunds: dict[str, Money] = field(default_factory=dict)


@dataclass
class _Row:
    order: Order
    placed_at: datetime
    stock: StockState = "none"
    charging_closed: bool = False
    decision: Decision | None = None
    undo_stop: Stop | None = None
    run_id: str = ""
    fulfillment_id: str | None = None
    parcel_ids: tuple[str, ...] = ()
    parcels: dict[str, Parcel] = field(default_factory=dict)
    payment: _Payment | None = None
    refund_requests: dict[str, RefundEntry] = field(default_factory=dict)
    refunds_changed: dict[str, datetime] = field(default_factory=dict)
    history: list[HistoryLine] = field(default_factory=list)
    by_hand: ManualRefund | None = None
    risks: PaymentRisks | None = None

    def add_line(self, event: str, at: datetime, **detail: str) -> None:
        if not any(line.event == event and line.detail == detail for line in self.history):
            self.history.append(HistoryLine(at, event, detail))

    @property
    def decided(self) -> Decision | None:
        return decided(self.order.status, self.decision)

    @property
    def undone(self) -> Stop | None:
        if self.decided is not Decision.UNDO:
            return None
        return self.undo_stop or Stop(StopReason.CLOSED_BEFORE, "it was being undone before")

    @property
    def cancelled_unstarted(self) -> bool:
        cancelled = self.order.status is Status.CANCELLED
        return cancelled and self.decision is Decision.UNDO and not self.run_id

    def close(self) -> None:
        self.charging_closed = True
        self.decision = self.decision or Decision.UNDO

    def move(self, status: Status, stop: Stop | None, now: datetime) -> None:
        known = self.order.status
        if known is status:
            return
        if status not in FOLLOWS[known]:
            if any(line.event == f"order_{status}" for line in self.history):
                return
            raise IllegalStatusError(f"order {self.order.id} is {known}: it cannot become {status}")
        self.undo_stop = stop or self.undo_stop
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

    def order(self, order_id: str) -> Order:
        row = self.row(order_id)
        if row.order.key_prefix not in self.installation.names:
            raise ForeignOrderError(order_id, row.order.key_prefix)
        return replace(row.order, undone=row.undone)

    def summary(self, order_id: str) -> OrderSummary:
        order, row = self.order(order_id), self.row(order_id)
        return OrderSummary(
            order.id,
            order.customer_id,
            order.total,
            order.status,
            flagged=order.flagged,
            off_session=order.options.off_session,
            key_prefix=order.key_prefix,
            run_id=row.run_id,
            cancelled_unstarted=row.cancelled_unstarted,
            placed_by=row.history[0].detail.get("actor", ""),
        )


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

    async def reserve(self, order_id: str, run_id: str = "") -> ReserveAnswer:
        return await self._play("reserve", lambda: self._reserve(order_id, run_id))

    async def release(self, order_id: str) -> None:
        await self._play("release", lambda: self._release(order_id))

    async def begin(
        self, order_id: str, run_id: str = ""
    ) -> tuple[OrderSummary, ReserveAnswer | None]:
        """The steps scripted for ``reserve`` are played here, too."""
        found = await self._play("begin", lambda: self._database.summary(order_id))
        if found.is_carried_by_another(run_id):
            return found, None
        return found, await self.reserve(order_id, run_id)

    async def commit(self, order_id: str, *, ends_as: Status | None = None) -> CommitAnswer:
        return await self._play("commit", lambda: self._commit(order_id, ends_as))

    def _reserve(self, order_id: str, run_id: str) -> ReserveAnswer:
        row = self._database.row(order_id)
        if row.undone:
            return OrderUndone(row.undone)
        if row.stock == "reserved":
            row.run_id = run_id or row.run_id
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
        row.run_id = run_id or row.run_id
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

    def _commit(self, order_id: str, ends_as: Status | None) -> CommitAnswer:
        row = self._database.row(order_id)
        if ends_as is not None and ends_as not in FOLLOWS[Status.FULFILLED]:
            raise IllegalStatusError(f"a fulfilled order does not become {ends_as}")
        if row.stock == "committed":
            if ends_as is not None and row.order.status is Status.FULFILLED:
                row.move(ends_as, None, self._database.clock())
            known = (row.parcels.get(id_, Parcel(id_)) for id_ in sorted(row.parcel_ids))
            return StockCommitted(row.order.status, tuple(known))
        if row.undone:
            return OrderUndone(row.undone)
        if row.stock != "reserved":
            raise IllegalStatusError(f"the stock of order {order_id} is {row.stock}")
        row.move(Status.FULFILLED, None, self._database.clock())
        for line in row.order.lines:
            product = self._database.products[line.sku]
            product.on_hand -= line.quantity
            product.reserved -= line.quantity
        self._set(row, "committed")
        if ends_as is not None:
            row.move(ends_as, None, self._database.clock())
        return StockCommitted(row.order.status)

    def _set(self, row: _Row, state: StockState) -> None:
        row.stock = state
        row.add_line(f"stock_{state}", self._database.clock())


class InMemoryPaymentLedger(Scripted):
    """``PaymentLedger`` in memory."""

    def __init__(self, database: InMemoryDatabase) -> None:
        super().__init__()
        self._database = database

    async def find(self, order_id: str) -> ChargeEntry | None:
        return await self._play("find", lambda: self._find(order_id))

    async def announce(
        self, order_id: str, payment_id: str, amount: Money, card_try: CardTry
    ) -> ChargeEntry | None:
        return await self._play(
            "announce", lambda: self._announce(order_id, payment_id, amount, card_try)
        )

    async def record(
        self,
        entry: ChargeEntry,
        charge: CardCharge,
        *,
        answers: int | None = None,
        leads_to: Status | None = None,
    ) -> bool:
        return await self._play("record", lambda: self._record(entry, charge, answers, leads_to))

    async def end_try(
        self,
        order_id: str,
        number: int,
        state: ChargeState,
        decline_code: str = "",
        refusal: TryRefusal | None = None,
    ) -> None:
        await self._play(
            "end_try", lambda: self._end_try(order_id, number, state, decline_code, refusal)
        )

    async def close(self, order_id: str) -> list[ChargeEntry]:
        return await self._play("close", lambda: self._close(order_id))

    async def record_refund(self, order_id: str, payment_id: str, refund: CardRefund) -> None:
        await self._play("record_refund", lambda: self._record_refund(order_id, payment_id, refund))

    async def find_manual_refund(self, order_id: str) -> Money | None:
        return self._find_by_hand(order_id)

    async def record_manual_refund(self, given_back: ManualRefund) -> None:
        await self._play("record_by_hand", lambda: self._record_by_hand(given_back))

    def _find(self, order_id: str) -> ChargeEntry | None:
        row = self._database.rows.get(order_id)
        return charge_entry(row) if row and row.payment else None

    def _announce(
        self, order_id: str, payment_id: str, amount: Money, card_try: CardTry
    ) -> ChargeEntry | None:
        row = self._database.row(order_id)
        if row.charging_closed or row.undone:
            return None
        if amount != row.order.total:
            raise RefusedError(f"order {order_id} costs {row.order.total}: no charge of {amount}")
        tries = row.payment.tries if row.payment else {}
        if row.payment is not None and row.payment.payment_id != payment_id:
            raise RefusedError(f"order {order_id} is charged as {row.payment.payment_id}")
        if card_try.number not in tries:
            if any(number > card_try.number for number in tries) or card_try.number < 1:
                raise RefusedError(f"try {card_try.number} of order {order_id} is too late")
            if any(one.state in LIVE_TRY for one in tries.values()):
                raise RefusedError(f"order {order_id} has a try that is not over")
            everything = [row.payment for row in self._database.rows.values() if row.payment]
            if row.payment is None and any(p.payment_id == payment_id for p in everything):
                raise RefusedError(f"{payment_id} pays for something else")
            if any(one.key == card_try.key for p in everything for one in p.tries.values()):
                raise RefusedError(f"the key {card_try.key} is another try's")
            if row.payment is None:
                nothing = Money(0, amount.currency)
                opened = BookedCharge(ChargeState.OPEN, nothing, nothing)
                row.payment = _Payment(payment_id, amount, opened)
            else:
                row.payment.revision += 1
            announced = replace(card_try, announced_at=self._database.clock())
            row.payment.tries[card_try.number] = announced
            self._add_line(row, announced.state, number=card_try.number)
        return self._find(order_id)

    def _record(
        self,
        entry: ChargeEntry,
        charge: CardCharge,
        answers: int | None,
        leads_to: Status | None,
    ) -> bool:
        is_newest = self._merge(entry, charge, answers)
        if leads_to is not None:
            row = self._database.row(entry.order_id)
            row.move(leads_to, None, self._database.clock())
        return is_newest

    def _merge(self, entry: ChargeEntry, charge: CardCharge, answers: int | None) -> bool:
        row, payment = self._charged(entry.order_id, entry.payment_id)
        if payment.payment_id != charge.payment_id:
            raise RefusedError(f"order {entry.order_id} is charged as {payment.payment_id}")
        fresh = payment.revision == entry.revision
        known, booked = payment.booked, payment.booked.merge(charge, fresh=fresh)
        if not booked.refunded <= booked.captured <= payment.amount:
            raise RefusedError(f"{payment.payment_id}: the amounts are impossible")
        tried = payment.tries.get(answers) if answers else None
        newest = next(reversed(payment.tries.values()), None)
        if answers is None and newest and answers_newest(newest, charge, fresh=fresh):
            tried = newest
        after = merge_try(tried, charge) if tried else None
        moved = after is not None and after != tried
        if booked == known and not moved:
            return fresh
        payment.booked = booked
        payment.revision += 1
        if after is not None and moved:
            payment.tries[after.number] = after
            code, newest_charge = after.decline_code, charge.latest_charge
            self._add_line(row, after.state, code, newest_charge, number=after.number)
        elif replace(booked, captured=known.captured, refunded=known.refunded) != known:
            self._add_line(row, booked.state, booked.decline_code, booked.latest_charge)
        return fresh

    def _end_try(
        self,
        order_id: str,
        number: int,
        state: ChargeState,
        code: str,
        refusal: TryRefusal | None,
    ) -> None:
        row = self._database.row(order_id)
        known = row.payment.tries.get(number) if row.payment else None
        if row.payment and known and known.state not in TRY_OVER:
            ended = replace(known, state=state, decline_code=code, refusal=refusal)
            row.payment.tries[number] = ended
            self._add_line(row, refusal or state, code, number=number)

    def _close(self, order_id: str) -> list[ChargeEntry]:
        row = self._database.row(order_id)
        if row.decided is Decision.KEEP:
            raise IllegalStatusError(f"order {order_id} is kept: its charge is not undone")
        row.close()
        row.add_line("charging_closed", self._database.clock())
        return [charge_entry(row)] if row.payment else []

    def _record_refund(self, order_id: str, payment_id: str, refund: CardRefund) -> None:
        row, payment = self._charged(order_id, payment_id)
        if refund.amount.currency != payment.amount.currency:
            raise RefusedError(f"{payment.payment_id} was not charged in {refund.amount}")
        for other in self._database.rows.values():
            if other.payment is None or refund.refund_id not in other.payment.refunds:
                continue
            same = other.payment.refunds[refund.refund_id] == refund.amount
            if other.payment is not payment or not same:
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
            payment_id=payment_id,
            refund_id=refund.refund_id,
            amount=str(refund.amount),
        )

    def _find_by_hand(self, order_id: str) -> Money | None:
        row = self._database.rows.get(order_id)
        return row.by_hand.amount if row and row.by_hand else None

    def _record_by_hand(self, said: ManualRefund) -> None:
        row = self._database.row(said.order_id)
        row.close()
        row.add_line("charging_closed", self._database.clock())
        row.by_hand = said
        detail = {"amount": str(said.amount), "by": said.by, "note": said.note}
        row.add_line("given_back_by_hand", self._database.clock(), **detail)

    def _charged(self, order_id: str, payment_id: str) -> tuple[_Row, _Payment]:
        row = self._database.rows.get(order_id)
        if row is None or row.payment is None or row.payment.payment_id != payment_id:
            raise RefusedError(f"order {order_id} is not charged as {payment_id}")
        return row, row.payment

    def _add_line(
        self,
        row: _Row,
        state: ChargeState | TryRefusal,
        code: str = "",
        charge: str = "",
        *,
        number: int | None = None,
    ) -> None:
        if row.payment is None:
            return
        detail = {
            "payment_id": row.payment.payment_id,
            "try": str(number or ""),
            "code": code,
            "charge": charge,
        }
        known = {name: text for name, text in detail.items() if text}
        row.add_line(f"payment_{state}", self._database.clock(), **known)


class InMemoryOrderRepository(Scripted):
    """``OrderBook`` in memory."""

    def __init__(self, database: InMemoryDatabase) -> None:
        super().__init__()
        self._database = database

    async def place(
        self,
        basket: Basket,
        now: datetime,
        *,
        key: IdempotencyKey | None = None,
        placed_by: str = "",
    ) -> Order:
        return await self._play("place", lambda: self._place_by(key, basket, now, placed_by))

    async def page(self, wanted: OrderFilter, limit: int, after: Cursor | None = None) -> OrderPage:
        return await self._play("page", lambda: self._page(wanted, limit, after))

    async def get(self, order_id: str) -> Order:
        return await self._play("get", lambda: self._database.order(order_id))

    async def get_for_charge(self, order_id: str) -> tuple[Order, ChargeEntry | None]:
        return await self._play("get_for_charge", lambda: self._get_for_charge(order_id))

    async def summary(self, order_id: str) -> OrderSummary:
        return await self._play("summary", lambda: self._database.summary(order_id))

    async def move(self, order_id: str, status: Status, stop: Stop | None, now: datetime) -> None:
        await self._play("move", lambda: self._move(order_id, status, stop, now))

    async def get_for_mail(
        self, order_id: str, event: str, **detail: str
    ) -> tuple[Order, str | None]:
        return await self._play("get_for_mail", lambda: self._get_for_mail(order_id, event, detail))

    async def begin_undo(self, undo: UndoRequest, now: datetime) -> UndoAnswer:
        return await self._play("begin_undo", lambda: self._begin_undo(undo, now))

    async def cancel_unstarted(self, order_id: str, stop: Stop, now: datetime) -> bool:
        return await self._play(
            "cancel_unstarted", lambda: self._cancel_unstarted(order_id, stop, now)
        )

    async def keep(self, order_id: str, now: datetime) -> None:
        await self._play("keep", lambda: self._keep(order_id, now))

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

    async def note_words(self, order_id: str, about: str, words: str, now: datetime) -> None:
        await self._play("note_words", lambda: self._note_words(order_id, about, words, now))

    def _note_words(self, order_id: str, about: str, words: str, now: datetime) -> None:
        row = self._database.row(order_id)
        known = (line for line in row.history if line.event == WAREHOUSE_SAID)
        if about not in {line.detail["about"] for line in known}:
            row.add_line(WAREHOUSE_SAID, now, about=about, words=words)

    async def view(self, order_id: str) -> OrderView:
        return await self._play("view", lambda: self._view(order_id))

    def _place_by(
        self, key: IdempotencyKey | None, basket: Basket, now: datetime, placed_by: str
    ) -> Order:
        keys = self._database.keys
        if key in keys and not placed_from(self._database.row(keys[key]).order, basket):
            raise IdempotencyKeyReusedError(key)
        order = self._place(basket, now, placed_by)
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

    def _place(self, basket: Basket, now: datetime, placed_by: str) -> Order:
        if known := self._database.rows.get(basket.order_id):
            if not placed_from(known.order, basket):
                raise OrderExistsError(basket.order_id)
            return known.order
        catalogue = {sku: (p.name, p.price) for sku, p in self._database.products.items()}
        order = replace(priced(basket, catalogue), key_prefix=self._database.installation.name)
        row = self._database.rows[order.id] = _Row(order, now)
        who = {"actor": placed_by} if placed_by else {}
        row.add_line("order_placed", now, total=str(order.total), **who)
        return order

    def _get_for_charge(self, order_id: str) -> tuple[Order, ChargeEntry | None]:
        order, row = self._database.order(order_id), self._database.row(order_id)
        return order, charge_entry(row) if row.payment else None

    def _get_for_mail(
        self, order_id: str, event: str, detail: dict[str, str]
    ) -> tuple[Order, str | None]:
        order = self._database.order(order_id)
        lines = [
            line
            for line in self._database.row(order_id).history
            if line.event == event and detail.items() <= line.detail.items()
        ]
        return order, lines[-1].detail["mail"] if lines else None

    def _begin_undo(self, undo: UndoRequest, now: datetime) -> UndoAnswer:
        row = self._database.row(undo.order_id)
        status, stop = row.order.status, row.undone
        if row.decided is Decision.KEEP:
            return AlreadyFulfilled(tuple(sorted(row.parcel_ids)))
        if status.is_final and stop:
            row.run_id = undo.run_id if row.cancelled_unstarted else row.run_id
            money = Money(0, row.order.total.currency)
            if status is Status.REFUNDED and (row.by_hand or row.payment):
                money = row.by_hand.amount if row.by_hand else _captured(row)
            return EndedBefore(status, stop, money, money)
        if stop is None:
            row.decision, row.undo_stop = Decision.UNDO, undo.stop
            row.order = replace(row.order, reason=str(undo.stop.reason))
            row.run_id = undo.run_id or row.run_id
            detail = {"reason": str(undo.stop.reason), "message": undo.stop.message}
            row.add_line("undo_begun", now, **detail)
        handed_over = status in {Status.HELD, Status.PAID}
        return UndoBegun(stop or undo.stop, row.payment is not None, handed_over)

    def _cancel_unstarted(self, order_id: str, stop: Stop, now: datetime) -> bool:
        row = self._database.row(order_id)
        if row.cancelled_unstarted:
            return True
        is_begun = row.run_id or row.decision or row.stock != "none"
        if is_begun or row.order.status is not Status.PLACED:
            return False
        row.move(Status.CANCELLED, stop, now)
        row.decision, row.stock = Decision.UNDO, "released"
        return True

    def _keep(self, order_id: str, now: datetime) -> None:
        row = self._database.row(order_id)
        if row.order.status.is_final or row.decided is Decision.KEEP:
            return
        row.decision, row.undo_stop = Decision.KEEP, None
        row.order = replace(row.order, reason=None)
        row.add_line("order_kept", now)

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
            payments=(_payment(row.payment),) if row.payment else (),
            given_back_by_hand=row.by_hand.amount if row.by_hand else None,
            parcels=tuple(_parcel(row, parcel_id) for parcel_id in sorted(row.parcel_ids)),
            refunds=tuple(
                RefundView(id_, refund.amount, refund.state, restocked=refund.restocked)
                for id_, refund in row.refund_requests.items()
            ),
            risks=risk_views(row.risks, row.payment.amount) if row.risks and row.payment else (),
            history=tuple(row.history),
        )


def _payment(payment: _Payment) -> PaymentView:
    tries = payment.tries.values()
    return PaymentView(
        payment_id=payment.payment_id,
        state=payment.booked.state,
        amount=payment.amount,
        captured=payment.booked.captured,
        refunded=payment.booked.refunded,
        tries=tuple(CardTryView(one.number, one.state, one.decline_code) for one in tries),
    )


def _parcel(row: _Row, parcel_id: str) -> ParcelView:
    parcel = row.parcels.get(parcel_id, Parcel(parcel_id))
    return ParcelView(parcel_id, parcel.status, parcel.tracking)


def _is_questioned(row: _Row) -> bool:
    return row.risks is not None and bool(row.risks.ids)


def charge_entry(row: _Row) -> ChargeEntry:
    """The ledger's entry of an order's charge."""
    payment = row.payment
    if payment is None:
        raise LookupError(f"order {row.order.id} has no charge")
    return ChargeEntry(
        row.order.id,
        payment.payment_id,
        payment.amount,
        payment.booked.state,
        payment.revision,
        tuple(payment.tries.values()),
        _is_questioned(row),
        row.order.status,
        row.undone,
        payment.booked,
    )


def _captured(row: _Row) -> Money:
    nothing = Money(0, row.order.total.currency)
    return row.payment.booked.captured if row.payment else nothing
