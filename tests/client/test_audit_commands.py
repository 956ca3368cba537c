"""The audit from the command line, on a real database and a real Temporal server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from activities.reconciliation import ReconciliationActivities
from audit_runs import TemporalRuns
from commands import terminal
from orders.audits import AUDIT_ID
from orders.ids import charge_key
from orders.money import Money
from sandbox.temporal_server import TemporalServer
from store.audit import PostgresAuditBook
from store.database import Database
from store.findings import PostgresFindings
from store.inventory import PostgresInventory
from store.orders import PostgresOrderBook
from store.payments import PostgresPaymentLedger
from store.refunds import PostgresRefundBook
from tests.client.shell import Run, read, refused
from tests.fakes.audit import InMemoryChargeList
from tests.fakes.cards import InMemoryCards
from tests.fakes.mailer import InMemoryMailer
from tests.fakes.warehouse import InMemoryWarehouse
from worker import order_worker
from workflows.runner import DATA_CONVERTER


@pytest.fixture
async def auditing(
    temporal_server: TemporalServer,
    database: Database,
    cards: InMemoryCards,
    warehouse: InMemoryWarehouse,
) -> AsyncIterator[None]:
    """A worker that carries orders and audits."""
    client = await Client.connect(temporal_server.address, data_converter=DATA_CONVERTER)
    orders, ledger = PostgresOrderBook(database), PostgresPaymentLedger(database)
    audit = ReconciliationActivities(
        charges=InMemoryChargeList(cards),
        cards=cards,
        ledger=ledger,
        book=PostgresAuditBook(database),
        runs=TemporalRuns(client, orders),
        findings=PostgresFindings(database),
    )
    worker = order_worker(
        client,
        cards=cards,
        ledger=ledger,
        warehouse=warehouse,
        mailer=InMemoryMailer(),
        inventory=PostgresInventory(database),
        orders=orders,
        refunds=PostgresRefundBook(database),
        audit=audit,
    )
    async with worker:
        yield


@pytest.mark.usefixtures("auditing")
async def test_an_audit_repairs_flags_and_says_so(run: Run, cards: InMemoryCards) -> None:
    await run("place", "--order-id", "cli-a1", "--no-start")
    key = charge_key("ghost", 1)
    ghost = await cards.create(
        order_id="ghost",
        attempt=1,
        amount=Money(5_00, "EUR"),
        payment_method="pm_card_visa",
        key=key,
    )
    await cards.confirm(ghost.payment_id, key=key)

    report = read(await run("reconcile", "--grace", "0", "--json"))

    assert report["found"] == {"never_started": 1, "paid_without_order": 1}
    assert (report["repaired"], report["flagged"]) == (1, 1)
    assert "is completed" in (await run("result", "cli-a1")).stdout
    [finding] = read(await run("findings", "--json"))
    assert (finding["kind"], finding["payment_id"]) == ("paid_without_order", ghost.payment_id)
    assert "refund it or restore the order" in finding["advice"]
    assert len(read(await run("findings", "--all", "--json"))) == 2
    told = (await run("findings")).stdout
    assert "5.00 EUR was taken, and our books have no such order" in told
    assert "flagged before 1" in (await run("reconcile", "--grace", "0")).stdout


async def test_scheduling_again_changes_the_one_schedule(
    run: Run, temporal_server: TemporalServer
) -> None:
    assert "is scheduled, every 1 h" in (await run("schedule")).stdout
    assert "now runs, every 2 h" in (await run("schedule", "--every", "2")).stdout
    client = await Client.connect(temporal_server.address)
    await client.get_schedule_handle(AUDIT_ID).delete()


async def test_an_audit_without_temporal_says_where_it_was_looked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    refused(await run("reconcile"), "Temporal does not answer at", terminal.UNREACHABLE)
