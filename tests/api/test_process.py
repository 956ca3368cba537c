"""The HTTP edge as a process."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.worker_process import ApiProcess
from durable_orders.api.process import listen
from durable_orders.api.server import find_weakness
from durable_orders.domain.operators.api_keys import Scope, Token
from durable_orders.stopping import CUT_OFF
from durable_orders.store.api_keys import PostgresApiKeyRepository
from durable_orders.store.database import Database
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.seed import DEMO, add_products
from sandbox.ports import free_port
from tests.api.api_clients import OPERATOR, a_key
from tests.api.forwarding import forward
from tests.support.accepted_connections import sends_at_once
from tests.support.eventually import eventually
from tests.support.servers import Temporal
from tests.support.shop import basket

TOKEN = Token.of(b"proces", bytes(range(32)))
KEY = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
async def stocked(database: Database, database_url: str) -> str:
    """The address of a database with products, and a key for the shop."""
    await add_products(database, DEMO)
    await PostgresApiKeyRepository(database).add(a_key(TOKEN, "shop", Scope.SHOP))
    return database_url


Serve = Callable[..., Awaitable[ApiProcess]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start ``python api.py`` with settings; killed at the end of the test."""
    begun: list[ApiProcess] = []

    async def begin(**settings: str) -> ApiProcess:
        begun.append(ApiProcess(tmp_path, settings))
        await begun[-1].start()
        return begun[-1]

    yield begin
    for process in begun:
        await process.kill()


def calling(port: int, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=30, headers=KEY, **options
    )


async def is_up(http: httpx.AsyncClient, path: str) -> bool:
    return (await http.get(path)).status_code == 200


async def test_it_starts_while_temporal_is_away_and_needs_no_restart(
    serve: Serve, temporal_server: Temporal, database: Database, stocked: str
) -> None:
    order = await PostgresOrderRepository(database).place(basket("api-1"), datetime.now(UTC))
    port, temporal_port = free_port(), free_port()
    edge = await serve(
        API_PORT=str(port),
        DATABASE_URL=stocked,
        **temporal_server.settings | {"TEMPORAL_ADDRESS": f"127.0.0.1:{temporal_port}"},
    )
    async with calling(port) as http:
        await edge.ready()
        assert await is_up(http, "/healthz")
        not_ready = await http.get("/readyz")
        login = await http.get("/operator/login")

        early = await http.post("/checkout", json={"order_id": order.id})
        async with await forward(temporal_port, temporal_server.port):
            answer = await http.post("/checkout", json={"order_id": order.id})
            await eventually(lambda: is_up(http, "/readyz"))  # a look at them holds for a second
            await edge.signal(signal.SIGTERM)
            exit_code = await edge.ends()

    assert (early.status_code, "retry-after" in early.headers) == (503, True)
    assert not_ready.status_code == 503
    assert "Key of scope operator" in login.text
    assert "missing: Temporal" in not_ready.json()["detail"]
    assert answer.status_code == 202
    assert answer.json()["workflow_id"] == "order-api-1"
    assert exit_code == 0


async def test_it_stops_soon_while_an_order_that_waits_is_followed(
    serve: Serve, temporal_server: Temporal, database: Database, stocked: str
) -> None:
    order = await PostgresOrderRepository(database).place(basket("api-2"), datetime.now(UTC))
    port = free_port()
    edge = await serve(
        API_PORT=str(port),
        DATABASE_URL=stocked,
        **temporal_server.settings,
    )
    async with calling(port) as http:
        await edge.ready()
        await http.post("/checkout", json={"order_id": order.id})
        async with http.stream("GET", f"/orders/{order.id}/events") as response:
            lines = response.aiter_lines()
            assert await anext(lines) == "event: history"
            await edge.signal(signal.SIGTERM)
            # Less than what requests in flight are given: nobody had to be cut off.
            async with asyncio.timeout(15):
                assert not [line async for line in lines if line == "event: end"]
                exit_code = await edge.ends()

    assert exit_code == 0


