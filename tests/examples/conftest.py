"""A shop with a worker, an HTTP API, and the examples as processes that use them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import httpx
import pytest

from demo.worker_process import ApiProcess, process_environment
from durable_orders.domain.operators.api_keys import Scope, Token
from durable_orders.store.api_keys import PostgresApiKeyRepository
from durable_orders.store.database import Database
from sandbox.child import Child
from sandbox.ports import free_port
from tests.api.api_clients import a_key
from tests.support.eventually import eventually
from tests.support.shop_with_store import ShopWithStore, shop

__all__ = ["shop"]

ROOT: Final = Path(__file__).resolve().parents[2]
KEY: Final = Token.of(b"exampl", bytes(range(32)))


@pytest.fixture(scope="module")
async def api_settings(
    shop: ShopWithStore, database: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, str]]:
    """``python api.py``, and what its callers need to know."""
    await PostgresApiKeyRepository(database).add(a_key(KEY, "examples", Scope.SHOP))
    port = free_port()
    directory = tmp_path_factory.mktemp("api")
    api = ApiProcess(directory, shop.environment | {"API_PORT": str(port)})
    await api.start()
    try:
        await api.ready()
        yield {"ORDERS_API_URL": f"http://127.0.0.1:{port}", "ORDERS_API_KEY": str(KEY)}
    finally:
        await api.stop()


class Program:
    """An example as a process."""

    def __init__(self, example: str, directory: Path, settings: Mapping[str, str]) -> None:
        self._child = Child(example, directory)
        self._settings = settings
        self._address = f"127.0.0.1:{free_port()}"
        self.http = httpx.AsyncClient(base_url=f"http://{self._address}", timeout=30)

    @property
    def log(self) -> str:
        return self._child.log.read_text(errors="replace")

    async def start(self) -> None:
        await self._child.start(
            [sys.executable, "-u", *arguments(self._child.name, self._address)],
            env=process_environment({**self._settings, "PYTHONPATH": str(ROOT)}),
            cwd=self._child.log.parent,
        )

    async def ready(self) -> None:
        """Wait until it serves. Raises ``PartDiedError`` when it ends instead."""
        await eventually(self._serves, within=60)

    async def ends(self) -> None:
        """Wait until it has ended by itself."""
        async with asyncio.timeout(60):
            await self._child.ended()

    async def stop(self) -> None:
        await self.http.aclose()
        await self._child.stop()

    async def _serves(self) -> bool:
        if not self._child.running:
            raise self._child.died()
        try:
            await self.http.get("/")
        except httpx.TransportError:
            return False
        return True


Start = Callable[[str, Mapping[str, str]], Awaitable[Program]]


@pytest.fixture(scope="module")
async def start(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Start]:
    """Starts an example with these settings, as its first lines say; none outlives the module."""
    begun: list[Program] = []

    async def begin(example: str, settings: Mapping[str, str]) -> Program:
        begun.append(Program(example, tmp_path_factory.mktemp(example), settings))
        await begun[-1].start()
        return begun[-1]

    yield begin
    await asyncio.gather(*(program.stop() for program in begun))


@pytest.fixture(scope="module")
def started() -> dict[str, Program]:
    """The examples that serve the shop's orders, by their names."""
    return {}


@pytest.fixture
async def running(
    example: str,
    started: dict[str, Program],
    start: Start,
    shop: ShopWithStore,
    api_settings: dict[str, str],
) -> httpx.AsyncClient:
    """A caller of the example, which is told no more than it needs, and serves all tests."""
    if example not in started:
        settings = shop.environment
        if example.endswith("by_id"):
            settings = shop.without_database
        elif example.endswith("over_http"):
            settings = api_settings
        started[example] = await start(example, settings)
        await started[example].ready()
    return started[example].http


def arguments(example: str, address: str) -> list[str]:
    """What to run an example's web server with."""
    if example.startswith("django"):
        return ["-m", f"examples.{example}", "runserver", "--noreload", address]
    host, _, port = address.partition(":")
    return ["-m", "uvicorn", f"examples.{example}:app", "--host", host, "--port", port]
