"""The audit, with every kind of disagreement planted: repaired where that is safe, else flagged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)

from activities.audit import ReconciliationActivities
from activities.audit_risks import PaymentRiskAudit
from durable_orders.clients.run_inspector import (
    TemporalOrderRuns,
    TemporalPaymentRiskRuns,
    TemporalRefundRuns,
)
from durable_orders.domain import ids
from durable_orders.domain.activity_messages import ManualRefund, OrderInput, Outcome
from durable_orders.domain.audit.messages import (
    AUDIT_ID,
    Acknowledgement,
    AuditInput,
    AuditReport,
    DiscrepancySettlement,
    Finding,
)
from durable_orders.domain.audit.model import (
    AuditTerms,
    Discrepancy,
    DiscrepancyKind,
    RunState,
    RunStatus,
)
from durable_orders.domain.audit.ports import CursorPage, OpenRun
from durable_orders.domain.ids import TASK_QUEUE, UNDO_REFUND_ID, refund_workflow_id, workflow_id
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, Recipient
from durable_orders.domain.ports import ChargeState, NoAnswerError, RefusedError
from durable_orders.domain.refunds.messages import RefundOutcome, ShopRefundTerms
from durable_orders.domain.refunds.refund import RefundRequest, RefundState, UnfinishedRefund
from durable_orders.domain.terms import CaptureMethod, ShopTerms
from durable_orders.domain.workflow_messages import Approve, Resolve
from tests.fakes.audit import InMemoryAuditRepository, InMemoryChargeList, InMemoryFindings
from tests.fakes.cards import REFUND_PENDING
from tests.fakes.database import InMemoryInstallation, InMemoryOrderRepository
from tests.support.charges import card_try, record
from tests.support.eventually import eventually
from tests.support.keys import INSTALLATION, refund_key
from tests.support.servers import Servers
from tests.workflows import refunds
from tests.workflows.conftest import TOTAL, Clients, Shop, ended
from tests.workflows.test_uncertain_money import A_PART, approve, held, in_the_warehouse
from workflows.audit import ReconcileWorkflow
from workflows.order import OrderWorkflow
from workflows.refund import RefundWorkflow

OTHERS = "othershop"
HOUR = timedelta(hours=1)
FIVE = Money(5_00, "EUR")
#: What happened a moment ago is looked at too.
AT_ONCE = AuditTerms(grace=timedelta(0))
_numbers = count(1)


@pytest.fixture(scope="module")
async def clients(servers: Servers) -> Clients:
    """A namespace of its own: the audit looks at every run there is, those of other tests too."""
    return await Clients.of(servers.temporal("audits"))


class LaggingRuns(TemporalOrderRuns):
    """Temporal's runs. Its list of those that are open may lag behind, as it does now and then; and
    an order may be ``carried`` by a run again, as after a reset.
    """

    still_listed: tuple[OpenRun, ...] = ()

    def __init__(self, client: Client, orders: InMemoryOrderRepository) -> None:
        super().__init__(client, orders)
        self.carried: set[str] = set()

    async def look(self, order_id: str) -> RunStatus:
        return (
            RunStatus(RunState.OPEN) if order_id in self.carried else await super().look(order_id)
        )

    async def open_runs(self, cursor: str | None, limit: int) -> CursorPage[OpenRun]:
        listed = await super().open_runs(cursor, limit)
        known = {run.order_id for run in listed.items}
        late = tuple(run for run in self.still_listed if run.order_id not in known)
        return CursorPage((*listed.items, *late), listed.cursor)


@dataclass
class Audited:
    """A shop that is audited."""

    shop: Shop
    runs: LaggingRuns
    findings: InMemoryFindings = field(default_factory=InMemoryFindings)

    def __post_init__(self) -> None:
        self.charges = InMemoryChargeList(self.shop.cards)
        self.activities = ReconciliationActivities(
            charges=self.charges,
            cards=self.shop.cards,
            ledger=self.shop.ledger,
            book=InMemoryAuditRepository(self.shop.database),
            runs=self.runs,
            findings=self.findings,
            installations=InMemoryInstallation(self.shop.database),
            refunds=self.shop.refunds,
            refund_runs=TemporalRefundRuns(self.shop.client, self.shop.refunds),
            risks=PaymentRiskAudit(
                self.shop.risks,
                self.shop.risks,
                self.shop.disputes,
                TemporalPaymentRiskRuns(self.shop.patient_client),
            ),
        )

    async def begin(
        self, terms: AuditTerms = AT_ONCE, *, pages_per_run: int = 20, waits: bool = False
    ) -> WorkflowHandle[ReconcileWorkflow, AuditReport]:
        client = self.shop.patient_client if waits else self.shop.client
        return await client.start_workflow(
            ReconcileWorkflow.run,
            AuditInput(terms, pages_per_run=pages_per_run),
            id=f"{AUDIT_ID}-{next(_numbers)}",
            task_queue=TASK_QUEUE,
        )

    async def audit(self, terms: AuditTerms = AT_ONCE, *, waits: bool = False) -> AuditReport:
        """Audit the shop. With ``waits`` no time is skipped: what the audit starts goes on."""
        return await (await self.begin(terms, waits=waits)).result()

    def finding(self, kind: DiscrepancyKind, order_id: str) -> Finding:
        [one] = [
            one
            for one in self.findings.book.values()
            if (one.kind, one.order_id) == (kind, order_id)
        ]
        return one

    # -- planting ------------------------------------------------------------------------------

    async def placed(self, ago: timedelta = HOUR) -> str:
        """An order whose checkout lost its server before it could start it."""
        order_id = f"audit-order-{next(_numbers)}"
        recipient = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square, London")
        basket = Basket(order_id, "cus_1", recipient, (("MUG", 2),), "pm_card_visa")
        await self.shop.book.place(basket, datetime.now(UTC) - ago)
        return order_id

    async def charged(
        self, order_id: str, *, hold: bool = False, installation: str = INSTALLATION
    ) -> str:
        """A charge at the provider, confirmed; its id."""
        charge = await self.shop.cards.create(
            installation=installation,
            order_id=order_id,
            amount=TOTAL,
            key=ids.payment_key(installation, order_id),
            hold=hold,
        )
        if order_id in self.shop.database.rows and installation == INSTALLATION:
            wanted = card_try(order_id)
            await self.shop.ledger.announce(order_id, charge.payment_id, TOTAL, wanted)
        await self.shop.cards.confirm(
            charge.payment_id,
            payment_method="pm_card_visa",
            key=ids.charge_key(installation, order_id, 1),
        )
        return charge.payment_id

    async def held_for_nothing(self) -> tuple[str, str]:
        """A cancelled order whose money is still held; its id and the payment's."""
        order_id = await self.placed()
        payment_id = await self.charged(order_id, hold=True)
        await record(self.shop.ledger, order_id, self.shop.cards.charges[payment_id], answers=1)
        await self.end(order_id, Status.CANCELLED)
        return order_id, payment_id

    async def end(self, order_id: str, status: Status) -> None:
        stop = None if status is Status.COMPLETED else Stop(StopReason.CANCELLED, "cancelled")
        await self.shop.book.move(order_id, status, stop, datetime.now(UTC))

    async def terminated_after_charge(self) -> WorkflowHandle[OrderWorkflow, Outcome]:
        """A run terminated from the UI with the money taken and no parcel."""
        gate = self.shop.warehouse.hold("fulfill")
        run = await self.shop.order()
        await gate.entered()
        await run.terminate("by a hand in the Web UI")
        gate.release()
        return run

    async def state_in_books(self, order_id: str) -> str:
        [payment] = (await self.shop.book.view(order_id)).payments
        return payment.state


