"""The stand-in keeps what it acknowledged after a kill, and it starts and stops cleanly."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import stripe

from sandbox.books_client import BooksClient
from sandbox.fault_client import FaultClient
from sandbox.world import StandInPortBusyError, StandInServer
from sandbox.world.server import listen
from tests.sandbox.buying import keyed, paid, payment_parameters, stripe_client
from tests.support.accepted_connections import sends_at_once

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def a_process(state: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The stand-in as a process that can be killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sandbox.world", str(state), "--port", "0",
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        yield process, line.split()[-1]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_what_was_answered_is_still_there_after_kill_9(tmp_path: Path) -> None:
    parameters = payment_parameters("kill", payment_method="pm_card_visa", confirm=True)
    async with a_process(tmp_path) as (process, url), stripe_client(url) as shop:
        first = await shop.v1.payment_intents.create_async(parameters, keyed("kill"))
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()

    async with StandInServer(tmp_path) as stand_in, stripe_client(stand_in.url) as shop:
        again = await shop.v1.payment_intents.create_async(parameters, keyed("kill"))
        assert again.id == first.id
        assert (await BooksClient(stand_in.url).order("kill")).captured == 2000


async def test_a_request_killed_in_its_delay_did_nothing(tmp_path: Path) -> None:
    async with (
        a_process(tmp_path) as (process, url),
        stripe_client(url) as shop,
        FaultClient(url) as faults,
    ):
        slow = await faults.inject("stripe.payment_intents.create", "delay")
        request = asyncio.create_task(paid(shop, "cut"))
        await faults.wait_for_hits(slow)
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(stripe.APIConnectionError):
            await request

    async with StandInServer(tmp_path) as stand_in:
        assert (await BooksClient(stand_in.url).order("cut")).payments == ()


async def test_who_goes_in_the_middle_of_a_request_leaves_no_error_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with StandInServer(tmp_path) as stand_in:
        port = httpx.URL(stand_in.url).port
        for path in ("/warehouse/fulfillments", "/emails", "/v1/payment_intents"):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n"
            writer.write(f"{head}Authorization: Bearer sk_test_1\r\n\r\n{{".encode())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        async with httpx.AsyncClient() as http:
            await http.get(f"{stand_in.url}/v1/account")
    assert "ClientDisconnect" not in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_busy_port_is_reported_in_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StandInPortBusyError, match=f"127.0.0.1:{port}: another program"):
            async with StandInServer(tmp_path, port=port):
                pass


async def test_answers_on_a_kept_connection_are_sent_at_once() -> None:
    assert await sends_at_once(listen("127.0.0.1", 0))


async def test_the_stand_in_ends_while_a_request_waits_in_a_delay(tmp_path: Path) -> None:
    async with (
        StandInServer(tmp_path) as stand_in,
        stripe_client(stand_in.url) as shop,
        FaultClient(stand_in.url) as faults,
    ):
        slow = await faults.inject("stripe.payment_intents.create", "delay")
        request = asyncio.create_task(paid(shop, "end"))
        await faults.wait_for_hits(slow)
    await asyncio.wait({request})
    assert request.exception() is None or isinstance(request.exception(), stripe.APIConnectionError)


async def test_starting_afresh_forgets_everything(tmp_path: Path) -> None:
    async with (
        StandInServer(tmp_path) as stand_in,
        stripe_client(stand_in.url) as shop,
        FaultClient(stand_in.url) as faults,
    ):
        await paid(shop, "gone")
        await faults.inject("stripe.*", "error")
        async with httpx.AsyncClient(base_url=stand_in.url) as http:
            assert (await http.delete("/sandbox/state")).status_code == 204
        assert await BooksClient(stand_in.url).all() == {}
        assert (await paid(shop, "anew")).status == "succeeded"


async def test_a_day_later_a_key_is_forgotten_and_a_week_later_a_hold_has_lapsed(
    tmp_path: Path,
) -> None:
    day = 24 * 3600
    now = 1_800_000_000.0

    async with (
        StandInServer(tmp_path, clock=lambda: now) as stand_in,
        stripe_client(stand_in.url) as shop,
    ):
        parameters = payment_parameters(
            "days", payment_method="pm_card_visa", confirm=True, capture_method="manual"
        )
        held = await shop.v1.payment_intents.create_async(parameters, keyed("days"))
        now += day - 1
        assert (await shop.v1.payment_intents.create_async(parameters, keyed("days"))).id == held.id
        now += 2
        assert (await shop.v1.payment_intents.create_async(parameters, keyed("days"))).id != held.id
        now += 6 * day
        lapsed = await shop.v1.payment_intents.retrieve_async(held.id)
        assert (lapsed.status, lapsed.cancellation_reason) == ("canceled", "expired")
        assert lapsed.amount_capturable == 0
