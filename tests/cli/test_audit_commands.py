"""The audit from the command line, on a real database and a real Temporal server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from activities.audit import ReconciliationActivities
from durable_orders.cli import terminal
from durable_orders.clients.run_inspector import TemporalOrderRuns, TemporalRefundRuns
from durable_orders.domain.money import Money
from durable_orders.domain.ports import RefusedError
from durable_orders.process import PROGRAM
from durable_orders.store.audit import PostgresAuditRepository
from durable_orders.store.audit_findings import PostgresFindingRepository
from durable_orders.store.consistency_check import find_inconsistencies
from durable_orders.store.database import Database
from durable_orders.store.installation import PostgresInstallationRepository
from durable_orders.store.inventory import PostgresInventory
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.payments import PostgresPaymentLedger
from durable_orders.store.refunds import PostgresRefundBook
from tests.cli.shell import Aside, Run, read, refused
from tests.fakes.audit import InMemoryChargeList
from tests.fakes.cards import InMemoryCards
from tests.fakes.mailer import InMemoryMailer
from tests.fakes.warehouse import InMemoryWarehouse
from tests.support.eventually import eventually
from tests.support.keys import INSTALLATION, charge_key, payment_key
from tests.support.servers import Temporal
from worker import order_worker


@pytest.fixture
async def auditing(
    temporal_server: Temporal,
    database: Database,
    cards: InMemoryCards,
    warehouse: InMemoryWarehouse,
) -> AsyncIterator[None]:
    """A worker that carries orders and audits."""
    client = await temporal_server.connect()
    orders, ledger = PostgresOrderRepository(database), PostgresPaymentLedger(database)
    refunds = PostgresRefundBook(database)
    audit = ReconciliationActivities(
        charges=InMemoryChargeList(cards),
        cards=cards,
        ledger=ledger,
        book=PostgresAuditRepository(database),
        runs=TemporalOrderRuns(client, orders),
        findings=PostgresFindingRepository(database),
        installations=PostgresInstallationRepository(database),
        refunds=refunds,
        refund_runs=TemporalRefundRuns(client, refunds),
    )
    worker = order_worker(
        client,
        cards=cards,
        ledger=ledger,
        warehouse=warehouse,
        mailer=InMemoryMailer(),
        inventory=PostgresInventory(database),
        orders=orders,
        refunds=refunds,
        audit=audit,
    )
    async with worker:
        yield


@pytest.mark.usefixtures("auditing")
async def test_an_audit_repairs_flags_and_says_so(run: Run, cards: InMemoryCards) -> None:
    await run("place", "--order-id", "cli-a1", "--no-start")
    key = payment_key("ghost")
    ghost = await cards.create(
        installation=INSTALLATION, order_id="ghost", amount=Money(5_00, "EUR"), key=key
    )
    key = charge_key("ghost", 1)
    await cards.confirm(ghost.payment_id, payment_method="pm_card_visa", key=key)

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

    needing = read(await run("attention", "--json"))
    assert [(one["kind"], one["order_id"]) for one in needing] == [("paid_without_order", "ghost")]
    listed = (await run("attention")).stdout
    assert "paid_without_order: order ghost" in listed
    assert "acknowledge ghost --kind paid_without_order" in listed


@pytest.mark.usefixtures("auditing")
async def test_what_was_settled_by_hand_is_acknowledged_and_needs_nobody(
    run: Run,
    aside: Aside,
    cards: InMemoryCards,
    warehouse: InMemoryWarehouse,
    database: Database,
) -> None:
    cards.fail_until_healed("refund", RefusedError("the account is closed"))
    warehouse.refuse("cli-a2", "the roof leaks")
    await aside.place("cli-a2")

    async def stuck() -> bool:
        return (await aside.orders.status("cli-a2")).attention is not None

    await eventually(stuck)
    await run("resolve", "cli-a2", "--note", "by bank transfer", "--by", "ops-7")
    assert read(await run("result", "cli-a2", "--json"))["status"] == "refunded"
    cards.heal("refund")
    early = await run("acknowledge", "cli-a2", "--by", "ops-7", "--note", "seen")
    sentence = "No audit found anything about order cli-a2"
    refused(early, sentence, terminal.REFUSED, f"{PROGRAM} reconcile")

    await run("reconcile", "--grace", "0")
    told = (await run("findings")).stdout
    who = f"{terminal.os_user()} (for ops-7)"
    assert f"29.00 EUR was given back by hand, as {who} says" in told
    assert f'    {PROGRAM} acknowledge cli-a2 --kind money_kept --by WHO --note "…"\n' in told
    assert [one for one in await find_inconsistencies(database) if "cli-a2" in one]
    assert "money_kept: order cli-a2" in (await run("attention")).stdout

    word = ("acknowledge", "cli-a2", "--by", "ops-8", "--note", "bookkeeping 4711")
    said = (await run(*word)).stdout
    assert "money_kept: order cli-a2" in said
    assert "acknowledged by ops-8" in said
    assert "bookkeeping 4711" in said
    [again] = read(await run(*word, "--kind", "money_kept", "--json"))
    assert again["acknowledged"]["by"] == "ops-8"
    assert "cli-a2" not in (await run("findings")).stdout
    assert "cli-a2" not in (await run("attention")).stdout
    assert "acknowledged by ops-8" in (await run("findings", "--all")).stdout
    assert [one for one in await find_inconsistencies(database) if "cli-a2" in one] == []
    report = read(await run("reconcile", "--grace", "0", "--json"))
    assert report["acknowledged"] == 1
    assert "finding acknowledged (by ops-8" in (await run("watch", "cli-a2")).stdout


async def test_acknowledging_what_is_not_there_is_one_sentence(run: Run) -> None:
    word = ("--by", "ops-7", "--note", "seen")
    unknown = await run("acknowledge", "nobody", *word)
    refused(unknown, "There is no order nobody.", terminal.REFUSED)
    for missing in (word[:2], word[2:]):
        result = await run("acknowledge", "cli-a1", *missing)
        assert result.exit_code == terminal.USED_WRONGLY


async def test_scheduling_again_changes_the_one_schedule(
    run: Run, scheduling_server: Temporal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in scheduling_server.settings.items():
        monkeypatch.setenv(name, value)
    assert "is scheduled, every 1 h" in (await run("schedule")).stdout
    assert "now runs, every 2 h" in (await run("schedule", "--every", "2")).stdout


async def test_an_audit_without_temporal_says_where_it_was_looked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    refused(await run("reconcile"), "Temporal does not answer at", terminal.UNREACHABLE)