@pytest.fixture
async def audited(clients: Clients) -> AsyncIterator[Audited]:
    async with opened(clients) as audited:
        yield audited


@asynccontextmanager
async def opened(
    clients: Clients,
    terms: ShopTerms = ShopTerms(),  # noqa: B008 - frozen
    *,
    refund_terms: ShopRefundTerms = ShopRefundTerms(),  # noqa: B008 - frozen
) -> AsyncIterator[Audited]:
    """A shop whose worker carries orders and audits."""
    shop = Shop(clients.skipping, clients.patient, terms=terms, refund_terms=refund_terms)
    audited = Audited(shop, LaggingRuns(clients.skipping, shop.book))
    async with shop.worker(clients.skipping, audit=audited.activities):
        yield audited


async def test_a_healthy_shop_shows_nothing(audited: Audited) -> None:
    for card in ("pm_card_visa", "pm_card_visa_chargeDeclined"):
        await (await audited.shop.order(card)).result()
    refused = await audited.shop.place()
    audited.shop.warehouse.refuse(refused, "the roof leaks")
    await (await audited.shop.start(refused)).result()

    report = await audited.audit()

    # Three charges, a refund and three orders.
    assert report.examined >= 7
    assert report.found == {}
    assert audited.findings.book == {}


async def test_money_taken_without_an_order_is_flagged_and_left_where_it_is(
    audited: Audited,
) -> None:
    payment_id = await audited.charged("ghost-1")

    report = await audited.audit()

    assert (report.found, report.flagged) == ({"paid_without_order": 1}, 1)
    assert audited.finding(DiscrepancyKind.PAID_WITHOUT_ORDER, "ghost-1").payment_id == payment_id
    assert audited.shop.cards.given_back("ghost-1") == 0


