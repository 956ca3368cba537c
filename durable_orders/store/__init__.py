"""PostgreSQL: the catalogue, stock, orders, and the shop's own ledger of payments and refunds.

    from durable_orders.store import open_store

    async with open_store("postgresql://shop@localhost/orders") as store:
        orders = OrderClient(temporal, store.orders)
        refunds = RefundClient(temporal, store.refunds)

Needs the extra ``store``: ``pip install 'durable-orders[store]'``.

Locking: every change to an order locks the order's row first (``SELECT … FOR NO KEY UPDATE``), then
products by sku. There is one order of locking, so no deadlock. Invariants are constraints in
``tables.py``: PostgreSQL refuses what a fault in the code would store.

Statements that each order needs are module constants: building a statement, and finding its
compiled form in the cache, takes longer than PostgreSQL takes to run it. ``hot_path`` has what an
ordinary order needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from durable_orders.extras import missing_extra

if TYPE_CHECKING:
    from durable_orders.store.database import InvalidDatabaseUrlError
    from durable_orders.store.migrations import SchemaVersionError
    from durable_orders.store.opening import Store, open_store

__all__ = ["InvalidDatabaseUrlError", "SchemaVersionError", "Store", "open_store"]

_MODULE_OF: Final = {
    "InvalidDatabaseUrlError": "durable_orders.store.database",
    "SchemaVersionError": "durable_orders.store.migrations",
    "Store": "durable_orders.store.opening",
    "open_store": "durable_orders.store.opening",
}


def __getattr__(name: str) -> Any:
    # On demand: every module of this package would load the migrations, and Alembic, otherwise.
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(_MODULE_OF[name]), name)
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
