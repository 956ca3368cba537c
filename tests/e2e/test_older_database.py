"""The orders' database is put back to an earlier dump, while Temporal and the world are further on.

Nobody's money is lost from sight, and nothing is charged or shipped again.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url

from demo.environment import ADA, DemoEnvironment, open_environment
from durable_orders.clients.audits import AuditClient
from durable_orders.domain.audit.model import AuditTerms
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.order import Basket
from durable_orders.domain.ports import NoSuchOrderError
from durable_orders.store.audit_findings import PostgresFindingRepository
from sandbox.postgres import postgres_programs
from sandbox.sandbox import Sandbox
from tests.e2e.conftest import prepare

NOW = AuditTerms(window=timedelta(hours=1), grace=timedelta(0))


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[DemoEnvironment]:
    """A sandbox that no other test uses."""
    async with (
        Sandbox(tmp_path, durable=False, prepare=prepare) as sandbox,
        open_environment(sandbox) as opened,
    ):
        yield opened


def of_postgres(program: str, url: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs on a database."""
    parts = make_url(url)
    command = [str(postgres_programs() / program), "--host", str(parts.query["host"])]
    command += ["--username", str(parts.username), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


async def put_back(environment: DemoEnvironment, dump: Path) -> None:
    """Replace the orders' database by the dump; nobody uses it meanwhile."""
    url = environment.sandbox.database_url
    await environment.database.close()
    await asyncio.to_thread(of_postgres, "dropdb", url, "--force", "orders")
    await asyncio.to_thread(
        of_postgres, "pg_restore", url, "--dbname", "postgres", "--create", str(dump)
    )


async def findings(environment: DemoEnvironment) -> set[tuple[str | None, str]]:
    """What is shown to a person, by order."""
    book = PostgresFindingRepository(environment.database)
    return {(one.order_id, one.kind.value) for one in await book.listed(everything=False, limit=99)}


async def place(environment: DemoEnvironment, order_id: str, *, flagged: bool = False) -> None:
    """Start an order; a flagged one comes as far as waiting for approval."""
    lines = (("MUG", 2),)
    basket = Basket(order_id, "customer-1", ADA, lines, "pm_card_visa", flagged=flagged)
    await environment.orders.place(basket)
    await environment.orders.start(order_id)
    if flagged:
        await environment.wait_until_waiting(order_id)
    else:
        await environment.orders.result(order_id)


async def status_of(environment: DemoEnvironment, order_id: str) -> Status:
    return (await environment.orders.view(order_id)).order.status


async def test_the_audit_shows_what_the_older_books_lack_and_nothing_is_done_twice(
    alone: DemoEnvironment, tmp_path: Path
) -> None:
    dump, url = tmp_path / "orders.dump", alone.sandbox.database_url
    worker = await alone.start_worker()
    await place(alone, "ended")
    await place(alone, "approved-later", flagged=True)
    await place(alone, "waits", flagged=True)
    slow = await alone.faults.inject(
        "stripe.payment_intents.confirm", "delay", order_id="was-charging", seconds=60
    )
    charging = asyncio.create_task(place(alone, "was-charging"))
    await alone.faults.wait_for_hits(slow)
    await asyncio.to_thread(
        of_postgres, "pg_dump", url, "--format", "custom", "--file", str(dump), "orders"
    )
    await alone.faults.remove(slow)
    await charging
    await alone.operations.approve("approved-later", by="ops-1")
    await alone.orders.result("approved-later")
    await place(alone, "placed-later")
    await place(alone, "waits-later", flagged=True)
    await worker.stop()

    await put_back(alone, dump)
    await alone.start_worker()

    shown = {
        # Their runs have ended. Of the first, Stripe has money that our books know nothing of.
        ("approved-later", "unbooked_charge"),
        ("approved-later", "stranded"),
        ("was-charging", "stranded_with_money"),
        ("placed-later", "paid_without_order"),
        ("waits-later", "run_without_order"),
    }
    for repaired in (1, 0):  # the charge that the books had announced: they take it over
        report = await AuditClient(alone.temporal).run_now(NOW)
        assert (report.repaired, report.failed) == (repaired, 0), report
        assert report.found.get("books_behind", 0) == repaired
        assert await findings(alone) == shown
    assert await status_of(alone, "ended") is Status.COMPLETED
    with pytest.raises(NoSuchOrderError):
        await alone.orders.view("placed-later")

    # What waited then, and waits still, goes on as if nothing had been.
    await alone.operations.approve("waits", by="ops-1")
    assert (await alone.orders.result("waits")).status is Status.COMPLETED
    for order_id in ("ended", "was-charging", "approved-later", "placed-later", "waits"):
        books = await alone.books.order(order_id)
        assert (books.captured, books.refunded, len(books.parcels)) == (29_00, 0, 1)