async def test_an_order_that_nobody_started_is_started_and_completes(audited: Audited) -> None:
    order_id = await audited.placed()

    report = await audited.audit(AuditTerms())

    assert (report.found, report.repaired) == ({"never_started": 1}, 1)
    run = audited.shop.client.get_workflow_handle_for(OrderWorkflow.run, workflow_id(order_id))
    outcome = await audited.shop.check(await run.result())
    assert outcome.status is Status.COMPLETED
    assert audited.finding(DiscrepancyKind.NEVER_STARTED, order_id).resolution == "repaired"
    assert (await audited.audit()).found == {}


async def test_an_order_that_was_cancelled_before_its_start_is_not_started(
    audited: Audited,
) -> None:
    """Its customer is told by a run, if the caller's process died before that was started."""
    order_id, shop = await audited.placed(), audited.shop
    stop = Stop(StopReason.CANCELLED, "cancelled by customer")
    assert await shop.book.cancel_unstarted(order_id, stop, datetime.now(UTC) - HOUR)

    report = await audited.audit(AuditTerms())

    assert (report.found, report.repaired) == ({"cancelled_untold": 1}, 1)
    run = shop.client.get_workflow_handle_for(OrderWorkflow.run, workflow_id(order_id))
    outcome = await shop.check(await run.result())
    assert (outcome.status, outcome.stop, outcome.confirmed) == (Status.CANCELLED, stop, True)
    assert shop.cards.charges == {}
    assert audited.finding(DiscrepancyKind.CANCELLED_UNTOLD, order_id).resolution == "repaired"
    assert (await audited.audit()).found == {}


async def test_an_order_that_was_placed_a_moment_ago_is_left_alone(audited: Audited) -> None:
    await audited.placed(ago=timedelta(minutes=1))
    assert (await audited.audit(AuditTerms())).found == {}


async def test_an_order_that_nobody_started_for_days_is_not_charged_out_of_the_blue(
    audited: Audited,
) -> None:
    order_id = await audited.placed(ago=timedelta(days=3))

    report = await audited.audit()

    assert (report.flagged, report.repaired) == (1, 0)
    assert audited.shop.cards.charges == {}
    assert audited.finding(DiscrepancyKind.NEVER_STARTED, order_id).resolved_at is None


async def test_a_hold_without_a_run_is_released_and_our_books_know(audited: Audited) -> None:
    order_id, payment_id = await audited.held_for_nothing()

    report = await audited.audit()

    assert (report.found, report.repaired) == ({"live_charge": 1}, 1)
    assert audited.shop.cards.charges[payment_id].state is ChargeState.CANCELLED
    assert await audited.state_in_books(order_id) == ChargeState.CANCELLED
    assert (await audited.audit()).found == {}


async def test_a_hold_from_long_before_the_window_is_found_through_our_books(
    audited: Audited,
) -> None:
    _, payment_id = await audited.held_for_nothing()
    audited.charges.created[payment_id] = datetime.now(UTC) - timedelta(days=5)

    assert (await audited.audit()).repaired == 1

    assert audited.shop.cards.charges[payment_id].state is ChargeState.CANCELLED


async def test_a_hold_of_an_order_that_we_do_not_have_is_flagged_for_a_day_then_released(
    audited: Audited,
) -> None:
    payment_id = await audited.charged("ghost-2", hold=True)

    assert (await audited.audit()).flagged == 1
    assert audited.shop.cards.charges[payment_id].state is ChargeState.HELD

    audited.charges.created[payment_id] = datetime.now(UTC) - timedelta(hours=25)
    assert (await audited.audit()).repaired == 1
    assert audited.shop.cards.charges[payment_id].state is ChargeState.CANCELLED


@pytest.mark.parametrize("mark", [OTHERS, ""], ids=["another's mark", "none"])
async def test_what_does_not_carry_our_mark_is_neither_touched_nor_reported(
    audited: Audited, mark: str
) -> None:
    ended, _ = await audited.held_for_nothing()
    await audited.audit()
    # Named like ours: an order that we do not have, one that we have, and money that was taken.
    theirs = [
        await audited.charged("ghost-8", hold=True, installation=mark),
        await audited.charged(ended, hold=True, installation=mark),
        await audited.charged("ghost-9", installation=mark),
    ]
    for payment_id in theirs:
        audited.charges.created[payment_id] = datetime.now(UTC) - timedelta(hours=25)
    five = Money(5_00, "EUR")
    await audited.shop.cards.refund(
        theirs[2], five, installation=mark, order_id="ghost-9", key="theirs"
    )
    before = dict(audited.shop.cards.charges)

    assert (await audited.audit()).found == {}
    assert audited.shop.cards.charges == before


async def test_what_was_charged_under_a_former_name_is_still_ours(audited: Audited) -> None:
    database = audited.shop.database
    order_id, payment_id = await audited.held_for_nothing()
    database.installation = database.installation.renamed("renamed")

    report = await audited.audit()

    assert (report.found, report.repaired) == ({"live_charge": 1}, 1)
    assert audited.shop.cards.charges[payment_id].state is ChargeState.CANCELLED
    assert await audited.state_in_books(order_id) == ChargeState.CANCELLED


