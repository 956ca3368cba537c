"""Clients that connect and send nothing, little or too much, or do not read: others are served."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import uvicorn

from durable_orders.api.app import create_app
from durable_orders.api.connections import (
    MAX_HEAD_BYTES,
    RESERVED_FILES,
    affordable_connections,
    limited_protocol,
)
from durable_orders.api.process import listen
from tests.api.api_clients import edge_of
from tests.support.eventually import eventually
from tests.support.shop import Shop

#: Long enough for a good client on a busy machine, short enough to wait for.
PATIENCE = 1.5
MOST = 8


class Edge:
    """A server of the edge on a real socket."""

    def __init__(self, port: int, server: uvicorn.Server) -> None:
        self.port = port
        self._server = server

    @property
    def connections(self) -> int:
        return len(self._server.server_state.connections)

    async def has(self, connections: int) -> None:
        """Wait until there are so many."""

        async def has_them() -> bool:
            return self.connections == connections

        await eventually(has_them)

    async def connect(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        await writer.drain()
        return reader, writer

    async def is_up(self) -> bool:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as http:
            return (await http.get("/healthz", timeout=10)).status_code == 200


@contextlib.asynccontextmanager
async def serving(app: object, *, most: int = MOST) -> AsyncIterator[Edge]:
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app,  # type: ignore[arg-type] # any ASGI application
        log_config=None,
        access_log=False,
        lifespan="off",
        http=limited_protocol(max_connections=most, patience=PATIENCE),
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    running = asyncio.create_task(server.serve(sockets=[listening]))

    async def has_started() -> bool:
        return bool(server.started)

    await eventually(has_started)
    try:
        yield Edge(listening.getsockname()[1], server)
    finally:
        server.should_exit = True
        await running


@pytest.fixture
async def edge(closed_shop: Shop) -> AsyncIterator[Edge]:
    async with serving(create_app(edge_of(closed_shop))) as served:
        yield served


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHo",
    ],
    ids=["nothing", "half a head", "a request and half a head"],
)
async def test_a_request_that_does_not_come_is_not_waited_for(edge: Edge, sent: bytes) -> None:
    reader, writer = await edge.connect(sent)
    await asyncio.wait_for(reader.read(), PATIENCE * 10)  # until the edge closes the connection
    writer.close()
    await edge.has(0)


async def test_a_head_that_comes_byte_by_byte_has_the_same_time(edge: Edge) -> None:
    reader, writer = await edge.connect(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
    closed = asyncio.create_task(reader.read())
    began = asyncio.get_running_loop().time()
    while not closed.done():
        assert asyncio.get_running_loop().time() - began < PATIENCE * 10
        with contextlib.suppress(ConnectionError):
            writer.write(b"x")
            await writer.drain()
        await asyncio.sleep(0.05)
    writer.close()


async def test_idle_connections_make_room_for_one_that_asks(edge: Edge) -> None:
    held = [await edge.connect() for _ in range(MOST * 3)]
    assert await edge.is_up()
    assert edge.connections <= MOST
    for _, writer in held:
        writer.close()


async def read_all(scope: object, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """An application that reads the whole body, and answers 200."""
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


_POST = b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"


async def test_bodies_that_do_not_come_make_room_too() -> None:
    """It takes no key to send the beginning of a webhook."""
    async with serving(read_all) as edge:
        held = [await edge.connect(_POST + b"abc") for _ in range(MOST)]
        await edge.has(MOST)
        assert await edge.is_up()
        for _, writer in held:
            writer.close()


async def test_after_a_body_in_two_parts_the_connection_is_an_ordinary_one() -> None:
    async with serving(read_all) as edge:
        reader, writer = await edge.connect(_POST + b"abc")
        for rest in (b"defghi" + _POST, b"abcdefghi"):
            await asyncio.sleep(0)
            writer.write(rest)
            assert b"HTTP/1.1 200" in await reader.readuntil(b"ok")
        await asyncio.wait_for(reader.read(), PATIENCE * 10)  # no further request comes
        writer.close()
        await edge.has(0)


async def test_when_all_are_busy_one_more_is_refused_and_the_others_go_on() -> None:
    let_go = asyncio.Event()

    async def app(scope: object, receive: object, send: Callable[..., object]) -> None:
        await let_go.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[misc]
        await send({"type": "http.response.body"})  # type: ignore[misc]

    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with serving(app) as edge:
        busy = [await edge.connect(request) for _ in range(MOST)]
        await edge.has(MOST)
        reader, writer = await edge.connect(request)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        let_go.set()
        assert all([(await reader.read()).startswith(b"HTTP/1.1 204") for reader, _ in busy])
        for _, writer in busy:
            writer.close()


_CHUNKED = b"POST /orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "then"),
    [
        (_CHUNKED + b"zz\r\n", b""),
        (_CHUNKED, b"zz\r\n"),  # after its answer, which is 401
        (b"POST /webhooks/stripe" + _CHUNKED[12:] + b"5\r\nabcde", b"zz\r\n"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n\0\r\n\r\n", b""),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"\0\r\n\r\n"),
        (b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n", b"\0\0\0\r\n\r\n"),
        (b"\0\r\n\r\n", b""),
    ],
)
async def test_what_breaks_the_protocol_at_any_point_is_no_fault_of_ours(
    edge: Edge, caplog: pytest.LogCaptureFixture, sent: bytes, then: bytes
) -> None:
    reader, writer = await edge.connect(sent)
    with contextlib.suppress(ConnectionError):
        if then:
            with contextlib.suppress(TimeoutError):  # a body is waited for
                await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE / 5)
            writer.write(then)
        await asyncio.wait_for(reader.read(), PATIENCE * 10)
    writer.close()
    await edge.has(0)
    assert await edge.is_up()
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_stream_whose_client_breaks_the_protocol_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended = asyncio.Event()

    async def app(scope: object, receive: object, send: Callable[..., object]) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[misc]
            await send({"type": "http.response.body", "body": b"x", "more_body": True})  # type: ignore[misc]
            while (await receive())["type"] != "http.disconnect":  # type: ignore[operator]
                pass
        finally:
            ended.set()

    async with serving(app) as edge:
        reader, writer = await edge.connect(_CHUNKED)
        await reader.readuntil(b"x\r\n")
        writer.write(b"zz\r\n")
        await asyncio.wait_for(ended.wait(), PATIENCE * 10)
        writer.close()
        await edge.has(0)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_an_answer_that_is_not_read_ends() -> None:
    async def app(scope: object, receive: object, send: Callable[..., object]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[misc]
        for _ in range(100):
            await asyncio.sleep(0)
            await send(  # type: ignore[misc]
                {"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True}
            )

    async with serving(app) as edge:
        _, writer = await edge.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await edge.has(1)
        await edge.has(0)
        writer.close()


def test_there_are_no_more_connections_than_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    assert affordable_connections(1_000) == 256 - RESERVED_FILES
    assert affordable_connections(100) == 100
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert affordable_connections(100_000) == 100_000
