"""What audits found, one row per kind, order and payment."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from orders.audits import Finding, Resolution
from orders.discrepancies import Discrepancy, Kind, Remedy
from orders.reconciliation_ports import Listed
from store.database import Database
from store.tables import findings

_KEY = (findings.c.kind, findings.c.order_id, findings.c.payment_id)


class PostgresFindings:
    """``orders.reconciliation_ports.Findings`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, found: Discrepancy, now: datetime) -> datetime | None:
        """Write it down; when it was last seen before, None when it is new or back again."""
        told = {"detail": found.detail, "remedy": found.remedy}
        async with self._database.transaction() as connection:
            is_new = await connection.scalar(
                insert(findings)
                .values(
                    kind=found.kind,
                    order_id=found.order_id,
                    payment_id=found.payment_id,
                    first_seen=now,
                    last_seen=now,
                    **told,
                )
                .on_conflict_do_nothing()
                .returning(findings.c.kind)
            )
            if is_new is not None:
                return None
            known = (
                await connection.execute(select(findings).where(_is(found)).with_for_update())
            ).one()
            is_back = known.resolved_at is not None
            # Of two audits at once, the earlier may write last.
            seen: dict[str, Any] = {"last_seen": func.greatest(findings.c.last_seen, now)}
            if is_back:
                seen = {"first_seen": now, "last_seen": now, "resolved_at": None}
                seen["resolution"] = None
            await connection.execute(update(findings).where(_is(found)).values(**told, **seen))
            return None if is_back else known.last_seen

    async def resolve(self, found: Discrepancy, how: Resolution, now: datetime) -> None:
        """It is no longer so; the first word on how stays."""
        unresolved = findings.c.resolved_at.is_(None)
        async with self._database.statement() as connection:
            await connection.execute(
                update(findings)
                .where(_is(found), unresolved)
                .values(resolved_at=now, resolution=how)
            )

    async def unresolved(self, cursor: str | None, limit: int) -> Listed[Finding]:
        """What still disagrees, as far as we know."""
        wanted = select(findings).where(findings.c.resolved_at.is_(None))
        if cursor is not None:
            wanted = wanted.where(tuple_(*_KEY) > tuple_(*json.loads(cursor)))
        async with self._database.statement() as connection:
            rows = (await connection.execute(wanted.order_by(*_KEY).limit(limit))).all()
        found = tuple(map(_finding, rows))
        if len(found) < limit:
            return Listed(found)
        last = found[-1]
        return Listed(found, json.dumps([last.kind, last.order_id, last.payment_id]))

    async def listed(self, *, resolved: bool, limit: int) -> list[Finding]:
        """What is unresolved, newest first; with ``resolved`` everything."""
        wanted = select(findings).order_by(findings.c.first_seen.desc(), *_KEY).limit(limit)
        if not resolved:
            wanted = wanted.where(findings.c.resolved_at.is_(None))
        async with self._database.statement() as connection:
            return [_finding(row) for row in await connection.execute(wanted)]


def _is(found: Discrepancy) -> ColumnElement[bool]:
    return and_(
        findings.c.kind == found.kind,
        findings.c.order_id == found.order_id,
        findings.c.payment_id == found.payment_id,
    )


def _finding(row: Row[Any]) -> Finding:
    return Finding(
        kind=Kind(row.kind),
        order_id=row.order_id,
        payment_id=row.payment_id,
        detail=row.detail,
        remedy=Remedy(row.remedy),
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        resolved_at=row.resolved_at,
        resolution=row.resolution,
    )