async def test_in_a_copy_the_orders_of_the_original_are_left_to_it(audited: Audited) -> None:
    database = audited.shop.database
    never_started = await audited.placed()
    _, payment_id = await audited.held_for_nothing()
    database.installation = database.installation.adopted("staging")
    audited.charges.created[payment_id] = datetime.now(UTC) - timedelta(hours=25)

    assert (await audited.audit()).found == {}

    assert audited.shop.cards.charges[payment_id].state is ChargeState.HELD
    own = await audited.placed()
    report = await audited.audit(AuditTerms())
    assert (report.found, report.repaired) == ({"never_started": 1}, 1)
    run = audited.shop.client.get_workflow_handle_for(OrderWorkflow.run, workflow_id(own))
    assert (await run.result()).status is Status.COMPLETED
    assert never_started not in {one.order_id for one in audited.findings.book.values()}


async def test_a_run_of_an_order_of_the_original_ends_before_anything_is_done(
    audited: Audited,
) -> None:
    database = audited.shop.database
    theirs = await audited.placed()
    database.installation = database.installation.adopted("staging")

    with pytest.raises(WorkflowFailureError) as error:
        await audited.shop.client.execute_workflow(
            OrderWorkflow.run,
            OrderInput(theirs),
            id=workflow_id(theirs),
            task_queue=TASK_QUEUE,
        )

    assert f"was placed by the installation {INSTALLATION}" in str(error.value.cause)
    assert audited.shop.cards.charges == {}
    assert audited.shop.mailer.sent == []
    assert database.row(theirs).stock == "none"


async def test_what_the_provider_knows_and_our_books_do_not_is_recorded(audited: Audited) -> None:
    run = await audited.shop.order()
    outcome = await run.result()
    [charge] = audited.shop.cards.charges_of(outcome.order_id)
    back = Money(5_00, "EUR")
    await audited.shop.cards.refund(
        charge.payment_id,
        back,
        installation=INSTALLATION,
        order_id=outcome.order_id,
        key="a hand in the dashboard",
    )

    report = await audited.audit()

    # Written down; but nobody here had asked for it, and a person has to say that it is right.
    assert report.found == {"books_behind": 1, "money_moved": 1, "refunds_differ": 1}
    assert (report.repaired, report.flagged) == (1, 2)
    [payment] = (await audited.shop.book.view(outcome.order_id)).payments
    assert payment.refunded == back
    again = await audited.audit()
    assert (again.found, again.known) == ({"money_moved": 1, "refunds_differ": 1}, 2)


async def test_an_order_that_was_paid_in_part_is_named_until_somebody_acknowledges_it(
    clients: Clients,
) -> None:
    """A part of its hold was captured in the dashboard, and a person has let it go on."""
    async with opened(clients, ShopTerms(capture=CaptureMethod.AT_FULFILLMENT)) as audited:
        run = await in_the_warehouse(audited.shop)
        order_id = run.id.removeprefix("order-")
        [charge] = audited.shop.cards.charges_of(order_id)
        audited.shop.cards.capture_by_hand(charge.payment_id, A_PART)
        await run.signal(OrderWorkflow.payment_updated)
        await held(run, "10.00 EUR of 29.00 EUR is captured")
        await approve(run)
        await run.result()

        report = await audited.audit()

        assert report.found == {"paid_in_part": 1}
        [finding] = await audited.findings.listed(everything=False, limit=10)
        assert finding.detail == "completed, and 10.00 EUR of 29.00 EUR was taken"
        word = Acknowledgement("ops-7", "the rest by invoice", datetime.now(UTC))
        await audited.findings.acknowledge(order_id, None, word)
        again = await audited.audit()
        assert (again.found, again.acknowledged) == ({"paid_in_part": 1}, 1)


async def test_an_acknowledged_finding_needs_nobody_until_the_facts_change(
    audited: Audited,
) -> None:
    outcome = await (await audited.shop.order()).result()
    order_id = outcome.order_id
    [charge] = audited.shop.cards.charges_of(order_id)
    euro = Money(1_00, "EUR")

    async def refund_in_the_dashboard(key: str) -> None:
        await audited.shop.cards.refund(
            charge.payment_id, euro, installation=INSTALLATION, order_id=order_id, key=key
        )

    await refund_in_the_dashboard("a hand in the dashboard")
    await audited.audit()
    word = Acknowledgement("ops-7", "goodwill", datetime.now(UTC))
    for kind in (DiscrepancyKind.MONEY_MOVED, DiscrepancyKind.REFUNDS_DIFFER):
        await audited.findings.acknowledge(order_id, kind, word)

    report = await audited.audit()

    assert (report.found, report.acknowledged) == ({"money_moved": 1, "refunds_differ": 1}, 2)
    assert (report.flagged, report.known) == (0, 0)
    assert audited.finding(DiscrepancyKind.REFUNDS_DIFFER, order_id).acknowledged == word
    assert await audited.findings.listed(everything=False, limit=10) == []

    await refund_in_the_dashboard("another hand in the dashboard")
    changed = await audited.audit()

    assert (changed.flagged, changed.acknowledged) == (2, 0)
    shown = await audited.findings.listed(everything=False, limit=10)
    back = {one.kind: one for one in shown}
    assert "2.00 EUR was given back" in back[DiscrepancyKind.REFUNDS_DIFFER].detail
    # What was answered for is no part of it any more.
    moved = back[DiscrepancyKind.MONEY_MOVED]
    assert moved.detail.count("our books said") == 1
    assert "taken, 1.00 EUR given back, the provider said" in moved.detail
    assert all(one.acknowledged is None for one in shown)


