"""The stand-in as one Starlette application: Stripe, Resend, the warehouse and the control API."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from sandbox.webhook_endpoints import webhook_endpoints
from sandbox.world.control_api import control_routes
from sandbox.world.faults import FaultRegistry
from sandbox.world.pages import page_routes
from sandbox.world.request_log import RequestLog, request_log_routes
from sandbox.world.request_pipeline import Clock, RequestPipeline
from sandbox.world.resend_api import resend_routes
from sandbox.world.state_store import StateStore
from sandbox.world.stripe.account import ACCOUNT_ID, account_route
from sandbox.world.stripe.api import stripe_routes
from sandbox.world.warehouse_api import warehouse_routes
from sandbox.world.webhooks import WebhookSender


async def _leave_it(_request: Request, _gone: Exception) -> Response:
    """Who asked has gone before all of it was read: nothing was done, and nobody hears of it."""
    return Response(status_code=400)


def create_app(
    state: Path,
    *,
    clock: Clock = time.time,
    api_url: str | None = None,
    account_id: str = ACCOUNT_ID,
) -> Starlette:
    """Build the application on `state` (a directory, or a file `….sqlite`).

    `api_url` is the API that gets the webhooks: None keeps the endpoints that are stored (at first
    none), an empty string turns webhooks off. `account_id` is the account that it is at Stripe.
    """
    store = StateStore(state)
    if api_url is not None:
        store.set("webhooks", webhook_endpoints(api_url))
    fault_registry = FaultRegistry()
    pipeline = RequestPipeline(store, fault_registry, clock)
    request_log = RequestLog()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        sender = asyncio.create_task(
            WebhookSender(store, fault_registry, clock).run(), name="webhook-sender"
        )
        try:
            yield
        finally:
            sender.cancel()
            with suppress(asyncio.CancelledError):
                await sender
            store.close()

    app = Starlette(
        routes=[
            account_route(pipeline, account_id),
            *stripe_routes(pipeline, request_log),
            *resend_routes(pipeline),
            *warehouse_routes(pipeline),
            *control_routes(pipeline),
            *request_log_routes(request_log),
            *page_routes(store, fault_registry),
        ],
        lifespan=lifespan,
        exception_handlers={ClientDisconnect: _leave_it},
    )
    app.state.fault_registry = fault_registry
    return app
