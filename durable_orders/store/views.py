"""The read model of one order, with everything that belongs to it, in one statement."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import chain
from types import SimpleNamespace
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BindParameter,
    CompoundSelect,
    Select,
    bindparam,
    case,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from durable_orders.domain.money import Money
from durable_orders.domain.views import (
    CardTryView,
    HistoryLine,
    OrderView,
    ParcelView,
    PaymentView,
    RefundView,
)
from durable_orders.store.risk_list import RISKS_OF_ORDER, risk_view_of
from durable_orders.store.rows import ORDER, order_of
from durable_orders.store.tables import (
    given_back_by_hand,
    order_lines,
    parcels,
    payment_tries,
    payments,
    refund_requests,
    whole_history,
)

_THIS: Final[BindParameter[str]] = bindparam("order_id")


def _array(rows: Select[Any] | CompoundSelect[Any], *order_by: str) -> Any:
    """The rows as a JSON array of objects, which have their columns' names; [] if there is none."""
    each = rows.subquery()
    order = [each.c[name] for name in order_by]
    objects = func.json_agg(aggregate_order_by(each.table_valued(), *order))
    return select(func.coalesce(objects, func.json_build_array())).scalar_subquery()


_PAYMENTS: Final = select(
    payments.c.attempt,
    payments.c.payment_id,
    payments.c.state,
    payments.c.amount,
    payments.c.captured,
    payments.c.refunded,
    payments.c.currency,
).where(payments.c.order_id == _THIS)
_TRIES: Final = select(
    payment_tries.c.payment_id,
    payment_tries.c.number,
    payment_tries.c.state,
    payment_tries.c.decline_code,
).where(payment_tries.c.order_id == _THIS)
_PARCELS: Final = select(parcels.c.parcel_id, parcels.c.status, parcels.c.tracking).where(
    parcels.c.order_id == _THIS
)
_REFUNDS: Final = select(
    refund_requests.c.number,
    refund_requests.c.refund_id,
    refund_requests.c.amount,
    refund_requests.c.state,
    refund_requests.c.restocked,
).where(refund_requests.c.order_id == _THIS)
_HISTORY: Final = select(
    whole_history.c.id, whole_history.c.at, whole_history.c.event, whole_history.c.detail
).where(whole_history.c.order_id == _THIS)
_BY_HAND: Final = select(given_back_by_hand.c.amount).where(given_back_by_hand.c.order_id == _THIS)


def _object(**members: Any) -> Any:
    # Their names are written out: they are no parameters.
    pairs: list[Any] = [(literal_column(f"'{name}'"), each) for name, each in members.items()]
    return func.json_build_object(*chain.from_iterable(pairs), type_=JSON)


_BELONGINGS: Final = _object(
    payments=_array(_PAYMENTS, "attempt"),
    tries=_array(_TRIES, "number"),
    given_back_by_hand=_BY_HAND.scalar_subquery(),
    parcels=_array(_PARCELS, "parcel_id"),
    refunds=_array(_REFUNDS, "number"),
    risks=_array(RISKS_OF_ORDER, "opened_at", "risk_id"),
    history=_array(_HISTORY, "id"),
)
_IS_FIRST: Final = func.row_number().over(order_by=order_lines.c.position) == literal_column("1")
#: The order's lines, a row for each; the first one has what belongs to the order. One statement is
#: one round trip, and sees one snapshot of the database.
_VIEW: Final = ORDER.add_columns(case((_IS_FIRST, _BELONGINGS)).label("belongings"))


async def read_view(connection: AsyncConnection, order_id: str) -> OrderView | None:
    """The order with its payments, parcels, refunds, risks and history."""
    rows = (await connection.execute(_VIEW, {"order_id": order_id})).all()
    if not rows:
        return None
    order, first = order_of(rows), rows[0]
    found: Mapping[str, Any] = first.belongings
    by_hand: int | None = found["given_back_by_hand"]
    return OrderView(
        order=order,
        placed_at=first.placed_at,
        stock=first.stock,
        payments=tuple(_payment(one, found["tries"]) for one in found["payments"]),
        given_back_by_hand=None if by_hand is None else Money(by_hand, order.total.currency),
        parcels=tuple(ParcelView(**parcel) for parcel in found["parcels"]),
        refunds=tuple(
            RefundView(
                refund_id=refund["refund_id"],
                amount=Money(refund["amount"], order.total.currency),
                state=refund["state"],
                restocked=refund["restocked"],
            )
            for refund in found["refunds"]
        ),
        risks=tuple(risk_view_of(_risk_row(risk)) for risk in found["risks"]),
        history=_history(found["history"]),
    )


def _payment(payment: Mapping[str, Any], tries: list[Mapping[str, Any]]) -> PaymentView:
    payment_id, currency = payment["payment_id"], payment["currency"]
    return PaymentView(
        payment_id=payment_id,
        state=payment["state"],
        amount=Money(payment["amount"], currency),
        captured=Money(payment["captured"], currency),
        refunded=Money(payment["refunded"], currency),
        tries=tuple(
            CardTryView(one["number"], one["state"], one["decline_code"])
            for one in tries
            if one["payment_id"] == payment_id
        ),
    )


def _history(found: Iterable[Mapping[str, Any]]) -> tuple[HistoryLine, ...]:
    """The lines, each once: one that was added again after its order was archived is in both."""
    lines: dict[tuple[str, str], HistoryLine] = {}
    for line in found:
        event, detail = line["event"], line["detail"]
        said = event, json.dumps(detail, sort_keys=True)
        lines.setdefault(said, HistoryLine(at=_time(line["at"]), event=event, detail=detail))
    return tuple(lines.values())


def _risk_row(risk: Mapping[str, Any]) -> SimpleNamespace:
    """The row of ``RISKS_OF_ORDER`` that it was, with its times."""
    due_by = risk["due_by"]
    times = {"opened_at": _time(risk["opened_at"]), "due_by": due_by and _time(due_by)}
    return SimpleNamespace(**{**risk, **times})


def _time(text: str) -> datetime:
    """A time in PostgreSQL's JSON, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)
