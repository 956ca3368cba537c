"""The event loop in a thread, for synchronous callers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest

from demo.worker_process import process_environment
from examples.background import Background
from tests.examples.conftest import ROOT
from tests.support.shop import basket
from tests.support.shop_with_store import ShopWithStore


async def thread() -> int:
    return threading.get_ident()


def test_many_threads_share_one_client_in_one_loop() -> None:
    opened = []

    @asynccontextmanager
    async def open_client() -> AsyncIterator[int]:
        await asyncio.sleep(0.05)
        opened.append(await thread())
        yield len(opened)

    background = Background(open_client)
    assert opened == []

    async def work(client: int) -> tuple[int, int]:
        return client, await thread()

    with ThreadPoolExecutor(20) as pool:
        done = set(pool.map(lambda _: background.call(work), range(100)))
    assert done == {(1, opened[0])}
    assert threading.get_ident() != opened[0]


def test_what_cannot_be_opened_is_tried_again_by_the_next_call() -> None:
    tries = 0

    @asynccontextmanager
    async def open_client() -> AsyncIterator[str]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ConnectionError("not yet")
        yield "client"

    async def work(client: str) -> str:
        return client

    background = Background(open_client)
    with pytest.raises(ConnectionError):
        background.call(work)
    assert background.call(work) == "client"


def test_an_error_of_the_work_reaches_the_caller() -> None:
    @asynccontextmanager
    async def open_client() -> AsyncIterator[None]:
        yield

    async def work(_: None) -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        Background(open_client).call(work)


def run(program: str, environment: dict[str, str] | None = None) -> str:
    """What a process that runs this says."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=process_environment(environment or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_client_is_closed_when_the_process_ends() -> None:
    said = run("""
from contextlib import asynccontextmanager
from examples.background import Background

@asynccontextmanager
async def open_client():
    yield "client"
    print("closed")

async def work(client):
    print(client)

Background(open_client).call(work)
print("ended")
""")
    assert said.splitlines() == ["client", "ended", "closed"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a server forks its processes where it can")
async def test_processes_that_were_forked_each_have_a_client(shop: ShopWithStore) -> None:
    await shop.orders.place(basket("forked"))
    await shop.orders.start("forked")
    await shop.orders.result("forked")
    program = """
import os
from examples import django_with_store

child = os.fork()
view = django_with_store.orders.call(lambda client: client.status("forked"))
print(view.status, flush=True)
failed = os.waitpid(child, 0)[1] if child else 0
os._exit(bool(failed))  # at once: see durable_orders/process.py
"""
    said = await asyncio.to_thread(run, program, shop.environment)
    assert said.split() == ["completed", "completed"]
