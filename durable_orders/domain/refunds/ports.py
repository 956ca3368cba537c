"""Port: refunds in the database."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from durable_orders.domain.audit.model import RunStatus
from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardRefund, RefusedError
from durable_orders.domain.refunds.refund import (
    RefundEntry,
    RefundRefused,
    RefundRequest,
    RefundState,
    UnfinishedRefund,
)


class NoSuchRefundError(RefusedError):
    """The order has no refund of this id."""

    def __init__(self, order_id: str, refund_id: str) -> None:
        super().__init__(f"order {order_id} has no refund {refund_id}")


class RefundBook(Protocol):
    """Refunds, beside the charges they come from.

    Each call is one transaction that locks the order's row: what is reserved, what the charge's
    entry counts as refunded, and the order's history change together or not at all. Each is
    idempotent, adds a line to the order's history for what it changed, and raises
    ``NoSuchRefundError`` for a refund that was never reserved.
    """

    async def reserve(self, request: RefundRequest, now: datetime) -> RefundEntry | RefundRefused:
        """Reserve the refund's amount and pieces, by the rules of ``plan_refund``.

        The same request again returns the refund as it is by then, other contents for the same id
        are refused. Raises ``NoSuchOrderError``.
        """

    async def reserve_undo(
        self, order_id: str, payment_id: str, left: Money, now: datetime
    ) -> RefundEntry | None:
        """Reserve what undoing the order gives back, by the rules of ``plan_undo``: its charge has
        ``left`` still. None when that is nothing.

        It is being issued then. Raises ``RefusedError`` when the order is not charged as
        ``payment_id``, or that took no money.
        """

    async def find(self, order_id: str, refund_id: str) -> RefundEntry | None:
        """The refund, None when nothing was ever reserved for it."""

    async def refunds_of(self, order_id: str) -> tuple[RefundEntry, ...]:
        """All refunds of the order, oldest first."""

    async def waiting(self, limit: int) -> tuple[RefundEntry, ...]:
        """Refunds of any order that wait for approval, oldest first."""

    async def unfinished(
        self,
        quiet_since: datetime,
        limit: int,
        *,
        after: tuple[str, str] = ("", ""),
        order_id: str | None = None,
    ) -> tuple[UnfinishedRefund, ...]:
        """Unfinished refunds of this installation that have not changed since then: of any order or
        of this one, by order id and refund id, those ``after`` this pair. The one that undoes an
        order only once the order has ended: until then the order's run carries it.
        """

    async def begin(
        self, order_id: str, refund_id: str, attempt: int, now: datetime
    ) -> RefundEntry:
        """Record that ``attempt`` is about to call the provider; see ``RefundEntry.begun``.

        Raises ``IllegalStatusError`` when it must not.
        """

    async def tell(
        self, order_id: str, refund_id: str, attempt: int, refund: CardRefund, now: datetime
    ) -> RefundEntry:
        """Record what the provider reports, here and on the charge; old reports change nothing.

        A refund that failed no longer counts as refunded.
        """

    async def move(
        self, order_id: str, refund_id: str, state: RefundState, now: datetime, why: str = ""
    ) -> RefundEntry:
        """Record the shop's decision. Raises ``IllegalStatusError``."""

    async def restock(self, order_id: str, refund_id: str, now: datetime) -> RefundEntry:
        """Return the refund's pieces to stock, once. A no-op when the request does not ask for it.

        Raises ``IllegalStatusError`` for a refund that has not begun or never will.
        """


class RefundRuns(Protocol):
    """The runs of refunds in Temporal."""

    async def look(self, order_id: str, refund_id: str) -> RunStatus:
        """The refund's run as it is now. Raises ``NoAnswerError``, never guesses."""

    async def start(self, order_id: str, refund_id: str) -> bool:
        """Start the refund's run again; repeating is a no-op. False when it cannot be. Raises
        ``NoAnswerError``.
        """
