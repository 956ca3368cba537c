"""Checks orders out over HTTP as fast as it is answered: `python -m bench.edge_load`.

A process of its own, so that it shares no event loop with anything that is measured. It takes an
``Errand`` as JSON on standard input and gives ``Answers`` as JSON on standard output. Written on
bare sockets: an HTTP client for people costs more than the route that does nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import cycle
from typing import Final

from sandbox.ports import HOST

#: For what was asked before time was up.
_GRACE: Final = 30.0
#: Instead of a status: the connection was closed in the middle.
LOST: Final = 0


@dataclass(frozen=True)
class Errand:
    """Check these orders out, over so many connections, for at most so long.

    The first request of each connection is not counted. ``again``: begin anew with the first order
    after the last one, for as long as there is time.
    """

    port: int
    token: str
    order_ids: list[str]
    connections: int
    seconds: float
    again: bool = False


@dataclass
class Answers:
    """What came of it: seconds until each answer, and how many there were of each status."""

    asked: int = 0
    seconds: float = 0
    cpu: float = 0
    took: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @classmethod
    def read(cls, text: bytes) -> Answers:
        told = json.loads(text)
        statuses = {int(status): number for status, number in told.pop("statuses").items()}
        return cls(**told, statuses=statuses)


class _Line(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self) -> None:
        self._answer = bytearray()
        self._answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  it is a socket's
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if (status := _complete(self._answer)) is not None:
            self._answered.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's
        if not self._answered.done():
            self._answered.set_result(LOST)

    async def ask(self, request: bytes) -> int:
        """The status of the answer."""
        if self._transport.is_closing():
            return LOST
        self._answer.clear()
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answered

    def close(self) -> None:
        self._transport.close()


def _complete(answer: bytearray) -> int | None:
    """The status of an answer that has come to its end; it tells its length."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return None
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    is_whole = len(body) >= int(rest.split(b"\r\n", 1)[0] or 0)
    return int(head.split(b" ", 2)[1]) if is_whole else None


async def run(errand: Errand) -> Answers:
    """Do the errand."""
    requests = _requests(errand)
    answers, statuses = Answers(), Counter[int]()
    lines: list[_Line] = []
    loop = asyncio.get_running_loop()

    async def ask(line: _Line, request: bytes) -> None:
        answers.asked += 1
        statuses[await line.ask(request)] += 1

    async def lane(line: _Line, until: float) -> None:
        while time.perf_counter() < until and (request := next(requests, None)):
            began = time.perf_counter()
            await ask(line, request)
            answers.took.append(time.perf_counter() - began)

    try:
        # One after the other: opened all at once, one process may get them all.
        for _ in range(errand.connections):
            _, line = await loop.create_connection(_Line, HOST, errand.port)
            lines.append(line)
            if request := next(requests, None):
                await ask(line, request)
        began, cpu = time.perf_counter(), time.process_time()
        async with asyncio.timeout(errand.seconds + _GRACE):
            await asyncio.gather(*(lane(line, began + errand.seconds) for line in lines))
        answers.seconds = time.perf_counter() - began
        answers.cpu = time.process_time() - cpu
    finally:
        for line in lines:
            line.close()
    answers.statuses = dict(statuses)
    return answers


def _requests(errand: Errand) -> Iterator[bytes]:
    for order_id in cycle(errand.order_ids) if errand.again else errand.order_ids:
        body = json.dumps({"order_id": order_id})
        yield (
            f"POST /checkout HTTP/1.1\r\nHost: {HOST}:{errand.port}\r\n"
            f"Authorization: Bearer {errand.token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


if __name__ == "__main__":
    answers = asyncio.run(run(Errand(**json.load(sys.stdin))))
    json.dump(asdict(answers), sys.stdout)
