"""The load generator: `python -m bench.generator DRIVER PREFIX [CHECKOUT]`.

A process of its own, so that its CPU time is known, and that it can use the client of another
CHECKOUT of this project. It reads commands as lines of JSON from standard input and answers each
with a line of JSON; it ends with its input. PREFIX begins the ids of its orders.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import httpx

import sandbox.books_client  # noqa: F401  ours, also when the client is of another checkout

if TYPE_CHECKING:
    from bench.drivers import Driver, OurDriver

#: More concurrent starts slow one client down, independent of the number of open runs.
_MAX_STARTS: Final = 20
_PLACED_AT_A_TIME: Final = 10
_TIMEOUT: Final = 60.0
_POLL: Final = 0.01
#: A command names all of its orders.
_LONGEST: Final = 2**24

Json = dict[str, Any]


class Generator:
    """Carries the commands out."""

    def __init__(self, driver: Driver, prefix: str, stand_in_url: str) -> None:
        self._driver = driver
        self._http = httpx.AsyncClient(base_url=stand_in_url)
        self._ids = (f"{prefix}-{number}" for number in count(1))
        self._started: list[str] = []
        self._cancelled: list[str] = []

    async def carry_out(self, command: Json) -> Json:
        match command:
            case {"do": "place", "runs": runs}:
                return {"ids": await self._place(runs)}
            case {"do": "run", "ids": ids, "in_flight": in_flight, "seconds": seconds}:
                return await self._run(ids, in_flight, seconds)
            case {"do": "checkout", "ids": ids}:
                return {"took": await self._each(self._checkout, ids)}
            case {"do": "cancel", "ids": ids, "during": endpoint}:
                return {"took": await self._each(lambda id_: self._cancel(id_, endpoint), ids)}
            case {"do": "check"}:
                return {"errors": await self._driver.check(self._started, self._cancelled)}
        raise ValueError(f"There is no such command: {command}")

    async def _place(self, runs: int) -> list[str]:
        ids = [next(self._ids) for _ in range(runs)]
        left = iter(ids)

        async def place_next() -> None:
            for order_id in left:
                await self._driver.place(order_id)

        await asyncio.gather(*(place_next() for _ in range(_PLACED_AT_A_TIME)))
        return ids

    async def _run(self, ids: list[str], in_flight: int, seconds: float) -> Json:
        """Run these orders with ``in_flight`` at a time. None is started after ``seconds``; those
        in flight then are awaited and counted.
        """
        starting = asyncio.Semaphore(_MAX_STARTS)
        left, took = iter(ids), list[float]()
        began = time.perf_counter()

        async def run_next() -> None:
            for order_id in left:
                now = time.perf_counter()
                if now - began > seconds:
                    return
                self._started.append(order_id)
                async with starting:
                    await self._driver.start(order_id)
                await self._driver.end(order_id)
                took.append(time.perf_counter() - now)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(in_flight, len(ids))):
                tasks.create_task(run_next())
        return {"took": took, "seconds": time.perf_counter() - began}

    async def _each(self, one: Callable[[str], Awaitable[float]], ids: list[str]) -> list[float]:
        return list(await asyncio.gather(*map(one, ids)))

    async def _checkout(self, order_id: str) -> float:
        """Seconds until the shopper's answer."""
        self._started.append(order_id)
        began = time.perf_counter()
        await self._ours.checkout(order_id)
        took = time.perf_counter() - began
        await self._driver.end(order_id)
        return took

    async def _cancel(self, order_id: str, endpoint: str) -> float:
        """Seconds from a cancel, sent while the stand-in holds its answer to such a request back,
        until the answer to the cancel.
        """
        self._cancelled.append(order_id)
        await self._driver.start(order_id)
        async with asyncio.timeout(_TIMEOUT):
            while not await self._is_held(order_id, endpoint):  # noqa: ASYNC110  in another process
                await asyncio.sleep(_POLL)
        began = time.perf_counter()
        await self._ours.cancel(order_id)
        took = time.perf_counter() - began
        await self._driver.end(order_id)
        return took

    async def _is_held(self, order_id: str, endpoint: str) -> bool:
        held = (await self._http.get("/held")).json()
        return endpoint in held.get(order_id, [])

    @property
    def _ours(self) -> OurDriver:
        from bench.drivers import OurDriver  # noqa: PLC0415

        if not isinstance(self._driver, OurDriver):
            raise TypeError("only our own orders can do this")
        return self._driver


async def main(kind: str, prefix: str) -> None:
    """Carry out commands until standard input ends, also in the middle of one."""
    from bench.drivers import DRIVERS  # noqa: PLC0415  after the path is set

    commands = asyncio.StreamReader(limit=_LONGEST)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    async with DRIVERS[kind]() as driver:
        generator = Generator(driver, prefix, os.environ["STRIPE_API_BASE"])
        next_ = asyncio.ensure_future(commands.readline())
        while line := await next_:
            working = asyncio.ensure_future(generator.carry_out(json.loads(line)))
            next_ = asyncio.ensure_future(commands.readline())
            # The next command comes after the answer to this one, so only the end comes earlier.
            await asyncio.wait([working, next_], return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                working.cancel()
                return
            print(json.dumps(working.result()), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        # `bench` and `sandbox` are loaded already, from here; `durable_orders` comes from there.
        sys.path.insert(0, sys.argv[3])
    asyncio.run(main(sys.argv[1], sys.argv[2]))
