"""The HTTP edge as a process."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from orders.keys import Scope, Token
from sandbox.ports import free_port
from sandbox.temporal_server import TemporalServer
from store.database import Database
from store.keys import PostgresKeys
from store.orders import PostgresOrderBook
from store.seed import DEMO, add_products
from tests.api.edges import a_key
from tests.api.forwarding import forward
from tests.eventually import eventually
from tests.shop import basket

CHECKOUT = Path(__file__).resolve().parents[2]


TOKEN = Token.of(b"proces", bytes(range(32)))
KEY = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
async def stocked(database: Database, database_url: str) -> str:
    """The address of a database with products, and a key for the shop."""
    await add_products(database, DEMO)
    await PostgresKeys(database).add(a_key(TOKEN, "shop", Scope.SHOP))
    return database_url


Serve = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts ``python api.py`` with these settings; what a failed test leaves is ended."""
    begun: list[asyncio.subprocess.Process] = []

    async def begin(**settings: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(CHECKOUT / "api.py")),
            cwd=tmp_path,
            env={**os.environ, **settings},
            stderr=asyncio.subprocess.PIPE,
        )
        begun.append(process)
        return process

    yield begin
    for process in begun:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def calling(port: int, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=30, headers=KEY, **options
    )


async def is_up(http: httpx.AsyncClient, path: str = "/healthz") -> bool:
    try:
        return (await http.get(path)).status_code == 200
    except httpx.ConnectError:
        return False


async def test_it_starts_while_temporal_is_away_and_needs_no_restart(
    serve: Serve, temporal_server: TemporalServer, database: Database, stocked: str
) -> None:
    order = await PostgresOrderBook(database).place(basket("api-1"), datetime.now(UTC))
    port, temporal_port = free_port(), free_port()
    process = await serve(
        API_PORT=str(port),
        DATABASE_URL=stocked,
        TEMPORAL_ADDRESS=f"127.0.0.1:{temporal_port}",
    )
    async with calling(port) as http:
        await eventually(lambda: is_up(http), within=90)
        not_ready = await http.get("/readyz")
        login = await http.get("/operator/login")

        early = await http.post("/checkout", json={"order_id": order.id})
        async with await forward(temporal_port, temporal_server.port):
            answer = await http.post("/checkout", json={"order_id": order.id})
            await eventually(lambda: is_up(http, "/readyz"))  # a look at them holds for a second
            process.send_signal(signal.SIGTERM)
            await process.communicate()

    assert (early.status_code, "retry-after" in early.headers) == (503, True)
    assert not_ready.status_code == 503
    assert "Key of scope operator" in login.text
    assert "missing: Temporal" in not_ready.json()["detail"]
    assert answer.status_code == 202
    assert answer.json()["workflow_id"] == "order-api-1"
    assert process.returncode == 0


async def test_it_stops_soon_while_an_order_that_waits_is_followed(
    serve: Serve, temporal_server: TemporalServer, database: Database, stocked: str
) -> None:
    order = await PostgresOrderBook(database).place(basket("api-2"), datetime.now(UTC))
    port = free_port()
    process = await serve(
        API_PORT=str(port),
        DATABASE_URL=stocked,
        TEMPORAL_ADDRESS=temporal_server.address,
    )
    async with calling(port) as http:
        await eventually(lambda: is_up(http), within=90)
        await http.post("/checkout", json={"order_id": order.id})
        async with http.stream("GET", f"/orders/{order.id}/events") as response:
            lines = response.aiter_lines()
            assert await anext(lines) == "event: history"
            process.send_signal(signal.SIGTERM)
            # Less than what requests in flight are given: nobody had to be cut off.
            async with asyncio.timeout(15):
                assert not [line async for line in lines if line == "event: end"]
                await process.communicate()

    assert process.returncode == 0