@pytest.mark.parametrize(
    ("said", "status", "found"),
    [
        (TOTAL.amount, Status.REFUNDED, "money_kept"),
        (0, Status.REJECTED, "money_kept"),
    ],
)
async def test_an_operators_word_that_the_provider_knows_nothing_of_is_a_finding(
    audited: Audited, said: int, status: Status, found: str
) -> None:
    """The charge was made unheard; its undo was settled by hand, rightly or not."""
    shop = audited.shop
    shop.cards.lose_answer_next("confirm")
    shop.cards.fail_next("read", NoAnswerError("silence"), times=2)
    shop.cards.fail_until_healed("refund", RefusedError("the account is closed"))
    order_id = await shop.place()
    run = await shop.start(order_id, waits=True)

    async def undoing() -> bool:
        attention = (await run.query(OrderWorkflow.status)).attention
        return attention is not None and attention.asks_given_back

    await eventually(undoing)
    word = Resolve("settled by telephone", "ops-7", given_back=said)
    await run.execute_update(OrderWorkflow.operate, word)
    assert (await ended(run)).status is status

    report = await audited.audit()

    assert report.found == {found: 1}
    finding = audited.finding(DiscrepancyKind(found), order_id)
    assert "29.00 EUR was taken and 0.00 EUR given back" in finding.detail
    assert f"{Money(said, 'EUR')} was given back by hand, as ops-7 says" in finding.detail
    assert shop.cards.given_back(order_id) == 0


async def test_an_operator_who_gave_back_what_was_never_taken_is_a_finding(
    audited: Audited,
) -> None:
    order_id = await audited.placed()
    by_hand = ManualRefund(order_id, TOTAL, "ops-7", "by bank transfer")
    await audited.shop.ledger.record_manual_refund(by_hand)
    await audited.end(order_id, Status.REFUNDED)

    assert (await audited.audit()).found == {"given_back_too_much": 1}


async def test_a_capture_that_our_books_missed_is_recorded(audited: Audited) -> None:
    order_id = await audited.placed()
    await audited.charged(order_id)
    for status in (Status.PAID, Status.FULFILLED, Status.COMPLETED):
        await audited.end(order_id, status)

    assert (await audited.audit()).found == {"books_behind": 1, "money_moved": 1}

    assert await audited.state_in_books(order_id) == ChargeState.CAPTURED


async def test_money_kept_for_an_order_that_ended_early_is_flagged_not_given_back(
    audited: Audited,
) -> None:
    order_id = await audited.placed()
    await audited.charged(order_id)
    await audited.end(order_id, Status.CANCELLED)

    report = await audited.audit()

    assert report.found == {"books_behind": 1, "money_kept": 1, "money_moved": 1}
    assert (report.repaired, report.flagged) == (1, 2)
    assert audited.shop.cards.given_back(order_id) == 0


async def test_a_terminated_run_with_money_taken_is_flagged_once(audited: Audited) -> None:
    run = await audited.terminated_after_charge()
    order_id = run.id.removeprefix("order-")

    first, second = await audited.audit(), await audited.audit()

    assert (first.found, first.flagged, first.known) == ({"stranded_with_money": 1}, 1, 0)
    assert (second.flagged, second.known) == (0, 1)
    finding = audited.finding(DiscrepancyKind.STRANDED_WITH_MONEY, order_id)
    assert "its run is terminated" in finding.detail
    assert str(TOTAL) in finding.detail
    assert audited.shop.cards.taken(order_id) == TOTAL.amount
    assert audited.shop.cards.given_back(order_id) == 0


async def test_what_the_finding_advises_carries_the_order_to_its_end_and_settles_it(
    audited: Audited,
) -> None:
    run = await audited.terminated_after_charge()
    order_id = run.id.removeprefix("order-")
    await audited.audit()

    await reset_to_last_workflow_task(audited.shop.client, run)
    again = audited.shop.client.get_workflow_handle_for(OrderWorkflow.run, run.id)
    outcome = await audited.shop.check(await again.result())

    assert outcome.status is Status.COMPLETED
    assert (await audited.audit()).found == {}
    assert audited.finding(DiscrepancyKind.STRANDED_WITH_MONEY, order_id).resolution == "settled"


