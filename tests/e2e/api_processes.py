"""API processes that get the webhooks of the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import httpx
from sqlalchemy import text

from demo.environment import DemoEnvironment
from demo.worker_process import ApiProcess
from sandbox.ports import free_port
from sandbox.webhook_endpoints import webhook_endpoints

_numbers = count(1)


async def start_edge(environment: DemoEnvironment, port: int, **settings: str) -> ApiProcess:
    """An edge at this port that can be used; ``settings`` override the sandbox's."""
    directory = environment.sandbox.state / "edges" / str(next(_numbers))
    merged: Mapping[str, str] = environment.sandbox.settings | {"API_PORT": str(port)} | settings
    edge = ApiProcess(directory, merged)
    await edge.start()
    await edge.ready()
    return edge


@asynccontextmanager
async def neighbours_tell(environment: DemoEnvironment) -> AsyncIterator[int]:
    """The sandbox's webhooks go to this port, until the end of the block."""
    port = free_port()
    async with httpx.AsyncClient(base_url=environment.sandbox.stand_in_url, timeout=30) as http:
        wish = webhook_endpoints(f"http://127.0.0.1:{port}")
        (await http.post("/sandbox/webhooks", json=wish)).raise_for_status()
        try:
            yield port
        finally:
            (await http.post("/sandbox/webhooks", json={})).raise_for_status()


@asynccontextmanager
async def an_edge(environment: DemoEnvironment) -> AsyncIterator[ApiProcess]:
    """An edge that all neighbours tell everything."""
    async with neighbours_tell(environment) as port:
        edge = await start_edge(environment, port)
        try:
            yield edge
        finally:
            await edge.stop()


async def events_about(environment: DemoEnvironment, order_id: str) -> list[Any]:
    """The stored events about an order, oldest first."""
    wanted = text("SELECT * FROM webhook_events WHERE news->>'order_id' = :id ORDER BY number")
    async with environment.database.statement() as connection:
        return list((await connection.execute(wanted, {"id": order_id})).all())
