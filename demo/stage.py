"""Everything on one machine: the sandbox, a client, and workers that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from sqlalchemy import text
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.envconfig import ClientConfigProfile

from demo.invariants import Account, Finding, Stock, examine
from demo.worker_process import EdgeProcess, WorkerProcess
from durable_orders.clients.connection import connect
from durable_orders.clients.errors import StrandedError
from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.contracts.search_attributes import ORDER_STATUS
from orders.ids import workflow_id
from orders.order import Basket, Recipient
from sandbox.books import Books, Page
from sandbox.dials import Dials
from sandbox.stack import Sandbox
from store import database as store
from store.check import faults
from store.database import Database
from store.orders import PostgresOrderBook
from store.refunds import PostgresRefundBook
from store.seed import Product, add_products

ADA: Final = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square, London")

_STOCK: Final = text(
    """
    SELECT p.sku, p.on_hand, p.reserved,
           coalesce(sum(l.quantity) FILTER (WHERE o.stock = 'committed'), 0)::bigint AS sold,
           coalesce(sum(l.quantity) FILTER (WHERE o.stock = 'reserved'), 0)::bigint AS held,
           (SELECT coalesce(sum(r.quantity), 0)::bigint
            FROM refund_lines r JOIN refund_requests USING (order_id, refund_id)
            WHERE restocked AND r.sku = p.sku) AS returned
    FROM products p
    LEFT JOIN order_lines l USING (sku) LEFT JOIN orders o ON o.id = l.order_id
    GROUP BY p.sku ORDER BY p.sku
    """
)


@dataclass
class Stage:
    """A running sandbox with all doors open; ``open_stage`` makes it.

    ``initial`` is how many pieces of each product there were before the first order.
    """

    sandbox: Sandbox
    temporal: Client
    orders: OrderClient
    operations: OrderOperations
    refunds: RefundClient
    database: Database
    dials: Dials
    books: Books
    #: How a worker comes to be that is not started yet: as ``python worker.py``, or in another way.
    hire: Callable[[Path, Mapping[str, str]], WorkerProcess] = WorkerProcess
    #: The same for an edge and ``python api.py``.
    serve: Callable[[Path, Mapping[str, str]], EdgeProcess] = EdgeProcess
    initial: dict[str, int] = field(default_factory=dict)
    workers: list[WorkerProcess] = field(default_factory=list)

    async def start_worker(self, **settings: str) -> WorkerProcess:
        """One more worker; it has begun to start. ``settings`` override the sandbox's."""
        number = len(self.workers) + 1
        directory = self.sandbox.state / "workers" / str(number)
        worker = self.hire(directory, self.sandbox.environment | settings)
        self.workers.append(worker)
        await worker.start()
        return worker

    async def waits(self, order_id: str) -> None:
        """Return once the order waits for somebody: its run has set a timer, and nothing is left
        for a worker to do.
        """
        run = self.temporal.get_workflow_handle(workflow_id(order_id))
        async for event in run.fetch_history_events(wait_new_event=True):
            if event.HasField("timer_started_event_attributes"):
                return

    async def confirm_at_bank(self, payment_id: str) -> None:
        """The customer passes 3-D Secure, between them and their bank: no part of ours sees it."""
        path = f"/sandbox/payment_intents/{payment_id}/authenticate"
        async with httpx.AsyncClient(base_url=self.sandbox.world_url, timeout=30) as http:
            (await http.post(path, json={"outcome": "succeed"})).raise_for_status()

    @property
    def at_work(self) -> list[WorkerProcess]:
        return [worker for worker in self.workers if worker.running]

    async def place(
        self, order_id: str, *, sku: str = "MUG", quantity: int = 1, card: str = "pm_card_visa"
    ) -> None:
        """Ada orders something; nothing happens yet."""
        await self.orders.place(Basket(order_id, "customer-1", ADA, ((sku, quantity),), card))

    async def add_product(self, product: Product) -> None:
        """Put something else on the shelves."""
        await add_products(self.database, [product])
        self.initial.setdefault(product.sku, product.on_hand)

    async def account(self, order_id: str, page: Page | None = None) -> Account:
        """The order as everybody tells it."""
        view = await self.orders.view(order_id)
        run = await self.temporal.get_workflow_handle(workflow_id(order_id)).describe()
        outcome = None
        if run.status is not WorkflowExecutionStatus.RUNNING:
            with contextlib.suppress(StrandedError):
                outcome = await self.orders.result(order_id)
        page = page or await self.books.order(order_id)
        shown = run.typed_search_attributes.get(ORDER_STATUS)
        return Account(view, page, outcome, shown, await self.refunds.refunds_of(order_id))

    async def stock(self) -> list[Stock]:
        """Every product, at one moment."""
        async with self.database.statement() as connection:
            rows = (await connection.execute(_STOCK)).all()
        return [Stock(initial=self.initial[row.sku], **row._asdict()) for row in rows]

    async def examine(self, order_ids: Iterable[str]) -> list[Finding]:
        """Whether the promises hold for these orders, which should have ended."""
        pages = await self.books.all()
        accounts = await asyncio.gather(
            *(self.account(order_id, pages.get(order_id)) for order_id in order_ids)
        )
        return examine(accounts, await self.stock(), await faults(self.database))


@contextlib.asynccontextmanager
async def open_stage(sandbox: Sandbox) -> AsyncIterator[Stage]:
    """A stage on a sandbox that is up; every worker is stopped at the end."""
    shutil.rmtree(sandbox.state / "workers", ignore_errors=True)
    profile = ClientConfigProfile(
        address=sandbox.temporal_address, namespace=sandbox.environment["TEMPORAL_NAMESPACE"]
    )
    async with contextlib.AsyncExitStack() as stack:
        database = store.connect(sandbox.database_url, pool_size=20)
        stack.push_async_callback(database.close)
        temporal = await connect(profile)
        book = PostgresOrderBook(database)
        orders, operations = OrderClient(temporal, book), OrderOperations(temporal, book)
        dials = await stack.enter_async_context(Dials(sandbox.world_url))
        refunds = RefundClient(temporal, PostgresRefundBook(database))
        books = Books(sandbox.world_url)
        stage = Stage(sandbox, temporal, orders, operations, refunds, database, dials, books)
        async with database.statement() as connection:
            rows = (await connection.execute(_STOCK)).all()
        stage.initial = {row.sku: row.on_hand + row.sold - row.returned for row in rows}
        try:
            yield stage
        finally:
            # Nobody waits in a delay while a worker wants to finish what it does.
            await dials.clear()
            await asyncio.gather(*(worker.stop() for worker in stage.workers))