async def test_an_order_under_way_is_left_alone(audited: Audited) -> None:
    gate = audited.shop.cards.hold("confirm", where="after")
    run = await audited.shop.order()
    await gate.entered()  # the money is taken, and nobody has written it down

    report = await audited.audit()

    assert report.found == {}
    gate.release()
    await audited.shop.check(await run.result())


async def test_an_open_run_of_an_order_that_our_books_lost_is_flagged_until_it_ends(
    audited: Audited,
) -> None:
    gate = audited.shop.cards.hold("create")
    run = await audited.shop.order()
    order_id = run.id.removeprefix("order-")
    await gate.entered()
    del audited.shop.database.rows[order_id]
    audited.runs.still_listed = (OpenRun(order_id, datetime.now(UTC) - HOUR),)

    first, second = await audited.audit(), await audited.audit()

    assert (first.found, first.flagged) == ({"run_without_order": 1}, 1)
    assert (second.flagged, second.known) == (0, 1)
    await run.terminate("by a hand in the Web UI")
    assert (await audited.audit()).found == {}
    assert audited.finding(DiscrepancyKind.RUN_WITHOUT_ORDER, order_id).resolution == "settled"
    gate.release()


async def test_a_run_that_is_over_is_no_finding_though_it_is_still_listed_as_open(
    audited: Audited,
) -> None:
    run = await audited.shop.start("unheard-of")
    with pytest.raises(WorkflowFailureError):
        await run.result()
    audited.runs.still_listed = (OpenRun("unheard-of", datetime.now(UTC) - HOUR),)

    report = await audited.audit()

    assert (report.found, report.flagged) == ({}, 0)


async def test_a_run_that_ends_after_the_look_at_its_page_is_no_finding(audited: Audited) -> None:
    run = await audited.shop.start("unheard-of-too")
    with pytest.raises(WorkflowFailureError):
        await run.result()
    seen = Discrepancy(
        DiscrepancyKind.RUN_WITHOUT_ORDER, "unheard-of-too", "as it was a moment ago"
    )

    settled = await audited.activities.settle_discrepancy(
        DiscrepancySettlement(seen, datetime.now(UTC), AT_ONCE)
    )

    assert settled.outcome == "gone"
    assert audited.findings.book == {}


async def test_two_audits_at_once_do_everything_once(audited: Audited) -> None:
    order_id = await audited.placed()
    held, payment_id = await audited.held_for_nothing()
    await audited.charged("ghost-3")

    reports = await asyncio.gather(audited.audit(), audited.audit())

    assert sum(report.flagged for report in reports) == 1
    assert audited.shop.cards.charges[payment_id].state is ChargeState.CANCELLED
    assert await audited.state_in_books(held) == ChargeState.CANCELLED
    run = audited.shop.client.get_workflow_handle_for(OrderWorkflow.run, workflow_id(order_id))
    outcome = await run.result()
    assert outcome.status is Status.COMPLETED
    assert audited.shop.cards.taken(order_id) == TOTAL.amount


async def test_a_repair_that_fails_does_not_stop_the_others(audited: Audited) -> None:
    _, payment_id = await audited.held_for_nothing()
    order_id = await audited.placed()
    audited.shop.cards.fail_until_healed("cancel", RefusedError("not today"))

    report = await audited.audit()

    assert report.failed > 0
    assert report.repaired == 1
    run = audited.shop.client.get_workflow_handle_for(OrderWorkflow.run, workflow_id(order_id))
    await run.result()
    audited.shop.cards.heal("cancel")
    await audited.audit()
    assert audited.shop.cards.charges[payment_id].state is ChargeState.CANCELLED


async def test_a_repair_whose_answer_was_lost_is_made_once(audited: Audited) -> None:
    order_id, payment_id = await audited.held_for_nothing()
    audited.shop.cards.lose_answer_next("cancel")

    report = await audited.audit()

    # The second try found it released, and our books behind: the audit after this one records it.
    assert report.failed == 0
    await audited.audit()
    assert audited.shop.cards.charges[payment_id].state is ChargeState.CANCELLED
    assert await audited.state_in_books(order_id) == ChargeState.CANCELLED
    assert all(one.resolved_at is not None for one in audited.findings.book.values())


async def test_a_provider_that_is_away_is_waited_for(audited: Audited) -> None:
    await audited.charged("ghost-4")
    audited.charges.fail_next("charges", NoAnswerError("nobody answers"), times=3)
    assert (await audited.audit()).flagged == 1


