"""Drivers: how the load generator starts an order on each system, and hears of its end.

The driver of our own orders uses whatever ``durable_orders`` is loaded, which may be that of
another checkout.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, Final, Protocol

from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile

from bench.yardsticks.steps import PlainOrder
from bench.yardsticks.workflows import EMPTY_QUEUE, SEED_QUEUE, EmptyWorkflow, SeedOrder
from sandbox.books_client import BooksClient
from sandbox.ports import HOST

_WAIT: Final = timedelta(seconds=15)
_WAIT_FOR_CANCEL: Final = timedelta(minutes=2)


class Driver(Protocol):
    """Starts orders on one system."""

    async def place(self, order_id: str) -> None:
        """Do what comes before the start, and is not measured."""

    async def start(self, order_id: str) -> None: ...

    async def end(self, order_id: str) -> None:
        """Wait for the end of a started order."""

    async def check(self, order_ids: list[str], cancelled: list[str]) -> list[str]:
        """Errors in the results of these orders, a sentence each."""


class OurDriver:
    """Orders of this project."""

    def __init__(self, temporal: Client, database: Any) -> None:
        from durable_orders.clients.orders import OrderClient  # noqa: PLC0415  of any checkout
        from durable_orders.store.orders import PostgresOrderRepository  # noqa: PLC0415

        self._database = database
        self._orders = OrderClient(temporal, PostgresOrderRepository(database))

    async def place(self, order_id: str) -> None:
        from durable_orders.domain.order import Basket, Recipient  # noqa: PLC0415

        plain = PlainOrder(order_id)
        recipient = Recipient(plain.name, plain.email, plain.address)
        lines = ((plain.sku, plain.quantity),)
        await self._orders.place(Basket(order_id, "cus_1", recipient, lines, plain.payment_method))

    async def start(self, order_id: str) -> None:
        await self._orders.start(order_id)

    async def end(self, order_id: str) -> None:
        await self._orders.result(order_id)

    async def checkout(self, order_id: str) -> None:
        """Start the order and wait for what becomes of its payment, as a shopper does."""
        checked_out = await self._orders.checkout(order_id, _WAIT)
        if type(checked_out.payment).__name__ == "PaymentPending":
            raise TimeoutError(f"nothing was heard of the payment of {order_id} in {_WAIT}")

    async def cancel(self, order_id: str) -> None:
        """Cancel the order and wait for the answer."""
        answer = await self._orders.cancel(order_id, wait=_WAIT_FOR_CANCEL)
        if type(answer).__name__ == "CancelUnderWay":
            raise TimeoutError(f"the cancel of {order_id} had no answer in {_WAIT_FOR_CANCEL}")

    async def check(self, order_ids: list[str], cancelled: list[str]) -> list[str]:
        from bench.checks import find_errors  # noqa: PLC0415

        url = os.environ["STRIPE_API_BASE"]
        return await find_errors(self._database, url, order_ids, cancelled)


class _Yardstick:
    """What all yardsticks have in common."""

    async def place(self, order_id: str) -> None:
        pass

    async def check(self, order_ids: list[str], cancelled: list[str]) -> list[str]:  # noqa: ARG002
        from bench.checks import effect_errors  # noqa: PLC0415

        return effect_errors(await BooksClient(os.environ["STRIPE_API_BASE"]).all(), order_ids)


class TemporalDriver(_Yardstick):
    """The yardsticks on Temporal."""

    def __init__(self, temporal: Client, *, is_empty: bool) -> None:
        self._temporal, self._is_empty = temporal, is_empty

    async def start(self, order_id: str) -> None:
        run, queue = (
            (EmptyWorkflow.run, EMPTY_QUEUE) if self._is_empty else (SeedOrder.run, SEED_QUEUE)
        )
        await self._temporal.start_workflow(
            run, PlainOrder(order_id), id=_run_id(order_id), task_queue=queue
        )

    async def end(self, order_id: str) -> None:
        await self._temporal.get_workflow_handle(_run_id(order_id)).result()

    async def check(self, order_ids: list[str], cancelled: list[str]) -> list[str]:
        return [] if self._is_empty else await super().check(order_ids, cancelled)


class DbosDriver(_Yardstick):
    """Orders on DBOS: each worker has a connection, and gets every n-th order."""

    def __init__(self) -> None:
        self._ended: dict[str, asyncio.Future[None]] = {}
        self._writers: list[asyncio.StreamWriter] = []
        self._reading: list[asyncio.Task[None]] = []
        self._turn = itertools.count()

    async def connect(self, port: int) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        self._writers.append(writer)
        self._reading.append(asyncio.create_task(self._read(reader)))

    async def close(self) -> None:
        for reading, writer in zip(self._reading, self._writers, strict=True):
            reading.cancel()
            writer.close()

    async def start(self, order_id: str) -> None:
        self._ended[order_id] = asyncio.get_running_loop().create_future()
        writer = self._writers[next(self._turn) % len(self._writers)]
        writer.write(f"{json.dumps(order_id)}\n".encode())

    async def end(self, order_id: str) -> None:
        await self._ended[order_id]
        del self._ended[order_id]

    async def _read(self, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            self._ended[json.loads(line)].set_result(None)
        lost = ConnectionError("a worker of DBOS ended")
        for waiting in self._ended.values():
            if not waiting.done():
                waiting.set_exception(lost)


@asynccontextmanager
async def _ours() -> AsyncIterator[OurDriver]:
    from durable_orders.clients.connection import connect  # noqa: PLC0415
    from durable_orders.store import database as store  # noqa: PLC0415

    profile = ClientConfigProfile(
        address=os.environ["TEMPORAL_ADDRESS"], namespace=os.environ["TEMPORAL_NAMESPACE"]
    )
    database = store.connect(os.environ["DATABASE_URL"], pool_size=20)
    try:
        yield OurDriver(await connect(profile), database)
    finally:
        await database.close()


@asynccontextmanager
async def _on_temporal(*, is_empty: bool) -> AsyncIterator[TemporalDriver]:
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"])
    yield TemporalDriver(client, is_empty=is_empty)


@asynccontextmanager
async def _on_dbos() -> AsyncIterator[DbosDriver]:
    driver = DbosDriver()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(driver.close)
        for port in os.environ["DBOS_WORKER_PORTS"].split(","):
            await driver.connect(int(port))
        yield driver


DRIVERS: Final[dict[str, Callable[[], AbstractAsyncContextManager[Driver]]]] = {
    "ours": _ours,
    "seed": lambda: _on_temporal(is_empty=False),
    "empty": lambda: _on_temporal(is_empty=True),
    "dbos": _on_dbos,
}


def _run_id(order_id: str) -> str:
    return f"order-{order_id}"
