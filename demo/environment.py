"""The environment of the demo: a sandbox, clients for it, and workers that can be killed."""

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

from demo.invariants import InvariantResult, OrderEvidence, Stock, check_invariants
from demo.worker_process import ApiProcess, WorkerProcess
from durable_orders.clients.connection import connect
from durable_orders.clients.errors import StrandedError
from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.contracts.search_attributes import ORDER_STATUS
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.order import Basket, Recipient
from durable_orders.store import database as store
from durable_orders.store.consistency_check import find_inconsistencies as inconsistencies
from durable_orders.store.database import Database
from durable_orders.store.disputes import PostgresDisputeRepository
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.refunds import PostgresRefundBook
from durable_orders.store.seed import Product, add_products
from sandbox.books_client import BooksClient, OrderBooks
from sandbox.fault_client import FaultClient
from sandbox.sandbox import Sandbox

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
class DemoEnvironment:
    """A running sandbox with clients for all its parts; ``open_environment`` creates it.

    ``initial_stock`` is the number of pieces of each product before the first order.
    """

    sandbox: Sandbox
    temporal: Client
    orders: OrderClient
    operations: OrderOperations
    refunds: RefundClient
    database: Database
    faults: FaultClient
    books: BooksClient
    #: Creates a worker that is not started yet.
    worker_factory: Callable[[Path, Mapping[str, str]], WorkerProcess] = WorkerProcess
    #: The same for an API process.
    api_factory: Callable[[Path, Mapping[str, str]], ApiProcess] = ApiProcess
    initial_stock: dict[str, int] = field(default_factory=dict)
    workers: list[WorkerProcess] = field(default_factory=list)

    async def start_worker(self, **settings: str) -> WorkerProcess:
        """Start one more worker, without waiting; ``settings`` override the sandbox's."""
        number = len(self.workers) + 1
        directory = self.sandbox.state / "workers" / str(number)
        worker = self.worker_factory(directory, self.sandbox.settings | settings)
        self.workers.append(worker)
        await worker.start()
        return worker

    async def wait_until_waiting(self, order_id: str) -> None:
        """Return once the order waits for a person or the customer: its run has set a timer."""
        run = self.temporal.get_workflow_handle(workflow_id(order_id))
        async for event in run.fetch_history_events(wait_new_event=True):
            if event.HasField("timer_started_event_attributes"):
                return

    async def confirm_at_bank(self, payment_id: str, *, passes: bool = True) -> None:
        """Pass or fail 3-D Secure as the customer does, without a request to our API."""
        outcome = {"outcome": "succeed" if passes else "fail"}
        await self._act_in_browser(payment_id, "authenticate", outcome)

    async def pay_in_browser(self, payment_id: str, card: str) -> None:
        """Pay the same PaymentIntent with another card, as the shop's page does in the browser."""
        await self._act_in_browser(payment_id, "confirm", {"payment_method": card})

    async def _act_in_browser(self, payment_id: str, action: str, body: dict[str, str]) -> None:
        path = f"/sandbox/payment_intents/{payment_id}/{action}"
        async with httpx.AsyncClient(base_url=self.sandbox.stand_in_url, timeout=30) as http:
            (await http.post(path, json=body)).raise_for_status()

    @property
    def running_workers(self) -> list[WorkerProcess]:
        return [worker for worker in self.workers if worker.running]

    async def place(
        self, order_id: str, *, sku: str = "MUG", quantity: int = 1, card: str = "pm_card_visa"
    ) -> None:
        """Place an order of Ada's, without starting it."""
        await self.orders.place(Basket(order_id, "customer-1", ADA, ((sku, quantity),), card))

    async def add_product(self, product: Product) -> None:
        """Add a product to the catalogue."""
        await add_products(self.database, [product])
        self.initial_stock.setdefault(product.sku, product.on_hand)

    async def evidence(self, order_id: str, books: OrderBooks | None = None) -> OrderEvidence:
        """The order as the database, Temporal and the books have it."""
        view = await self.orders.view(order_id)
        run = await self.temporal.get_workflow_handle(workflow_id(order_id)).describe()
        outcome = None
        if run.status is not WorkflowExecutionStatus.RUNNING:
            with contextlib.suppress(StrandedError):
                outcome = await self.orders.result(order_id)
        books = books or await self.books.order(order_id)
        visible_status = run.typed_search_attributes.get(ORDER_STATUS)
        risks = await PostgresDisputeRepository(self.database).risks_of(order_id)
        return OrderEvidence(
            view,
            books,
            outcome,
            visible_status,
            await self.refunds.refunds_of(order_id),
            risks.disputes if risks else (),
        )

    async def stock(self) -> list[Stock]:
        """Every product, in one consistent read."""
        async with self.database.statement() as connection:
            rows = (await connection.execute(_STOCK)).all()
        return [Stock(initial=self.initial_stock[row.sku], **row._asdict()) for row in rows]

    async def check_invariants(self, order_ids: Iterable[str]) -> list[InvariantResult]:
        """Check the invariants for these orders, which must have ended."""
        booked = await self.books.all()
        evidence = await asyncio.gather(
            *(self.evidence(order_id, booked.get(order_id)) for order_id in order_ids)
        )
        return check_invariants(evidence, await self.stock(), await inconsistencies(self.database))


@contextlib.asynccontextmanager
async def open_environment(sandbox: Sandbox) -> AsyncIterator[DemoEnvironment]:
    """Connect to a running sandbox; every worker is stopped at the end."""
    shutil.rmtree(sandbox.state / "workers", ignore_errors=True)
    profile = ClientConfigProfile(
        address=sandbox.temporal_address, namespace=sandbox.settings["TEMPORAL_NAMESPACE"]
    )
    async with contextlib.AsyncExitStack() as stack:
        database = store.connect(sandbox.database_url, pool_size=20)
        stack.push_async_callback(database.close)
        temporal = await connect(profile)
        book = PostgresOrderRepository(database)
        orders, operations = OrderClient(temporal, book), OrderOperations(temporal, book)
        faults = await stack.enter_async_context(FaultClient(sandbox.stand_in_url))
        refunds = RefundClient(temporal, PostgresRefundBook(database))
        books = BooksClient(sandbox.stand_in_url)
        environment = DemoEnvironment(
            sandbox, temporal, orders, operations, refunds, database, faults, books
        )
        async with database.statement() as connection:
            rows = (await connection.execute(_STOCK)).all()
        environment.initial_stock = {row.sku: row.on_hand + row.sold - row.returned for row in rows}
        try:
            yield environment
        finally:
            # Ends the delays of requests, so that workers can finish their activities.
            await faults.clear()
            await asyncio.gather(*(worker.stop() for worker in environment.workers))