async def test_many_pages_are_many_runs_and_one_report(audited: Audited) -> None:
    ghosts = [await audited.charged(f"ghost-{next(_numbers)}") for _ in range(5)]
    small = AuditTerms(grace=timedelta(0), page_size=2)

    handle = await audited.begin(small, pages_per_run=1)
    report = await handle.result()

    assert report.flagged == len(ghosts)
    first = audited.shop.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
    assert (await first.describe()).status is WorkflowExecutionStatus.CONTINUED_AS_NEW
    assert len((await first.fetch_history()).events) < 40


async def reset_to_last_workflow_task(client: Client, run: WorkflowHandle[Any, Any]) -> None:
    """``temporal workflow reset --type LastWorkflowTask``."""
    history = await run.fetch_history()
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    last = [event.event_id for event in history.events if event.event_type == completed][-1]
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(
                workflow_id=run.id, run_id=run.result_run_id or ""
            ),
            reason="found by the audit",
            workflow_task_finish_event_id=last,
            request_id=run.id,
        )
    )


# -- refunds whose run is gone ---------------------------------------------------------------------


async def refund_begun(
    audited: Audited, state: RefundState, card: str = "pm_card_visa"
) -> refunds.Handle:
    """The run of a refund of 5.00 EUR that has come so far and stays there."""
    shop = audited.shop
    order_id = (await (await shop.order(card)).result()).order_id
    request = RefundRequest(order_id, "r1", amount=FIVE)
    if state is RefundState.REQUESTED:
        shop.refunds.fail_until_healed("begin", NoAnswerError("nobody answers"))
    elif state is RefundState.ISSUING:
        shop.cards.fail_until_healed("refund", NoAnswerError("nobody answers"))
    run = await refunds.begin(shop, request, waits=True)

    async def there() -> bool:
        known = await shop.refunds.find(order_id, "r1")
        return known is not None and known.state is state

    await eventually(there)
    return run


GIVEN: dict[RefundState, str] = {
    RefundState.REQUESTED: "pm_card_visa",
    RefundState.AWAITING_APPROVAL: "pm_card_visa",
    RefundState.ISSUING: "pm_card_visa",
    RefundState.PENDING: REFUND_PENDING,
}


class TestARefundWhoseRunWasTerminated:
    @pytest.fixture
    async def audited(
        self, clients: Clients, request: pytest.FixtureRequest
    ) -> AsyncIterator[Audited]:
        """The shop where a refund may need approval."""
        waits = request.node.callspec.params.get("state") is RefundState.AWAITING_APPROVAL
        terms = ShopRefundTerms(approval_above={"EUR": 1_00} if waits else {})
        async with opened(clients, refund_terms=terms) as audited:
            yield audited

    @pytest.mark.parametrize("state", GIVEN)
    async def test_it_is_found_and_its_run_started_again_wherever_it_was(
        self, audited: Audited, state: RefundState
    ) -> None:
        shop = audited.shop
        run = await refund_begun(audited, state, GIVEN[state])
        await run.terminate("by a hand in the Web UI")
        shop.refunds.heal("begin")
        shop.cards.heal("refund")
        [listed] = await shop.refunds.unfinished(datetime.now(UTC), 10)
        # It is of no age and its order changed long before the window.
        terms = AuditTerms(grace=timedelta(0), window=timedelta(0))

        reports: list[AuditReport] = []

        async def found() -> bool:
            # An audit as of a moment before the run's end leaves it alone.
            reports.append(await audited.audit(terms, waits=True))
            return bool(reports[-1].found)

        await eventually(found)
        assert (reports[-1].found, reports[-1].repaired) == ({"refund_stranded": 1}, 1)
        finding = audited.finding(DiscrepancyKind.REFUND_STRANDED, listed.order_id)
        sentence = f"refund r1 of 5.00 EUR is {state}: its run is terminated"
        assert (finding.detail, finding.resolution) == (sentence, "repaired")
        if state is RefundState.PENDING:
            shop.cards.settle_refund(refund_key(listed.order_id, "r1"))
            await run_of(shop, listed).signal(RefundWorkflow.refund_updated)
        if state is RefundState.AWAITING_APPROVAL:
            await refunds.reached(shop, run_of(shop, listed), state)
            await run_of(shop, listed).execute_update(RefundWorkflow.approve, Approve("ops-7"))
        outcome = await run_of(shop, listed).result()
        assert isinstance(outcome, RefundOutcome)
        assert outcome.state is RefundState.SUCCEEDED
        assert shop.cards.given_back(listed.order_id) == FIVE.amount
        assert len(shop.cards.refunds) == 1
        assert (await audited.audit()).found == {}


def run_of(shop: Shop, listed: UnfinishedRefund) -> refunds.Handle:
    """The newest run of the refund."""
    id_ = refund_workflow_id(listed.order_id, listed.refund_id)
    return shop.client.get_workflow_handle_for(RefundWorkflow.run, id_)


