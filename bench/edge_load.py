"""Load generator: sends HTTP requests without pause. `python -m bench.edge_load`.

A process of its own, so that it shares no event loop with anything that is measured. It reads a
``LoadSpec`` as JSON from standard input and writes a ``LoadResult`` as JSON to standard output. It
uses bare sockets, because an HTTP client costs more than the baseline route.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import cycle
from typing import Final

from sandbox.ports import HOST

#: Seconds for responses to requests that were sent before the end.
_GRACE: Final = 30.0
#: Instead of a status: the connection was closed without a complete response.
LOST: Final = 0


class Route(StrEnum):
    """The requests that are sent, one for each order."""

    CHECKOUT = "POST /checkout"
    ORDER = "GET /orders/{id}"
    ORDERS = "GET /orders"  # the newest 50, whichever order it is


@dataclass(frozen=True)
class LoadSpec:
    """Send the requests for these orders over ``connections`` for at most ``seconds``.

    The first request of each connection is not timed. ``again``: repeat the orders until the time
    is over.
    """

    port: int
    token: str
    order_ids: list[str]
    connections: int
    seconds: float
    again: bool = False
    route: Route = Route.CHECKOUT


@dataclass
class LoadResult:
    """Seconds until each response (``took``), and the number of responses per status."""

    asked: int = 0
    seconds: float = 0
    cpu: float = 0
    took: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @classmethod
    def read(cls, text: bytes) -> LoadResult:
        fields = json.loads(text)
        statuses = {int(status): number for status, number in fields.pop("statuses").items()}
        return cls(**fields, statuses=statuses)


class _Connection(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self) -> None:
        self._response = bytearray()
        self._status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  it is a socket's
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._response += data
        if (status := _complete(self._response)) is not None:
            self._status.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's
        if not self._status.done():
            self._status.set_result(LOST)

    async def send(self, request: bytes) -> int:
        """Send a request and return the status of the response."""
        if self._transport.is_closing():
            return LOST
        self._response.clear()
        self._status = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._status

    def close(self) -> None:
        self._transport.close()


def _complete(response: bytearray) -> int | None:
    """The status of a complete response (by its ``Content-Length``), None before."""
    head, end, body = response.partition(b"\r\n\r\n")
    if not end:
        return None
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    is_whole = len(body) >= int(rest.split(b"\r\n", 1)[0] or 0)
    return int(head.split(b" ", 2)[1]) if is_whole else None


async def run(spec: LoadSpec) -> LoadResult:
    """Generate the load."""
    requests = _requests(spec)
    result, statuses = LoadResult(), Counter[int]()
    connections: list[_Connection] = []
    loop = asyncio.get_running_loop()

    async def send(connection: _Connection, request: bytes) -> None:
        result.asked += 1
        statuses[await connection.send(request)] += 1

    async def send_requests(connection: _Connection, until: float) -> None:
        while time.perf_counter() < until and (request := next(requests, None)):
            began = time.perf_counter()
            await send(connection, request)
            result.took.append(time.perf_counter() - began)

    try:
        # One after another: if all were opened at once, one server process might get them all.
        for _ in range(spec.connections):
            _, connection = await loop.create_connection(_Connection, HOST, spec.port)
            connections.append(connection)
            if request := next(requests, None):
                await send(connection, request)
        began, cpu = time.perf_counter(), time.process_time()
        async with asyncio.timeout(spec.seconds + _GRACE):
            await asyncio.gather(
                *(send_requests(connection, began + spec.seconds) for connection in connections)
            )
        result.seconds = time.perf_counter() - began
        result.cpu = time.process_time() - cpu
    finally:
        for connection in connections:
            connection.close()
    result.statuses = dict(statuses)
    return result


def _requests(spec: LoadSpec) -> Iterator[bytes]:
    for order_id in cycle(spec.order_ids) if spec.again else spec.order_ids:
        line, body = _line_and_body(Route(spec.route), order_id)
        yield (
            f"{line} HTTP/1.1\r\nHost: {HOST}:{spec.port}\r\n"
            f"Authorization: Bearer {spec.token}\r\n{_describing(body)}\r\n{body}"
        ).encode()


def _line_and_body(route: Route, order_id: str) -> tuple[str, str]:
    match route:
        case Route.CHECKOUT:
            return "POST /checkout", json.dumps({"order_id": order_id})
        case Route.ORDER:
            return f"GET /orders/{order_id}", ""
        case Route.ORDERS:
            return "GET /orders?limit=50", ""


def _describing(body: str) -> str:
    """The headers about a body, none without one."""
    lines = ("Content-Type: application/json", f"Content-Length: {len(body)}") if body else ()
    return "".join(f"{line}\r\n" for line in lines)


if __name__ == "__main__":
    result = asyncio.run(run(LoadSpec(**json.load(sys.stdin))))
    json.dump(asdict(result), sys.stdout)
