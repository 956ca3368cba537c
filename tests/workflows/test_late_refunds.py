"""Refunds that change after their order has ended, found by the audit: of all orders, without a
webhook or a worker that followed them, and of one, at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.client import WorkflowExecutionStatus

from durable_orders.clients.audits import AuditClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.audit.messages import AuditReport
from durable_orders.domain.audit.model import AuditTerms
from durable_orders.domain.ids import (
    UNDO_REFUND_ID,
    examination_workflow_id,
    refund_workflow_id,
)
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from durable_orders.domain.workflow_messages import Resolve
from tests.fakes.audit import InMemoryAuditRepository
from tests.fakes.cards import REFUND_FAILS, REFUND_PENDING
from tests.support.eventually import eventually
from tests.support.keys import undo_refund_key
from tests.support.servers import Servers
from tests.workflows.conftest import TOTAL, Clients, ended, replayed
from tests.workflows.refunds import ONE_MUG, begin, needs_a_person, reached
from tests.workflows.test_audit import AT_ONCE, Audited, opened
from workflows.audit import ExaminationWorkflow
from workflows.refund import RefundWorkflow

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
async def clients(servers: Servers) -> Clients:
    return await Clients.of(servers.temporal("audits"))


@pytest.fixture
async def audited(clients: Clients) -> AsyncIterator[Audited]:
    async with opened(clients) as audited:
        yield audited


async def undone(audited: Audited, card: str) -> str:
    """An undone order that nobody follows: its refund's run is gone, if there was one."""
    shop = audited.shop
    order_id = await shop.place(card)
    shop.warehouse.refuse(order_id, "no shelf has it")
    assert (await ended(await shop.start(order_id, waits=True))).status is Status.REFUNDED
    if card == REFUND_PENDING:
        await nobody_follows(audited, order_id)
    return order_id


async def nobody_follows(audited: Audited, order_id: str) -> None:
    """End the run of the refund that undoes an order."""
    id_ = refund_workflow_id(order_id, UNDO_REFUND_ID)
    await audited.shop.patient_client.get_workflow_handle(id_).terminate("the worker is gone")


def key_of(audited: Audited, order_id: str) -> str:
    [charge] = audited.shop.cards.charges_of(order_id)
    return undo_refund_key(order_id, charge.payment_id)


def age(audited: Audited, order_id: str, days: int) -> None:
    """All of it happened so many days ago."""
    row = audited.shop.database.row(order_id)
    row.history = [replace(line, at=line.at - days * DAY) for line in row.history]
    row.placed_at -= days * DAY
    [charge] = audited.shop.cards.charges_of(order_id)
    then = row.placed_at
    audited.charges.created[charge.payment_id] = then
    for booked in audited.shop.cards.refunds.values():
        if booked.payment_id == charge.payment_id:
            audited.charges.created[booked.refund.refund_id] = then


def found_of(audited: Audited, order_id: str) -> dict[str, str]:
    """The findings about the order that are not settled, with their details."""
    return {
        one.kind.value: one.detail
        for one in audited.findings.book.values()
        if one.order_id == order_id and one.resolved_at is None
    }


# -- the audit alone -------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [3, 10])
@pytest.mark.parametrize("card", [REFUND_PENDING, REFUND_FAILS])
async def test_a_refund_that_failed_unheard_is_found(
    audited: Audited, card: str, days: int
) -> None:
    order_id = await undone(audited, card)
    age(audited, order_id, days)
    assert "refund_failed" not in (await audited.audit()).found
    if card == REFUND_PENDING:
        await nobody_follows(audited, order_id)  # the audit has started it again
    audited.shop.cards.fail_refund(key_of(audited, order_id))

    async def is_found() -> bool:
        # The run of a refund that is on its way is started again by the audit: it looks, too.
        await audited.audit()
        return "refund_failed" in found_of(audited, order_id)

    await eventually(is_found)
    if card == REFUND_FAILS:
        assert "did not arrive" in found_of(audited, order_id)["refund_failed"]


async def test_a_refund_that_stays_pending_for_forty_days_is_found(audited: Audited) -> None:
    order_id = await undone(audited, REFUND_PENDING)
    age(audited, order_id, 6)
    await audited.audit()
    assert found_of(audited, order_id) == {}
    age(audited, order_id, 34)
    await audited.audit()
    late = found_of(audited, order_id)["refund_overdue"]
    assert "refund undo of 29.00 EUR has been pending since" in late

    audited.shop.cards.settle_refund(key_of(audited, order_id))
    await RefundClient(audited.shop.client, audited.shop.refunds).look_again(order_id, "undo")
    run = audited.shop.client.get_workflow_handle(refund_workflow_id(order_id, UNDO_REFUND_ID))
    await run.result()
    await audited.audit()
    assert found_of(audited, order_id) == {}


