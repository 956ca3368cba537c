"""The HTTP edge as a process."""

import asyncio
import os
import signal
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from sandbox.ports import free_port
from sandbox.temporal_server import TemporalServer
from store.database import Database
from store.orders import PostgresOrderBook
from store.seed import DEMO, add_products
from tests.api.forwarding import forward
from tests.eventually import eventually
from tests.shop import basket

CHECKOUT = Path(__file__).resolve().parents[2]


async def serve(directory: Path, **settings: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(CHECKOUT / "api.py")),
        cwd=directory,
        env={**os.environ, **settings},
        stderr=asyncio.subprocess.PIPE,
    )


async def is_up(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/healthz")).status_code == 200
    except httpx.ConnectError:
        return False


async def test_it_starts_while_temporal_is_away_and_needs_no_restart(
    tmp_path: Path, temporal_server: TemporalServer, database: Database, database_url: str
) -> None:
    await add_products(database, DEMO)
    order = await PostgresOrderBook(database).place(basket("api-1"), datetime.now(UTC))
    port, temporal_port = free_port(), free_port()
    process = await serve(
        tmp_path,
        API_PORT=str(port),
        DATABASE_URL=database_url,
        TEMPORAL_ADDRESS=f"127.0.0.1:{temporal_port}",
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
        await eventually(lambda: is_up(http))

        early = await http.post("/checkout", json={"order_id": order.id})
        async with await forward(temporal_port, temporal_server.port):
            answer = await http.post("/checkout", json={"order_id": order.id})
            process.send_signal(signal.SIGTERM)
            await process.communicate()

    assert (early.status_code, "retry-after" in early.headers) == (503, True)
    assert answer.status_code == 202
    assert answer.json()["workflow_id"] == "order-api-1"
    assert process.returncode == 0


async def test_a_busy_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = await serve(tmp_path, API_PORT=port, DATABASE_URL="postgresql://localhost/orders")
        _, said = await process.communicate()

    sentence = f"Cannot listen at 127.0.0.1:{port}, Address already in use: set API_HOST and"
    assert (process.returncode, said.decode()) == (1, f"{sentence} API_PORT.\n")


async def test_missing_settings_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    process = await serve(tmp_path)
    _, said = await process.communicate()

    assert process.returncode == 1
    assert b"DATABASE_URL is not set" in said
