"""The proxy between a process and a server: what goes through it, and what it does to that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from chaos.proxy import Proxy, Stream
from sandbox.ports import HOST


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy before a server that answers each line with the same line."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    opened = Proxy(lambda: asyncio.open_connection(HOST, port))
    await opened.start()
    yield opened
    await opened.close()
    server.close()


async def connected(proxy: Proxy) -> Stream:
    return await asyncio.open_connection(HOST, proxy.port)


async def echoed(stream: Stream, text: bytes = b"hello\n") -> bytes:
    reader, writer = stream
    writer.write(text)
    async with asyncio.timeout(10):
        return await reader.readline()


async def test_an_ordinary_connection_passes_everything_on(proxy: Proxy) -> None:
    stream = await connected(proxy)

    for text in (b"one\n", b"two\n", b"x" * 50_000 + b"\n"):
        assert await echoed(stream, text) == text
    stream[1].close()


async def test_what_is_cut_is_closed_and_comes_back(proxy: Proxy) -> None:
    stream = await connected(proxy)
    await echoed(stream)

    proxy.cut(refuse=True)

    with pytest.raises(ConnectionError):
        await _read_to_error(stream)
    refused = await connected(proxy)
    with pytest.raises(ConnectionError):
        await _read_to_error(refused)
    proxy.restore()
    assert await echoed(await connected(proxy)) == b"hello\n"


async def test_what_is_stalled_is_neither_closed_nor_lost(proxy: Proxy) -> None:
    stream = await connected(proxy)
    await echoed(stream)

    proxy.stall()
    stream[1].write(b"later\n")
    reading = asyncio.create_task(stream[0].readline())
    others = await connected(proxy)
    others[1].write(b"too\n")
    done, _ = await asyncio.wait([reading], timeout=0.2)
    assert not done
    proxy.restore()

    async with asyncio.timeout(10):
        assert await reading == b"later\n"
        assert await others[0].readline() == b"too\n"


async def test_what_is_slow_takes_its_time_and_arrives(proxy: Proxy) -> None:
    stream = await connected(proxy)
    proxy.slow(0.2)
    started = asyncio.get_running_loop().time()

    assert await echoed(stream) == b"hello\n"

    assert asyncio.get_running_loop().time() - started >= 0.4  # there and back


async def test_a_server_that_is_away_closes_the_connection() -> None:
    async def away() -> Stream:
        raise ConnectionRefusedError

    proxy = Proxy(away)
    await proxy.start()
    with pytest.raises(ConnectionError):
        await _read_to_error(await connected(proxy))
    await proxy.close()


async def _read_to_error(stream: Stream) -> None:
    """Read until the connection is reset; an end of it is one, too."""
    async with asyncio.timeout(10):
        if await stream[0].read() == b"":
            raise ConnectionError
