"""In-memory fake of ``RiskListRepository``, over the ``InMemoryDatabase`` of the other fakes."""

from __future__ import annotations

from datetime import datetime

from durable_orders.domain.disputes.listing import (
    CursorPart,
    ListedRisk,
    RiskCursor,
    RiskPage,
    risk_views,
)
from tests.fakes.database import InMemoryDatabase
from tests.fakes.script import Scripted


class InMemoryRiskListRepository(Scripted):
    """``RiskListRepository`` in memory."""

    def __init__(self, database: InMemoryDatabase) -> None:
        super().__init__()
        self._database = database

    async def page(
        self, limit: int, after: RiskCursor | None = None, *, closed: bool = False
    ) -> RiskPage:
        return await self._play("page", lambda: self._page(limit, after, closed=closed))

    async def find(self, risk_id: str) -> ListedRisk | None:
        return await self._play("find", lambda: self._find(risk_id))

    # -- implementation ----------------------------------------------------------------------------

    def _all(self) -> list[ListedRisk]:
        ours = self._database.installation.names
        return [
            ListedRisk(order_id, row.order.status, risk)
            for order_id, row in self._database.rows.items()
            if row.risks and row.payment and row.order.key_prefix in ours
            for risk in risk_views(row.risks, row.payment.amount)
        ]

    def _page(self, limit: int, after: RiskCursor | None, *, closed: bool) -> RiskPage:
        found = [one for one in self._all() if closed or one.risk.is_open]
        found.sort(key=lambda one: _key(RiskCursor.after(one.risk, closed=closed)), reverse=closed)
        if after is not None:
            place = _key(after)
            keyed = [(_key(RiskCursor.after(one.risk, closed=closed)), one) for one in found]
            found = [one for key, one in keyed if (key < place if closed else key > place)]
        return RiskPage.of(found[: limit + 1], limit, closed=closed)

    def _find(self, risk_id: str) -> ListedRisk | None:
        return next((one for one in self._all() if one.risk.risk_id == risk_id), None)


def _key(cursor: RiskCursor) -> tuple[bool, datetime, str]:
    return cursor.part is CursorPart.UNDATED, cursor.at, cursor.risk_id