def is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class TestSeveralProcesses:
    """``API_PROCESSES=2``: one edge, two processes on one socket."""

    @pytest.fixture
    async def port(
        self, serve: Serve, temporal_server: TemporalServer, stocked: str
    ) -> AsyncIterator[int]:
        port = free_port()
        self.edge = await serve(
            API_PORT=str(port),
            API_PROCESSES="2",
            DATABASE_URL=stocked,
            TEMPORAL_ADDRESS=temporal_server.address,
            LOG_FORMAT="json",
        )
        try:
            # Three times Python with all it imports, on a machine that may be busy.
            await eventually(lambda: self.both_are_ready(port), within=90)
            yield port
        finally:
            if self.edge.returncode is None:
                self.edge.terminate()
            await self.edge.communicate()

    async def both_are_ready(self, port: int) -> bool:
        async with calling(port) as http:
            return len(self.children()) == 2 and await is_up(http)

    def children(self) -> dict[int, psutil.Process]:
        """The processes that serve: those that listen, besides the one that started them."""
        found = psutil.Process(self.edge.pid).children()
        return {
            one.pid: one for one in found if is_alive(one) and "spawn_main" in str(one.cmdline())
        }

    async def ask(self, port: int, times: int) -> set[int]:
        """Ask so often, each time on a connection of its own."""

        async def once() -> int:
            async with calling(port) as http:
                return (await http.get("/orders/nobody")).status_code

        return set(await asyncio.gather(*(once() for _ in range(times))))

    async def counted(self, port: int) -> float:
        async with calling(port) as http:
            text = (await http.get("/metrics")).text
        [value] = re.findall(
            r'^durable_orders_http_requests_total\{.*"/orders/\{order_id\}",status="404"\} (\S+)',
            text,
            re.M,
        )
        return float(value)

    async def test_they_add_up_what_they_count_and_a_dead_one_is_replaced(self, port: int) -> None:
        assert await self.ask(port, 30) == {404}
        assert {await self.counted(port) for _ in range(6)} == {30}

        before = self.children()
        victim = next(iter(before.values()))
        victim.kill()

        async def replaced() -> bool:
            now = self.children()
            return len(now) == 2 and victim.pid not in now

        await eventually(replaced, within=60)
        assert await self.ask(port, 10) == {404}
        # What the dead one had counted still counts.
        assert await self.counted(port) == 40
        assert self.edge.returncode is None

    async def test_they_carry_orders_and_stop_together_when_asked(
        self, port: int, database: Database
    ) -> None:
        order = await PostgresOrderBook(database).place(basket("api-2"), datetime.now(UTC))
        children = self.children()
        async with calling(port) as http:
            answer = await http.post("/checkout", json={"order_id": order.id})
        assert answer.status_code == 202

        self.edge.terminate()

        assert await self.edge.wait() == 0
        assert not any(is_alive(child) for child in children.values())

    async def test_none_stays_behind_when_the_first_is_killed(self, port: int) -> None:
        children = self.children()
        self.edge.kill()

        async def gone() -> bool:
            return not any(is_alive(child) for child in children.values())

        await eventually(gone)


async def test_several_processes_that_cannot_start_end_the_whole(serve: Serve) -> None:
    process = await serve(
        API_PORT=str(free_port()),
        API_PROCESSES="2",
        DATABASE_URL="postgresql://localhost/orders?unknown=1",
    )
    _, said = await process.communicate()

    assert process.returncode == 1
    assert b"asyncpg does not know unknown" in said
    assert b"at its start" in said
    assert b"Traceback" not in said


async def test_a_busy_port_is_named(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = await serve(API_PORT=port, DATABASE_URL="postgresql://localhost/orders")
        _, said = await process.communicate()

    sentence = f"Cannot listen at 127.0.0.1:{port}, Address already in use: set API_HOST and"
    assert (process.returncode, said.decode()) == (1, f"{sentence} API_PORT.\n")


async def test_missing_settings_are_named(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    process = await serve()
    _, said = await process.communicate()

    assert process.returncode == 1
    assert b"DATABASE_URL is not set" in said
