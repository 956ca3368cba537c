"""The cost of an order on each system: one at a time, under load, and counted.

- Alone: one order at a time, the systems in turn, so that disturbances of the machine affect all.
- Load: with as many workers as serve the system best, of the numbers that were tried.
- Counts: what one order is made of. They do not depend on the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import astuple, dataclass, replace
from typing import Final

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from bench.systems import Generator, OrderCpu, Running, Servers, System
from sandbox.round_trips import RoundTrips

#: Before anything is measured: connections are opened, statements prepared, modules loaded.
_WARM_UP: Final = 20
_WARM_UP_IN_FLIGHT: Final = 10
_LONGEST: Final = 120.0
#: Orders over whose round trips the mean is taken.
_COUNTED: Final = 10
#: Seconds without a round trip after which all news of the counted orders are delivered.
_QUIET: Final = 0.4
_QUIET_TRIES: Final = 12


@dataclass(frozen=True)
class Amount:
    """So many orders, and none of them started after ``seconds``."""

    orders: int
    seconds: float


@dataclass(frozen=True)
class Load:
    """Orders of one system with ``in_flight`` at a time: the time of all, of each, and the CPU."""

    in_flight: int
    workers: int
    took: list[float]
    seconds: float
    cpu: OrderCpu

    @property
    def rate(self) -> float:
        return len(self.took) / self.seconds


@dataclass(frozen=True)
class History:
    """What the history of a run holds."""

    events: int
    workflow_tasks: int
    #: All of them, the local ones included.
    activities: int
    local_activities: int


@dataclass(frozen=True)
class Counts:
    """What one order is made of. ``round_trips`` to PostgreSQL, by who makes them; ``requests`` to
    Stripe, Resend and the warehouse.
    """

    round_trips: dict[str, float]
    requests: float
    history: History | None = None


async def warm_up(running: Running, workers: int = 1) -> None:
    """Run a few orders."""
    await run(running.generator, _WARM_UP * workers, _WARM_UP_IN_FLIGHT * workers)


async def run(
    generator: Generator, runs: int, in_flight: int, seconds: float = _LONGEST
) -> tuple[list[float], float]:
    """Run orders, ``in_flight`` at a time; the seconds of each, and of all."""
    ids = await generator.place(runs)
    answer = await generator.ask("run", ids=ids, in_flight=in_flight, seconds=seconds)
    return answer["took"], answer["seconds"]


async def measure_alone(
    servers: Servers, systems: Iterable[System], runs: int, results: dict[str, list[float]]
) -> list[str]:
    """Add the seconds of each order to ``results``, by system; return errors."""
    async with AsyncExitStack() as stack:
        all_of_them = [
            await stack.enter_async_context(servers.running(system, 1)) for system in systems
        ]
        for running in all_of_them:
            await warm_up(running)
        for _ in range(runs):
            for running in all_of_them:
                took, _ = await run(running.generator, 1, 1)
                results.setdefault(running.system.name, []).extend(took)
        return [error for running in all_of_them for error in await errors_of(running)]


async def measure_load(
    servers: Servers,
    system: System,
    workers: int,
    in_flight: int,
    amount: Amount,
    *,
    webhooks: bool,
) -> tuple[Load, list[str]]:
    """Run orders under load. The rate includes the times of ramping up and down."""
    async with servers.running(system, workers, webhooks=webhooks) as running:
        await warm_up(running, workers)
        ids = await running.generator.place(amount.orders)
        before = running.cpu()
        answer = await running.generator.ask(
            "run", ids=ids, in_flight=in_flight, seconds=amount.seconds
        )
        cpu = running.cpu().since(before)
        load = Load(in_flight, workers, answer["took"], answer["seconds"], cpu)
        return load, await errors_of(running)


async def count_one(
    servers: Servers, system: System, *, webhooks: bool = False
) -> tuple[Counts, list[str]]:
    """Count what an order is made of, one at a time."""
    async with AsyncExitStack() as stack:
        proxies = {}
        if url := servers.database_url(system):
            for who in ("worker", "client", *(["api"] if webhooks else [])):
                proxies[who] = await stack.enter_async_context(RoundTrips(url))
        urls = {who: proxy.url for who, proxy in proxies.items()}
        running = await stack.enter_async_context(
            servers.running(system, 1, webhooks=webhooks, database_urls=urls)
        )
        await warm_up(running)
        ids = await running.generator.place(_COUNTED)
        await _quiet(proxies)
        before = {who: proxy.round_trips for who, proxy in proxies.items()}
        await running.generator.ask("run", ids=ids, in_flight=1, seconds=_LONGEST)
        await _quiet(proxies)
        calls = await servers.books("/calls")
        counts = Counts(
            round_trips={
                who: (proxy.round_trips - before[who]) / _COUNTED for who, proxy in proxies.items()
            },
            requests=sum(len(calls.get(order_id, [])) for order_id in ids) / _COUNTED,
        )
        if system.name not in _WITHOUT_TEMPORAL:
            client = await servers.client(system)
            counts = replace(counts, history=await _longest_history(client, ids))
        return counts, await errors_of(running)


async def errors_of(running: Running) -> list[str]:
    """Errors in the results of all orders that this load generator has started."""
    errors = (await running.generator.ask("check"))["errors"]
    return [f"{running.system.name}: {error}" for error in [*errors, *await running.refused()]]


_WITHOUT_TEMPORAL: Final = frozenset({"dbos"})


async def _longest_history(client: Client, order_ids: list[str]) -> History:
    """The longest of these orders' histories, in each respect: when news come is chance."""
    histories = [await _history(client, order_id) for order_id in order_ids]
    return History(*map(max, zip(*map(astuple, histories), strict=True)))


async def _history(client: Client, order_id: str) -> History:
    events = (await client.get_workflow_handle(f"order-{order_id}").fetch_history()).events
    types = [event.event_type for event in events]
    local = sum(
        event.marker_recorded_event_attributes.marker_name == "core_local_activity"
        for event in events
    )
    return History(
        events=len(types),
        workflow_tasks=types.count(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED),
        activities=types.count(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED) + local,
        local_activities=local,
    )


async def _quiet(proxies: dict[str, RoundTrips]) -> None:
    """Wait until nobody asks the database any more."""
    known = -1
    for _ in range(_QUIET_TRIES):  # somebody may poll; what that adds is small
        if known == (known := sum(proxy.round_trips for proxy in proxies.values())):
            return
        await asyncio.sleep(_QUIET)
