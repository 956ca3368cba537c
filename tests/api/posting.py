"""A shop's edge that listens to its neighbours, on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
from sqlalchemy import text
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from durable_orders.api.app import create_app
from durable_orders.api.dependencies import ApiLimits
from durable_orders.api.metrics import Metrics
from durable_orders.api.webhook_inbox import Inbox
from durable_orders.clients.audits import AuditClient
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.payment_risks import PaymentRiskClient
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.webhooks import EventReader, WebhookSource
from durable_orders.store.database import Database
from durable_orders.store.disputes import PostgresDisputeRepository
from durable_orders.store.payments import PostgresPaymentLedger
from durable_orders.store.webhook_events import PostgresMailLog, PostgresWebhookEventRepository
from tests.api.api_clients import edge_of
from tests.contracts.signing import READERS, SignedRequest
from tests.support.eventually import eventually
from tests.support.shop import Shop

ALL: dict[WebhookSource, EventReader] = {
    WebhookSource(name): reader for name, reader in READERS.items()
}


@dataclass(frozen=True)
class Post:
    """Where neighbours send their letters, and what was kept of them."""

    http: httpx.AsyncClient
    inbox: Inbox
    database: Database

    async def send(self, sender: str, letter: SignedRequest) -> httpx.Response:
        return await self.http.post(
            f"/webhooks/{sender}", content=letter.body, headers=letter.headers
        )

    async def kept(self) -> list[Any]:
        """The rows of all events, oldest first."""
        async with self.database.statement() as connection:
            rows = await connection.execute(text("SELECT * FROM webhook_events ORDER BY number"))
            return list(rows.all())

    async def forget(self) -> None:
        async with self.database.transaction() as connection:
            await connection.execute(text("TRUNCATE webhook_events"))


def inbox_of(
    shop: Shop,
    database: Database,
    *,
    orders: OrderClient | None = None,
    readers: dict[WebhookSource, EventReader] | None = None,
    metrics: Metrics | None = None,
) -> Inbox:
    """An inbox of the shop's; ``orders`` in place of its own client."""
    return Inbox(
        readers=ALL if readers is None else readers,
        events=PostgresWebhookEventRepository(database),
        mails=PostgresMailLog(database),
        payments=PostgresPaymentLedger(database),
        orders=orders or shop.orders,
        refunds=edge_of(shop).refunds,
        audits=AuditClient(shop.temporal),
        risks=PaymentRiskClient(shop.temporal, PostgresDisputeRepository(database)),
        metrics=metrics,
    )


@asynccontextmanager
async def posting(
    shop: Shop,
    database: Database,
    inbox: Inbox | None = None,
    *,
    limits: ApiLimits = ApiLimits(failures_per_minute=1_000_000),  # noqa: B008 - frozen
    metrics: Metrics | None = None,
) -> AsyncIterator[Post]:
    """The edge, asked without a network between. Nothing is told before the inbox is at work."""
    inbox = inbox or inbox_of(shop, database)
    edge = replace(edge_of(shop), inbox=inbox, limits=limits, metrics=metrics or Metrics())
    transport = httpx.ASGITransport(create_app(edge))
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as http:
        yield Post(http, inbox, database)


async def signals(temporal: Client, order_id: str) -> int:
    """How many signals the order's run has got."""
    run = temporal.get_workflow_handle(workflow_id(order_id))
    return sum(
        [
            event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
            async for event in run.fetch_history_events()
        ]
    )


async def endings(post: Post) -> list[tuple[str | None, str]]:
    """How the telling of each event ended, once it has."""

    async def all_ended() -> bool:
        return all(row.ended_at for row in await post.kept())

    await eventually(all_ended)
    return [(row.ending, row.problem) for row in await post.kept()]
