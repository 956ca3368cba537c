"""The database fails over while orders are under way: a real standby is promoted under load."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Final

import httpx
import pytest

from demo.environment import DemoEnvironment, open_environment
from demo.invariants import violations_of
from demo.worker_process import process_environment
from durable_orders.clients.errors import UnreachableError
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.ports import NoAnswerError
from sandbox.ports import free_port
from sandbox.sandbox import Sandbox
from tests.e2e.api_processes import start_edge
from tests.e2e.conftest import prepare
from tests.support.eventually import eventually
from tests.support.failover import Pair, running_pair

log = logging.getLogger(__name__)

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
#: Orders in all, so many at a time; the primary fails when some have ended.
ORDERS, AT_A_TIME, BEFORE = 60, 10, 15


class ReplicatedSandbox(Sandbox):
    """A sandbox whose database has a second host."""

    both: str | None = None

    @property
    def database_url(self) -> str:
        return self.both or super().database_url


@pytest.fixture
async def replicated(tmp_path: Path) -> AsyncIterator[tuple[DemoEnvironment, Pair]]:
    """An environment all of whose processes know both hosts."""
    async with (
        ReplicatedSandbox(tmp_path / "sandbox", durable=False, prepare=prepare) as sandbox,
        running_pair(tmp_path, sandbox.postgres) as pair,
    ):
        sandbox.both = sandbox.settings["DATABASE_URL"] = pair.url
        async with open_environment(sandbox) as environment:
            yield environment, pair


@pytest.mark.parametrize(
    "fail_over",
    [Pair.kill_primary, Pair.switch_over, Pair.freeze_primary],
    ids=["killed", "read-only", "frozen"],
)
async def test_all_orders_end_when_the_primary_changes_under_load(
    replicated: tuple[DemoEnvironment, Pair],
    fail_over: Callable[[Pair], Awaitable[None]],
    record_property: Callable[[str, object], None],
) -> None:
    environment, pair = replicated
    port = free_port()
    edge, *workers = await asyncio.gather(
        start_edge(environment, port), environment.start_worker(), environment.start_worker()
    )
    await asyncio.gather(*(worker.ready() for worker in workers))
    ended: list[float] = []
    statuses: list[Status] = []
    free = asyncio.Semaphore(AT_A_TIME)
    order_ids = [f"failover-{number}" for number in range(ORDERS)]

    async def carry(order_id: str) -> None:
        async with free:
            await until_answered(lambda: environment.place(order_id, sku="STICKER"))
            await until_answered(lambda: environment.orders.start(order_id))
            outcome = await environment.orders.result(order_id)
        ended.append(monotonic())
        statuses.append(outcome.status)

    async with asyncio.timeout(240):
        carried = asyncio.gather(*map(carry, order_ids))
        await eventually(lambda: _is(len(ended) >= BEFORE), within=60)
        await fail_over(pair)
        failed_over = monotonic()
        await carried
    goes_on = min(at for at in ended if at > failed_over) - failed_over
    settled = max(ended) - failed_over
    record_property("seconds_until_the_next_order_ended", round(goes_on, 1))
    record_property("seconds_until_all_orders_ended", round(settled, 1))
    log.info("the next order ended after %.1f s, the last after %.1f s", goes_on, settled)

    assert statuses == [Status.COMPLETED] * ORDERS
    assert violations_of(await environment.check_invariants(order_ids)) == []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
        await eventually(lambda: _is_ready(http), within=30)
    assert "Everything adds up." in await command(environment, "store", "check")
    for process in (edge, *workers):
        assert process.running
        assert "Traceback" not in process.log
    await edge.stop()


async def test_a_standby_is_not_ready_and_a_promoted_one_is(
    replicated: tuple[DemoEnvironment, Pair],
) -> None:
    environment, pair = replicated
    port = free_port()
    standby = pair.standby.url
    edge = await start_edge(environment, port, DATABASE_URL=standby)
    worker = await environment.start_worker(DATABASE_URL=standby)
    await worker.wait_for_log("orders wait for the database: the database takes no writes")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
        answer = await http.get("/readyz")
        assert (answer.status_code, "database" in answer.text) == (503, True)
        assert "the database takes no writes" in edge.log
        await pair.standby.promote()
        await eventually(lambda: _is_ready(http), within=30)
    await edge.stop()


async def until_answered(ask: Callable[[], Awaitable[object]]) -> None:
    """As a shop does: ask again, with the same order, while there is no answer."""
    while True:
        with contextlib.suppress(NoAnswerError, UnreachableError):
            await ask()
            return
        await asyncio.sleep(0.2)


async def command(environment: DemoEnvironment, *words: str) -> str:
    """What the command line says, with the settings of the environment."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(_CHECKOUT / "client.py"), *words),
        cwd=environment.sandbox.state,
        env=process_environment(environment.sandbox.settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return said.decode()


async def _is_ready(http: httpx.AsyncClient) -> bool:
    return (await http.get("/readyz")).status_code == 200


async def _is(holds: bool) -> bool:  # noqa: FBT001
    return holds
