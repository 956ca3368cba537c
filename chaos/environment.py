"""The environment of a run: a sandbox, and workers and API processes that use it by proxies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from chaos.database import ReplicatedDatabase
from chaos.observer import Observer
from chaos.plan import EXPENSIVE, SKUS, Capture, Plan
from chaos.processes import ProcessFactory, Slot
from chaos.proxy import Proxy, Stream
from chaos.shop import Shop
from demo.environment import DemoEnvironment, open_environment
from demo.worker_process import ApiProcess, WorkerProcess
from durable_orders.domain.money import Money
from durable_orders.domain.operators.api_keys import ID_BYTES, SECRET_BYTES, ApiKey, Scope, Token
from durable_orders.store import database as store
from durable_orders.store.api_keys import PostgresApiKeyRepository
from durable_orders.store.migrations import migrate
from durable_orders.store.seed import DEMO, Product, add_products
from sandbox.ports import HOST, free_port
from sandbox.postgres import PostgresServer
from sandbox.sandbox import Sandbox

TEMPORAL: Final = "Temporal"
POSTGRES: Final = "PostgreSQL"

#: Seconds that operators, customers and banks have; those who have forgotten let them pass.
PATIENCE: Final = 90.0
#: Seconds for another card after a decline.
_CARD_WINDOW: Final = 30.0

_PRICES: Final = (14_50, 29_00, 18_00, 3_50)
_PLENTY: Final = 1_000_000


class _Sandbox(Sandbox):
    """A sandbox whose database has more than one place."""

    both: str | None = None

    @property
    def database_url(self) -> str:
        return self.both or super().database_url


@dataclass
class ChaosEnvironment:
    """What a run acts on. ``proxies`` are by process and server: (``worker 1``, ``Temporal``); to
    the database there are two, for each of its places one.
    """

    demo: DemoEnvironment
    database: ReplicatedDatabase
    slots: Mapping[str, Slot]
    proxies: Mapping[tuple[str, str], Sequence[Proxy]]
    shop: Shop
    observer: Observer

    @property
    def sandbox(self) -> Sandbox:
        return self.demo.sandbox

    async def heal(self) -> None:
        """End every fault of a process: nothing is cut or slow, nobody is frozen."""
        for proxy in itertools.chain.from_iterable(self.proxies.values()):
            proxy.restore()
        for slot in self.slots.values():
            await slot.thaw()


def worker_settings(patience: float = PATIENCE) -> dict[str, str]:
    """The shop's terms of a run, as settings of a worker."""
    hours, minutes = f"{patience / 3600:.6f}", f"{patience / 60:.6f}"
    return {
        "APPROVAL_ABOVE": "EUR=150.00",
        "APPROVAL_TIMEOUT_HOURS": hours,
        "PAYMENT_TIMEOUT_MINUTES": minutes,
        "NEW_CARD_WINDOW_MINUTES": f"{min(_CARD_WINDOW, patience) / 60:.6f}",
        "REFUND_APPROVAL_ABOVE": "EUR=40.00",
        "ON_DISPUTE": "stop",
        "ON_FRAUD_WARNING": "refund",
        "DELIVERY_DEADLINE_DAYS": "1",
    }


@contextlib.asynccontextmanager
async def open_chaos(
    plan: Plan, state: Path, *, worker_factory: ProcessFactory, patience: float = PATIENCE
) -> AsyncIterator[ChaosEnvironment]:
    """Start everything on a fresh sandbox in ``state``; all of it is stopped at the end."""
    ports = {f"api {number + 1}": free_port() for number in range(plan.apis)}
    slots: dict[str, Slot] = {}
    turns = itertools.cycle(ports)

    async def any_api() -> Stream:
        """An API process after the other, of those that a load balancer takes for healthy."""
        names = [next(turns) for _ in ports]
        healthy = [name for name in names if name in slots and slots[name].is_up]
        return await asyncio.open_connection(HOST, ports[(healthy or names)[0]])

    async with contextlib.AsyncExitStack() as stack:
        # What the neighbours tell us.
        webhooks = await _opened(stack, Proxy(any_api))
        sandbox, database = await _open_sandbox(stack, plan, state, f"http://{webhooks.address}")
        demo = await stack.enter_async_context(open_environment(sandbox))
        await _stock(demo, plan)
        observer = Observer(demo.database)
        proxies: dict[tuple[str, str], Sequence[Proxy]] = {}
        names = [f"worker {number + 1}" for number in range(plan.workers)] + list(ports)
        for number, name in enumerate(names):
            to_temporal = await _opened(stack, Proxy(lambda: _temporal(sandbox)))
            to_postgres = await _to_database(stack, database)
            proxies[name, TEMPORAL], proxies[name, POSTGRES] = [to_temporal], to_postgres
            settings = sandbox.settings | {
                "TEMPORAL_ADDRESS": to_temporal.address,
                "DATABASE_URL": _url(to_postgres),
            }
            if name in ports:
                settings |= {
                    "API_PORT": str(ports[name]),
                    "API_RATE_PER_MINUTE": "1000000",
                    "API_FAILURES_PER_MINUTE": "1000000",
                }
            else:
                settings |= worker_settings(patience) | {"CAPTURE": _capture(plan, number)}
            factory: ProcessFactory = ApiProcess if name in ports else worker_factory
            slots[name] = Slot(name, factory, state / "processes", settings)
            stack.push_async_callback(slots[name].stop)
        keys = {scope: await _new_key(demo, scope, scope) for scope in (Scope.SHOP, Scope.OPERATOR)}
        second = await _new_key(demo, Scope.OPERATOR, "second-operator")
        shop = Shop([f"http://{HOST}:{port}" for port in ports.values()], keys, second)
        stack.push_async_callback(shop.aclose)
        await asyncio.gather(*(slot.start() for slot in slots.values()))
        await asyncio.gather(*(slot.ready() for slot in slots.values()))
        watching = asyncio.create_task(observer.run())
        stack.push_async_callback(_ended, watching)
        environment = ChaosEnvironment(demo, database, slots, proxies, shop, observer)
        try:
            yield environment
        finally:
            await environment.heal()
            await asyncio.gather(*(slot.stop() for slot in slots.values()))


