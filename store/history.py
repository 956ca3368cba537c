"""Writing into an order's history: lines are added, never changed, and never said twice."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Insert
from sqlalchemy.dialects.postgresql import insert

from store.tables import order_history


def history_line(
    order_id: str, event: str, detail: Mapping[str, str] | None = None, at: datetime | None = None
) -> Insert:
    """The statement that adds one line, now unless ``at`` says when. Again, it adds nothing.

    ``detail`` must hold ids, codes and amounts only: the history outlives the customer's data.
    """
    line: dict[str, object] = {"order_id": order_id, "event": event, "detail": dict(detail or {})}
    if at is not None:
        line["at"] = at
    return insert(order_history).values(line).on_conflict_do_nothing()
