"""A shell for the command line: real database and Temporal, other neighbours in memory."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner, Result

from durable_orders.cli import app
from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, Recipient
from durable_orders.domain.refunds.messages import ShopRefundTerms
from durable_orders.domain.terms import ShopTerms
from durable_orders.store.database import Database
from durable_orders.store.inventory import PostgresInventory
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.payments import PostgresPaymentLedger
from durable_orders.store.refunds import PostgresRefundBook
from durable_orders.store.seed import DEMO, Product, add_products
from tests.fakes.cards import InMemoryCards
from tests.fakes.mailer import InMemoryMailer
from tests.fakes.warehouse import InMemoryWarehouse
from tests.support.eventually import eventually
from tests.support.open_runs import abandon
from tests.support.servers import Temporal
from worker import order_worker

_CHECKOUT: Final = Path(__file__).resolve().parents[2]

#: Prices that no card is charged, one by one at least.
ODD_PRICES = (
    Product("CLIP", "Paper clip", Money(20, "EUR"), 1_000),
    Product("DATES", "Dates", Money(1235, "KWD"), 1_000),
)

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
async def run(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    temporal_server: Temporal,
    database: Database,
    database_url: str,
) -> AsyncIterator[Run]:
    """Runs a command as in a shell whose settings name the servers."""
    await add_products(database, [*DEMO, *ODD_PRICES])
    monkeypatch.chdir(tmp_path)
    for name, value in (temporal_server.settings | {"DATABASE_URL": database_url}).items():
        monkeypatch.setenv(name, value)

    async def invoke(*arguments: str) -> Result:
        # In a thread: the command has an event loop of its own.
        return await asyncio.to_thread(CliRunner().invoke, app.app, arguments)

    yield invoke
    await abandon(await temporal_server.connect(), database)


@dataclass(frozen=True)
class Aside:
    """The shop beside the shell: to bring an order to where a test begins, and to wait for it.
    What a command does, says and shows is asked of commands.
    """

    orders: OrderClient
    operations: OrderOperations
    refunds: RefundClient

    async def place(
        self, order_id: str, card: str = "pm_card_visa", *, flagged: bool = False
    ) -> None:
        """An order of two mugs, 29.00 EUR, placed and started: what ``place`` does by itself."""
        recipient = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square, London")
        lines = (("MUG", 2),)
        await self.orders.place(Basket(order_id, "customer-1", recipient, lines, card, flagged))
        await self.orders.start(order_id)

    async def reaches(self, order_id: str, doing: str) -> None:
        async def there() -> bool:
            return (await self.orders.status(order_id)).doing.startswith(doing)

        await eventually(there)


@pytest.fixture
async def aside(temporal_server: Temporal, database: Database) -> Aside:
    temporal = await temporal_server.connect()
    book = PostgresOrderRepository(database)
    return Aside(
        OrderClient(temporal, book),
        OrderOperations(temporal, book),
        RefundClient(temporal, PostgresRefundBook(database)),
    )


@pytest.fixture(scope="module")
def cards() -> InMemoryCards:
    """As long-lived as the database: payment ids never come twice."""
    return InMemoryCards()


@pytest.fixture(scope="module")
def warehouse() -> InMemoryWarehouse:
    """The same for parcel ids."""
    return InMemoryWarehouse()


@pytest.fixture
def terms() -> ShopTerms:
    """The shop's rules; a module of tests may have others."""
    return ShopTerms()


@pytest.fixture
def refund_terms() -> ShopRefundTerms:
    """The same for refunds."""
    return ShopRefundTerms()


@pytest.fixture
async def working(
    temporal_server: Temporal,
    database: Database,
    cards: InMemoryCards,
    warehouse: InMemoryWarehouse,
    terms: ShopTerms,
    refund_terms: ShopRefundTerms,
) -> AsyncIterator[None]:
    """A worker on the database, with the other neighbours in memory."""
    worker = order_worker(
        await temporal_server.connect(),
        cards=cards,
        ledger=PostgresPaymentLedger(database),
        warehouse=warehouse,
        mailer=InMemoryMailer(),
        inventory=PostgresInventory(database),
        orders=PostgresOrderRepository(database),
        shop=terms,
        refund_terms=refund_terms,
        refunds=PostgresRefundBook(database),
    )
    async with worker:
        yield


def refused(result: Result, sentence: str, code: int, command: str = "") -> None:
    """One line on standard error, then the command that helps, if there is one; nothing on
    standard output, and this exit code.
    """
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    line, *helps = result.stderr.splitlines()
    assert sentence in line
    assert line.endswith((".", "?"))
    assert helps == ([f"  {command}"] if command else [])


def read(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return json.loads(result.stdout)


@dataclass(frozen=True)
class Begun:
    """The program at work."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        """All that it has written, on standard output and standard error."""
        return self.log.read_text()

    async def ends(self) -> int:
        """Its exit code, once it has ended."""
        return await asyncio.to_thread(self.process.wait, 20)


Begin = Callable[..., Begun]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Start ``python client.py`` with arguments, in the directory and with the settings of ``run``.

    A process that still runs at the end of the test is killed.
    """
    begun: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: str) -> Begun:
        log = tmp_path / f"said-by-{arguments[0]}"
        command = [sys.executable, "-u", str(_CHECKOUT / "client.py"), *arguments]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=tmp_path,
                env={**os.environ, "NO_COLOR": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        begun.append(process)
        return Begun(process, log)

    yield begin
    for process in begun:
        process.kill()
        process.wait()