def _capture(plan: Plan, number: int) -> str:
    if plan.capture is Capture.BOTH:
        return (Capture.AT_CHECKOUT, Capture.AT_FULFILLMENT)[number % 2]
    return plan.capture


async def _opened(stack: contextlib.AsyncExitStack, proxy: Proxy) -> Proxy:
    await proxy.start()
    stack.push_async_callback(proxy.close)
    return proxy


async def _temporal(sandbox: Sandbox) -> Stream:
    return await asyncio.open_connection(HOST, sandbox.temporal.port)


async def _to_database(
    stack: contextlib.AsyncExitStack, database: ReplicatedDatabase
) -> list[Proxy]:
    """A proxy to each place of the database, or to the only one."""
    places = (0, 1) if database.has_standby else (0,)
    return [await _opened(stack, Proxy(partial(database.dial, place))) for place in places]


def _url(proxies: Sequence[Proxy]) -> str:
    """The database behind whichever of these takes writes."""
    return f"postgresql://postgres@{','.join(proxy.address for proxy in proxies)}/orders"


async def _open_sandbox(
    stack: contextlib.AsyncExitStack, plan: Plan, state: Path, api_url: str
) -> tuple[Sandbox, ReplicatedDatabase]:
    """A fresh sandbox, and a standby of its database where the plan fails it over."""
    sandbox = _Sandbox(
        state, temporal_port=free_port(), api_url=api_url, durable=False, prepare=_prepare
    )
    await sandbox.wipe()
    for standby in await asyncio.to_thread(_left_standbys, sandbox.state):
        await PostgresServer(standby).wipe()
    await asyncio.to_thread(shutil.rmtree, sandbox.state / "processes", ignore_errors=True)
    await stack.enter_async_context(sandbox)
    database = ReplicatedDatabase(sandbox.postgres, sandbox.state)
    stack.push_async_callback(database.close)
    if plan.fails_over:
        await database.add_standby()
    sandbox.both = _url(await _to_database(stack, database))
    return sandbox, database


def _left_standbys(state: Path) -> list[Path]:
    """The directories of standbys of an earlier run."""
    return sorted(state.glob("standby-*"))


async def _prepare(database_url: str) -> None:
    """Make our tables. What is committed is with the kernel then, whose death is no fault here: a
    killed server loses nothing, and none waits for a disk.
    """
    database = store.connect(database_url)
    await migrate(database)
    await add_products(database, DEMO)
    async with database.transaction() as connection:
        await connection.exec_driver_sql("ALTER DATABASE orders SET synchronous_commit = on")
    await database.close()


async def _stock(demo: DemoEnvironment, plan: Plan) -> None:
    """Add the products of the plan to the catalogue."""
    for sku, price in zip(SKUS, _PRICES, strict=True):
        await demo.add_product(Product(sku, sku.title(), Money(price, "EUR"), _PLENTY))
    cabinet = Product(EXPENSIVE, "Cabinet of curiosities", Money(240_00, "EUR"), _PLENTY)
    await demo.add_product(cabinet)
    for sku, pieces in plan.last_units.items():
        await demo.add_product(Product(sku, "The last of their kind", Money(9_00, "EUR"), pieces))


async def _new_key(demo: DemoEnvironment, scope: Scope, name: str) -> Token:
    token = Token.of(secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES))
    key = ApiKey(token.key_id, f"chaos-{name}", scope, datetime.now(UTC), token.digest)
    await PostgresApiKeyRepository(demo.database).add(key)
    return token


async def _ended(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])


def default_worker(directory: Path, settings: Mapping[str, str]) -> WorkerProcess:
    """``python worker.py``."""
    return WorkerProcess(directory, settings)