async def test_how_far_refunds_are_looked_back_for_is_a_setting(audited: Audited) -> None:
    order_id = await undone(audited, REFUND_FAILS)
    age(audited, order_id, 30)
    audited.shop.cards.settle_refund(key_of(audited, order_id))
    await audited.audit(replace(AT_ONCE, refund_window=29 * DAY))
    assert found_of(audited, order_id) == {}
    await audited.audit(replace(AT_ONCE, refund_window=31 * DAY))
    assert "refund_failed" in found_of(audited, order_id)


def test_refunds_are_looked_back_for_as_long_as_one_may_fail() -> None:
    """Pending for 45 days at most, and sent back up to 30 days after that."""
    assert AuditTerms().refund_window > timedelta(days=45 + 30)


async def test_money_that_a_failed_refund_owes_is_found_until_a_person_has_settled_it(
    audited: Audited,
) -> None:
    order_id = await undone(audited, REFUND_FAILS)
    audited.shop.cards.settle_refund(key_of(audited, order_id))
    client = RefundClient(audited.shop.patient_client, audited.shop.refunds)
    await client.look_again(order_id, UNDO_REFUND_ID)
    run = audited.shop.patient_client.get_workflow_handle_for(
        RefundWorkflow.run, refund_workflow_id(order_id, UNDO_REFUND_ID)
    )
    await needs_a_person(run)
    age(audited, order_id, 10)
    await audited.audit()
    assert list(found_of(audited, order_id)) == ["refund_failed"]
    assert "is owed since" in found_of(audited, order_id)["refund_failed"]

    await run.execute_update(RefundWorkflow.operate, Resolve("by bank transfer", "ops-7"))
    await run.result()
    await audited.audit()
    assert found_of(audited, order_id) == {}


async def test_a_failed_refund_of_a_completed_order_is_found_whatever_its_age(
    audited: Audited,
) -> None:
    order_id = (await (await audited.shop.order(REFUND_PENDING)).result()).order_id
    run = await begin(audited.shop, RefundRequest(order_id, "r1", lines=ONE_MUG), waits=True)
    await reached(audited.shop, run, RefundState.PENDING)
    await run.terminate("the worker is gone")
    age(audited, order_id, 60)
    [key] = audited.shop.cards.refunds
    audited.shop.cards.fail_refund(key)
    await audited.audit()
    assert "refund_failed" in found_of(audited, order_id)


# -- one order, at once ----------------------------------------------------------------------------


async def examined(audited: Audited, order_id: str) -> AuditReport:
    """What comes of an event about the order's payment."""
    await AuditClient(audited.shop.client).examine(order_id)
    run = audited.shop.client.get_workflow_handle_for(
        ExaminationWorkflow.run, examination_workflow_id(order_id)
    )
    report = await run.result()
    await replayed(await run.fetch_history())
    return report


async def completed(audited: Audited, card: str = "pm_card_visa") -> tuple[str, str]:
    outcome = await (await audited.shop.order(card)).result()
    [charge] = audited.shop.cards.charges_of(outcome.order_id)
    return outcome.order_id, charge.payment_id


async def test_an_order_that_all_agree_on_shows_nothing(audited: Audited) -> None:
    order_id, _ = await completed(audited)
    assert await examined(audited, order_id) == AuditReport(examined=1)
    undone_id = await undone(audited, "pm_card_visa")
    assert await examined(audited, undone_id) == AuditReport(examined=1)


@pytest.mark.parametrize("back", [1, 10_00, 29_00])
async def test_a_refund_of_a_completed_order_in_the_dashboard_is_a_finding_at_once(
    audited: Audited, back: int
) -> None:
    order_id, payment_id = await completed(audited)
    audited.shop.cards.refund_by_hand(payment_id, Money(back, "EUR"))
    report = await examined(audited, order_id)
    assert report.found == {"books_behind": 1, "money_moved": 1, "refunds_differ": 1}
    assert (report.repaired, report.flagged) == (1, 2)
    details = found_of(audited, order_id)
    assert f"{Money(back, 'EUR')} given back, which is recorded now" in details["money_moved"]
    said = f"{Money(back, 'EUR')} was given back, but its refunds come to 0.00 EUR"
    assert said in details["refunds_differ"]
    again = await examined(audited, order_id)
    assert (again.found, again.known) == ({"refunds_differ": 1}, 1)


