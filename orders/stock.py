"""Stock of an order: what may be set aside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from orders.messages import OutOfStock

#: An order's stock goes none → reserved → committed, or none/reserved → released, never back.
StockState = Literal["none", "reserved", "committed", "released"]


def shortage(
    quantities: Iterable[tuple[str, int]], available: Mapping[str, int]
) -> OutOfStock | None:
    """The first line that cannot be had whole, or None when all lines can.

    ``available`` is what nobody has set aside yet, by sku; a sku that is not there has nothing.
    """
    for sku, wanted in quantities:
        left = available.get(sku, 0)
        if left < wanted:
            return OutOfStock(sku=sku, wanted=wanted, available=left)
    return None
