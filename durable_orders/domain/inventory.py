"""Stock of an order: its states, and what can be reserved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from durable_orders.domain.activity_messages import OutOfStock

#: An order's stock goes none → reserved → committed, or none/reserved → released, never back.
StockState = Literal["none", "reserved", "committed", "released"]


def shortage(
    quantities: Iterable[tuple[str, int]], available: Mapping[str, int]
) -> OutOfStock | None:
    """The first line that exceeds the available stock, or None when no line does.

    ``available`` is the unreserved stock by sku; a sku that is not there has none.
    """
    for sku, wanted in quantities:
        left = available.get(sku, 0)
        if left < wanted:
            return OutOfStock(sku=sku, wanted=wanted, available=left)
    return None