async def test_a_refund_in_the_dashboard_of_an_undone_order_is_a_finding_at_once(
    audited: Audited,
) -> None:
    """Its own refund has failed, and a person gives the money back there."""
    order_id = await undone(audited, REFUND_FAILS)
    audited.shop.cards.settle_refund(key_of(audited, order_id))
    assert (await examined(audited, order_id)).found["refund_failed"] == 1
    client = RefundClient(audited.shop.patient_client, audited.shop.refunds)
    await client.look_again(order_id, UNDO_REFUND_ID)
    run = audited.shop.patient_client.get_workflow_handle_for(
        RefundWorkflow.run, refund_workflow_id(order_id, UNDO_REFUND_ID)
    )
    await needs_a_person(run)
    [charge] = audited.shop.cards.charges_of(order_id)
    audited.shop.cards.refund_by_hand(charge.payment_id)
    await examined(audited, order_id)
    assert "failed at the bank" in found_of(audited, order_id)["refund_failed"]
    await run.execute_update(RefundWorkflow.operate, Resolve("in the dashboard", "ops-7"))
    await run.result()
    await examined(audited, order_id)
    assert "given_back_too_much" in found_of(audited, order_id)


async def test_a_refund_in_the_dashboard_that_fails_later_is_a_finding_at_once(
    audited: Audited,
) -> None:
    order_id, payment_id = await completed(audited)
    audited.shop.cards.refund_by_hand(payment_id, Money(10_00, "EUR"))
    await examined(audited, order_id)
    [key] = audited.shop.cards.refunds
    audited.shop.cards.fail_refund(key)
    await examined(audited, order_id)
    assert "10.00 EUR of" in found_of(audited, order_id)["refund_failed"]


async def test_a_refund_that_is_being_made_is_waited_for(audited: Audited) -> None:
    order_id, _ = await completed(audited)
    making = audited.shop.cards.hold("refund", where="after")
    run = await begin(audited.shop, RefundRequest(order_id, "r1", lines=ONE_MUG), waits=True)
    await making.entered()
    book = audited.activities.book
    assert isinstance(book, InMemoryAuditRepository)
    first, second = book.hold("standing", where="after"), book.hold("standing")
    await AuditClient(audited.shop.client).examine(order_id)
    await first.entered()
    first.release()
    await second.entered()
    making.release()
    await run.result()
    second.release()
    examination = audited.shop.client.get_workflow_handle_for(
        ExaminationWorkflow.run, examination_workflow_id(order_id)
    )
    assert await examination.result() == AuditReport(examined=1)
    assert audited.findings.book == {}


async def test_an_examination_that_is_under_way_looks_again(audited: Audited) -> None:
    order_id, payment_id = await completed(audited)
    looking = audited.charges.hold("find", where="after")
    await AuditClient(audited.shop.patient_client).examine(order_id)
    await looking.entered()
    audited.shop.cards.refund_by_hand(payment_id, Money(10_00, "EUR"))
    for _ in range(3):
        await AuditClient(audited.shop.patient_client).examine(order_id)
    looking.release()
    run = audited.shop.patient_client.get_workflow_handle_for(
        ExaminationWorkflow.run, examination_workflow_id(order_id)
    )
    report = await run.result()
    await replayed(await run.fetch_history())
    assert report.found["refunds_differ"] == 1
    assert (await run.describe()).status is WorkflowExecutionStatus.COMPLETED


async def test_an_order_that_lost_its_run_is_a_finding_at_once(audited: Audited) -> None:
    run = await audited.terminated_after_charge()
    order_id = run.id.removeprefix("order-")
    await examined(audited, order_id)
    assert "stranded_with_money" in found_of(audited, order_id)


async def test_an_order_that_goes_on_is_left_to_its_run(audited: Audited) -> None:
    gate = audited.shop.warehouse.hold("fulfill")
    handle = await audited.shop.order(waits=True)
    await gate.entered()
    order_id = handle.id.removeprefix("order-")
    assert (await examined(audited, order_id)).found == {}
    gate.release()
    assert (await handle.result()).given_back == Money(0, "EUR")
    assert audited.shop.cards.taken(order_id) == TOTAL.amount