async def test_a_refund_that_failed_at_the_bank_asks_for_a_person_again(audited: Audited) -> None:
    shop = audited.shop
    run = await refund_begun(audited, RefundState.PENDING, REFUND_PENDING)
    [listed] = await shop.refunds.unfinished(datetime.now(UTC), 10)
    shop.cards.fail_refund(refund_key(listed.order_id, "r1"))
    await run.signal(RefundWorkflow.refund_updated)
    await refunds.needs_a_person(run)
    await run.terminate("by a hand in the Web UI")

    assert (await audited.audit()).repaired == 1

    progress = await refunds.needs_a_person(run_of(shop, listed))
    assert progress.state is RefundState.FAILED
    assert shop.cards.given_back(listed.order_id) == 0
    await run_of(shop, listed).terminate()


async def test_a_refund_that_waited_for_approval_is_not_paid_because_the_rules_have_changed(
    audited: Audited,
) -> None:
    shop = audited.shop
    order_id = (await (await shop.order()).result()).order_id
    now = datetime.now(UTC)
    await shop.refunds.reserve(RefundRequest(order_id, "r1", amount=FIVE), now)
    await shop.refunds.move(order_id, "r1", RefundState.AWAITING_APPROVAL, now)
    [listed] = await shop.refunds.unfinished(datetime.now(UTC), 10)

    report = await audited.audit()

    assert report.found == {"refund_stranded": 1}
    outcome = await run_of(shop, listed).result()  # nobody decides, and time is skipped or not
    assert isinstance(outcome, RefundOutcome)
    assert outcome.state is RefundState.REJECTED
    assert shop.cards.given_back(order_id) == 0


async def test_refunds_of_an_order_whose_own_run_is_open_are_found_together(
    audited: Audited,
) -> None:
    shop = audited.shop
    gate = shop.mailer.hold("send")
    run = await shop.order(waits=True)
    await gate.entered()
    order_id = run.id.removeprefix("order-")
    now = datetime.now(UTC)
    for refund_id in ("r1", "r2"):
        await shop.refunds.reserve(RefundRequest(order_id, refund_id, amount=FIVE), now)

    report = await audited.audit()

    assert (report.found, report.repaired) == ({"refund_stranded": 1}, 1)
    detail = audited.finding(DiscrepancyKind.REFUND_STRANDED, order_id).detail
    assert detail == (
        "refund r1 of 5.00 EUR is requested: it has no run; "
        "refund r2 of 5.00 EUR is requested: it has no run"
    )

    async def both() -> bool:
        return shop.cards.given_back(order_id) == 2 * FIVE.amount

    await eventually(both)
    gate.release()
    await run.result()


async def test_the_refund_that_undoes_an_order_is_left_to_the_order_until_that_has_ended(
    audited: Audited,
) -> None:
    shop = audited.shop
    gate = shop.cards.hold("refund")
    order_id = await shop.place(REFUND_PENDING)
    shop.warehouse.refuse(order_id, "the roof leaks")
    run = await shop.start(order_id, waits=True)
    await gate.entered()
    known = await shop.refunds.find(order_id, UNDO_REFUND_ID)
    assert known is not None
    assert known.state is RefundState.ISSUING
    assert (await audited.audit()).found == {}

    gate.release()
    assert (await run.result()).status is Status.REFUNDED
    [listed] = await shop.refunds.unfinished(datetime.now(UTC), 10)
    await run_of(shop, listed).terminate("by a hand in the Web UI")
    assert (await audited.audit()).found == {"refund_stranded": 1}
    [key] = [key for key in shop.cards.refunds if ":undo" in key]
    shop.cards.settle_refund(key)
    await run_of(shop, listed).signal(RefundWorkflow.refund_updated)
    outcome = await run_of(shop, listed).result()
    assert isinstance(outcome, RefundOutcome)
    assert outcome.state is RefundState.SUCCEEDED
    assert shop.cards.given_back(order_id) == TOTAL.amount


async def test_a_refund_that_moved_a_moment_ago_is_left_alone(audited: Audited) -> None:
    order_id = (await (await audited.shop.order()).result()).order_id
    request = RefundRequest(order_id, "r1", amount=FIVE)
    await audited.shop.refunds.reserve(request, datetime.now(UTC))
    assert (await audited.audit(AuditTerms())).found == {}
    assert audited.shop.cards.given_back(order_id) == 0


async def test_a_run_that_cannot_be_started_again_stays_a_finding(audited: Audited) -> None:
    shop = audited.shop
    order_id = (await (await shop.order()).result()).order_id
    await shop.refunds.reserve(RefundRequest(order_id, "r1", amount=FIVE), datetime.now(UTC))
    shop.refunds.fail_until_healed("find", RefusedError("our bug"))

    report = await audited.audit()

    assert (report.found, report.failed) == ({"refund_stranded": 1}, 1)
    assert audited.finding(DiscrepancyKind.REFUND_STRANDED, order_id).resolved_at is None
    shop.refunds.heal("find")
    assert (await audited.audit()).repaired == 1
