"""Opens the order store and the refund store of a database whose schema fits this version."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from durable_orders.domain.ports import OrderRepository
from durable_orders.domain.refunds.ports import RefundBook
from durable_orders.store.database import connect
from durable_orders.store.migrations import check_schema
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.refunds import PostgresRefundBook


@dataclass(frozen=True)
class Store:
    """The order store and the refund store in one database, for the clients."""

    orders: OrderRepository
    refunds: RefundBook


@asynccontextmanager
async def open_store(database_url: str, *, pool_size: int = 10) -> AsyncIterator[Store]:
    """Open the stores until the end of the block, with at most ``pool_size`` connections.

    ``database_url``: ``postgresql://user:password@host:5432/database``, with libpq's parameters;
    of several hosts, the one that takes writes counts. Use the stores in the event loop that opened
    them. Raises ``SchemaVersionError`` when the schema does not fit this version,
    ``NoAnswerError`` when the database is away or takes no writes, or ``InvalidDatabaseUrlError``.
    """
    database = connect(database_url, pool_size=pool_size)
    try:
        await database.require_writable()
        await check_schema(database)
        yield Store(PostgresOrderRepository(database), PostgresRefundBook(database))
    finally:
        await database.close()
