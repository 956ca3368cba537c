"""The whole outside world as one application: Stripe, Resend, the warehouse, and its own desk."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette

from sandbox.webhook_endpoints import endpoints_of
from sandbox.world.control_api import desk_routes
from sandbox.world.faults import DialBoard
from sandbox.world.pages import page_routes
from sandbox.world.request_pipeline import Clock, Reception
from sandbox.world.resend_api import resend_routes
from sandbox.world.state_store import Ledger
from sandbox.world.stripe.api import stripe_routes
from sandbox.world.warehouse_api import warehouse_routes
from sandbox.world.webhooks import Postman


def create_app(state: Path, *, clock: Clock = time.time, api_url: str | None = None) -> Starlette:
    """Build the world on `state` (a directory, or a file `….sqlite`); a test may bring a clock.

    Webhooks go to the API at `api_url`, to nobody when that is empty; without it to where they went
    before, at first to nobody.
    """
    ledger = Ledger(state)
    if api_url is not None:
        ledger.set("webhooks", endpoints_of(api_url))
    board = DialBoard()
    reception = Reception(ledger, board, clock)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        postman = asyncio.create_task(Postman(ledger, clock).run(), name="postman")
        try:
            yield
        finally:
            postman.cancel()
            with suppress(asyncio.CancelledError):
                await postman
            ledger.close()

    app = Starlette(
        routes=[
            *stripe_routes(reception),
            *resend_routes(reception),
            *warehouse_routes(reception),
            *desk_routes(reception),
            *page_routes(ledger, board),
        ],
        lifespan=lifespan,
    )
    app.state.board = board
    return app
