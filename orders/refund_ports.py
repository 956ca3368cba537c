"""What refunds need of the database."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from orders.ports import CardRefund, RefusedError
from orders.refunds import RefundEntry, RefundRefused, RefundRequest, RefundState


class NoSuchRefundError(RefusedError):
    """The order has no refund of this id."""

    def __init__(self, order_id: str, refund_id: str) -> None:
        super().__init__(f"order {order_id} has no refund {refund_id}")


class RefundBook(Protocol):
    """Refunds beside the money they come from.

    Each call is one transaction that holds the order's row: what is set aside, what the charge's
    books say was given back, and the order's history change together or not at all. Each is
    idempotent, adds a line to the order's history for what it changed, and raises
    ``NoSuchRefundError`` for a refund that was never reserved.
    """

    async def reserve(self, request: RefundRequest, now: datetime) -> RefundEntry | RefundRefused:
        """Set the refund's amount and pieces aside, by the rules of ``orders.refunds.planned``.

        The same request again returns the refund as it stands by then, other contents for the same
        id are refused. Raises ``NoSuchOrderError``.
        """

    async def find(self, order_id: str, refund_id: str) -> RefundEntry | None:
        """The refund, None when nothing was ever set aside for it."""

    async def refunds_of(self, order_id: str) -> tuple[RefundEntry, ...]:
        """All refunds of the order, oldest first."""

    async def waiting(self, limit: int) -> tuple[RefundEntry, ...]:
        """Refunds of any order that wait for a person to let them pass, the oldest first."""

    async def begin(
        self, order_id: str, refund_id: str, attempt: int, now: datetime
    ) -> RefundEntry:
        """Note that attempt ``attempt`` asks the provider from now on; see ``RefundEntry.begun``.

        Raises ``IllegalStatusError`` when it must not be asked.
        """

    async def tell(
        self, order_id: str, refund_id: str, attempt: int, refund: CardRefund, now: datetime
    ) -> RefundEntry:
        """Note the provider's word, here and in the charge's own books; old news changes nothing.

        A refund that failed no longer counts as given back.
        """

    async def move(
        self, order_id: str, refund_id: str, state: RefundState, now: datetime, why: str = ""
    ) -> RefundEntry:
        """Note what the shop decided. Raises ``IllegalStatusError``."""

    async def restock(self, order_id: str, refund_id: str, now: datetime) -> RefundEntry:
        """Put the refund's pieces back on the shelf, once. Does nothing when it was not asked to.

        Raises ``IllegalStatusError`` for a refund that has not begun or never will.
        """
