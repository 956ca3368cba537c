"""A webhook endpoint that keeps Stripe's events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.http_server import listening


@dataclass
class Heard:
    """The events that arrived, in order."""

    events: list[dict[str, Any]] = field(default_factory=list)
    arrived: asyncio.Queue[None] = field(default_factory=asyncio.Queue)

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    async def next(self) -> None:
        """Wait for one more event."""
        await self.arrived.get()

    async def receive(self, request: Request) -> Response:
        self.events.append(json.loads(await request.body()))
        self.arrived.put_nowait(None)
        return Response(status_code=204)


@asynccontextmanager
async def hearing(http: httpx.AsyncClient) -> AsyncIterator[Heard]:
    """Stripe's webhooks go to the result for the length of the block."""
    heard = Heard()
    app = Starlette(routes=[Route("/hook", heard.receive, methods=["POST"])])
    async with listening(app) as url:
        endpoint = {"stripe": f"{url}/hook", "stripe_secret": "whsec_test"}
        (await http.post("/sandbox/webhooks", json=endpoint)).raise_for_status()
        try:
            yield heard
        finally:
            await http.post("/sandbox/webhooks", json={})
