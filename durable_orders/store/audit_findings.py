"""Audit findings, one row per kind, order and payment."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from durable_orders.domain.audit.messages import (
    Acknowledgement,
    Finding,
    PriorFinding,
    Resolution,
    findings_to_acknowledge,
    noted_detail,
)
from durable_orders.domain.audit.model import Discrepancy, DiscrepancyKind, Remedy
from durable_orders.domain.audit.ports import CursorPage
from durable_orders.domain.ports import NoSuchOrderError
from durable_orders.store.database import Database
from durable_orders.store.history import ADD_LINE, line
from durable_orders.store.risk_rows import withdrawn_of
from durable_orders.store.tables import findings, orders, payments

_KEY = (findings.c.kind, findings.c.order_id, findings.c.payment_id)
_NOT_ACKNOWLEDGED: Final = {
    "acknowledged_at": None,
    "acknowledged_by": None,
    "acknowledged_note": None,
    "acknowledged_kept": None,
}


class PostgresFindingRepository:
    """``Findings`` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, found: Discrepancy, now: datetime) -> PriorFinding:
        values: dict[str, str] = {"detail": found.detail, "remedy": found.remedy}
        async with self._database.transaction() as connection:
            is_new = await connection.scalar(
                insert(findings)
                .values(
                    kind=found.kind,
                    order_id=found.order_id,
                    payment_id=found.payment_id,
                    first_seen=now,
                    last_seen=now,
                    **values,
                )
                .on_conflict_do_nothing()
                .returning(findings.c.kind)
            )
            if is_new is not None:
                return PriorFinding()
            known = (
                await connection.execute(select(findings).where(_is(found)).with_for_update())
            ).one()
            is_back = known.resolved_at is not None
            is_acknowledged = known.acknowledged_at is not None
            before = None if is_back else known.detail
            detail = noted_detail(found, before, is_acknowledged=is_acknowledged)
            is_other = is_acknowledged and known.detail != detail
            values["detail"] = detail
            # Of two concurrent audits, the earlier may write last.
            seen: dict[str, Any] = {"last_seen": func.greatest(findings.c.last_seen, now)}
            if is_back:
                seen = {"first_seen": now, "last_seen": now, "resolved_at": None}
                seen["resolution"] = None
            if is_back or is_other:
                seen |= _NOT_ACKNOWLEDGED
            await connection.execute(update(findings).where(_is(found)).values(**values, **seen))
            if is_back or is_other:
                return PriorFinding()
            return PriorFinding(known.last_seen, is_acknowledged)

    async def is_unresolved(self, found: Discrepancy) -> bool:
        unresolved = select(findings.c.kind).where(_is(found), findings.c.resolved_at.is_(None))
        async with self._database.statement() as connection:
            return await connection.scalar(unresolved) is not None

    async def resolve(self, found: Discrepancy, how: Resolution, now: datetime) -> None:
        """Resolve the finding; only the first resolution is kept."""
        unresolved = findings.c.resolved_at.is_(None)
        async with self._database.statement() as connection:
            await connection.execute(
                update(findings)
                .where(_is(found), unresolved)
                .values(resolved_at=now, resolution=how)
            )

    async def acknowledge(
        self, order_id: str, kind: DiscrepancyKind | None, word: Acknowledgement
    ) -> tuple[Finding, ...]:
        of_order = (findings.c.order_id == order_id, findings.c.resolved_at.is_(None))
        async with self._database.transaction() as connection:
            is_ours = await connection.scalar(select(orders.c.id).where(orders.c.id == order_id))
            rows = await connection.execute(
                select(findings).where(*of_order).order_by(*_KEY).with_for_update()
            )
            known = tuple(map(_finding, rows))
            if not known and is_ours is None:
                raise NoSuchOrderError(order_id)
            wanted = findings_to_acknowledge(order_id, known, kind)
            kept = await connection.scalar(
                select(func.coalesce(func.sum(payments.c.captured - payments.c.refunded), 0)).where(
                    payments.c.order_id == order_id
                )
            )
            withdrawn = await withdrawn_of(connection, order_id)
            for finding in wanted:
                if finding.acknowledged:
                    continue
                await connection.execute(
                    update(findings)
                    .where(_is(finding.discrepancy))
                    .values(
                        acknowledged_at=word.at,
                        acknowledged_by=word.by,
                        acknowledged_note=word.note,
                        acknowledged_kept=int(kept or 0) - withdrawn,
                    )
                )
                if is_ours is not None:
                    detail = {"kind": finding.kind, "finding": finding.detail}
                    detail |= {"by": word.by, "note": word.note}
                    acknowledged = line(order_id, "finding_acknowledged", detail, word.at)
                    await connection.execute(ADD_LINE, acknowledged)
        return tuple(
            finding if finding.acknowledged else replace(finding, acknowledged=word)
            for finding in wanted
        )

    async def unresolved(self, cursor: str | None, limit: int) -> CursorPage[Finding]:
        wanted = select(findings).where(findings.c.resolved_at.is_(None))
        if cursor is not None:
            wanted = wanted.where(tuple_(*_KEY) > tuple_(*json.loads(cursor)))
        async with self._database.statement() as connection:
            rows = (await connection.execute(wanted.order_by(*_KEY).limit(limit))).all()
        found = tuple(map(_finding, rows))
        if len(found) < limit:
            return CursorPage(found)
        last = found[-1]
        return CursorPage(found, json.dumps([last.kind, last.order_id, last.payment_id]))

    async def listed(self, *, everything: bool, limit: int) -> list[Finding]:
        wanted = select(findings).order_by(findings.c.first_seen.desc(), *_KEY).limit(limit)
        if not everything:
            wanted = wanted.where(
                findings.c.resolved_at.is_(None), findings.c.acknowledged_at.is_(None)
            )
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
        kind=DiscrepancyKind(row.kind),
        order_id=row.order_id,
        payment_id=row.payment_id,
        detail=row.detail,
        remedy=Remedy(row.remedy),
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        resolved_at=row.resolved_at,
        resolution=row.resolution,
        acknowledged=None
        if row.acknowledged_at is None
        else Acknowledgement(row.acknowledged_by, row.acknowledged_note, row.acknowledged_at),
    )