@asynccontextmanager
async def hanging() -> AsyncIterator[int]:
    """The port of a server that accepts connections and answers nothing."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in held:
            writer.transport.abort()


@pytest.mark.parametrize("how", ["down", "hanging"])
@pytest.mark.parametrize("part", ["Temporal", "PostgreSQL"])
async def test_it_stops_whatever_is_away(
    serve: Serve, temporal_server: Temporal, stocked: str, part: str, how: str
) -> None:
    port = free_port()
    async with hanging() as silent, calling(port) as http:
        away = f"127.0.0.1:{silent if how == 'hanging' else free_port()}"
        settings = {"DATABASE_URL": stocked, **temporal_server.settings} | (
            {"TEMPORAL_ADDRESS": away}
            if part == "Temporal"
            else {"DATABASE_URL": f"postgresql://u:p@{away}/orders"}
        )
        edge = await serve(API_PORT=str(port), **settings)
        await edge.ready()
        asked = [
            asyncio.create_task(http.post("/checkout", json={"order_id": "nobody"})),
            asyncio.create_task(http.get("/readyz")),
        ]
        await asyncio.wait(asked, timeout=1)  # none has to have an answer
        await edge.signal(signal.SIGTERM)
        async with asyncio.timeout(25):
            exit_code = await edge.ends()
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    assert exit_code in {0, CUT_OFF}
    assert "Traceback" not in edge.log


async def test_waits_that_run_out_are_answered_and_leave_no_error_in_the_log(
    serve: Serve, temporal_server: Temporal, database: Database, stocked: str
) -> None:
    """No worker is there. Callers wait until they are told so, or hang up before."""
    await PostgresApiKeyRepository(database).add(a_key(OPERATOR, "ops", Scope.OPERATOR))
    orders = PostgresOrderRepository(database)
    ids = [f"api-wait-{number}" for number in range(8)]
    for order_id in ids:
        await orders.place(basket(order_id), datetime.now(UTC))
    port = free_port()
    edge = await serve(API_PORT=str(port), DATABASE_URL=stocked, **temporal_server.settings)
    async with calling(port) as http:
        http.headers["Authorization"] = f"Bearer {OPERATOR}"
        await edge.ready()
        brief = {"wait_seconds": 1}
        checked_out = await asyncio.gather(
            *(http.post("/checkout", json={"order_id": each} | brief) for each in [*ids, *ids])
        )
        hung_up = [
            asyncio.create_task(http.post("/checkout", json={"order_id": each, "wait_seconds": 20}))
            for each in ids
        ]
        answers = await asyncio.gather(
            http.post(f"/orders/{ids[0]}/cancel", json={}),
            http.post(f"/orders/{ids[1]}/approve", json={}),
            http.post(f"/orders/{ids[2]}/reject", json={}),
            http.post(f"/orders/{ids[3]}/payment-method", json={"payment_method": "pm_card_visa"}),
            http.post(f"/orders/{ids[4]}/refunds", json={"refund_id": "r1"}),
        )
        for request in hung_up:
            request.cancel()
        await asyncio.gather(*hung_up, return_exceptions=True)
        await edge.signal(signal.SIGTERM)
        await edge.ends()
    assert {answer.status_code for answer in checked_out} == {202}
    assert [answer.status_code for answer in answers] == [503] * 5
    assert "never retrieved" not in edge.log
    assert "Traceback" not in edge.log


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (
            (3, 11, 7),
            "Python 3.11.7 has known weaknesses, CVE-2024-7592 among them: use 3.11.10 or",
        ),
        ((3, 12, 1), "Python 3.12.1 has known weaknesses, CVE-2024-7592 among them: use 3.12.6 or"),
        ((3, 11, 10), None),
        ((3, 12, 6), None),
        ((3, 13, 0), None),
        ((3, 14, 0), None),
    ],
)
def test_an_old_python_is_warned_of(version: tuple[int, int, int], said: str | None) -> None:
    told = find_weakness(*version)
    assert told is said or (said is not None and told is not None and told.startswith(said))


async def test_a_database_address_that_cannot_be_read_is_refused_with_a_sentence(
    serve: Serve,
) -> None:
    edge = await serve(
        API_PORT=str(free_port()), DATABASE_URL="postgresql://localhost/orders?unknown=1"
    )

    assert await edge.ends() == 1
    assert (
        "DATABASE_URL is wrong: the database address has a parameter that asyncpg does not know"
        in edge.log
    )
    assert "Traceback" not in edge.log


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("TEMPORAL_PROFILE", "nobodys", "a profile, are wrong: Profile 'nobodys' not found."),
        ("TEMPORAL_ADDRESS", "a b", "TEMPORAL_ADDRESS must be a host and a port"),
    ],
)
async def test_settings_of_temporal_that_cannot_work_are_refused_with_a_sentence(
    serve: Serve, name: str, value: str, sentence: str
) -> None:
    settings = {"DATABASE_URL": "postgresql://localhost/orders", name: value}
    edge = await serve(API_PORT=str(free_port()), **settings)

    assert await edge.ends() == 1
    assert sentence in edge.log
    assert "Traceback" not in edge.log


async def test_answers_on_a_kept_connection_are_sent_at_once() -> None:
    assert await sends_at_once(listen("127.0.0.1", 0))


async def test_a_busy_port_is_named(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        edge = await serve(API_PORT=port, DATABASE_URL="postgresql://localhost/orders")
        exit_code = await edge.ends()

    sentence = f"Cannot listen at 127.0.0.1:{port}, Address already in use: set API_HOST and"
    assert (exit_code, edge.log) == (1, f"{sentence} API_PORT.\n")


async def test_missing_settings_are_named(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    edge = await serve()

    assert await edge.ends() == 1
    assert "DATABASE_URL is not set" in edge.log
