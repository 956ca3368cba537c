"""The load generator for the HTTP edge, against a scripted server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace

from bench.edge_load import LOST, LoadResult, LoadSpec, Route, run

ACCEPTED = b'HTTP/1.1 202 Accepted\r\ncontent-type: x\r\nContent-Length: 5\r\n\r\n"yes"'
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"
SPEC = LoadSpec(0, "token", ["1", "2", "3"], connections=1, seconds=10)


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[tuple[int, list[str]]]:
    """A server that gives these responses one after another and then closes the connection.

    Yields its port and the list of the bodies it received.
    """
    left, bodies = list(answers), list[str]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while left and (head := await reader.readuntil(b"\r\n\r\n")):
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            bodies.append((await reader.readexactly(length)).decode())
            for byte in left.pop(0):
                writer.write(bytes([byte]))
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], bodies


@asynccontextmanager
async def reading(requests: int) -> AsyncIterator[tuple[int, list[str]]]:
    """A server that accepts so many requests without a body. Yields its port and their heads."""
    heads = list[str]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while len(heads) < requests:
                heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(ACCEPTED)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], heads


async def test_each_order_is_checked_out_once_and_the_first_request_is_not_timed() -> None:
    async with answering(*[ACCEPTED] * 3) as (port, bodies):
        result = await run(replace(SPEC, port=port))

    assert bodies == ['{"order_id": "1"}', '{"order_id": "2"}', '{"order_id": "3"}']
    assert result.statuses == {202: 3}
    assert (result.asked, len(result.took)) == (3, 2)


async def test_orders_are_read_without_a_body() -> None:
    async with reading(3) as (port, heads):
        for route in (Route.ORDER, Route.ORDERS):
            await run(replace(SPEC, port=port, order_ids=["1"], route=route))
    assert [head.split("\r\n")[0] for head in heads] == [
        "GET /orders/1 HTTP/1.1",
        "GET /orders?limit=50 HTTP/1.1",
    ]
    assert all("Authorization: Bearer token" in head for head in heads)
    assert not any("Content-" in head for head in heads)


async def test_its_order_is_read_from_json() -> None:
    """As the process gets it."""
    spec = replace(SPEC, route=Route.ORDER)
    assert LoadSpec(**json.loads(json.dumps(asdict(spec)))) == spec


async def test_refusals_and_lost_connections_are_counted() -> None:
    async with answering(ACCEPTED, REFUSED) as (port, _):
        result = await run(replace(SPEC, port=port))

    assert result.statuses == {202: 1, 429: 1, LOST: 1}


async def test_it_stops_when_time_is_up() -> None:
    async with answering(*[ACCEPTED] * 5) as (port, bodies):
        result = await run(replace(SPEC, port=port, seconds=0, again=True))

    assert len(bodies) == result.asked == 1


def test_its_output_can_be_read() -> None:
    output = b'{"asked": 1, "seconds": 2.0, "cpu": 0.5, "took": [], "statuses": {"202": 1}}'
    assert LoadResult.read(output) == LoadResult(1, 2.0, 0.5, [], {202: 1})
