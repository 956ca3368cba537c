"""Watches the orders in the database, past everything that is cut and slowed down."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text

from durable_orders.domain.lifecycle import FULFILLED_OR_LATER, Status
from durable_orders.domain.ports import ProviderError
from durable_orders.store.database import Database

_INTERVAL: Final = 0.4

_ROWS: Final = text(
    """
    SELECT o.id, o.status, o.reason, o.total, o.currency, p.payment_id, p.state AS payment,
           (SELECT json_object_agg(parcel_id, status) FROM parcels WHERE order_id = o.id)
               AS parcels,
           (SELECT json_object_agg(refund_id, json_build_array(state, card_refund_id))
            FROM refund_requests WHERE order_id = o.id) AS refunds,
           (SELECT json_object_agg(dispute_id, status) FROM disputes WHERE order_id = o.id)
               AS disputes
    FROM orders o LEFT JOIN LATERAL (
        SELECT payment_id, state FROM payments WHERE order_id = o.id ORDER BY attempt DESC LIMIT 1
    ) p ON true
    WHERE o.id = ANY(:ids)
    """
)
_TO_APPROVE: Final = text(
    "SELECT order_id, refund_id FROM refund_requests WHERE state = 'awaiting_approval'"
)


@dataclass(frozen=True)
class Seen:
    """An order as the database had it a moment ago."""

    order_id: str
    status: Status
    reason: str | None
    total: int
    currency: str
    payment_id: str | None
    payment: str | None
    parcels: Mapping[str, str]
    refunds: Mapping[str, tuple[str, str]]
    disputes: Mapping[str, str]

    @property
    def is_over(self) -> bool:
        return self.status.is_final

    @property
    def is_fulfilled(self) -> bool:
        return self.status in FULFILLED_OR_LATER


class Observer:
    """Reads all orders that somebody waits for, or that are not over, a few times a second."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[str, Seen] = {}
        self._open: set[str] = set()
        self._waiting: Counter[str] = Counter()
        self._changed = asyncio.Condition()
        #: When an order was seen to be over, by ``time.time``.
        self.over_at: dict[str, float] = {}
        #: Refunds that wait for an operator, as (order, refund).
        self.to_approve: set[tuple[str, str]] = set()

    def add(self, order_id: str) -> None:
        """Watch an order from now on, until it is over."""
        self._open.add(order_id)

    @property
    def open(self) -> frozenset[str]:
        """The orders that are not over."""
        return frozenset(self._open)

    @property
    def tally(self) -> Counter[str]:
        """How many orders have each status."""
        return Counter(str(seen.status) for seen in self._seen.values())

    @property
    def ends(self) -> Counter[str]:
        """How many orders have each status, and for which reason."""
        return Counter(
            f"{seen.status} ({seen.reason})" if seen.reason else str(seen.status)
            for seen in self._seen.values()
        )

    def last_seen(self, order_id: str) -> Seen | None:
        return self._seen.get(order_id)

    async def run(self) -> None:
        """Watch until cancelled, whatever becomes of the database."""
        while True:
            with contextlib.suppress(ProviderError):
                await self.look()
            await asyncio.sleep(_INTERVAL)

    async def look(self) -> None:
        """Read the orders once."""
        ids = sorted(self._open | set(self._waiting))
        async with self._database.statement() as connection:
            rows = (await connection.execute(_ROWS, {"ids": ids})).all()
        async with self._database.statement() as connection:
            waiting = (await connection.execute(_TO_APPROVE)).all()
        now = time.time()
        for row in rows:
            refunds = {key: (str(s), str(i)) for key, (s, i) in (row.refunds or {}).items()}
            self._seen[row.id] = seen = Seen(
                row.id, Status(row.status), row.reason, row.total, row.currency, row.payment_id,
                row.payment, row.parcels or {}, refunds, row.disputes or {},
            )  # fmt: skip
            if seen.is_over and row.id in self._open:
                self._open.discard(row.id)
                self.over_at[row.id] = now
        self.to_approve = {(row.order_id, row.refund_id) for row in waiting}
        async with self._changed:
            self._changed.notify_all()

    async def until(self, order_id: str, condition: Callable[[Seen], bool]) -> Seen:
        """Return the order once it is so."""
        self._waiting[order_id] += 1
        try:
            async with self._changed:
                while True:
                    seen = self._seen.get(order_id)
                    if seen is not None and condition(seen):
                        return seen
                    await self._changed.wait()
        finally:
            self._waiting[order_id] -= 1
            self._waiting += Counter()  # forget what nobody waits for

    async def until_over(self, order_id: str) -> Seen:
        return await self.until(order_id, lambda seen: seen.is_over)
