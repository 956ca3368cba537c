"""The history of an order: append-only, each line once.

Lines of orders that ended long ago are in the archive (see ``archive.py``): what asks whether there
is a line reads ``whole_history``. The index that keeps a line from being added twice does not know
the archive: a line of an archived order that is added again is in both, and is shown once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, exists, func, select
from sqlalchemy.dialects.postgresql import insert

from durable_orders.store.tables import order_history, whole_history

#: Adds the history line in its parameters (``line``); a no-op when the line exists.
ADD_LINE: Final = (
    insert(order_history)
    .values(
        order_id=bindparam("line_order"),
        event=bindparam("line_event"),
        detail=bindparam("line_detail"),
        at=func.coalesce(bindparam("line_at", type_=order_history.c.at.type), func.now()),
    )
    .on_conflict_do_nothing()
)
#: Adds the warehouse's own words in its parameters (``line``), once for what they are ``about``.
ADD_WORDS: Final = (
    insert(order_history)
    .from_select(
        ["order_id", "event", "detail", "at"],
        select(
            bindparam("line_order", type_=order_history.c.order_id.type),
            bindparam("line_event", type_=order_history.c.event.type),
            bindparam("line_detail", type_=order_history.c.detail.type),
            func.coalesce(bindparam("line_at", type_=order_history.c.at.type), func.now()),
        ).where(
            ~exists().where(
                whole_history.c.order_id == bindparam("line_order"),
                whole_history.c.event == bindparam("line_event"),
                whole_history.c.detail["about"].astext == bindparam("about"),
            )
        ),
    )
    .on_conflict_do_nothing()
)
#: ``ADD_LINE`` as a CTE of another statement, in one round trip.
WITH_LINE: Final = ADD_LINE.cte("line")


def line(
    order_id: str, event: str, detail: Mapping[str, str] | None = None, at: datetime | None = None
) -> dict[str, Any]:
    """Parameters of ``ADD_LINE``; ``at`` is now unless given.

    ``detail`` must hold ids, codes and amounts only, but for ``ADD_WORDS``: the history outlives
    the customer's data.
    """
    return {
        "line_order": order_id,
        "line_event": event,
        "line_detail": dict(detail or {}),
        "line_at": at,
    }
